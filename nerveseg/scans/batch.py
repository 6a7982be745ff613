"""Segment many scans, one after the other: a failed scan does not stop the rest, a complete one is skipped."""

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
from rich.table import Table

from nerveseg.biomarkers.quality import Flag
from nerveseg.biomarkers.summary import NerveSummary
from nerveseg.console import console, report_progress, say
from nerveseg.data.volumes.dicom_sources import remove_unpacked
from nerveseg.errors import NervesegError, RunError
from nerveseg.files import write_csv
from nerveseg.inference.ensemble import Ensemble
from nerveseg.notices import SYNTHETIC
from nerveseg.scans.dicom_export import check_exportable
from nerveseg.scans.expectation import named_expectations
from nerveseg.scans.identity import identity_of
from nerveseg.scans.reading import input_sha256
from nerveseg.scans.request import ScanFiles, SegmentOptions
from nerveseg.scans.results import ResultOptions, ScanSummary, check_free, in_words
from nerveseg.scans.segmentation import segment_files
from nerveseg.scans.writing import write_segmentation

TABLE = "segmentations.csv"
COLUMNS = (
    "scan", "status", "side", "grade", "grade_reason", "mask_origin", "volume_mm3", "length_mm",
    "mean_csa_mm2", "max_csa_mm2", "mean_csa_perpendicular_mm2", "tibial_mean_csa_mm2", "peroneal_mean_csa_mm2",
    "split_slice", "lesion_burden", "stray_pieces", "stray_volume_mm3", "expected_dice", "flags", "flags_text",
    "error", "warning",
)  # fmt: skip
"""Columns of every table; `signal_<channel>` and `z_<quantity>` follow where a scan has them."""

MEASURED = {
    "side", "volume_mm3", "length_mm", "mean_csa_mm2", "max_csa_mm2", "mean_csa_perpendicular_mm2", "split_slice",
    "lesion_burden", "stray_pieces", "stray_volume_mm3",
}  # fmt: skip
"""Columns that are fields of a nerve's summary."""


@dataclass(frozen=True)
class Outcome:
    """Outcome of one scan."""

    name: str  # name of the scan
    status: Literal["done", "done before", "failed"]  # status: done now, done before, or failed
    summary: ScanSummary | None = None  # summary of its result
    error: NervesegError | None = None  # error that it failed with


def segment_all(
    scans: Sequence[ScanFiles],
    folders: Mapping[str, Path],
    model: Ensemble,
    options: SegmentOptions,
    written: ResultOptions,
) -> list[Outcome]:
    """Segment scans into their folders and print each outcome; the failure of one of several does not stop the rest.

    The failure of a single scan is not printed, because its error ends the command.
    """
    outcomes = []
    for number, scan in enumerate(scans, 1):
        title = f"{scan.name} ({number} of {len(scans)})" if len(scans) > 1 else scan.name
        started = time.perf_counter()
        try:
            with report_progress(title) as progress:
                outcome = _segment_one(scan, folders[scan.name], model, options, written, progress)
        except Exception as error:
            if len(scans) == 1 and not isinstance(error, NervesegError | OSError | MemoryError | RuntimeError):
                raise
            outcome = Outcome(scan.name, "failed", error=_named(error, folders[scan.name]))
        finally:
            remove_unpacked()
        outcomes.append(outcome)
        if outcome.error is None or len(scans) > 1:
            print_outcome(outcome, title, time.perf_counter() - started, folders[scan.name])
    return outcomes


def _segment_one(
    scan: ScanFiles,
    folder: Path,
    model: Ensemble,
    options: SegmentOptions,
    written: ResultOptions,
    progress: Callable[[int, int], None],
) -> Outcome:
    started = time.perf_counter()
    sha256 = input_sha256(scan)
    identity = identity_of(scan.person, sha256, model, options, written)
    check_exportable(scan, written)
    earlier = check_free(folder, identity)
    if earlier:
        return Outcome(scan.name, "done before", earlier)
    segmentation = segment_files(scan, model, options, progress, sha256)
    summary = write_segmentation(folder, segmentation, identity, written, started)
    return Outcome(scan.name, "done", summary)


def _named(error: Exception, folder: Path) -> NervesegError:
    if isinstance(error, NervesegError):
        return error
    message = " ".join(f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}".split())[:300]
    if isinstance(error, MemoryError) or "memory" in message.lower():
        return RunError("a scan fits into memory", found=message, remedy="slices_per_batch=1, or a larger machine")
    if isinstance(error, OSError):
        return RunError(
            "files can be read and results written",
            found=message,
            path=getattr(error, "filename", None) or folder,
            remedy="make room or permissions; the same command continues",
        )
    traceback.print_exception(error)
    return RunError(
        "every readable scan is segmented without an unexpected error",
        found=message,
        remedy="report it, with the traceback above",
    )


def print_outcome(outcome: Outcome, title: str, seconds: float, folder: Path) -> None:
    """Print the outcome of a scan: time and folder, a line for each nerve, notes and flags."""
    if outcome.error:
        say(f"{title}: failed; {outcome.error}")
        return
    assert outcome.summary
    when = f"{seconds:.1f} s" if outcome.status == "done" else "done before"
    say(f"{title}: {when}; {folder}")
    if outcome.summary.grade:
        say(f"  {outcome.summary.grade.in_words()}", style="bold")
    for nerve in outcome.summary.nerves:
        say(f"  {in_words(nerve)}")
    for name, expected in named_expectations(outcome.summary.expected_dice, outcome.summary.classes):
        if not expected.unlike:  # a flag says so otherwise
            say(f"  {name} {expected.in_words()}")
    for name in outcome.summary.identified:
        say(f"  {name} holds the patient's name, ID, birth date and sex, if the series does", style="bold")
    for note in outcome.summary.notes:
        say(f"  note: {note}")
    for flag in outcome.summary.flags:
        side = f"{flag.side} side: " if flag.side else ""
        say(f"  look: {side}{flag.message}" + (f" ({flag.detail})" if flag.detail else ""))
    if outcome.summary.warning:
        say(f"  {outcome.summary.warning}. Not a medical device.", style="bold")


def write_table(path: Path, outcomes: Sequence[Outcome], model: Ensemble) -> None:
    """Write and print one row per scan: its outcome, the nerve's volume and areas, the number of flags."""
    rows = [row for outcome in outcomes for row in _rows(outcome, model)]
    further = sorted({name for row in rows for name in row} - set(COLUMNS))
    table = pd.DataFrame(rows, columns=[*COLUMNS, *further])
    write_csv(path, table)
    printed = Table(title=f"{SYNTHETIC}, {len(outcomes)} scans" if model.synthetic else f"{len(outcomes)} scans")
    for column in ("scan", "status", "side", "volume mm3", "mean area mm2", "flags", "why"):
        printed.add_column(column, justify="left" if column in ("scan", "status", "side", "why") else "right")
    for row in rows:
        printed.add_row(
            *(str(row[column]) for column in ("scan", "status", "side")),
            *(_number(row.get(column)) for column in ("volume_mm3", "mean_csa_mm2", "flags")),
            str(row["error"]).split(";")[0],
        )  # fmt: skip
    console.print(printed)
    say(f"table: {path}")


def _rows(outcome: Outcome, model: Ensemble) -> list[dict[str, object]]:
    common: dict[str, object] = {
        "scan": outcome.name,
        "status": outcome.status,
        "error": str(outcome.error or ""),
        "warning": SYNTHETIC if model.synthetic else "",
    }
    if outcome.summary is None:
        return [common | {"side": ""}]
    grade = outcome.summary.grade
    common |= {"expected_dice": _least_expected(outcome.summary), "mask_origin": _origin_of_mask(outcome.summary)}
    common |= {"grade": grade.level, "grade_reason": grade.reason} if grade else {}
    return [common | _nerve_cells(nerve, outcome.summary.flags) for nerve in outcome.summary.nerves]


def _nerve_cells(nerve: NerveSummary, flags: Sequence[Flag]) -> dict[str, object]:
    messages = [flag.message for flag in flags if flag.side in (None, nerve.side)]
    return (
        nerve.model_dump(include=MEASURED)
        | {f"{branch}_mean_csa_mm2": area_mm2 for branch, area_mm2 in nerve.branch_mean_csa_mm2.items()}
        | {f"signal_{channel}": value for channel, value in nerve.mean_signal.items()}
        | {f"z_{quantity}": score for quantity, score in nerve.z_scores.items()}
        | {"flags": len(messages), "flags_text": "; ".join(messages)}
    )


def _origin_of_mask(summary: ScanSummary) -> Literal["automatic", "corrected", "drawn"]:
    """Return who made a mask: the model, or a person, from the automatic mask where that is known."""
    if summary.given is None:
        return "automatic"
    return "drawn" if summary.given.changes is None else "corrected"


def _least_expected(summary: ScanSummary) -> float | None:
    """Return the smallest Dice that is expected of a class; None without a calibration, or if one is not reliable."""
    expected = summary.expected_dice.values()
    return min((each.value for each in expected if not any(other.unlike for other in expected)), default=None)


def _number(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,.1f}" if isinstance(value, float) else str(value)
