"""One process at a time, also where the jobs of a sweep end on several machines that share a file system."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: no cluster, and the jobs' own process compares
    fcntl = None  # type: ignore[assignment]


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Wait until no other process holds this file, which is there only that long.

    The lock goes with the process, however that ends; a file that a killed one leaves is taken over by the next.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with file.open("a") as stream:
            if fcntl is not None:
                fcntl.flock(stream, fcntl.LOCK_EX)
            if not _is_at(file, stream.fileno()):
                continue  # whoever had it has removed it: what lies there now, if anything, is another
            try:
                yield
            finally:
                file.unlink(missing_ok=True)
            return


def _is_at(file: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(file.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
