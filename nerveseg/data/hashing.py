"""SHA-256 of files, cached for as long as a file's size and time stamps do not change; SHA-256 of an image's voxels.

The inode's stamp (ctime) cannot be set back by a program, so a file that is overwritten under its old modification time
is hashed again. A file that changed less than 2 s before it was hashed could change again within the same stamp, and is
not cached (git's racy entries, Documentation/technical/racy-git.txt).
"""

import hashlib
import os
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ValidationError

from nerveseg.data.volumes.grids import Volume
from nerveseg.data.volumes.guard import check_regular_file
from nerveseg.files import write_text

QUIET_NS = 2_000_000_000
"""Age of a file's stamps from which another change would change them (FAT counts in steps of 2 s)."""

SHA256_DIGITS = 64

SPACING_STEPS = 1024
"""Steps per mm to which the spacing is rounded in a hash: headers round it to about 1e-7. No spacing of up to three
decimals, and no field of view in whole mm divided by 512 pixels or less, lies half way between two steps."""

PLANES = 16  # number of planes that are hashed at a time: a cache line in either order of the axes


class _Cache(BaseModel, extra="forbid"):
    """Content of the cache file: stamp and SHA-256 by the hash of each file's path, which may name a patient."""

    format_version: Literal[1] = 1
    files: dict[str, str] = {}


def cached_sha256(paths: Collection[Path], cache: Path, threads: int = 1) -> tuple[list[str], Callable[[], None]]:
    """Return each file's SHA-256, from the cache where size and time stamps are unchanged.

    Args:
        paths: Files to hash.
        cache: Cache file; written atomically, and only for new hashes.
        threads: Number of files that are hashed at once.

    Returns:
        Hashes in the order of the paths, and a function that writes new ones to the cache.

    Raises:
        VolumeError: A file is missing or not readable.
    """
    cached, folder = _read(cache), os.getcwd()
    names = [_name(path, folder) for path in paths]
    hashes = [_cached_hash(cached.get(name), path) for name, path in zip(names, paths, strict=True)]
    unknown = {name: path for name, path, sha256 in zip(names, paths, hashes, strict=True) if sha256 is None}
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        found = dict(zip(unknown, pool.map(_hash, unknown.values()), strict=True))
    new = {name: f"{stamp} {sha256}" for name, (sha256, stamp) in found.items() if stamp}
    complete = [sha256 or found[name][0] for name, sha256 in zip(names, hashes, strict=True)]
    return complete, lambda: _write(cache, cached, new)


def image_sha256(image: Volume) -> str:
    """Return the SHA-256 of an image's voxels (float32 in RAS order), shape and spacing, whatever file holds them."""
    steps = np.rint(np.array(image.grid.ras_spacing_mm) * SPACING_STEPS).astype(int)
    sha256 = hashlib.sha256(repr((image.array.shape, steps.tolist())).encode())
    for start in range(0, len(image.array), PLANES):
        planes = np.ascontiguousarray(image.array[start : start + PLANES], dtype=np.float32)
        sha256.update((planes + np.float32(0)).data)
    return sha256.hexdigest()


def _cached_hash(entry: str | None, path: Path) -> str | None:
    """Return the hash of a cache entry if the file is unchanged."""
    stamp, _, sha256 = (entry or "").rpartition(" ")
    with suppress(OSError):
        return sha256 if len(sha256) == SHA256_DIGITS and _stamp(os.stat(path)) == stamp else None
    return None


def _hash(path: Path) -> tuple[str, str | None]:
    """Return a file's hash and its stamp; no stamp for a file that changed just before or during the hashing."""
    check_regular_file(path)
    with open(path, "rb") as file:
        before, now_ns = os.fstat(file.fileno()), time.time_ns()
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        after = os.fstat(file.fileno())
    is_quiet = max(before.st_mtime_ns, before.st_ctime_ns) + QUIET_NS <= now_ns
    return sha256, _stamp(before) if is_quiet and _stamp(before) == _stamp(after) else None


def _stamp(status: os.stat_result) -> str:
    """Return size in bytes and time stamps of content and inode in nanoseconds."""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _name(path: Path, folder: str) -> str:
    absolute = os.path.normpath(os.path.join(folder, path))  # abspath would call getcwd for each path
    return hashlib.sha256(os.fsencode(absolute)).hexdigest()[:32]


def _read(cache: Path) -> dict[str, str]:
    """Return the entries of the cache file; a lost or damaged one costs time and changes no result."""
    with suppress(OSError, ValidationError):
        return _Cache.model_validate_json(cache.read_bytes()).files
    return {}


def _write(cache: Path, cached: dict[str, str], new: dict[str, str]) -> None:
    """Add new entries to the cache file, if it is writable; otherwise the next run hashes again."""
    if new:
        with suppress(OSError):
            write_text(cache, _Cache(files=cached | new).model_dump_json())
