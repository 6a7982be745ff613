"""One process at a time, also where the jobs of a sweep run on several machines that share a file system."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from nerveseg.errors import RunError

try:
    import fcntl
except ImportError:  # Windows: no cluster, and the jobs' own process compares
    fcntl = None  # type: ignore[assignment]


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Wait until no other process holds this file, which is there only that long.

    The lock goes with the process, however that ends; a file that a killed one leaves is taken over by the next.
    """
    with _held(file, _await):
        yield


@contextmanager
def only_process(file: Path, rule: str) -> Iterator[None]:
    """Hold a file that no other process may hold at the same time, and that is there only that long.

    The lock is the process's own, not its children's: processes that load data and outlive a killed one hold nothing.

    Args:
        file: Is made.
        rule: Whose violation a second process is told.

    Raises:
        RunError: Another process holds it.
    """

    def take(stream: TextIO) -> None:
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise RunError(
                rule,
                found="another process is at it",
                path=file.parent,
                remedy="wait for it or end it; the same command then goes on from there",
            ) from error

    with _held(file, take):
        yield


@contextmanager
def _held(file: Path, take: Callable[[TextIO], None]) -> Iterator[None]:
    """Hold the file that lies at this place, with a lock of either kind."""
    file.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with file.open("a") as stream:
            if fcntl is not None:
                take(stream)
            if not _is_at(file, stream.fileno()):
                continue  # whoever had it has removed it: what lies there now, if anything, is another
            try:
                yield
            finally:
                file.unlink(missing_ok=True)
            return


def _await(stream: TextIO) -> None:
    fcntl.flock(stream, fcntl.LOCK_EX)


def _is_at(file: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(file.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
