"""MetaImage and NRRD files, read and written by SimpleITK; a mask is written with the digits of its image's frame."""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from nerveseg.data.volumes.grids import Grid, ItkFrame, check_affine
from nerveseg.data.volumes.guard import (
    DEFLATE_LIMIT,
    atomic_volume_write,
    check_regular_file,
    check_size,
    unpacked_bytes,
    unreadable_file_error,
)
from nerveseg.data.volumes.itk_header import DATA_FILE, header_fields, is_metaimage
from nerveseg.errors import VolumeError

ITK_SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")
WRITTEN_ITK_SUFFIXES = (".mha", ".nrrd")  # formats of one file, which can be written atomically
TRUE = ("T", "t", "1")  # first letters of what MetaImage takes for true


def read_itk(path: Path, *, layered: bool = False) -> tuple[NDArray[Any], Grid]:
    """Read voxels, in the file's own order (x, y, z as ITK counts; if `layered`, x, y, z, layer), and grid.

    Raises:
        VolumeError: The file is no MetaImage or NRRD, truncated, in colour, or not 3-D.
        GeometryError: The directions are singular.
    """
    reader = _open(path, to_the_end=True, layered=layered)
    array = SimpleITK.GetArrayFromImage(reader.Execute())
    if layered:
        return array.reshape(*array.shape[:3], -1).transpose(2, 1, 0, 3), _grid(reader)
    return array.transpose(2, 1, 0), _grid(reader)


def read_itk_grid(path: Path) -> Grid:
    """Read the grid from the header alone; raise what `read_itk` raises about it."""
    return _grid(_open(path))


def write_itk(path: Path, array: NDArray[Any], frame: ItkFrame, description: str) -> None:
    """Write an array, in the order of the frame's axes, to one compressed file, `.mha` or `.nrrd`.

    Raises:
        VolumeError: The file cannot be written, or its format takes two files.
    """
    if not path.name.lower().endswith(WRITTEN_ITK_SUFFIXES):
        rule = "a volume is written to .nii, .nii.gz, .mha or .nrrd"
        raise VolumeError(rule, found=path.name, path=path, remedy="name the output with one of these suffixes")
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetSpacing(frame.spacing_mm)
    image.SetOrigin(frame.origin_mm)
    image.SetDirection(frame.direction)
    if description:
        image.SetMetaData("description", description)
    with atomic_volume_write(path) as temporary:
        SimpleITK.WriteImage(image, str(temporary), useCompression=True)


def _open(path: Path, *, to_the_end: bool = False, layered: bool = False) -> Any:
    """Return a reader that has read the header, after checking it, and with `to_the_end` the size of the voxels."""
    check_regular_file(path)
    fields, header_bytes = header_fields(path)
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("MetaImageIO" if is_metaimage(path) else "NrrdImageIO")
    reader.ReadImageInformation()
    _check_kind(reader, layered)
    _check_size(reader, path, fields, header_bytes, to_the_end)
    return reader


def _check_kind(reader: Any, layered: bool) -> None:
    pixel = SimpleITK.GetPixelIDValueAsString(reader.GetPixelID())
    if (reader.GetNumberOfComponents() != 1 and not layered) or "complex" in pixel:
        rule, found = "voxels are plain numbers", f"{pixel}, {reader.GetNumberOfComponents()} numbers in each voxel"
        raise VolumeError(rule, found=found, remedy="export magnitude images, not colour or complex ones")
    if reader.GetDimension() != 3 or min(reader.GetSize()) < 1:
        rule = "a volume has three dimensions, none of them empty"
        remedy = "split time points or channels into files of their own; a 2-D image is no volume"
        raise VolumeError(rule, found=f"shape {reader.GetSize()}", remedy=remedy)


def _grid(reader: Any) -> Grid:
    x, y, z = reader.GetSize()
    frame = ItkFrame(reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection())
    check_affine(frame.affine, (x, y, z))
    return Grid.without_header((x, y, z), frame.affine, frame)


def _check_size(reader: Any, path: Path, fields: dict[str, str], header_bytes: int, to_the_end: bool) -> None:
    """Compare the header's shape with the size of the data; MetaImage reads zeros where they are too short."""
    data = _data_file(fields, path)
    start = (header_bytes if data == path else 0) + max(0, _number(fields, "headersize"), _number(fields, "byte skip"))
    packed_bytes = data.stat().st_size - start
    encoding = fields.get("encoding", "raw").lower()
    is_deflated = fields.get("compresseddata", "").startswith(TRUE) or encoding.startswith("gz")
    is_text = not fields.get("binarydata", "True").startswith(TRUE) or encoding in ("txt", "text", "ascii")
    # without a size, ITK's MetaImage reader takes the compressed bytes for voxels
    promised = _number(fields, "compresseddatasize") if "compresseddata" in fields else packed_bytes
    if is_deflated and not 0 < promised <= packed_bytes:
        raise unreadable_file_error(path, f"{packed_bytes:,} of {promised:,} bytes of compressed data")
    bits = 8 * int(SimpleITK.Image(1, 1, 1, reader.GetPixelID()).GetSizeOfPixelComponent())
    layers = reader.GetNumberOfComponents()
    shape, held_bytes = reader.GetSize() + ((layers,) if layers > 1 else ()), packed_bytes
    if is_text or encoding == "hex":
        held_bytes = packed_bytes * bits // 8  # a number takes at least one character
    elif is_deflated or encoding.startswith("bz"):
        held_bytes = packed_bytes * DEFLATE_LIMIT
    check_size(path, shape, bits, held_bytes)
    if not to_the_end:
        return
    with data.open("rb") as file:
        file.seek(start)
        if is_text:
            check_size(path, shape, bits, len(file.read().split()) * bits // 8)
        elif is_deflated:
            part = io.BytesIO(file.read(promised))
            check_size(path, shape, bits, unpacked_bytes(part, math.prod(shape) * bits // 8))


def _number(fields: dict[str, str], name: str) -> int:
    """Return a whole number of the header, 0 if it is missing."""
    return int(fields.get(name) or 0)


def _data_file(fields: dict[str, str], path: Path) -> Path:
    """Return the file with the voxels: the file itself, or the one that a detached header names."""
    name = next((fields[field] for field in DATA_FILE if field in fields), "LOCAL")
    if name.upper() == "LOCAL":
        return path
    if name.upper().startswith("LIST") or "%" in name:
        remedy = "save the volume as .nrrd or .mha"
        raise VolumeError("the voxels of a header lie in one file", found=name, remedy=remedy)
    data = path.parent / name
    if not data.is_file() or data.samefile(path):
        raise unreadable_file_error(path, f"no file {name}, in which its voxels should lie")
    return data
