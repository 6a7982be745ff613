"""Table of many scans, `segmentations.csv`: a row per nerve, and one per branch where the nerve divides."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd
from rich.table import Table

from nerveseg.biomarkers.profile import TOTAL
from nerveseg.biomarkers.summary import BranchSummary, NerveSummary
from nerveseg.console import console, say
from nerveseg.files import write_csv
from nerveseg.names import text_of_cell
from nerveseg.scans.batch import Outcome
from nerveseg.scans.results import ScanSummary
from nerveseg.scans.verdicts import Review, Verdicts

TABLE = "segmentations.csv"
COLUMNS = (
    "scan", "status", "side", "branch", "grade", "grade_reason", "expected_dice", "mask_origin", "volume_mm3",
    "length_mm", "mean_csa_mm2", "max_csa_mm2", "mean_csa_perpendicular_mm2", "split_slice", "lesion_burden",
    "stray_pieces", "stray_volume_mm3", "flags", "flags_text", "verdict", "earlier_verdict", "reviewer", "reviewed",
    "review_note", "mask_sha256", "model_sha256", "error", "warning",
)  # fmt: skip
"""Columns of every table; `signal_<channel>` and `z_<quantity>` follow where a scan has them."""

MEASURED = {name for name in (*NerveSummary.model_fields, *BranchSummary.model_fields) if name in COLUMNS}
"""Columns that are fields of the summary of a nerve or of a branch."""


def write_table(path: Path, outcomes: Sequence[Outcome], verdicts: Verdicts, warning: str) -> None:
    """Write a row per scan, side and branch; `warning` is that of scans without a result."""
    rows = [row for outcome in outcomes for row in _rows(outcome, verdicts, warning)]
    further = sorted({name for row in rows for name in row} - set(COLUMNS))
    table = pd.DataFrame(rows, columns=[*COLUMNS, *further])
    for name in table.columns:
        known = [value for row in rows if (value := row.get(name)) is not None]
        if known and all(isinstance(value, int) for value in known):  # else 2.0 where another row has no value
            table[name] = table[name].astype("Int64")
    write_csv(path, table)


def print_table(path: Path, outcomes: Sequence[Outcome], warning: str) -> None:
    """Print one row per scan and side: outcome, grade, volume and area of the nerve, number of flags."""
    printed = Table(title=f"{f'{warning}, ' if warning else ''}{len(outcomes)} scans")
    for column in ("scan", "status", "side", "grade", "volume mm3", "mean area mm2", "flags", "why"):
        text = column in ("scan", "status", "side", "grade", "why")
        printed.add_column(column, justify="left" if text else "right")
    for row in (row for outcome in outcomes for row in _rows(outcome, Verdicts(), warning)):
        if row["branch"] in (TOTAL, ""):
            printed.add_row(
                *(str(row.get(column, "")) for column in ("scan", "status", "side", "grade")),
                *(_number(row.get(column)) for column in ("volume_mm3", "mean_csa_mm2", "flags")),
                str(row["error"]).split(";")[0],
            )
    console.print(printed)
    say(f"table: {path}")


def recorded_failures(root: Path) -> list[Outcome]:
    """Return the scans that an earlier table of the folder calls failed."""
    try:
        table = pd.read_csv(root / TABLE, dtype="string", keep_default_na=False)
        rows = table.loc[table["status"] == "failed", ["scan", "error"]].drop_duplicates("scan")
    except (OSError, ValueError, KeyError):  # none, or a table of a person's own
        return []
    cells = (map(text_of_cell, row) for row in rows.itertuples(index=False))
    return [Outcome(scan, "failed", failed_before=error) for scan, error in cells]


def _rows(outcome: Outcome, verdicts: Verdicts, warning: str) -> Iterator[dict[str, object]]:
    summary = outcome.summary
    common: dict[str, object] = {"scan": outcome.name, "status": outcome.status, "error": outcome.fault}
    if summary is None:
        yield common | {"side": "", "branch": "", "warning": warning} | _review_cells(verdicts.on(outcome.name, ""))
        return
    common |= {
        "warning": summary.warning,
        "expected_dice": least_expected(summary),
        "mask_origin": origin_of_mask(summary),
        "mask_sha256": summary.mask_sha256,
        "model_sha256": summary.model.sha256 if summary.model else "",
    }
    common |= {"grade": summary.grade.level, "grade_reason": summary.grade.reason} if summary.grade else {}
    common |= _review_cells(verdicts.on(outcome.name, summary.mask_sha256))
    for nerve in summary.nerves:
        messages = [flag.message for flag in summary.flags if flag.side in (None, nerve.side)]
        of_side = common | {"side": nerve.side, "flags": len(messages), "flags_text": "; ".join(messages)}
        scores = {f"z_{quantity}": score for quantity, score in nerve.z_scores.items()}
        yield of_side | {"branch": TOTAL} | _cells(nerve) | scores
        for name, branch in nerve.branches.items():
            yield of_side | {"branch": name} | _cells(branch)


def _cells(nerve: NerveSummary | BranchSummary) -> dict[str, object]:
    return nerve.model_dump(include=MEASURED) | {
        f"signal_{channel}": value for channel, value in nerve.mean_signal.items()
    }


def _review_cells(review: Review) -> dict[str, object]:
    shown = review.current or review.earlier
    if shown is None:
        return {}
    return {
        "verdict": review.current.verdict if review.current else "",
        "earlier_verdict": review.earlier.verdict if review.earlier else "",
        "reviewer": shown.reviewer,
        "reviewed": shown.date,
        "review_note": shown.note,
    }


def origin_of_mask(summary: ScanSummary) -> Literal["automatic", "corrected", "drawn"]:
    """Return who made a mask: the model, or a person, from the automatic mask where that is known."""
    if summary.given is None:
        return "automatic"
    return "drawn" if summary.given.changes is None else "corrected"


def least_expected(summary: ScanSummary) -> float | None:
    """Return the smallest Dice that is expected of a class; None without a calibration, or if one is not reliable."""
    expected = summary.expected_dice.values()
    return min((each.value for each in expected if not any(other.unlike for other in expected)), default=None)


def _number(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,.1f}" if isinstance(value, float) else str(value)
