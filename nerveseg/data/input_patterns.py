"""Scans among the matches of a glob pattern, and what the pattern leaves out.

Scans are volumes, zips with DICOM files, folders that directly hold DICOM images, and folders with such folders below
them, unless these match too. Matching DICOM files outside such folders stand for their series, each series once.
"""

import glob
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from nerveseg.console import say
from nerveseg.data.volumes.dicom_files import read_slice
from nerveseg.data.volumes.dicom_sources import ZIP, holds_images, is_dicom_zip, is_image_file
from nerveseg.data.volumes.volume import VOLUME_SUFFIXES
from nerveseg.errors import VolumeError


def matching_scans(pattern: Path, given: str) -> list[Path]:
    """Return the scans that a pattern matches, ordered by path; print what else it matches.

    Raises:
        VolumeError: The pattern matches no scan.
    """
    matches = [Path(match) for match in sorted(glob.glob(str(pattern), recursive=True))]
    folders = {path for path in matches if os.path.isdir(path)}
    scans = {path for path in folders if _holds_images(path, below=False)}
    files = [path for path in matches if path not in folders]
    volumes = {path for path in files if is_volume_or_zip(path)}
    images = {path for path in files if path not in volumes and path.parent not in scans and _is_image(path)}
    scans |= volumes | _series_of(sorted(images))
    inner = {above for path in scans for above in path.parents}
    scans |= {path for path in folders - scans - inner if _holds_images(path, below=True)}
    if not scans:
        raise _no_scan_error(matches, given)
    _say_left_out([path for path in matches if path not in images], scans, given)
    return sorted(scans)


def is_volume_or_zip(file: Path) -> bool:
    """Return true for a file with the name of a volume, and for a zip with DICOM files."""
    name = file.name.lower()
    return name.endswith(VOLUME_SUFFIXES) or (name.endswith(ZIP) and is_dicom_zip(file))


def _is_image(file: Path) -> bool:
    try:
        return is_image_file(file)
    except VolumeError:
        return False


def _holds_images(folder: Path, below: bool) -> bool:
    """Return true also for a folder that is not readable, so that the error names the folder later."""
    try:
        return holds_images(folder, below=below)
    except VolumeError:
        return True


def _series_of(images: Sequence[Path]) -> set[Path]:
    """Return the first of the DICOM images of each series and folder; a damaged one stands for itself."""
    found: dict[tuple[Path, str], Path] = {}
    for path in images:
        try:
            one = read_slice(path)
        except VolumeError:
            found[path, ""] = path
        else:
            if one:
                found.setdefault((path.parent, one.series_uid), path)
    return set(found.values())


def _say_left_out(matches: Sequence[Path], scans: set[Path], given: str) -> None:
    """Print the number of matches, by kind, that are neither scans nor in one nor a folder of one."""
    used = scans | {above for path in scans for above in path.parents}
    rest = [path for path in matches if path not in used and scans.isdisjoint(path.parents)]
    kinds = Counter("folders" if path.is_dir() else path.suffix or "files without suffix" for path in rest)
    if kinds:
        listed = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
        say(f"left out of {given}, since they are no scans: {listed} (such as {rest[0].name})")


def _no_scan_error(matches: Sequence[Path], given: str) -> VolumeError:
    if not glob.has_magic(given):
        found, remedy = "no such file or folder", "correct the path"
    elif not matches:
        found, remedy = "no match of the pattern", "correct the pattern, and put it between quotes"
    else:
        found = f"{len(matches)} matches, such as {matches[0].name}"
        remedy = f"give {', '.join(VOLUME_SUFFIXES)}, a zip, or DICOM"
    return VolumeError("input= names a scan, or several by a pattern", found=found, path=given, remedy=remedy)
