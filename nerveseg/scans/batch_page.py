"""Table and page of many scans, `segmentations.csv` and `segmentations.html`, from the folders of their results."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from nerveseg.console import say
from nerveseg.files import write_text
from nerveseg.reporting.segmentations_page import ReviewCell, ScanRow, segmentations_html
from nerveseg.scans.batch import Outcome
from nerveseg.scans.batch_table import TABLE, least_expected, origin_of_mask, write_table
from nerveseg.scans.list_picture import read_list_picture
from nerveseg.scans.results import ScanSummary
from nerveseg.scans.verdicts import Verdict, Verdicts, keep_verdicts

PAGE = "segmentations.html"


def write_batch(
    root: Path,
    outcomes: Sequence[Outcome],
    folders: Mapping[str, Path],
    verdicts: Verdicts,
    warning: str,
    keep: Path | None = None,
) -> None:
    """Write table and page of scans whose results lie below a folder, and keep the verdicts.

    Args:
        root: Folder of the folders of results.
        outcomes: Outcome of every scan, in the order of the table.
        folders: Folder of the results of each scan that has some, by its name.
        verdicts: Verdicts of a reviewer.
        warning: Warning of a scan without a result: "SYNTHETIC TRAINING DATA", or empty.
        keep: Folder that keeps the verdicts; None stands for the root.
    """
    keep_verdicts(keep or root, verdicts)
    write_table(root / TABLE, outcomes, verdicts, warning)
    summaries = [outcome.summary for outcome in outcomes if outcome.summary]
    warnings = [warning, *(summary.warning for summary in summaries)]
    models = {(each.model.name, each.model.sha256): None for each in summaries if each.model}
    page = segmentations_html(
        [_row(outcome, root, folders.get(outcome.name), verdicts) for outcome in outcomes],
        next(filter(None, warnings), ""),
        sorted(models),
        sorted({summary.identity.version for summary in summaries}),
    )
    write_text(root / PAGE, page)
    say(f"page: {root / PAGE}")


def _row(outcome: Outcome, root: Path, folder: Path | None, verdicts: Verdicts) -> ScanRow:
    summary = outcome.summary
    if summary is None or folder is None:
        review = verdicts.on(outcome.name, "")
        error = re.sub(r"; path: .*?(?=; remedy: |$)", "", outcome.fault) or "no result"  # a path may hold a name
        return ScanRow(outcome.name, error=error, earlier=_cell(review.earlier))
    review, grade = verdicts.on(outcome.name, summary.mask_sha256), summary.grade
    page = folder / "report.html"
    return ScanRow(
        outcome.name,
        page=page.relative_to(root).as_posix() if page.is_file() and page.is_relative_to(root) else "",
        picture=read_list_picture(folder) if summary.thumbnail else None,
        caption=f"slice {summary.thumbnail.slice}, {summary.thumbnail.chosen}" if summary.thumbnail else "",
        level=grade.level if grade else "",
        reason=grade.reason if grade else "",
        expected=least_expected(summary),
        expected_words=_expected_words(summary),
        origin=origin_of_mask(summary),
        nerves=summary.nerves,
        flags=summary.flags,
        scan_sha256=summary.identity.inputs.get("image", ""),
        mask_sha256=summary.mask_sha256,
        model_sha256=summary.model.sha256 if summary.model else "",
        review=_cell(review.current),
        earlier=_cell(review.earlier),
    )


def _expected_words(summary: ScanSummary) -> str:
    least = least_expected(summary)
    words = [each.in_words() for each in summary.expected_dice.values() if least is None or each.value == least]
    return words[0] if words else ""


def _cell(verdict: Verdict | None) -> ReviewCell | None:
    if verdict is None:
        return None
    return ReviewCell(verdict.verdict, verdict.note, verdict.reviewer, verdict.date)
