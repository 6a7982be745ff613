"""Why a job failed, in its own folder: jobs run in other processes and on other machines, which may be gone by then."""

from __future__ import annotations

import errno
import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nerveseg.errors import NervesegError, RunError, StoppedBySignal
from nerveseg.files import write_text

FAILURE = "failure.json"
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
UNKNOWN = "it ended without a word: killed, out of memory, or never started"


@contextmanager
def record_failure(record: Path) -> Iterator[None]:
    """Write why the job within fails; what an earlier one left is removed.

    Args:
        record: The file, in a folder of the job's own.
    """
    clear_failure(record)
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        with suppress(OSError):  # a full disk must not hide the error itself
            write_text(
                record, json.dumps({"why": _in_words(error), "when": time.strftime("%Y-%m-%dT%H:%M:%S%z")}) + "\n"
            )
        raise


def clear_failure(record: Path) -> None:
    """Remove what an earlier job left."""
    record.unlink(missing_ok=True)


def read_failure(record: Path) -> str:
    """Why a job failed, as far as it could say."""
    try:
        said = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return UNKNOWN
    return str(said["why"]) if isinstance(said, dict) and "why" in said else UNKNOWN


def _in_words(error: BaseException) -> str:
    if isinstance(error, NervesegError):
        return str(error)
    if isinstance(error, StoppedBySignal):
        return f"stopped by {signal.Signals(error.number).name}"
    return "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"


@contextmanager
def explain_full_disk(folder: Path) -> Iterator[None]:
    """Say what a full disk means for a run.

    Raises:
        RunError: A file could not be written for want of room.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise RunError(
            "the disk has room for the run's files",
            found=error.strerror,
            path=error.filename or folder,
            remedy="make room; the same command goes on from the last checkpoint",
        ) from error


@contextmanager
def explain_out_of_memory(folder: Path) -> Iterator[None]:
    """Say what it means for a run that memory does not suffice; where the system kills instead, nothing can be said.

    Raises:
        RunError: An allocation failed, on a GPU or in the machine's memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise RunError(
            "the training fits into the memory",
            found=" ".join(str(error).split())[:300] or type(error).__name__,
            path=folder,
            remedy="end other programs on this device, or take one with more; the same command goes on from the last"
            " checkpoint. A smaller optimization.batch_size or network is another experiment",
        ) from error


def _is_out_of_memory(error: Exception) -> bool:
    """PyTorch has a class for GPUs alone; of the CPU's allocator there are only words."""
    from torch import OutOfMemoryError

    return isinstance(error, MemoryError | OutOfMemoryError) or "can't allocate memory" in str(error)


def run_catching(run_jobs: Callable[[], None]) -> Exception | None:
    """A fault of ours in one job, which Hydra reports when all have run: it must not cost the others' end."""
    try:
        run_jobs()
    except Exception as crash:
        return crash
    return None


def is_worker_death(error: Exception) -> bool:
    """Whether an error of a launcher only says that a job's process ended: which one, its folder shows."""
    return type(error).__module__.split(".")[0] in ("submitit", "joblib")
