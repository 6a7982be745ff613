"""The hash of a file's content, remembered for as long as the file's size and time stamps stay as they were.

A study is hashed whole once; after that a start asks the disk for one `stat` per file. Of the two stamps, the time of
the last change of the inode (ctime) cannot be set back by a program, so that a file that is overwritten under its old
modification time is hashed again. A file that changed less than 2 s before it was hashed could change again within the
same stamp, and is not remembered (the "racy" entries of git's index). What is remembered is only ever a hash that was
computed here: a memory that is lost or damaged costs time and changes no result.

References:
    Git, Documentation/technical/racy-git.txt.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from nerveseg.files import check_exists, write_text

QUIET_NS = 2_000_000_000
"""How long a file has to be left alone before its stamps can be trusted to tell the next change (FAT counts in 2 s)."""

SHA256_DIGITS = 64


class _Memory(BaseModel):
    """The file that holds the hashes; files are named by the hash of their path, which may name a patient.

    Attributes:
        format_version: Of this file.
        files: Of each its size in bytes, the time stamps of content and inode in nanoseconds, and its SHA-256.
    """

    model_config = ConfigDict(extra="forbid")

    format_version: Literal[1] = 1
    files: dict[str, str] = {}


def cached_sha256(paths: Collection[Path], memory: Path, threads: int = 1) -> tuple[list[str], Callable[[], None]]:
    """The hash of each file's content, computed where it is not remembered.

    Args:
        paths: Files.
        memory: Where hashes are remembered; written in one piece, and only when there is something new.
        threads: How many files are hashed at once.

    Returns:
        The hashes, and a function that remembers what is new among them.

    Raises:
        VolumeError: A file is gone or may not be read.
    """
    known = _read(memory)
    here = os.getcwd()
    names = [_name(path, here) for path in paths]
    hashes = [_recalled(known.get(name), path) for name, path in zip(names, paths, strict=True)]
    unknown = {name: path for name, path, sha256 in zip(names, paths, hashes, strict=True) if sha256 is None}
    if not unknown:
        return [sha256 for sha256 in hashes if sha256], lambda: None
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        found = dict(zip(unknown, pool.map(_hash, unknown.values()), strict=True))
    new = {name: f"{stamp} {sha256}" for name, (sha256, stamp) in found.items() if stamp}
    complete = [sha256 or found[name][0] for name, sha256 in zip(names, hashes, strict=True)]
    return complete, lambda: _write(memory, known, new)


def _recalled(remembered: str | None, path: Path) -> str | None:
    """The hash that is remembered of a file, if it is still the same one."""
    if remembered is None:
        return None
    stamp, _, sha256 = remembered.rpartition(" ")
    try:
        return sha256 if _stamp(os.stat(path)) == stamp and len(sha256) == SHA256_DIGITS else None
    except OSError:
        return None


def _hash(path: Path) -> tuple[str, str | None]:
    """Hash of a file, and the stamp to remember it by: none for a file that changed just now, or meanwhile."""
    check_exists(path)
    with open(path, "rb") as file:
        before, now_ns = os.fstat(file.fileno()), time.time_ns()
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        after = os.fstat(file.fileno())
    is_quiet = max(before.st_mtime_ns, before.st_ctime_ns) + QUIET_NS <= now_ns
    return sha256, _stamp(before) if is_quiet and _stamp(before) == _stamp(after) else None


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _name(path: Path, folder: str) -> str:
    whole = os.path.normpath(os.path.join(folder, path))  # abspath would ask for the working folder every time
    return hashlib.sha256(os.fsencode(whole)).hexdigest()[:32]


def _read(memory: Path) -> dict[str, str]:
    try:
        return _Memory.model_validate_json(memory.read_bytes()).files
    except (OSError, ValidationError):
        return {}


def _write(memory: Path, known: dict[str, str], new: dict[str, str]) -> None:
    """Remember what is new; who may not write here hashes again the next time."""
    if new:
        with suppress(OSError):
            write_text(memory, _Memory(files=known | new).model_dump_json())
