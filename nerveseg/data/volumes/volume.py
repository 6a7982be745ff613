"""Reading and writing volumes of every format: RAS inside, the input's own grid on disk.

A volume is reoriented (never resampled) to the closest canonical RAS order, so slices are axial along axis 2; what is
written back goes through the inverse of the same axis permutation and flips.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerveseg.data.volumes.dicom import read_series
from nerveseg.data.volumes.dicom_files import is_dicom
from nerveseg.data.volumes.grids import Grid, ItkFrame, Volume, check_same_grid, has_orientation
from nerveseg.data.volumes.itk import ITK_SUFFIXES, read_itk, read_itk_grid, write_itk
from nerveseg.data.volumes.nifti import NIFTI_SUFFIXES, Geometry, nifti_header, read_nifti, read_nifti_grid, write_nifti
from nerveseg.errors import VolumeError
from nerveseg.types import Affine, Image, Mask, Probability

__all__ = [
    "NIFTI_SUFFIXES", "VOLUME_SUFFIXES", "Geometry", "Grid", "Volume", "check_same_grid", "has_orientation",
    "read_image", "read_image_grid", "read_mask", "write_mask", "write_probability", "write_volume",
]  # fmt: skip

VOLUME_SUFFIXES = NIFTI_SUFFIXES + ITK_SUFFIXES


def read_image(
    path: Path,
    subject: str | None = None,
    geometry: Geometry = None,
    series: str | None = None,
    *,
    allow_nan: bool = False,
) -> Volume:
    """Read a three-dimensional image.

    Args:
        path: A NIfTI, MetaImage or NRRD file, or a folder of one DICOM series.
        subject: Named in errors.
        geometry: Which of a NIfTI header's two transforms to trust where they differ; by default a difference is an
            error.
        series: Number or UID of the series, where a DICOM folder holds several.
        allow_nan: NaN is a value that is unknown, as in maps; some other values have to be there.

    Returns:
        Array in RAS order, float32, and its grid; of a NIfTI file of shape (x, y, z, 1) those of the one volume.

    Raises:
        VolumeError: No image, truncated, not 3-D, empty, without contrast, or with values that are not finite.
        GeometryError: qform and sform differ by more than 0.1 mm at a corner, the affine is singular, or the slices of
            a series are no even stack.
    """
    if os.path.isdir(path):
        volume = read_series(path, series, subject)
        array, grid = volume.array, volume.grid
    else:
        array, grid = _read(path, subject, geometry)
    with np.errstate(over="ignore"):
        image = array.astype(np.float32, copy=False)
    _check_values(image, path, subject, allow_nan)
    return Volume(image, grid)


def _check_values(image: Image, path: Path, subject: str | None, allow_nan: bool) -> None:
    faulty = np.isinf(image) if allow_nan else ~np.isfinite(image)
    if faulty.any():
        raise VolumeError(
            "an image holds finite values only" + (", or NaN where there is none" if allow_nan else ""),
            found=f"{np.count_nonzero(faulty)} voxels that are " + ("infinite" if allow_nan else "NaN or infinite"),
            subject=subject,
            path=path,
            remedy="replace these voxels, or export the series again",
        )
    known = image[~np.isnan(image)] if allow_nan else image
    if known.size == 0 or known.min() == known.max():
        raise VolumeError(
            "an image has contrast",
            found=f"the one value {known.flat[0]:g} in all voxels" if known.size else "NaN in all voxels",
            subject=subject,
            path=path,
            remedy="export the series again",
        )


def read_mask(
    path: Path,
    like: Grid | None = None,
    subject: str | None = None,
    foreground: tuple[int, ...] | None = None,
    geometry: Geometry = None,
) -> Mask:
    """Read a label map as a mask in RAS order.

    Args:
        path: A NIfTI, MetaImage or NRRD file of whole, non-negative numbers.
        like: The image's grid, on which the mask must lie in RAS order (shape, and corners within 0.1 mm); its file
            may store it in another axis order.
        subject: Named in errors.
        foreground: The label values that are nerve; by default every label above zero.
        geometry: As in `read_image`.

    Raises:
        VolumeError: As in `read_image`, or values that are no labels.
        GeometryError: The mask lies on another grid than its image.
    """
    array, grid = _read(path, subject, geometry)
    if like is not None:
        check_same_grid(grid, like, path, subject)
    if not np.isfinite(array).all() or (array < 0).any() or (array != np.round(array)).any():
        values = np.unique(array[~(np.isfinite(array) & (array >= 0) & (array == np.round(array)))])[:3]
        raise VolumeError(
            "a mask holds labels: whole numbers from 0 up",
            found="values such as " + ", ".join(f"{value:g}" for value in values),
            subject=subject,
            path=path,
            remedy="threshold a probability map, or resample labels with nearest neighbour",
        )
    return np.isin(array, foreground) if foreground else array > 0


def read_image_grid(path: Path, subject: str | None = None, geometry: Geometry = None) -> Grid:
    """Grid of a file from its header alone; raises what `read_image` raises about the file and its geometry."""
    _check_suffix(path, subject)
    return read_itk_grid(path, subject) if _is_itk(path) else read_nifti_grid(path, subject, geometry)


def write_mask(path: Path, mask: Mask, grid: Grid, description: str = "") -> None:
    """Write a RAS mask in the grid of its input: same shape, affine, transform codes and units.

    Args:
        path: File to write: `.nii`, `.nii.gz`, `.mha` or `.nrrd`.
        mask: In RAS order.
        grid: The input's grid.
        description: Goes into the header (79 characters).

    Raises:
        VolumeError: The file cannot be written; nothing of it remains.
    """
    _write(path, grid.from_ras(mask).astype(np.uint8), grid, description)


def write_probability(path: Path, probability: Probability, grid: Grid, description: str = "") -> None:
    """Write a RAS probability map, in float32, as `write_mask` writes a mask."""
    _write(path, grid.from_ras(probability).astype(np.float32), grid, description)


def write_volume(path: Path, array: NDArray[Any], affine: Affine, description: str = "") -> None:
    """Write a new file with millimetre units; nothing appears under `path` until it is complete."""
    x, y, z = array.shape
    _write(path, array, Grid((x, y, z), affine, nifti_header((x, y, z), affine)), description)


def _write(path: Path, array: NDArray[Any], grid: Grid, description: str) -> None:
    """Write an array in the order of the grid's own file."""
    if path.name.lower().endswith(NIFTI_SUFFIXES):
        write_nifti(path, array, grid.header, description)
    else:
        write_itk(path, array, grid.frame or ItkFrame.of_affine(grid.affine), description)


def _read(path: Path, subject: str | None, geometry: Geometry) -> tuple[NDArray[Any], Grid]:
    """Array in RAS order (scaled, in its own type) and grid of a file, checked."""
    _check_suffix(path, subject)
    array, grid = read_itk(path, subject) if _is_itk(path) else read_nifti(path, subject, geometry)
    return grid.to_ras(array), grid


def _is_itk(path: Path) -> bool:
    return path.name.lower().endswith(ITK_SUFFIXES)


def _check_suffix(path: Path, subject: str | None) -> None:
    if path.name.lower().endswith(VOLUME_SUFFIXES):
        return
    if os.path.isfile(path) and is_dicom(path, subject):
        raise VolumeError(
            "a DICOM scan is the folder of its slices",
            found=f"the file {path.name}",
            subject=subject,
            path=path,
            remedy="give the folder",
        )
    raise VolumeError(
        f"a volume is a NIfTI, MetaImage or NRRD file ({', '.join(VOLUME_SUFFIXES)}) or a folder of one DICOM series",
        found=path.name,
        subject=subject,
        path=path,
        remedy="convert it, for example with dcm2niix",
    )
