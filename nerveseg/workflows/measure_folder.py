"""Measure the corrected masks of a folder of results, and write the table and the page of all its scans.

Such a folder holds a folder of results for each scan, as `segment` writes them. Masks that nobody changed since they
were measured stay as they are, and so do the rows of scans that failed.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from nerveseg.errors import NervesegError, RunError
from nerveseg.files import check_writable_folder, writing_below
from nerveseg.scans.batch import Outcome, named_error, print_outcome
from nerveseg.scans.batch_page import write_batch
from nerveseg.scans.batch_table import TABLE, print_table, recorded_failures
from nerveseg.scans.results import SUMMARY, ScanSummary, changed_masks, read_summary
from nerveseg.scans.verdicts import collect_verdicts
from nerveseg.workflows.measure_mask import check_options, measured_task, task_of_result
from nerveseg.workflows.segment_config import MeasureConfig
from nerveseg.workflows.segment_scans import raise_failures

OF_FOLDER = ("input", "output_root", "review")  # options that stand beside a folder of folders


def folders_of_results(root: Path) -> list[Path]:
    """Return the folders of results that a folder holds; none of a folder that is itself one, or a scan."""
    if (root / SUMMARY).is_file() or not root.is_dir():
        return []
    return sorted(path.parent for path in root.glob(f"*/{SUMMARY}"))


def measure_folder(root: Path, folders: Sequence[Path], config: MeasureConfig, overrides: Sequence[str]) -> None:
    """Measure what was corrected below a folder, and write `segmentations.csv` and `segmentations.html` there.

    Args:
        root: Folder that was named.
        folders: Folders of results in it.
        config: Configuration of `measure`.
        overrides: Options as they were typed: beside a folder of folders, only `review` is possible.

    Raises:
        NervesegError: An option is wrong, or a scan failed; a failed scan does not stop the others.
    """
    rule = "a folder of folders of results is measured with the options of their summaries"
    check_options(overrides, OF_FOLDER, rule, root, f"measure one of its folders, such as {folders[0]}")
    check_writable_folder(root, "input")
    summaries = {folder: read_summary(folder) for folder in folders}
    named = _names(summaries)
    failed = [each for each in recorded_failures(root) if each.name not in named]
    known = {name: summary for name, folder in named.items() if (summary := summaries[folder])}
    verdicts = collect_verdicts(root, config.review, [*named, *(each.name for each in failed)], known)
    outcomes = [_measure(name, folder, config) for name, folder in named.items()]
    everyone = sorted([*outcomes, *failed], key=lambda each: each.name)
    warning = next((each.summary.warning for each in everyone if each.summary and each.summary.warning), "")
    with writing_below(root):
        write_batch(root, everyone, named, verdicts, warning)
    print_table(root / TABLE, everyone, warning)
    raise_failures(everyone, "measured")


def _names(summaries: Mapping[Path, ScanSummary | None]) -> dict[str, Path]:
    """Return the folders by the names of their scans; of scans of one name, by those of the folders."""
    names = {folder: summary.name if summary else folder.name for folder, summary in summaries.items()}
    counts = Counter(names.values())
    return {folder.name if counts[name] > 1 else name: folder for folder, name in names.items()}


def _measure(name: str, folder: Path, config: MeasureConfig) -> Outcome:
    started = time.perf_counter()
    try:
        summary = read_summary(folder)
        if summary is None:
            raise RunError("the summary of a result can be read", found="other content", path=folder / SUMMARY)
        if not changed_masks(folder, summary):
            return Outcome(name, "done before", summary)
        measured = measured_task(task_of_result(folder, config.model_copy(update={"input": str(folder)}), ()), started)
        outcome = Outcome(name, measured.status, measured.summary)
    except (NervesegError, OSError, MemoryError, RuntimeError) as error:
        outcome = Outcome(name, "failed", error=named_error(error, folder))
    print_outcome(outcome, name, time.perf_counter() - started, folder)
    return outcome
