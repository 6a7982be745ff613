"""Segment many scans, one after the other: a failed scan does not stop the rest, a complete one is skipped."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nerveseg.console import report_progress, say
from nerveseg.data.volumes.dicom_sources import remove_unpacked
from nerveseg.errors import NervesegError, RunError
from nerveseg.scans.dicom_export import check_exportable
from nerveseg.scans.expectation import named_expectations
from nerveseg.scans.identity import identity_of
from nerveseg.scans.reading import input_sha256
from nerveseg.scans.request import ScanFiles, SegmentOptions
from nerveseg.scans.results import ResultOptions, ScanSummary, check_free, in_words

if TYPE_CHECKING:
    from nerveseg.inference.ensemble import Ensemble


@dataclass(frozen=True)
class Outcome:
    """Outcome of one scan."""

    name: str  # name of the scan
    status: Literal["done", "done before", "failed"]  # status: done now, done before, or failed
    summary: ScanSummary | None = None  # summary of its result
    error: NervesegError | None = None  # error that it failed with
    failed_before: str = ""  # error, as text, with which an earlier command failed on the scan

    @property
    def fault(self) -> str:
        """Error as text; empty without one."""
        return str(self.error or self.failed_before)


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
            outcome = Outcome(scan.name, "failed", error=named_error(error, folders[scan.name]))
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
    from nerveseg.scans.segmentation import segment_files  # imports torch, which takes seconds
    from nerveseg.scans.writing import write_segmentation  # imports matplotlib

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


def named_error(error: Exception, folder: Path) -> NervesegError:
    """Return an error of a scan as one that names rule and remedy; print the traceback of an unexpected one."""
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
