"""List the series of a folder of DICOM files, and read one of them as a volume.

Files that are no DICOM images are skipped, as in an export from a disk or an archive. If a folder holds several series,
the user has to name one; none is guessed.
"""

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
    """Description of one series of a folder.

    Attributes:
        uid: Series Instance UID.
        number: Number of the series on the scanner; None if missing.
        description: Description of the series as text.
        size: Number of columns, rows and slices.
        files: Paths of the files, ordered by position.
    """

    uid: str
    number: int | None
    description: str
    size: tuple[int, int, int]
    files: tuple[Path, ...]


def list_series(folder: Path, subject: str | None = None) -> list[Series]:
    """List the series in a folder, ordered by number.

    Raises:
        VolumeError: The folder cannot be read, holds no DICOM image, or a damaged image.
    """
    return [_series(slices) for slices in _find_slices(folder, subject)]


def series_files(folder: Path, series: str | None = None, subject: str | None = None) -> tuple[Path, ...]:
    """Return the files of one series, ordered by position.

    Raises:
        VolumeError: As `list_series`, or the folder holds several series and none or an unknown one is named.
    """
    return tuple(one.path for one in _choose(_find_slices(folder, subject), series, folder, subject))


def read_series(folder: Path, series: str | None = None, subject: str | None = None) -> Volume:
    """Read one DICOM series.

    Args:
        folder: Folder that holds the files directly.
        series: Number or UID of the series, if the folder holds several.
        subject: Id for error messages.

    Returns:
        Array in RAS order, float32, rescaled as the files say, the grid (column, row, slice), and the files.

    Raises:
        VolumeError: As `series_files`; or images are in colour, have several frames or the same position, or there is
            one slice only.
        GeometryError: Slices have no position, differ in size or orientation, are missing, unevenly spaced or shifted
            against each other.
    """
    slices = _choose(_find_slices(folder, subject), series, folder, subject)
    frame = stack_frame(slices, folder, subject)
    shape = (*slices[0].size, len(slices))
    array = np.empty(shape[::-1], dtype=np.float32)
    for plane, one in zip(array, slices, strict=True):
        plane[:] = read_pixels(one.path, subject)
    grid = Grid(shape, frame.affine, nifti_header(shape, frame.affine), frame)
    return Volume(grid.to_ras(array.transpose(2, 1, 0)), grid, tuple(one.path for one in slices))


def _find_slices(folder: Path, subject: str | None) -> list[list[DicomSlice]]:
    """Return the slices of each series, ordered by position; the series ordered by number."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise VolumeError(
            "a folder of DICOM files may be read",
            found=error.strerror,
            subject=subject,
            path=folder,
            remedy="correct the path, or the folder's permissions",
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
    """Return the slices of the series that the user named, or of the only one."""
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
        "one series of a DICOM folder is named",
        found=listed if not wanted else f"series={wanted}, but there are {listed}",
        subject=subject,
        path=folder,
        remedy=f"name it with series=<number>, for example series={keys[0]}",
    )


def _names(one: DicomSlice) -> tuple[str, str]:
    return one.series_uid, str(one.series_number)
