"""Reading and writing volumes of every format: RAS order in memory, the input's own grid on disk.

Output is written through the inverse of the axis permutation and flips of the input (`Grid`).
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerveseg.data.volumes.dicom import read_series
from nerveseg.data.volumes.dicom_files import is_dicom
from nerveseg.data.volumes.dicom_seg_reading import read_dicom_segmentation, read_dicom_segments
from nerveseg.data.volumes.dicom_sources import is_dicom_source
from nerveseg.data.volumes.grids import Grid, ItkFrame, Volume, check_same_grid
from nerveseg.data.volumes.guard import library_errors
from nerveseg.data.volumes.itk import ITK_SUFFIXES, read_itk, read_itk_grid, write_itk
from nerveseg.data.volumes.labels import check_few_labels, whole_labels
from nerveseg.data.volumes.nifti import NIFTI_SUFFIXES, Geometry, read_nifti, read_nifti_grid, write_nifti
from nerveseg.data.volumes.slicer_seg import Segment, is_segmentation, place, read_segmentation, read_segments
from nerveseg.errors import VolumeError, errors_about
from nerveseg.types import Affine, Image, Mask, Probability

VOLUME_SUFFIXES = NIFTI_SUFFIXES + ITK_SUFFIXES


def read_image(
    path: Path,
    subject: str | None = None,
    geometry: Geometry = None,
    series: str | None = None,
    *,
    allow_nan: bool = False,
) -> Volume:
    """Read a three-dimensional image as float32 in RAS order; a NIfTI file of shape (x, y, z, 1) is one volume.

    Args:
        path: NIfTI, MetaImage or NRRD file, or DICOM: a folder, with those below it, a zip, a DICOMDIR or a file.
        subject: Id for error messages.
        geometry: Transform of a NIfTI header to use if qform and sform differ; by default a difference is an error.
        series: Number or UID of the series, if there are several.
        allow_nan: Switch to accept NaN as unknown values, as in maps, beside some other values.

    Raises:
        VolumeError: The file is no image, truncated, not 3-D, empty, without contrast, or holds values that are not
            finite.
        GeometryError: qform and sform differ by more than 0.1 mm at a corner, the affine is singular, or the slices of
            a series are not evenly spaced.
    """
    with errors_about(path, subject), library_errors(path):
        if is_dicom_scan(path):
            volume = read_series(path, series)
        else:
            if series is not None and os.path.isfile(path):
                rule = "series= chooses a DICOM series"
                raise VolumeError(rule, found=f"the file {path.name}", remedy="leave series= out, or give the folder")
            array, grid = _read(path, geometry)
            volume = Volume(array.astype(np.float32, copy=False), grid)
        _check_values(volume.array, allow_nan)
    return volume


def is_dicom_scan(path: Path) -> bool:
    """Return true for a folder, and for a DICOM file, a DICOMDIR or a zip, whose name is not that of a volume."""
    return os.path.isdir(path) or (not path.name.lower().endswith(VOLUME_SUFFIXES) and is_dicom_source(path))


def _check_values(image: Image, allow_nan: bool) -> None:
    faulty = np.isinf(image) if allow_nan else ~np.isfinite(image)
    if faulty.any():
        rule = "an image holds finite values only" + (", or NaN for unknown ones" if allow_nan else "")
        found = f"{np.count_nonzero(faulty)} voxels that are " + ("infinite" if allow_nan else "NaN or infinite")
        raise VolumeError(rule, found=found, remedy="replace these voxels, or export the series again")
    values = image[~np.isnan(image)] if allow_nan else image
    if values.size == 0 or values.min() == values.max():
        found = f"the one value {values.flat[0]:g} in all voxels" if values.size else "NaN in all voxels"
        raise VolumeError("an image has contrast", found=found, remedy="export the series again")


def read_mask(
    path: Path,
    like: Grid | None = None,
    subject: str | None = None,
    geometry: Geometry = None,
) -> Mask:
    """Read a file of any labels as a mask in RAS order: every label above zero is foreground.

    Args:
        path: NIfTI, MetaImage or NRRD file of whole, non-negative numbers, or DICOM segmentation.
        like: Grid of the image, which the mask must equal in RAS order (shape, and corners within 0.1 mm); its file may
            have another axis order, and a segmentation of 3D Slicer or DICOM another extent.
        subject: Id for error messages.
        geometry: Transform of a header, as in `read_image`.

    Raises:
        VolumeError: As in `read_image`, or as `whole_labels` and `check_few_labels` of `labels`.
        GeometryError: The mask has another grid than its image.
    """
    labels = read_labels(path, like, subject, geometry)
    with errors_about(path, subject):
        check_few_labels(labels)
    return labels > 0


def read_labels(
    path: Path,
    like: Grid | None = None,
    subject: str | None = None,
    geometry: Geometry = None,
    declared: Sequence[int] = (),
) -> NDArray[np.int64]:
    """Read a label map in RAS order; arguments and errors are those of `read_mask`.

    A segmentation of 3D Slicer or DICOM is placed on `like` by its position, and its segments of `declared` label
    values lie above the others.
    """
    with errors_about(path, subject), library_errors(path):
        if is_segmentation(path) or _is_dicom_file(path):
            read = read_segmentation if is_segmentation(path) else read_dicom_segmentation
            labels, grid = read(path, declared)
            return labels if like is None else place(labels, grid, like)
        array, grid = _read(path, geometry)
        if like is not None:
            check_same_grid(grid, like)
        return whole_labels(array)


def named_segments(path: Path) -> tuple[Segment, ...]:
    """Return the segments that a file of 3D Slicer or a DICOM segmentation names; none of other files."""
    with errors_about(path), library_errors(path):
        if is_segmentation(path):
            return read_segments(path)
        return read_dicom_segments(path) if _is_dicom_file(path) else ()


def read_image_grid(path: Path, subject: str | None = None, geometry: Geometry = None) -> Grid:
    """Read the grid of a file from its header alone; raise what `read_image` raises about file and geometry."""
    with errors_about(path, subject), library_errors(path):
        _check_suffix(path)
        return read_itk_grid(path) if _is_itk(path) else read_nifti_grid(path, geometry)


def write_mask(path: Path, mask: Mask, grid: Grid, description: str = "") -> None:
    """Write a RAS mask as 0 and 1, as `write_labels` does."""
    write_labels(path, mask.astype(np.uint8), grid, description)


def write_labels(path: Path, labels: NDArray[np.unsignedinteger[Any]], grid: Grid, description: str = "") -> None:
    """Write a RAS label map, in its own type, in the grid of its input: same shape, affine, transform codes and units.

    The file is `.nii`, `.nii.gz`, `.mha` or `.nrrd`; its header gets a description of up to 79 characters.

    Raises:
        VolumeError: The file cannot be written; no file remains.
    """
    _write(path, grid.from_ras(labels), grid, description)


def write_probability(path: Path, probability: Probability, grid: Grid, description: str = "") -> None:
    """Write a RAS probability map as float32, in the grid of its input."""
    write_image(path, probability, grid, description)


def write_image(path: Path, image: Image | Probability, grid: Grid, description: str = "") -> None:
    """Write a RAS image as float32, in the grid of another file."""
    _write(path, grid.from_ras(image).astype(np.float32), grid, description)


def write_volume(path: Path, array: NDArray[Any], affine: Affine, description: str = "") -> None:
    """Write a new file with millimetre units, atomically."""
    x, y, z = array.shape
    _write(path, array, Grid.without_header((x, y, z), affine), description)


def _write(path: Path, array: NDArray[Any], grid: Grid, description: str) -> None:
    """Write an array in the order of the grid's own file."""
    if path.name.lower().endswith(NIFTI_SUFFIXES):
        write_nifti(path, array, grid.header, description)
    else:
        write_itk(path, array, grid.frame or ItkFrame.of_affine(grid.affine), description)


def _read(path: Path, geometry: Geometry) -> tuple[NDArray[Any], Grid]:
    """Read and check the array in RAS order (scaled, in its own type) and the grid of a file."""
    _check_suffix(path)
    array, grid = read_itk(path) if _is_itk(path) else read_nifti(path, geometry)
    return grid.to_ras(array), grid


def _is_itk(path: Path) -> bool:
    return path.name.lower().endswith(ITK_SUFFIXES)


def _is_dicom_file(path: Path) -> bool:
    """Return true for a file of no other suffix that is DICOM."""
    return not path.name.lower().endswith(VOLUME_SUFFIXES) and os.path.isfile(path) and is_dicom(path)


def _check_suffix(path: Path) -> None:
    if path.name.lower().endswith(VOLUME_SUFFIXES):
        return
    rule = f"a volume is a NIfTI, MetaImage or NRRD file ({', '.join(VOLUME_SUFFIXES)}) or DICOM"
    raise VolumeError(rule, found=path.name, remedy="convert it, for example with dcm2niix")
