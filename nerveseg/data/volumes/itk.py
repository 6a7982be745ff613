"""MetaImage and NRRD files, read and written by SimpleITK.

ITK's axes point to the left and to posterior, NIfTI's to the right and to anterior; `ItkFrame` keeps the file's own
values, so that a mask is written with the same digits.
"""

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from nerveseg.data.volumes.grids import Grid, ItkFrame, check_affine
from nerveseg.errors import VolumeError
from nerveseg.files import DEFLATE_LIMIT, atomic_volume_write, check_exists, check_file_size, unreadable_file_error

ITK_SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")
WRITTEN_ITK_SUFFIXES = (".mha", ".nrrd")
"""Formats of one file, which can be written atomically."""

HEADER_BYTES = 1 << 16
DATA_FILE = ("elementdatafile", "data file", "datafile")


def read_itk(path: Path) -> tuple[NDArray[Any], Grid]:
    """Read voxels, in the file's own order (x, y, z as ITK counts), and grid.

    Raises:
        VolumeError: The file is no MetaImage or NRRD, truncated, in colour, or not 3-D.
        GeometryError: The directions are singular.
    """
    reader = _open(path)
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise unreadable_file_error(path, error) from error
    return SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0), _grid(reader)


def read_itk_grid(path: Path) -> Grid:
    """Read the grid from the header alone; raise what `read_itk` raises about it."""
    return _grid(_open(path))


def write_itk(path: Path, array: NDArray[Any], frame: ItkFrame, description: str) -> None:
    """Write an array, in the order of the frame's axes, to one compressed file, `.mha` or `.nrrd`.

    Raises:
        VolumeError: The file cannot be written, or its format takes two files.
    """
    if not path.name.lower().endswith(WRITTEN_ITK_SUFFIXES):
        raise VolumeError(
            "a volume is written to .nii, .nii.gz, .mha or .nrrd",
            found=path.name,
            path=path,
            remedy="name the output with one of these suffixes",
        )
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetSpacing(frame.spacing_mm)
    image.SetOrigin(frame.origin_mm)
    image.SetDirection(frame.direction)
    if description:
        image.SetMetaData("description", description)
    with atomic_volume_write(path) as temporary:
        SimpleITK.WriteImage(image, str(temporary), useCompression=True)


def _open(path: Path) -> Any:
    """Return a reader that has read the header, after checking it."""
    check_exists(path)
    fields, header_bytes = _header_fields(path)
    is_metaimage = _is_metaimage(path)
    if ("ndims" if is_metaimage else "dimension") not in fields:  # ITK's readers would print a warning first
        raise unreadable_file_error(path, "no header of a MetaImage" if is_metaimage else "no header of an NRRD")
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("MetaImageIO" if is_metaimage else "NrrdImageIO")
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise unreadable_file_error(path, error) from error
    _check_kind(reader)
    _check_size(reader, path, fields, header_bytes)
    return reader


def _check_kind(reader: Any) -> None:
    pixel = SimpleITK.GetPixelIDValueAsString(reader.GetPixelID())
    if reader.GetNumberOfComponents() != 1 or "complex" in pixel:
        raise VolumeError(
            "voxels are plain numbers",
            found=f"{pixel}, {reader.GetNumberOfComponents()} numbers in each voxel",
            remedy="export magnitude images, not colour or complex ones",
        )
    if reader.GetDimension() != 3 or min(reader.GetSize()) < 1:
        raise VolumeError(
            "a volume has three dimensions, none of them empty",
            found=f"shape {reader.GetSize()}",
            remedy="split time points or channels into files of their own; a 2-D image is no volume",
        )


def _grid(reader: Any) -> Grid:
    x, y, z = reader.GetSize()
    frame = ItkFrame(reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection())
    check_affine(frame.affine)
    return Grid.without_header((x, y, z), frame.affine, frame)


def _check_size(reader: Any, path: Path, fields: dict[str, str], header_bytes: int) -> None:
    """Compare the header's shape with the size of the data; as text, a number takes at least one byte."""
    data = _data_file(fields, path)
    packed_bytes = data.stat().st_size - (header_bytes if data == path else 0)
    promised = fields.get("compresseddatasize", "")
    encoding = fields.get("encoding", "raw").lower()
    is_compressed = fields.get("compresseddata", "").lower() == "true" or encoding.startswith(("gz", "bz"))
    is_text = fields.get("binarydata", "").lower() == "false" or encoding in ("txt", "text", "ascii", "hex")
    if is_compressed and promised.isdecimal() and packed_bytes < int(promised):
        raise unreadable_file_error(path, f"{packed_bytes:,} of {int(promised):,} bytes of compressed data")
    bytes_per_voxel = 1 if is_text else int(SimpleITK.Image(1, 1, 1, reader.GetPixelID()).GetSizeOfPixelComponent())
    held_bytes = packed_bytes * (DEFLATE_LIMIT if is_compressed else 1)
    check_file_size(path, reader.GetSize(), 8 * bytes_per_voxel, held_bytes)


def _header_fields(path: Path) -> tuple[dict[str, str], int]:
    """Read names and values of a header (text, up to the voxels), and its size in bytes."""
    separator = "=" if _is_metaimage(path) else ":"
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while file.tell() < HEADER_BYTES and (line := file.readline(HEADER_BYTES)):
            name, _, value = line.decode("latin-1").partition(separator)
            fields[name.strip().lower()] = value.strip()
            if not line.strip() or name.strip().lower() == "elementdatafile":
                break
        return fields, file.tell()


def _is_metaimage(path: Path) -> bool:
    return path.suffix.lower() in (".mha", ".mhd")


def _data_file(fields: dict[str, str], path: Path) -> Path:
    """Return the file with the voxels: the file itself, or the one that a detached header names."""
    name = next((fields[field] for field in DATA_FILE if field in fields), "LOCAL")
    if name.upper() == "LOCAL":
        return path
    if name.upper().startswith("LIST") or "%" in name:
        raise VolumeError(
            "the voxels of a header lie in one file", found=name, remedy="save the volume as .nrrd or .mha"
        )
    data = path.parent / name
    if not data.is_file():
        raise unreadable_file_error(path, f"no file {name}, in which its voxels should lie")
    return data
