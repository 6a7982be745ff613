"""Resolve `input=` (a file, DICOM, or a glob pattern) to scans with unique names.

A path that exists is taken literally, with any characters. Any other text is a pattern, whose matches are scans as
`input_patterns` says. DICOM is what `dicom_sources` reads: a folder, with those below it, a zip, a DICOMDIR, a file.
"""

import os
from collections import Counter
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

import numpy as np

from nerveseg.data.input_patterns import is_volume_or_zip, matching_scans
from nerveseg.data.volumes.dicom_sources import DIRECTORY, ZIP, files_of, holds_images
from nerveseg.data.volumes.grids import Volume
from nerveseg.data.volumes.volume import VOLUME_SUFFIXES
from nerveseg.errors import GeometryError, VolumeError
from nerveseg.names import file_name, folded
from nerveseg.types import Image, SpacingMm

MASK_VALUES = 3  # largest number of different values, all whole numbers, of an image that is taken for a mask

LABEL_VALUES = 32
"""Largest number of different values of an image that is taken for a map of labels, if neighbours are equal."""

EQUAL_NEIGHBOURS = 0.7
"""Share of equal neighbours in the plane, without the background, from which an image is a map of labels. In real label
maps it is at least 0.77; in real images at most 0.19, and 0.67 after reduction to 32 grey levels."""

DICOM_SUFFIXES = (".dcm", ".ima")  # suffixes of DICOM files that are no part of a scan's name

PIXEL_MM = (0.02, 20.0)
STEP_MM = (0.05, 100.0)
"""Plausible in-plane and slice spacing in mm; a header beyond these limits has another unit or no spacing."""


@dataclass(frozen=True)
class ScanInput:
    """Scan to segment."""

    name: str  # unique name of the scan and its results
    path: Path  # file, or folder with DICOM files in it or below it


def resolve_inputs(given: str) -> tuple[ScanInput, ...]:
    """Return the scans that match a path or a pattern (`*`, `**`), ordered by path; raise `VolumeError` without any.

    What a pattern matches beside scans is printed.
    """
    path = Path(given).expanduser()
    paths = [_literal(path)] if _exists(path) else matching_scans(path, given)
    return tuple(ScanInput(name, path) for name, path in zip(_names(paths), paths, strict=True))


def check_is_scan(volume: Volume, path: Path) -> None:
    """Check that a volume can be a scan of a limb.

    Raises:
        VolumeError: The volume has one slice only, or is a mask or another map of labels.
        GeometryError: The voxels are smaller or larger than a scanner's.
    """
    slices = volume.array.shape[2]
    if slices < 2:
        found = f"shape {volume.grid.shape}, of which 1 slice from feet to head"
        raise VolumeError("a scan has at least 2 slices", found=found, path=path, remedy="give the whole axial series")
    _check_spacing(volume.grid.ras_spacing_mm, path)
    if values := _labels(volume.array):
        listed = ", ".join(f"{value:g}" for value in values[: MASK_VALUES + 1])
        rule = "a scan is an image, not a mask"
        found = f"only the values {listed}" + ("" if len(values) <= MASK_VALUES + 1 else f" to {values[-1]:g}")
        raise VolumeError(rule, found=found, path=path, remedy="give the image that the mask was drawn on")


def _check_spacing(spacing_mm: SpacingMm, path: Path) -> None:
    limits = (PIXEL_MM, PIXEL_MM, STEP_MM)
    if all(low <= size <= high for size, (low, high) in zip(spacing_mm, limits, strict=True)):
        return
    rule = "pixels measure {:g} to {:g} mm, and slices follow every {:g} to {:g} mm".format(*PIXEL_MM, *STEP_MM)
    remedy = "check the unit of the header, and export the file again with its geometry in millimetres"
    raise GeometryError(rule, found=" x ".join(f"{size:.3g}" for size in spacing_mm) + " mm", path=path, remedy=remedy)


def _labels(array: Image) -> list[float]:
    """Return the values of a map of labels, ascending; none for an image."""
    if len(np.unique(array[::4, ::4])) > LABEL_VALUES:
        return []
    values, voxels = np.unique(array, return_counts=True)
    if len(values) > LABEL_VALUES or (values != np.round(values)).any():
        return []
    is_map = len(values) <= MASK_VALUES or _equal_neighbours(array, float(values[voxels.argmax()])) >= EQUAL_NEIGHBOURS
    return list(map(float, values)) if is_map else []


def _equal_neighbours(array: Image, background: float) -> float:
    """Return the share of neighbours in the plane with equal values, without pairs of background."""
    pairs = [(array[1:], array[:-1]), (array[:, 1:], array[:, :-1])]
    inside = [np.count_nonzero((one != background) | (other != background)) for one, other in pairs]
    same = [np.count_nonzero((one == other) & (one != background)) for one, other in pairs]
    return sum(same) / max(1, sum(inside))


def _exists(path: Path) -> bool:
    """Return true if the path exists, or is a broken symbolic link, which is reported when it is opened."""
    try:
        os.lstat(path)
    except PermissionError as error:
        remedy = "change the permissions of its folders"
        raise VolumeError("a scan may be read", found=error.strerror, path=path, remedy=remedy) from error
    except OSError:
        return False
    return True


def _literal(path: Path) -> Path:
    """Return the path of a scan, of a DICOMDIR its folder; raise an error with the paths to give instead."""
    if path.name.upper() == DIRECTORY and os.path.isfile(path):
        path = path.parent
    if not os.path.isdir(path):
        return path
    if holds_images(path):
        return path
    volumes = list(filter(is_volume_or_zip, files_of(path)))
    if not volumes and holds_images(path, below=True):
        return path
    if volumes:
        found = f"{len(volumes)} volumes, such as {volumes[0].name}"
        remedy = f"give a file, or all of them: input='{path}/*{_suffix(volumes[0])}'"
    else:
        found, remedy = "no scan", "give the folder that holds the slices, or a pattern: input='folder/**/*.nii.gz'"
    rule = "a folder that is given as a scan holds the files of a DICOM series"
    raise VolumeError(rule, found=found, path=path, remedy=remedy)


def _names(paths: list[Path]) -> list[str]:
    """Return a unique name for each path: its stem, with as many parent folders as needed.

    Two formats of one stem in one folder get their suffix appended.
    """
    full = [Path(os.path.abspath(path)) for path in paths]
    in_folder = _repeated([str(path.parent / _stem(path)) for path in full])
    stems = [
        _stem(path) + (_suffix(path).replace(".", "_") if str(path.parent / _stem(path)) in in_folder else "")
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
    return _numbered([file_name(name) for name in names])


def _numbered(names: list[str]) -> list[str]:
    """Append a number to the second and further names that still are equal."""
    taken: set[str] = set()
    unique = []
    for name in names:
        candidates = chain([name], (f"{name}_{number}" for number in count(2)))
        unique.append(next(candidate for candidate in candidates if folded(candidate) not in taken))
        taken.add(folded(unique[-1]))
    return unique


def _repeated(names: list[str]) -> set[str]:
    """Return names that occur more than once, also on a disk that ignores case and composition of letters."""
    counts = Counter(map(folded, names))
    return {name for name in names if counts[folded(name)] > 1}


def _stem(path: Path) -> str:
    return path.name[: len(path.name) - len(_suffix(path))] or path.name


def _suffix(path: Path) -> str:
    """Return the suffix of a file of a scan; empty for a folder, whose name may hold dots."""
    suffixes = sorted((*VOLUME_SUFFIXES, *DICOM_SUFFIXES, ZIP), key=len, reverse=True)
    return next((suffix for suffix in suffixes if path.name.lower().endswith(suffix) and not path.is_dir()), "")
