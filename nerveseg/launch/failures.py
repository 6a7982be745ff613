"""Why a job failed, in its own folder: jobs run in other processes and on other machines, which may be gone by then."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nerveseg.errors import NervesegError
from nerveseg.launch.interruption import Stopped
from nerveseg.runs import write_text

FAILURE = "failure.json"
UNKNOWN = "it ended without a word: killed, out of memory, or never started"


@contextmanager
def failure_recorded(record: Path) -> Iterator[None]:
    """Write why the job within fails; what an earlier one left is removed.

    Args:
        record: The file, in a folder of the job's own.
    """
    forget_failure(record)
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        with suppress(OSError):  # a full disk must not hide the error itself
            write_text(
                record, json.dumps({"why": _in_words(error), "when": time.strftime("%Y-%m-%dT%H:%M:%S%z")}) + "\n"
            )
        raise


def forget_failure(record: Path) -> None:
    """Remove what an earlier job left."""
    record.unlink(missing_ok=True)


def recorded_failure(record: Path) -> str:
    """Why a job failed, as far as it could say."""
    try:
        said = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return UNKNOWN
    return str(said["why"]) if isinstance(said, dict) and "why" in said else UNKNOWN


def _in_words(error: BaseException) -> str:
    if isinstance(error, NervesegError):
        return str(error)
    if isinstance(error, Stopped):
        return f"stopped by {signal.Signals(error.number).name}"
    return "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"
