"""Files of a comparison of two dates; `comparison.json` is complete, with its identity, after the others are written.

`comparison.csv` has a row per side, branch, quantity and position (without a position, of the common stretch);
`comparison.html` is a page with both dates side by side and the curves; `comparison.json` holds alignment, quantities,
verdict, hashes and versions.
"""

from pathlib import Path

from pydantic import ValidationError

from nerveseg.errors import RunError
from nerveseg.files import check_writable_folder, write_csv, write_text, writing_below
from nerveseg.reporting.comparison_page import comparison_html
from nerveseg.runs import package_versions
from nerveseg.scans.comparison_view import view_of
from nerveseg.scans.dated_result import DatedResult
from nerveseg.scans.follow_up import Comparison, ComparisonSummary, ResultRecord

RECORD, TABLE, PAGE = "comparison.json", "comparison.csv", "comparison.html"


def check_free_comparison(
    folder: Path, results: tuple[DatedResult, DatedResult], identity: str
) -> ComparisonSummary | None:
    """Return the record if the folder holds this comparison complete; None if it has to be made.

    Raises:
        RunError: The folder holds the comparison of other results, or files of these names from elsewhere.
    """
    try:
        earlier = ComparisonSummary.model_validate_json((folder / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        earlier = None
    except (ValidationError, UnicodeDecodeError) as error:
        raise _refusal(folder, RECORD) from error
    if earlier is None:
        foreign = [name for name in (TABLE, PAGE) if (folder / name).is_file()]
        if foreign:
            raise _refusal(folder, ", ".join(foreign))
        return None
    if [earlier.first.folder, earlier.second.folder] != [str(each.folder.resolve()) for each in results]:
        raise _refusal(folder, f"the comparison of {earlier.first.folder} and {earlier.second.folder}")
    complete = all((folder / name).is_file() for name in (TABLE, PAGE)) and earlier.identity == identity
    return earlier if complete and not _pictures_to_add(earlier, results) else None


def _pictures_to_add(earlier: ComparisonSummary, results: tuple[DatedResult, DatedResult]) -> bool:
    """Return true if the page lacks pictures of a scan that is at its path again."""
    dates = zip((earlier.first, earlier.second), results, strict=True)
    return any(result.image is not None for record, result in dates if not record.pictured)


def _refusal(folder: Path, found: str) -> RunError:
    return RunError(
        "a folder holds one comparison, and no files of the same names from elsewhere",
        found=found,
        path=folder,
        remedy="output=<another folder>, or move these files away",
    )


def write_comparison(folder: Path, comparison: Comparison) -> ComparisonSummary:
    """Write the table, the page and the record of a comparison, each in one piece."""
    check_writable_folder(folder, "output")
    summary = ComparisonSummary(
        warning=comparison.warning,
        first=_record(comparison.first),
        second=_record(comparison.second),
        nerves=list(comparison.nerves),
        notes=list(comparison.notes),
        versions=package_versions(),
        identity=comparison.identity,
    )
    with writing_below(folder):
        page = comparison_html(view_of(comparison))
        # The record names these files as ours, so that an interrupted command can be given again.
        write_text(folder / RECORD, summary.model_copy(update={"identity": ""}).model_dump_json(indent=1) + "\n")
        write_csv(folder / TABLE, comparison.table, float_format="%.6g")
        write_text(folder / PAGE, page)
        write_text(folder / RECORD, summary.model_dump_json(indent=1) + "\n")
    return summary


def _record(result: DatedResult) -> ResultRecord:
    return ResultRecord(
        folder=str(result.folder.resolve()),
        name=result.summary.name,
        mask=result.summary.mask,
        sha256=result.sha256,
        grade=result.summary.grade,
        pictured=result.image is not None,
    )
