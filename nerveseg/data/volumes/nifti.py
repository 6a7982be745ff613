"""NIfTI files, read and written by nibabel; the two transforms of a header (qform, sform) have to agree.

A fourth dimension of one time point is dropped: such a file is read as a volume (x, y, z), and output on its grid has
three dimensions.
"""

import gzip
import zlib
from pathlib import Path
from typing import Any, Literal, TypeAlias

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import DTypeLike, NDArray

from nerveseg.data.volumes.grids import CORNER_TOLERANCE_MM, Grid, check_affine, corner_distance_mm
from nerveseg.errors import GeometryError, VolumeError
from nerveseg.files import DEFLATE_LIMIT, atomic_volume_write, check_exists, check_file_size, unreadable_file_error
from nerveseg.types import Affine

NIFTI_SUFFIXES = (".nii", ".nii.gz")
Geometry: TypeAlias = Literal["sform", "qform"] | None
DAMAGE = (ImageFileError, EOFError, OSError, zlib.error, ValueError, OverflowError)
"""Errors that nibabel and gzip raise on files that are damaged or no NIfTI."""

FAST = 1
"""Level of compression, as nibabel's; name and time are left out, so that equal masks are equal files."""


def read_nifti(path: Path, geometry: Geometry) -> tuple[NDArray[Any], Grid]:
    """Read voxels, in the file's own order (scaled, in their own type), and grid.

    Raises:
        VolumeError: The file is no NIfTI, truncated, not 3-D, or its voxels are no plain numbers.
        GeometryError: As `read_nifti_grid`.
    """
    image = _load(path)
    try:
        if _is_compressed(path):
            _check_size(image, path, _unpacked_bytes(path))
        array = np.asanyarray(image.dataobj).reshape(image.shape[:3])
    except DAMAGE as error:
        raise unreadable_file_error(path, error) from error
    if array.dtype.kind not in "buif":
        raise VolumeError(
            "voxels are plain numbers",
            found=f"data type {array.dtype}",
            remedy="export magnitude images, not colour or complex ones",
        )
    return array, _grid(image, path, geometry)


def read_nifti_grid(path: Path, geometry: Geometry) -> Grid:
    """Read the grid from the header alone.

    Raises:
        VolumeError: The file is no NIfTI, not 3-D, or too small for its shape.
        GeometryError: qform and sform differ, the unit is not millimetres, or the affine is singular.
    """
    return _grid(_load(path), path, geometry)


def write_nifti(path: Path, array: NDArray[Any], header: Any, description: str) -> None:
    """Write an array with the geometry and units of a header, in its order, and a description of up to 79 bytes.

    The file gets the array's data type and none of the header's other fields.

    Raises:
        VolumeError: The file cannot be written.
    """
    image = nib.Nifti1Image(array, None, header=_geometry_only(header, array.dtype, description))
    with atomic_volume_write(path) as temporary, temporary.open("wb") as file:
        if _is_compressed(path):
            with gzip.GzipFile("", "wb", FAST, file, mtime=0) as packed:
                image.to_stream(packed)
        else:
            image.to_stream(file)


def _geometry_only(header: Any, dtype: DTypeLike, description: str) -> Any:
    """Return a copy of a header without names, comments, scaling and extensions."""
    header = header.copy()
    header.extensions.clear()
    for field in {"db_name", "aux_file", "intent_name"} & set(header.keys()):
        header[field] = b""
    for field in ("intent_code", "intent_p1", "intent_p2", "intent_p3"):
        header[field] = 0
    header.set_data_dtype(dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    header["descrip"] = description.encode()[:79]
    return header


def _load(path: Path) -> Any:
    """Open a NIfTI file and check its header; voxels are read on access."""
    check_exists(path)
    try:
        image: Any = nib.load(path)
    except DAMAGE as error:
        raise unreadable_file_error(path, error) from error
    if len(image.shape) < 3 or min(image.shape) < 1 or max(image.shape[3:], default=1) > 1:
        raise VolumeError(
            "a volume has three dimensions, none of them empty",
            found=f"shape {image.shape}",
            remedy="split time points or channels into files of their own",
        )
    _check_size(image, path, path.stat().st_size * (DEFLATE_LIMIT if _is_compressed(path) else 1))
    return image


def _check_size(image: Any, path: Path, held_bytes: int) -> None:
    voxels = image.dataobj
    check_file_size(path, image.shape, 8 * voxels.dtype.itemsize, held_bytes, header_bytes=voxels.offset)


def _is_compressed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _unpacked_bytes(path: Path) -> int:
    """Return the decompressed size of a file, read to the check sum at its end, where nibabel does not read."""
    size = 0
    with gzip.open(path) as stream:
        while part := stream.read(1 << 20):
            size += len(part)
    return size


def _grid(image: Any, path: Path, geometry: Geometry) -> Grid:
    unit = image.header.get_xyzt_units()[0]
    if unit not in ("mm", "unknown"):
        raise GeometryError(
            "lengths in the header are millimetres", found=unit, remedy="export the file again with millimetres"
        )
    x, y, z = image.shape[:3]
    header = image.header.copy()
    header.set_data_shape((x, y, z))
    return Grid((x, y, z), _trusted_affine(image, path, geometry), header)


def _trusted_affine(image: Any, path: Path, geometry: Geometry) -> Affine:
    """Return the affine; if qform and sform are both set and differ, only an explicit choice selects one."""
    try:
        qform, qcode = image.get_qform(coded=True)
    except ValueError as error:
        raise unreadable_file_error(path, error) from error
    sform, scode = image.get_sform(coded=True)
    affine = np.asarray(image.affine, dtype=np.float64)
    if qcode > 0 and scode > 0:
        distance = corner_distance_mm(np.asarray(qform), np.asarray(sform), image.shape[:3])
        if distance > CORNER_TOLERANCE_MM and geometry is None:
            raise GeometryError(
                "the header's qform and sform agree (corners within 0.1 mm)",
                found=f"corners {distance:.2f} mm apart; voxel sizes {_sizes(qform)} (qform), {_sizes(sform)} (sform)",
                remedy="choose one with geometry=sform or geometry=qform (of a study: study.geometry=)",
            )
        affine = np.asarray(qform if geometry == "qform" else sform, dtype=np.float64)
    check_affine(affine)
    return affine


def _sizes(affine: Any) -> str:
    return " x ".join(f"{size:.3g}" for size in np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)) + " mm"
