"""Checks before a library opens a volume, and its failures as errors of nerveseg.

nibabel, ITK and pydicom take memory, hang, print or end the process on a hostile file. So a file has to be a regular
one, its size has to fit its header, and its voxels have to fit a limit of memory before they see it.
"""

import logging
import math
import os
import stat
import sys
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from nerveseg.errors import ConfigurationError, NervesegError, VolumeError
from nerveseg.files import atomic_write

DEFLATE_LIMIT = 1032
"""Largest factor by which a deflate stream (gzip, zlib) grows when it is decompressed (zlib's technical notes)."""

MEMORY_VARIABLE = "NERVESEG_VOLUME_GIB"
MEMORY_GIB = 2.0  # largest size of a volume's voxels in memory, unless the environment variable above names another

LOGGERS = ("nibabel", "nibabel.global", "pydicom", "highdicom")
_STDERR = threading.RLock()


@contextmanager
def library_errors(path: Path) -> Iterator[None]:
    """Turn exceptions of a library that reads `path` into a `VolumeError`; suppress its logs, warnings and stderr."""
    try:
        with _silent():
            yield
    except (NervesegError, MemoryError, NameError):
        raise
    except Exception as error:
        raise unreadable_file_error(path, error) from error


@contextmanager
def _silent() -> Iterator[None]:
    """Suppress Python's warnings, the libraries' logs, and what C++ code prints on stderr."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    with _STDERR, warnings.catch_warnings(), open(os.devnull, "wb") as null:
        warnings.simplefilter("ignore")
        levels = [logger.level for logger in loggers]
        with suppress(AttributeError, OSError, ValueError):
            sys.stderr.flush()
        try:
            saved = os.dup(2)
        except OSError:  # no stderr
            saved = -1
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL + 1)
            if saved >= 0:
                os.dup2(null.fileno(), 2)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            if saved >= 0:
                os.dup2(saved, 2)
                os.close(saved)


def optional_library(name: str) -> Any:
    """Import a package of the extra `dicom`, or raise `ConfigurationError`."""
    try:
        return import_module(name)
    except ImportError as error:
        rule = "DICOM segmentations and Enhanced DICOM files need the packages highdicom and pydicom"
        found = f"{name} cannot be imported"
        raise ConfigurationError(rule, found=found, remedy="pip install 'nerveseg[dicom]'") from error


def check_regular_file(path: Path) -> None:
    """Raise `VolumeError` unless `path` is a regular file, or a link to one, that may be read."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):  # opening a FIFO would wait for a writer
            kind = "a folder" if stat.S_ISDIR(mode) else "a FIFO" if stat.S_ISFIFO(mode) else "a device or a socket"
            remedy = "give the file that holds the volume"
            raise VolumeError("a volume is a regular file", found=kind, path=path, remedy=remedy)
        with path.open("rb"):
            return
    except (FileNotFoundError, NotADirectoryError) as error:
        remedy = "add the file, or correct the study's path template"
        raise VolumeError("a volume is an existing file", found="no such file", path=path, remedy=remedy) from error
    except (OSError, ValueError) as error:
        remedy = "change the permissions of the file and its folders, or ask their owner"
        raise VolumeError("a volume may be read", found=_reason(error), path=path, remedy=remedy) from error


def check_size(path: Path, shape: tuple[int, ...], bits_per_voxel: int, held_bytes: int, header_bytes: int = 0) -> None:
    """Raise `VolumeError` if a header claims more voxels than its file can hold, or than the limit of memory allows.

    `held_bytes` is the size of the file, or the largest that it can decompress to, with `header_bytes` of header.
    """
    voxels = math.prod(map(int, shape))
    needed_bytes = header_bytes + voxels * bits_per_voxel // 8
    if needed_bytes > held_bytes:
        found = f"shape {shape} in the header: {needed_bytes:,} bytes; the file holds at most {held_bytes:,}"
        raise unreadable_file_error(path, found)
    check_memory(path, shape, bits_per_voxel)


def check_memory(path: Path, shape: tuple[int, ...], bits_per_voxel: int = 32) -> None:
    """Raise `VolumeError` if the voxels, which are read as 32 bits at least, take more memory than the limit."""
    size_gib = math.prod(map(int, shape)) * max(bits_per_voxel, 32) / 8 / 2**30
    limit_gib = memory_limit_gib()
    if size_gib > limit_gib:
        rule = f"a volume takes at most {limit_gib:g} GiB of memory"
        remedy = f"crop the volume, or raise the limit: {MEMORY_VARIABLE}={math.ceil(size_gib)}"
        raise VolumeError(rule, found=f"shape {shape} in the header: {size_gib:.1f} GiB", path=path, remedy=remedy)


def memory_limit_gib() -> float:
    """Return the largest size of a volume's voxels in memory, in GiB."""
    try:
        return float(os.environ.get(MEMORY_VARIABLE) or MEMORY_GIB)
    except ValueError:
        return MEMORY_GIB


def unpacked_bytes(stream: BufferedIOBase, most: int) -> int:
    """Return the decompressed size of a gzip or zlib stream, of which `most` bytes are counted.

    Raises:
        zlib.error: The stream is damaged, or ends before its check sum.
    """
    size = 0
    unpack = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    while size < most and (packed := stream.read(1 << 14)):
        while packed:
            if unpack.eof:  # a gzip file may hold several members, and zeros after the last
                unpack = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
            size += len(unpack.decompress(packed))
            packed = unpack.unused_data.lstrip(b"\0")
    if size < most and not unpack.eof:
        raise zlib.error("the compressed data end early")
    return size


def unreadable_file_error(path: Path, error: Exception | str) -> VolumeError:
    """Return the error of a file that its reader failed on, with the reader's message."""
    rule, found = "the file is complete and readable", error if isinstance(error, str) else _class_and_message(error)
    return VolumeError(rule, found=found, path=path, remedy="copy or export the file again")


@contextmanager
def atomic_volume_write(path: Path) -> Iterator[Path]:
    """Write a volume as `atomic_write` does; raise `VolumeError` for every failure, after which no file remains."""
    try:
        with _silent(), atomic_write(path) as temporary:
            yield temporary
    except (OSError, RuntimeError) as error:
        rule, remedy = "the output can be written", "free space on the disk, or write to another folder"
        raise VolumeError(rule, found=_class_and_message(error), path=path, remedy=remedy) from error


def _class_and_message(error: Exception) -> str:
    reason = " ".join(_reason(error).split())[:300]
    return reason if isinstance(error, RuntimeError) else f"{type(error).__name__}: {reason}"


def _reason(error: Exception) -> str:
    """Return the system's message, or the last line of ITK's without its position in ITK's source."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, RuntimeError) and lines:
        return lines[-1].rpartition("): ")[2].removeprefix("Reason: ")
    return str(error)
