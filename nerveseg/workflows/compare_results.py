"""Compare the two results that a configuration names, or those of a study's repeated scans, and print what changed."""

import time
from pathlib import Path

from pydantic import BaseModel, PositiveFloat

from nerveseg.console import say
from nerveseg.data.legs import of_side
from nerveseg.data.study import list_scans
from nerveseg.errors import ConfigurationError, NervesegError, StudyError
from nerveseg.names import FolderPath
from nerveseg.scans.comparison_files import check_free_comparison, write_comparison
from nerveseg.scans.comparison_view import in_words, stretch_in_words
from nerveseg.scans.dated_result import read_results
from nerveseg.scans.follow_up import ComparisonSummary, NerveChange, compare_dates, identity_of_comparison
from nerveseg.scans.leg_alignment import Align
from nerveseg.workflows.config import StudyConfig
from nerveseg.workflows.prepare_study import checked_layout

USAGE = "python -m nerveseg.compare first/ second/ output=out"
PRINTED = ("volume_mm3", "mean_csa_mm2", "max_csa_mm2")  # quantities on the screen, besides those beyond


class CompareConfig(BaseModel, frozen=True, extra="forbid"):
    """Configuration of `compare`."""

    first: FolderPath | None  # folder of results of the first date
    second: FolderPath | None  # folder of results of the second date
    study: StudyConfig | None = None  # study whose repeated scans are compared instead
    results: FolderPath | None  # folder of the results of the study's subjects
    output: FolderPath | None  # folder of the comparison, of a study that of the comparisons
    output_root: FolderPath  # folder of all outputs
    align: Align | None  # manner of the alignment along the leg
    repeats: str | None  # path or pattern of tables of repeated scans
    smallest_detectable_change: dict[str, PositiveFloat]  # values by quantity

    @property
    def comparisons(self) -> Path:
        """Folder of the folders of comparisons."""
        return self.output_root / "comparisons"


def compare_configured_results(config: CompareConfig) -> None:
    """Compare the results that the configuration names, and print what changed.

    Raises:
        NervesegError: A folder holds no result, the two cannot be compared, or an option is wrong.
    """
    if config.study is not None:
        _compare_repeats(config)
        return
    if config.first is None or config.second is None or config.results is not None:
        found = "fewer" if config.results is None else "results= without study="
        raise ConfigurationError("compare takes two folders of results, or study=", found=found, remedy=USAGE)
    names = (each.resolve().name for each in (config.first, config.second))
    _compare_pair(config, config.first, config.second, config.output or config.comparisons / "_".join(names))


def _compare_repeats(config: CompareConfig) -> None:
    """Compare each of a study's scans with the earlier one that its table names; one failure does not stop the rest.

    Raises:
        ConfigurationError: Folders of two results are given, too.
        StudyError: No scan has an earlier one, or some could not be compared.
    """
    assert config.study is not None
    if config.first is not None or config.second is not None:
        raise ConfigurationError("compare takes two folders of results, or study=", found="both", remedy=USAGE)
    layout = checked_layout(config.study, masks=False)
    subjects, faults = list_scans(layout)
    if general := [fault for fault in faults if fault.subject is None]:
        raise general[0]
    pairs = [(f"sub-{each.repeat_of}", f"sub-{each.id}") for each in subjects if each.repeat_of]
    if not pairs:
        raise faults[0] if faults else StudyError(
            "participants.tsv names the earlier scan of a leg in the column repeat_of",
            found=f"none among {len(subjects)} scans", path=layout.root, remedy=USAGE,
        )  # fmt: skip
    wrong = {f"sub-{fault.subject}": fault for fault in faults}
    for name, fault in wrong.items():
        say(f"{name}: failed; {fault}")
    pairs = [pair for pair in pairs if wrong.keys().isdisjoint(pair)]
    results, failed = config.results or config.output_root / "segmentations", list(wrong)
    for first, second in pairs:
        name = f"{first}_{second}"
        try:
            _compare_pair(config, results / first, results / second, (config.output or config.comparisons) / name)
        except NervesegError as error:
            say(f"{name}: failed; {error}")
            failed.append(name)
    if failed:
        raise StudyError(
            "every repeated scan is compared", found=f"{len(failed)} failed: {', '.join(failed[:10])}",
            path=results, remedy="see the lines above; the same command goes on",
        )  # fmt: skip


def _compare_pair(config: CompareConfig, first: Path, second: Path, folder: Path) -> None:
    """Compare two folders of results into a folder, unless it is done, and print what changed."""
    started = time.perf_counter()
    options = config.align, config.repeats, config.smallest_detectable_change
    results = read_results(first, second)
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
