"""A folder of DICOM files: which series it holds, and one of them as a volume.

Files that are no DICOM images are passed over, as in an export from a disk or an archive. Which of several series is
meant is for the user to say, never for a guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nerveseg.data.volumes.dicom_files import DicomSlice, read_pixels, read_slice
from nerveseg.data.volumes.dicom_stack import ordered, stack_frame
from nerveseg.data.volumes.grids import Grid, Volume
from nerveseg.data.volumes.nifti import nifti_header
from nerveseg.errors import VolumeError


@dataclass(frozen=True)
class Series:
    """One series of a folder.

    Attributes:
        uid: Series Instance UID.
        number: As the scanner counts, where it does.
        description: In words.
        size: Columns, rows and slices.
        files: By position.
    """

    uid: str
    number: int | None
    description: str
    size: tuple[int, int, int]
    files: tuple[Path, ...]


def list_series(folder: Path, subject: str | None = None) -> list[Series]:
    """The series in a folder, by number.

    Raises:
        VolumeError: The folder cannot be read, holds no DICOM image, or a damaged one.
    """
    return [_series(slices) for slices in _find_slices(folder, subject)]


def series_files(folder: Path, series: str | None = None, subject: str | None = None) -> tuple[Path, ...]:
    """The files of one series, by position.

    Raises:
        VolumeError: As `list_series`, or it is not clear which series is meant.
    """
    return tuple(one.path for one in _choose(_find_slices(folder, subject), series, folder, subject))


def read_series(folder: Path, series: str | None = None, subject: str | None = None) -> Volume:
    """Read one DICOM series.

    Args:
        folder: Holds the files directly.
        series: Number or UID, where the folder holds several.
        subject: Named in errors.

    Returns:
        Array in RAS order, float32, rescaled as the files say, and the grid (column, row, slice).

    Raises:
        VolumeError: As `series_files`; or colour, several frames in a file, one slice only, several images at one
            position.
        GeometryError: Slices without position, of different size or orientation, missing, unevenly spaced or shifted
            against each other.
    """
    slices = _choose(_find_slices(folder, subject), series, folder, subject)
    frame = stack_frame(slices, folder, subject)
    shape = (*slices[0].size, len(slices))
    array = np.empty(shape[::-1], dtype=np.float32)
    for place, one in zip(array, slices, strict=True):
        place[:] = read_pixels(one.path, subject)
    grid = Grid(shape, frame.affine, nifti_header(shape, frame.affine), frame)
    return Volume(grid.to_ras(array.transpose(2, 1, 0)), grid)


def _find_slices(folder: Path, subject: str | None) -> list[list[DicomSlice]]:
    """The slices of each series, by position; the series by number."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise VolumeError(
            "a folder of DICOM files may be read",
            found=error.strerror,
            subject=subject,
            path=folder,
            remedy="mend the path, or the folder's permissions",
        ) from error
    found: dict[str, list[DicomSlice]] = {}
    for path in paths:
        one = read_slice(path, subject)
        if one is not None:
            found.setdefault(one.series_uid, []).append(one)
    if not found:
        raise VolumeError(
            "a folder that is given as a scan holds the files of a DICOM series",
            found=f"no DICOM image among {len(paths)} files",
            subject=subject,
            path=folder,
            remedy="give the folder in which the slices lie, or a file (.nii.gz, .mha, .nrrd)",
        )
    by_number = sorted(found.items(), key=lambda item: (item[1][0].series_number or 0, item[0]))
    return [ordered(slices) for _, slices in by_number]


def _series(slices: list[DicomSlice]) -> Series:
    first = slices[0]
    return Series(
        uid=first.series_uid,
        number=first.series_number,
        description=first.series_description,
        size=(*first.size, sum(one.frames for one in slices)),
        files=tuple(one.path for one in slices),
    )


def _choose(found: list[list[DicomSlice]], series: str | None, folder: Path, subject: str | None) -> list[DicomSlice]:
    """The slices of the series that is meant."""
    wanted = "" if series is None else series.strip()
    chosen = [slices for slices in found if not wanted or wanted in _names(slices[0])]
    if len(chosen) == 1:
        return chosen[0]
    of_folder = [_series(slices) for slices in found]
    numbers = [one.number for one in of_folder]
    keys = [one.uid if one.number is None or numbers.count(one.number) > 1 else str(one.number) for one in of_folder]
    listed = "; ".join(
        f"series {key}: {one.description or 'without description'}, {' x '.join(map(str, one.size))}"
        for key, one in zip(keys, of_folder, strict=True)
    )
    raise VolumeError(
        "one series of a DICOM folder is segmented",
        found=listed if not wanted else f"series={wanted}, but there are {listed}",
        subject=subject,
        path=folder,
        remedy=f"series=<number> says which, for example series={keys[0]}",
    )


def _names(one: DicomSlice) -> tuple[str, str]:
    return one.series_uid, str(one.series_number)
