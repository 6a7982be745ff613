"""Reading and writing volumes: RAS inside, the input's own grid on disk.

nibabel is the authority on the affine. A volume is reoriented (never resampled) to the closest canonical RAS order, so
slices are axial along axis 2; what is written back goes through the inverse of the same axis permutation and flips.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from nerveseg.data.grids import CORNER_TOLERANCE_MM, Grid, check_same_grid, corner_distance_mm
from nerveseg.errors import GeometryError, VolumeError
from nerveseg.runs import replaced
from nerveseg.types import Affine, Image, Mask

NIFTI_SUFFIXES = (".nii", ".nii.gz")
Geometry: TypeAlias = Literal["sform", "qform"] | None


@dataclass(frozen=True)
class Volume:
    """One image in RAS order together with the grid it came from."""

    array: Image
    grid: Grid


def read_image(path: Path, subject: str | None = None, geometry: Geometry = None) -> Volume:
    """Read a three-dimensional NIfTI image.

    Args:
        path: A `.nii` or `.nii.gz` file.
        subject: Named in errors.
        geometry: Which of the header's two transforms to trust where they differ; by default a difference is an error.

    Returns:
        Array in RAS order, float32, and its grid.

    Raises:
        VolumeError: Not NIfTI, truncated, not 3-D, empty, or with values that are not finite.
        GeometryError: qform and sform differ by more than 0.1 mm at a corner, or the affine is singular.
    """
    array, grid = _read(path, subject, geometry)
    image = array.astype(np.float32, copy=False)
    if not np.isfinite(image).all():
        raise VolumeError(
            "an image holds finite values only",
            found=f"{int((~np.isfinite(image)).sum())} voxels that are NaN or infinite",
            subject=subject,
            path=path,
            remedy="replace these voxels, or export the series again",
        )
    if image.min() == image.max():
        raise VolumeError(
            "an image has contrast",
            found=f"the one value {image.flat[0]:g} in all voxels",
            subject=subject,
            path=path,
            remedy="export the series again",
        )
    return Volume(image, grid)


def read_mask(
    path: Path,
    like: Grid | None = None,
    subject: str | None = None,
    foreground: tuple[int, ...] | None = None,
    geometry: Geometry = None,
) -> Mask:
    """Read a label map as a mask in RAS order.

    Args:
        path: A `.nii` or `.nii.gz` file of whole, non-negative numbers.
        like: The image's grid, which the mask must share (shape, and corners within 0.1 mm).
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
    """Grid of a volume from its header alone; raises what `read_image` raises about the file and its geometry."""
    return _grid(_load(path, subject), path, subject, geometry)


def write_volume(path: Path, array: NDArray[Any], affine: Affine, description: str = "") -> None:
    """Write a new NIfTI file with millimetre units; nothing appears under `path` until it is complete."""
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = description.encode()[:79]
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    _save(image, path)


def write_mask(path: Path, mask: Mask, grid: Grid, description: str = "") -> None:
    """Write a RAS mask in the grid of its input: same shape, affine, transform codes and units.

    Args:
        path: File to write, `.nii` or `.nii.gz`.
        mask: In RAS order.
        grid: The input's grid.
        description: Goes into the header (79 characters).
    """
    image = nib.Nifti1Image(grid.from_ras(mask).astype(np.uint8), None, header=_mask_header(grid, description))
    _save(image, path)


def _mask_header(grid: Grid, description: str) -> Any:
    """The input's geometry and units, without what else its header and extensions tell (names, comments)."""
    header = grid.header.copy()
    header.extensions.clear()
    for field in {"db_name", "aux_file", "intent_name"} & set(header.keys()):
        header[field] = b""
    for field in ("intent_code", "intent_p1", "intent_p2", "intent_p3"):
        header[field] = 0
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    header["descrip"] = description.encode()[:79]
    return header


def _save(image: Any, path: Path) -> None:
    with replaced(path) as aside:
        nib.save(image, aside)


def _read(path: Path, subject: str | None, geometry: Geometry) -> tuple[NDArray[Any], Grid]:
    """Array in RAS order (scaled, in its own type) and grid of a NIfTI file, checked."""
    image = _load(path, subject)
    try:
        array = np.asanyarray(image.dataobj)
        _check_sum(path)
    except (ImageFileError, EOFError, OSError, zlib.error, ValueError) as error:
        raise _unreadable(path, subject, error) from error
    if array.dtype.kind not in "buif":
        raise VolumeError(
            "voxels are plain numbers",
            found=f"data type {array.dtype}",
            subject=subject,
            path=path,
            remedy="export magnitude images, not colour or complex ones",
        )
    grid = _grid(image, path, subject, geometry)
    return grid.to_ras(array), grid


def _check_sum(path: Path) -> None:
    """Read a compressed file to its end, where its check sum lies; nibabel stops at the last voxel."""
    if path.name.lower().endswith(".gz"):
        with gzip.open(path) as stream:
            while stream.read(1 << 20):
                pass


def _load(path: Path, subject: str | None) -> Any:
    """The header of a NIfTI file; its voxels are read when they are asked for."""
    if not path.name.lower().endswith(NIFTI_SUFFIXES):
        raise VolumeError(
            "a volume is a NIfTI file (.nii, .nii.gz)",
            found=path.name,
            subject=subject,
            path=path,
            remedy="convert it, for example with dcm2niix",
        )
    if not path.is_file():
        raise VolumeError(
            "a volume exists",
            found="no such file",
            subject=subject,
            path=path,
            remedy="add the file, or mend the study's path template",
        )
    try:
        image: Any = nib.load(path)
    except (ImageFileError, EOFError, OSError, zlib.error, ValueError) as error:
        raise _unreadable(path, subject, error) from error
    _check_shape(image.shape, path, subject)
    return image


def _unreadable(path: Path, subject: str | None, error: Exception) -> VolumeError:
    return VolumeError(
        "a NIfTI file is complete and readable",
        found=f"{type(error).__name__}: {error}",
        subject=subject,
        path=path,
        remedy="copy or export the file again",
    )


def _grid(image: Any, path: Path, subject: str | None, geometry: Geometry) -> Grid:
    unit = image.header.get_xyzt_units()[0]
    if unit not in ("mm", "unknown"):
        raise GeometryError(
            "lengths in the header are millimetres",
            found=unit,
            subject=subject,
            path=path,
            remedy="export the file again with millimetres",
        )
    return Grid(image.shape, _trusted_affine(image, path, subject, geometry), image.header.copy())


def _check_shape(shape: tuple[int, ...], path: Path, subject: str | None) -> None:
    if len(shape) != 3 or 0 in shape:
        raise VolumeError(
            "a volume has three dimensions, none of them empty",
            found=f"shape {shape}",
            subject=subject,
            path=path,
            remedy="split time points or channels into files of their own",
        )


def _trusted_affine(image: Any, path: Path, subject: str | None, geometry: Geometry) -> Affine:
    """The affine to believe; where qform and sform are both set and disagree, only an explicit choice settles it."""
    try:
        qform, qcode = image.get_qform(coded=True)
    except ValueError as error:
        raise _unreadable(path, subject, error) from error
    sform, scode = image.get_sform(coded=True)
    affine = np.asarray(image.affine, dtype=np.float64)
    if qcode > 0 and scode > 0:
        distance = corner_distance_mm(np.asarray(qform), np.asarray(sform), image.shape)
        if distance > CORNER_TOLERANCE_MM and geometry is None:
            raise GeometryError(
                "the header's qform and sform agree (corners within 0.1 mm)",
                found=f"corners {distance:.2f} mm apart; voxel sizes {_sizes(qform)} (qform), {_sizes(sform)} (sform)",
                subject=subject,
                path=path,
                remedy="study.geometry=sform or study.geometry=qform says which one to trust",
            )
        affine = np.asarray(qform if geometry == "qform" else sform, dtype=np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise GeometryError(
            "the affine maps voxels to millimetres",
            found="a singular matrix",
            subject=subject,
            path=path,
            remedy="export the file again with its geometry",
        )
    return affine


def _sizes(affine: Any) -> str:
    return " x ".join(f"{size:.3g}" for size in np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)) + " mm"
