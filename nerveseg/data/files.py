"""A volume's file is read whole or not at all, and written whole or not at all.

A header may claim any shape; it is believed only as far as the file's size bears it out, before memory is taken.
What is written lies beside its place, on the disk itself (fsync), before it takes that place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nerveseg.errors import VolumeError
from nerveseg.runs import replaced

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


def check_holds(path: Path, subject: str | None, shape: tuple[int, ...], needed_bytes: int, held_bytes: int) -> None:
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


def unreadable(path: Path, subject: str | None, error: Exception | str) -> VolumeError:
    """The error of a file that its reader gave up on, in the reader's words."""
    return _incomplete(path, subject, error if isinstance(error, str) else _named(error))


def voxel_count(shape: tuple[int, ...]) -> int:
    """Number of voxels, exact for any shape that a header can claim."""
    return math.prod(int(size) for size in shape)


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` once it lies complete on the disk.

    Raises:
        VolumeError: The disk is full, the folder may not be written, or the writer failed; nothing of it remains.
    """
    try:
        with replaced(path) as aside:
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
