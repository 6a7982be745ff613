"""NIfTI files, read and written by nibabel; the two transforms of a header (qform, sform) have to agree.

A fourth dimension of one time point is dropped: such a file is read as a volume (x, y, z), and output on its grid has
three dimensions.
"""

import gzip
import math
from pathlib import Path
from typing import Any, Literal, TypeAlias

import nibabel as nib
import numpy as np
from numpy.typing import DTypeLike, NDArray

from nerveseg.data.volumes.grids import CORNER_TOLERANCE_MM, Grid, check_affine, check_spacing, corner_distance_mm
from nerveseg.data.volumes.guard import (
    DEFLATE_LIMIT,
    atomic_volume_write,
    check_regular_file,
    check_size,
    unpacked_bytes,
    unreadable_file_error,
)
from nerveseg.errors import GeometryError, VolumeError
from nerveseg.types import Affine

NIFTI_SUFFIXES = (".nii", ".nii.gz")
Geometry: TypeAlias = Literal["sform", "qform"] | None
UNITS = {0: "unknown", 1: "meter", 2: "mm", 3: "micron"}  # units of length by code (nifti1.h)

GEOMETRY_FIELDS = (
    "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
    "srow_x", "srow_y", "srow_z",
)  # fmt: skip

ORDERS: tuple[Literal["little", "big"], ...] = ("little", "big")
MARGIN_BYTES = 1 << 20  # number of bytes after the voxels that are decompressed to reach the check sum

FAST = 1  # level of compression, as nibabel's; name and time are left out, so that equal masks are equal files


def read_nifti(path: Path, geometry: Geometry) -> tuple[NDArray[Any], Grid]:
    """Read voxels, in the file's own order (scaled, in their own type), and grid; raise as `read_nifti_grid`."""
    image = _load(path)
    if _is_compressed(path):
        most = image.dataobj.offset + math.prod(image.shape) * image.dataobj.dtype.itemsize + MARGIN_BYTES
        with path.open("rb") as file:  # to the check sum at the end, which nibabel does not read
            _check_size(image, path, unpacked_bytes(file, most))
    array = np.asanyarray(image.dataobj).reshape(image.shape[:3])
    if array.dtype.kind not in "buif":
        remedy = "export magnitude images, not colour or complex ones"
        raise VolumeError("voxels are plain numbers", found=f"data type {array.dtype}", remedy=remedy)
    return array, _grid(image, geometry)


def read_nifti_grid(path: Path, geometry: Geometry) -> Grid:
    """Read the grid from the header alone.

    Raises:
        VolumeError: The file is no NIfTI, truncated, not 3-D, or its voxels are no plain numbers.
        GeometryError: qform and sform differ, the unit is not millimetres, or the affine is singular.
    """
    return _grid(_load(path), geometry)


def write_nifti(path: Path, array: NDArray[Any], header: Any, description: str) -> None:
    """Write an array with geometry and units of a header, and none of its other fields, and a description (79 bytes).

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
    """Return a new header with the shape, the transforms and the unit of length of a header."""
    written = type(header)()
    written.set_data_shape(header.get_data_shape())
    written.set_data_dtype(dtype)
    for field in GEOMETRY_FIELDS:
        written[field] = header[field]
    written["pixdim"][:4] = header["pixdim"][:4]
    written["xyzt_units"] = int(header["xyzt_units"]) & 7
    written.set_slope_inter(1, 0)
    written["descrip"] = description.encode()[:79]
    return written


def _load(path: Path) -> Any:
    """Open a NIfTI file and check its header; voxels are read on access."""
    check_regular_file(path)
    with gzip.open(path) if _is_compressed(path) else path.open("rb") as file:
        block = file.read(nib.Nifti2Header.sizeof_hdr)
    sizes = [int.from_bytes(block[:4], order) for order in ORDERS]
    kind = next((kind for kind in (nib.Nifti1Image, nib.Nifti2Image) if kind.header_class.sizeof_hdr in sizes), None)
    if kind is None:
        raise unreadable_file_error(path, "no header of a NIfTI")
    _check_raw(kind.header_class(block[: kind.header_class.sizeof_hdr], check=False))
    image: Any = kind.from_filename(path)
    if len(image.shape) < 3 or min(image.shape) < 1 or max(image.shape[3:], default=1) > 1:
        rule, found = "a volume has three dimensions, none of them empty", f"shape {image.shape}"
        raise VolumeError(rule, found=found, remedy="split time points or channels into files of their own")
    _check_size(image, path, path.stat().st_size * (DEFLATE_LIMIT if _is_compressed(path) else 1))
    return image


def _check_raw(header: Any) -> None:
    """Check dimensions and spacing of a header as it stands in the file: nibabel replaces a spacing of 0 by 1 mm."""
    dimensions = int(header["dim"][0])
    if not 1 <= dimensions <= 7:
        rule = "a volume has three dimensions, none of them empty"
        raise VolumeError(rule, found=f"{dimensions} dimensions", remedy="export the file again")
    check_spacing(map(float, header["pixdim"][1:4]))


def _check_size(image: Any, path: Path, held_bytes: int) -> None:
    voxels = image.dataobj
    check_size(path, image.shape, 8 * voxels.dtype.itemsize, held_bytes, header_bytes=voxels.offset)


def _is_compressed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _grid(image: Any, geometry: Geometry) -> Grid:
    code = int(image.header["xyzt_units"]) & 7
    unit = UNITS.get(code, f"a unit of code {code}")
    if unit not in ("mm", "unknown"):
        remedy = "export the file again with millimetres"
        raise GeometryError("lengths in the header are millimetres", found=unit, remedy=remedy)
    x, y, z = image.shape[:3]
    header = image.header.copy()
    header.set_data_shape((x, y, z))
    return Grid((x, y, z), _trusted_affine(image, geometry), header)


def _trusted_affine(image: Any, geometry: Geometry) -> Affine:
    """Return the affine; if qform and sform are both set and differ, only an explicit choice selects one."""
    qform, qcode = image.get_qform(coded=True)
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
    check_affine(affine, image.shape[:3])
    return affine


def _sizes(affine: Any) -> str:
    return " x ".join(f"{size:.3g}" for size in np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)) + " mm"
