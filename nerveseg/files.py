"""Files: written in one piece, hashed, locked."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from nerveseg.errors import RunError, VolumeError

if TYPE_CHECKING:
    import pandas as pd

DEFLATE_LIMIT = 1032
"""No deflate stream (gzip, zlib) grows by more than this factor when it is unpacked (zlib's technical notes)."""


def check_exists(path: Path, subject: str | None = None) -> None:
    """Raise `VolumeError` unless `path` is a file that may be read."""
    try:
        with path.open("rb"):
            return
    except (FileNotFoundError, NotADirectoryError) as error:
        raise VolumeError(
            "a volume exists",
            found="no such file",
            subject=subject,
            path=path,
            remedy="add the file, or mend the study's path template",
        ) from error
    except OSError as error:
        raise VolumeError(
            "a volume may be read",
            found=_reason(error),
            subject=subject,
            path=path,
            remedy="mend the permissions of the file and its folders, or ask their owner",
        ) from error


def check_file_size(
    path: Path, subject: str | None, shape: tuple[int, ...], needed_bytes: int, held_bytes: int
) -> None:
    """Raise `VolumeError` where a header promises more voxels than its file can hold.

    Args:
        path: The file.
        subject: Named in the error.
        shape: As the header has it.
        needed_bytes: Size of the header and of voxels of that shape.
        held_bytes: Size of the file, or the largest size that it can be unpacked to.
    """
    if needed_bytes > held_bytes:
        found = f"shape {shape} in the header, which takes {needed_bytes:,} bytes; there are at most {held_bytes:,}"
        raise _incomplete(path, subject, found)


def unreadable_file_error(path: Path, subject: str | None, error: Exception | str) -> VolumeError:
    """The error of a file that its reader gave up on, in the reader's words."""
    return _incomplete(path, subject, error if isinstance(error, str) else _named(error))


def voxel_count(shape: tuple[int, ...]) -> int:
    """Number of voxels, exact for any shape that a header can claim."""
    return math.prod(int(size) for size in shape)


@contextmanager
def atomic_volume_write(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` once it lies complete on the disk.

    Raises:
        VolumeError: The disk is full, the folder may not be written, or the writer failed; nothing of it remains.
    """
    try:
        with atomic_write(path) as aside:
            yield aside
    except (OSError, RuntimeError) as error:
        raise VolumeError(
            "the output can be written",
            found=_named(error),
            path=path,
            remedy="free space on the disk, or write elsewhere",
        ) from error


def _incomplete(path: Path, subject: str | None, found: str) -> VolumeError:
    return VolumeError(
        "the file is complete and readable",
        found=found,
        subject=subject,
        path=path,
        remedy="copy or export the file again",
    )


def _named(error: Exception) -> str:
    return _reason(error) if isinstance(error, RuntimeError) else f"{type(error).__name__}: {_reason(error)}"


def _reason(error: Exception) -> str:
    """The system's words, or the last line of what ITK says, without the place in its source."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, RuntimeError) and lines:
        return lines[-1].rpartition("): ")[2].removeprefix("Reason: ")
    return str(error)


try:
    import fcntl
except ImportError:  # Windows: no cluster, and the jobs' own process compares
    fcntl = None  # type: ignore[assignment]


@contextmanager
def wait_for_lock(file: Path) -> Iterator[None]:
    """Wait until no other process holds this file, which is there only that long.

    The lock goes with the process, however that ends; a file that a killed one leaves is taken over by the next.
    """
    with _held(file, _await):
        yield


@contextmanager
def exclusive_lock(file: Path, rule: str) -> Iterator[None]:
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


def file_sha256(path: Path) -> str:
    """Hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` when all went well and vanishes otherwise.

    It takes that place once its content lies on the disk itself (fsync, of the folder too): a power cut leaves the old
    file or the new.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = temporary_sibling(path)
    try:
        yield aside
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
        _sync_folder(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def temporary_sibling(path: Path) -> Path:
    """Where this process writes what is to take the place of a file or a folder."""
    return path.with_name(f".{os.getpid()}.{path.name}")


def remove_unfinished(folder: Path) -> None:
    """Remove what killed processes were writing `beside` others below a folder; nobody else may be writing there."""
    for path in list(folder.rglob(".[0-9]*.*")):
        if not path.name.split(".")[1].isdecimal():
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Put a folder's list of names on the disk; not every file system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a text file in one piece."""
    with atomic_write(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_csv(path: Path, table: pd.DataFrame, float_format: str | None = None) -> None:
    """Write a table as CSV in one piece, without its index and with Unix line ends.

    Args:
        path: File to write.
        table: Table to write.
        float_format: Format of the numbers, such as "%.6g"; by default full precision.
    """
    write_text(path, table.to_csv(index=False, lineterminator="\n", float_format=float_format))
