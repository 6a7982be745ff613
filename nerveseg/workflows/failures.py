"""Record the error of a failed job in its own folder, since jobs may run in other processes and on other machines."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nerveseg.errors import BusyError, NervesegError, RunError, StoppedBySignal
from nerveseg.files import DISK_FULL, write_text

FAILURE = "failure.json"
UNKNOWN = "no error was recorded: killed, out of memory, or never started"


@contextmanager
def record_failure(record: Path) -> Iterator[None]:
    """Write the error with which the enclosed job fails to a file; remove the record of an earlier job first."""
    record.unlink(missing_ok=True)
    try:
        yield
    except BusyError:  # the folder is another process's
        raise
    except (Exception, KeyboardInterrupt) as error:
        failure = {"why": _error_message(error), "when": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        with suppress(OSError):  # a full disk must not hide the error itself
            write_text(record, json.dumps(failure) + "\n")
        raise


def read_failure(record: Path) -> str:
    """Return the recorded error of a job, or `UNKNOWN`."""
    try:
        recorded = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return UNKNOWN
    return str(recorded["why"]) if isinstance(recorded, dict) and "why" in recorded else UNKNOWN


def _error_message(error: BaseException) -> str:
    if isinstance(error, NervesegError):
        return str(error)
    if isinstance(error, StoppedBySignal):
        return f"stopped by {signal.Signals(error.number).name}"
    return "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"


@contextmanager
def explain_full_disk(folder: Path) -> Iterator[None]:
    """Turn the error of a full disk or quota into a `RunError` with a remedy."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise RunError(
            "the disk has room for the run's files",
            found=error.strerror,
            path=error.filename or folder,
            remedy="free space on the disk; the same command goes on from the last checkpoint",
        ) from error


@contextmanager
def explain_out_of_memory(folder: Path) -> Iterator[None]:
    """Turn the error of an allocation that failed, on a GPU or in the machine's memory, into a `RunError`.

    A process that the operating system kills for its memory raises no error.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise RunError(
            "the training fits into memory",
            found=" ".join(str(error).split())[:300] or type(error).__name__,
            path=folder,
            remedy="end other programs on this device, or use one with more memory; the same command goes on from the"
            " last checkpoint. A smaller optimization.batch_size or network makes it another experiment",
        ) from error


def _is_out_of_memory(error: Exception) -> bool:
    """Return true for an allocation that failed; PyTorch's CPU allocator has no error class, only a message."""
    from torch import OutOfMemoryError

    return isinstance(error, MemoryError | OutOfMemoryError) or "can't allocate memory" in str(error)


def run_catching(run_jobs: Callable[[], None]) -> Exception | None:
    """Run all jobs and return the exception Hydra re-raises at the end, so that finished jobs can still be compared."""
    try:
        run_jobs()
    except Exception as crash:
        return crash
    return None


def is_worker_death(error: Exception) -> bool:
    """Return true for an error of a launcher that only reports the end of a job's process, without the job's error."""
    return type(error).__module__.split(".")[0] in ("submitit", "joblib")
