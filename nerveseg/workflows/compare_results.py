"""Compare the two results that a configuration names, and print what changed."""

import time
from pathlib import Path

from pydantic import BaseModel, PositiveFloat

from nerveseg.console import say
from nerveseg.data.legs import of_side
from nerveseg.errors import ConfigurationError
from nerveseg.names import FolderPath
from nerveseg.scans.comparison_files import check_free_comparison, write_comparison
from nerveseg.scans.comparison_view import in_words, stretch_in_words
from nerveseg.scans.dated_result import read_results
from nerveseg.scans.follow_up import ComparisonSummary, NerveChange, compare_dates, identity_of_comparison
from nerveseg.scans.leg_alignment import Align

USAGE = "python -m nerveseg.compare first/ second/ output=out"
PRINTED = ("volume_mm3", "mean_csa_mm2", "max_csa_mm2")  # quantities on the screen, besides those beyond


class CompareConfig(BaseModel, frozen=True, extra="forbid"):
    """Configuration of `compare`."""

    first: FolderPath | None  # folder of results of the first date
    second: FolderPath | None  # folder of results of the second date
    output: FolderPath | None  # folder of the comparison
    output_root: FolderPath  # folder of all outputs
    align: Align | None  # manner of the alignment along the leg
    repeats: str | None  # path or pattern of tables of repeated scans
    smallest_detectable_change: dict[str, PositiveFloat]  # values by quantity


def compare_configured_results(config: CompareConfig) -> None:
    """Compare the results that the configuration names, and print what changed.

    Raises:
        NervesegError: A folder holds no result, the two cannot be compared, or an option is wrong.
    """
    started = time.perf_counter()
    if config.first is None or config.second is None:
        raise ConfigurationError("compare takes two folders of results", found="fewer", remedy=USAGE)
    options = config.align, config.repeats, config.smallest_detectable_change
    results = read_results(config.first, config.second)
    name = "_".join(each.folder.resolve().name for each in results)
    folder = config.output or config.output_root / "comparisons" / name
    summary = check_free_comparison(folder, results, identity_of_comparison(results, *options))
    if summary is None:
        summary = write_comparison(folder, compare_dates(results, *options))
        _print(summary, folder, f"{time.perf_counter() - started:.1f} s")
    else:
        _print(summary, folder, "done before")


def _print(summary: ComparisonSummary, folder: Path, when: str) -> None:
    say(f"{summary.first.name} and {summary.second.name}: {when}; {folder}")
    for nerve in summary.nerves:
        _print_nerve(nerve)
    for note in summary.notes:
        say(f"  note: {note}")
    if summary.warning:
        say(f"  {summary.warning}. Not a medical device.", style="bold")


def _print_nerve(nerve: NerveChange) -> None:
    low, high = nerve.stretch_mm
    say(
        "  "
        + of_side(
            nerve.side,
            f"{nerve.verdict}; common stretch of {high - low:.0f} mm ({nerve.positions} positions), second scan "
            f"shifted by {nerve.shift_mm:+.1f} mm, {nerve.how}",
        )
    )
    for each in nerve.quantities:
        if each.beyond or (each.quantity in PRINTED and each.branch == "total"):
            say(f"    {in_words(each)}")
    for stretch in nerve.stretches:
        say(f"    {stretch_in_words(stretch)}")
