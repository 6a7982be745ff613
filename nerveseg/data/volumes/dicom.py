"""Reading of one series of a folder of DICOM files as a volume.

Files that are no DICOM images are skipped, as in an export from a disk or an archive. If a folder holds several series,
the user has to name one; none is guessed.
"""

from pathlib import Path

import numpy as np

from nerveseg.data.volumes.dicom_files import DicomSlice, read_pixels, read_slice
from nerveseg.data.volumes.dicom_stack import ordered, stack_frame
from nerveseg.data.volumes.grids import Grid, Volume, check_affine
from nerveseg.data.volumes.guard import check_memory
from nerveseg.errors import VolumeError, errors_about


def series_files(folder: Path, series: str | None = None, subject: str | None = None) -> tuple[Path, ...]:
    """Return the files of one series, ordered by position.

    Raises:
        VolumeError: The folder cannot be read, holds no DICOM image or a damaged one, or several series of which none
            or an unknown one is named.
    """
    with errors_about(folder, subject):
        return tuple(one.path for one in _choose(_find_series(folder), series))


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
    with errors_about(folder, subject):
        slices = _choose(_find_series(folder), series)
        frame = stack_frame(slices)
        grid = Grid.without_header((*slices[0].size, len(slices)), frame.affine, frame)
        check_affine(frame.affine, grid.shape)
        check_memory(folder, grid.shape)
        array = np.empty(grid.shape[::-1], dtype=np.float32)
        for plane, one in zip(array, slices, strict=True):
            plane[:] = read_pixels(one.path)
        return Volume(grid.to_ras(array.transpose(2, 1, 0)), grid, tuple(one.path for one in slices))


def _find_series(folder: Path) -> list[list[DicomSlice]]:
    """Return the slices of each series, ordered by position; the series ordered by number."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise VolumeError(
            "a folder of DICOM files may be read",
            found=error.strerror,
            remedy="correct the path, or the folder's permissions",
        ) from error
    found: dict[str, list[DicomSlice]] = {}
    for one in filter(None, map(read_slice, paths)):
        found.setdefault(one.series_uid, []).append(one)
    if not found:
        raise VolumeError(
            "a folder that is given as a scan holds the files of a DICOM series",
            found=f"no DICOM image among {len(paths)} files",
            remedy="give the folder in which the slices lie, or a file (.nii.gz, .mha, .nrrd)",
        )
    return sorted(map(ordered, found.values()), key=lambda slices: (slices[0].series_number or 0, slices[0].series_uid))


def _choose(found: list[list[DicomSlice]], series: str | None) -> list[DicomSlice]:
    """Return the slices of the series that the user named, or of the only one."""
    wanted = (series or "").strip()
    chosen = [
        slices for slices in found if not wanted or wanted in (slices[0].series_uid, str(slices[0].series_number))
    ]
    if len(chosen) == 1:
        return chosen[0]
    numbers = [slices[0].series_number for slices in found]
    keys = [
        slices[0].series_uid if number is None or numbers.count(number) > 1 else str(number)
        for number, slices in zip(numbers, found, strict=True)
    ]
    listed = "; ".join(f"series {key}: {_description(slices)}" for key, slices in zip(keys, found, strict=True))
    raise VolumeError(
        "one series of a DICOM folder is named",
        found=listed if not wanted else f"series={wanted}, but there are {listed}",
        remedy=f"name it with series=<number>, for example series={keys[0]}",
    )


def _description(slices: list[DicomSlice]) -> str:
    columns, rows = slices[0].size
    text = slices[0].series_description or "without description"
    return f"{text}, {columns} x {rows} x {sum(one.frames for one in slices)}"
