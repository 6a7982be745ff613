"""What the user meant: the scans behind a path, a folder or a pattern, and a name for each.

A path that exists is taken literally, whatever characters it has; a folder is a scan when DICOM files lie in it
directly. Everything else is a pattern.
"""

from __future__ import annotations

import glob
import os
from collections import Counter
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerveseg.data.volumes.dicom_files import is_dicom
from nerveseg.data.volumes.grids import Volume
from nerveseg.data.volumes.volume import VOLUME_SUFFIXES
from nerveseg.errors import GeometryError, VolumeError
from nerveseg.types import Image, SpacingMm

MASK_VALUES = 3
"""An image with no more than this many different values, all whole numbers, is a mask."""

LABEL_VALUES = 32
"""With no more than this many it is a map of labels, if neighbours are alike."""

ALIKE = 0.7
"""Share of neighbours in the plane that have one value, the background aside. In real label maps 0.77 or more; in real
images 0.19 at most, and 0.67 where they are reduced to 32 grey levels."""

PIXEL_MM = (0.02, 20.0)
STEP_MM = (0.05, 100.0)
"""Spacings beyond which a header counts in other units than millimetres, or not at all."""


@dataclass(frozen=True)
class ScanInput:
    """One scan to segment.

    Attributes:
        name: Names its results; unlike those of the other scans.
        path: A file, or a folder of DICOM files.
    """

    name: str
    path: Path


def resolve_inputs(given: str) -> tuple[ScanInput, ...]:
    """The scans that a path or a pattern (`*`, `**`) means, by path.

    Raises:
        VolumeError: Nothing is there, or nothing that could be a scan.
    """
    path = Path(given).expanduser()
    paths = _matches(path, given) if not _exists(path) else [_folder(path) if os.path.isdir(path) else path]
    return tuple(ScanInput(name, path) for name, path in zip(_names(paths), paths, strict=True))


def check_is_scan(volume: Volume, path: Path) -> None:
    """See whether a volume can be a scan of a limb.

    Args:
        volume: In RAS order.
        path: Named in the error.

    Raises:
        VolumeError: One slice only, or a mask or another map of labels.
        GeometryError: Its voxels are smaller or larger than a scanner makes them.
    """
    slices = volume.array.shape[2]
    if slices < 2:
        raise VolumeError(
            "a scan has at least 2 slices",
            found=f"shape {volume.grid.shape}, of which 1 slice from feet to head",
            path=path,
            remedy="give the whole axial series",
        )
    _check_spacing(volume.grid.ras_spacing_mm, path)
    values = _labels(volume.array)
    if len(values):
        shown = ", ".join(f"{value:g}" for value in values[: MASK_VALUES + 1])
        raise VolumeError(
            "a scan is an image, not a mask",
            found=f"only the values {shown}" + ("" if len(values) <= MASK_VALUES + 1 else f" to {values[-1]:g}"),
            path=path,
            remedy="give the image that the mask was drawn on",
        )


def _check_spacing(spacing_mm: SpacingMm, path: Path) -> None:
    limits = (PIXEL_MM, PIXEL_MM, STEP_MM)
    if all(low <= size <= high for size, (low, high) in zip(spacing_mm, limits, strict=True)):
        return
    raise GeometryError(
        "pixels measure {:g} to {:g} mm, and slices follow every {:g} to {:g} mm".format(*PIXEL_MM, *STEP_MM),
        found=" x ".join(f"{size:.3g}" for size in spacing_mm) + " mm",
        path=path,
        remedy="see in which unit the header counts, and export the file again with its geometry in millimetres",
    )


def _labels(array: Image) -> NDArray[Any]:
    """The values of a map of labels, ascending; none where the array is an image."""
    nothing: NDArray[Any] = np.array([])
    if len(np.unique(array[::4, ::4])) > LABEL_VALUES:
        return nothing
    values, voxels = np.unique(array, return_counts=True)
    if len(values) > LABEL_VALUES or (values != np.round(values)).any():
        return nothing
    is_map = len(values) <= MASK_VALUES or _alike(array, float(values[voxels.argmax()])) >= ALIKE
    return np.asarray(values) if is_map else nothing


def _alike(array: Image, background: float) -> float:
    """Share of neighbours in the plane, not both of them background, that have one value."""
    pairs = [(array[1:], array[:-1]), (array[:, 1:], array[:, :-1])]
    inside = [np.count_nonzero((one != background) | (other != background)) for one, other in pairs]
    same = [np.count_nonzero((one == other) & (one != background)) for one, other in pairs]
    return sum(same) / max(1, sum(inside))


def _exists(path: Path) -> bool:
    """Whether something is there, be it a link to nothing: its own error says so later."""
    try:
        os.lstat(path)
    except PermissionError as error:
        raise VolumeError(
            "a scan may be read", found=error.strerror, path=path, remedy="mend the permissions of its folders"
        ) from error
    except OSError:
        return False
    return True


def _folder(path: Path) -> Path:
    """The folder itself if it is a DICOM scan; otherwise an error that says what to give instead."""
    files = sorted(_listed(path))
    if any(_is_slice(file) for file in files):
        return path
    volumes = [file for file in files if file.name.lower().endswith(VOLUME_SUFFIXES)]
    if volumes:
        found = f"{len(volumes)} volumes, such as {volumes[0].name}"
        remedy = f"give a file, or all of them: input='{path}/*{_suffix(volumes[0])}'"
    elif any(_is_scan(file) for file in files):
        found, remedy = "folders of DICOM files", f"give one of them, or all: input='{path}/*'"
    else:
        found, remedy = "neither", "give the folder in which the slices lie, or a pattern: input='folder/**/*.nii.gz'"
    raise VolumeError(
        "a folder that is given as a scan holds the files of a DICOM series", found=found, path=path, remedy=remedy
    )


def _matches(pattern: Path, given: str) -> list[Path]:
    matches = [Path(match) for match in sorted(glob.glob(str(pattern), recursive=True))]
    scans = sorted(path for path in matches if _is_scan(path))
    if scans:
        return scans
    if not glob.has_magic(given):
        found, remedy = "no such file or folder", "mend the path"
    elif not matches:
        found, remedy = "nothing that the pattern matches", "mend the pattern, and put it between quotes"
    elif any(_is_slice(path) for path in matches):
        found, remedy = "single DICOM files", "give the folder in which they lie"
    else:
        found, remedy = f"{len(matches)} matches, such as {matches[0].name}", f"give {', '.join(VOLUME_SUFFIXES)}"
    raise VolumeError("input= names a scan, or several by a pattern", found=found, path=given, remedy=remedy)


def _is_scan(path: Path) -> bool:
    """Whether a match is meant; a folder that may not be read is, so that its own error names it later."""
    if os.path.isdir(path):
        try:
            return any(_is_slice(file) for file in _listed(path))
        except VolumeError:
            return True
    return path.name.lower().endswith(VOLUME_SUFFIXES)


def _is_slice(path: Path) -> bool:
    return path.name.upper() != "DICOMDIR" and os.path.isfile(path) and is_dicom(path)


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise VolumeError(
            "a folder may be read", found=error.strerror, path=folder, remedy="mend the folder's permissions"
        ) from error


def _names(paths: list[Path]) -> list[str]:
    """A name for each path: its stem, with as many parent folders before it as it takes to tell them apart.

    Of two formats of one stem in one folder, the suffix tells.
    """
    full = [Path(os.path.abspath(path)) for path in paths]
    in_place = _repeated([str(path.parent / _stem(path)) for path in full])
    stems = [
        _stem(path) + (_suffix(path).replace(".", "_") if str(path.parent / _stem(path)) in in_place else "")
        for path in full
    ]
    names, folders = stems, [0] * len(full)
    for _ in range(max(len(path.parts) for path in full)):
        twice = _repeated(names)
        folders = [
            min(number + (name in twice), max(len(path.parts) - 2, 0))
            for number, name, path in zip(folders, names, full, strict=True)
        ]
        names = [
            "_".join([*path.parts[-1 - number : -1], stem])
            for number, stem, path in zip(folders, stems, full, strict=True)
        ]
    return _numbered(names)


def _numbered(names: list[str]) -> list[str]:
    """The last resort: a number after the second name of the same letters, the third and so on."""
    taken: set[str] = set()
    unique = []
    for name in names:
        candidates = chain([name], (f"{name}_{number}" for number in count(2)))
        unique.append(next(candidate for candidate in candidates if candidate.casefold() not in taken))
        taken.add(unique[-1].casefold())
    return unique


def _repeated(names: list[str]) -> set[str]:
    """Names that occur more than once, or would on a disk that does not tell capitals from small letters."""
    counts = Counter(name.casefold() for name in names)
    return {name for name in names if counts[name.casefold()] > 1}


def _stem(path: Path) -> str:
    return path.name[: len(path.name) - len(_suffix(path))] or path.name


def _suffix(path: Path) -> str:
    """The suffix of a volume's file; nothing for a folder, whose name may hold dots."""
    suffixes = sorted(VOLUME_SUFFIXES, key=len, reverse=True)
    return next((suffix for suffix in suffixes if path.name.lower().endswith(suffix) and not path.is_dir()), "")
