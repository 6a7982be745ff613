"""Reading of one series of a folder, zip or DICOMDIR, or of the series of a DICOM file, as a volume.

Files that are no DICOM images are skipped, as in an export from a disk or an archive. If there are several series,
the user has to name one; none is guessed. An Enhanced file is read stack by stack.
"""

from pathlib import Path

import numpy as np

from nerveseg.data.volumes.dicom_enhanced import frames_of
from nerveseg.data.volumes.dicom_files import DicomSlice, read_pixels, read_slice
from nerveseg.data.volumes.dicom_sources import is_single_file, source_files
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
        return _paths(_choose(_find_series(folder), series))


def read_series(folder: Path, series: str | None = None, subject: str | None = None) -> Volume:
    """Read one DICOM series.

    Args:
        folder: Folder of the files, or another source of `dicom_sources`.
        series: Number or UID of the series, if the folder holds several; of an Enhanced series with several stacks also
            the stack, such as 3:1.
        subject: Id for error messages.

    Returns:
        Array in RAS order, float32, rescaled as the files say, the grid (column, row, slice), and the files.

    Raises:
        VolumeError: As `series_files`; or images are in colour or have the same position, or there is
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
        read: Path | None = None
        for plane, one in zip(array, slices, strict=True):
            if one.path != read:
                pixels, read = read_pixels(one.path), one.path
            factor, offset = one.rescaling
            plane[:] = pixels[one.frame] * factor + offset if one.stack else pixels[one.frame]
        return Volume(grid.to_ras(array.transpose(2, 1, 0)), grid, _paths(slices))


def _paths(slices: list[DicomSlice]) -> tuple[Path, ...]:
    """Return the files of slices in their order, each once."""
    return tuple(dict.fromkeys(one.path for one in slices))


def _find_series(folder: Path) -> list[list[DicomSlice]]:
    """Return the slices of each series, ordered by position; the series ordered by number."""
    single = is_single_file(folder)
    own = read_slice(folder) if single else None
    paths = [] if single and own is None else source_files(folder)
    found: dict[tuple[str, str], list[DicomSlice]] = {}
    for one in filter(None, map(read_slice, paths)):
        if own is None or one.series_uid == own.series_uid:
            for frame in frames_of(one) if one.is_enhanced else [one]:
                found.setdefault((frame.series_uid, frame.stack), []).append(frame)
    if not found:
        rule = "a DICOM scan is a folder or a zip that holds a series, a DICOMDIR, or a file of a series"
        remedy = "give the folder in which the slices lie, or a file (.nii.gz, .mha, .nrrd)"
        nothing = "a DICOM file without an image" if single else f"no DICOM image among {len(paths)} files"
        raise VolumeError(rule, found=nothing, remedy=remedy)
    return sorted(
        map(ordered, found.values()),
        key=lambda slices: (slices[0].series_number or 0, slices[0].series_uid, slices[0].stack),
    )


def _choose(found: list[list[DicomSlice]], series: str | None) -> list[DicomSlice]:
    """Return the slices of the series, or stack of an Enhanced series, that the user named, or of the only one."""
    wanted = (series or "").strip()
    firsts = [slices[0] for slices in found]
    chosen = [slices for slices, one in zip(found, firsts, strict=True) if not wanted or wanted in _names(one)]
    if len(chosen) == 1:
        return chosen[0]
    taken = [name for one in firsts for name in _names(one)]
    keys = [next((name for name in _names(one) if taken.count(name) == 1), one.series_uid) for one in firsts]
    listed = "; ".join(f"series {key}: {_description(slices)}" for key, slices in zip(keys, found, strict=True))
    rule = "one series of several is named"
    remedy = f"name it with series=<number>, for example series={keys[0]}"
    raise VolumeError(rule, found=listed if not wanted else f"series={wanted}, but there are {listed}", remedy=remedy)


def _names(one: DicomSlice) -> list[str]:
    """Return the names of the series of a slice, short ones first: number or UID, with the stack after a colon."""
    series = [*([] if one.series_number is None else [str(one.series_number)]), one.series_uid]
    return series + [f"{name}:{one.stack}" for name in series if one.stack]


def _description(slices: list[DicomSlice]) -> str:
    """Return matrix and echo times; a series' description is free text, which may name the patient."""
    columns, rows = slices[0].size
    echoes = sorted({one.contrast["echo time"] for one in slices} - {""})
    size = f"{columns} x {rows} x {sum(one.frames for one in slices)}"
    return f"{size}, echo time {', '.join(echoes)} ms" if echoes else size
