"""Headers of MetaImage and NRRD files as text, checked before ITK parses them.

ITK replaces a missing, zero or negative spacing by one of its own, and its readers write beyond their buffers where a
header names more dimensions, or longer values, than these hold.
"""

import math
import re
from pathlib import Path

from nerveseg.data.volumes.grids import check_spacing
from nerveseg.data.volumes.guard import unreadable_file_error
from nerveseg.errors import GeometryError, VolumeError

HEADER_BYTES = 1 << 20
METAIMAGE_CHARACTERS, NRRD_CHARACTERS = 250, 500
"""Largest length of a value: ITK copies values, and errors about them, into buffers of 255 and of 512 bytes."""

DATA_FILE = ("elementdatafile", "data file", "datafile")
MOST_DIMENSIONS = 4
"""Largest number of dimensions that ITK may see: those of a volume, and layers, channels or time points."""


def is_metaimage(path: Path) -> bool:
    """Return true for a MetaImage, false for an NRRD, by the suffix."""
    return path.suffix.lower() in (".mha", ".mhd")


def header_fields(path: Path) -> tuple[dict[str, str], int]:
    """Read names, in lower case, and values of a header (text, up to the voxels), and its size in bytes.

    Raises:
        VolumeError: The file has no such header, or a field twice, or names another number of dimensions.
        GeometryError: The spacing is missing or not positive, or its unit is not millimetres.
    """
    fields: dict[str, str] = {}
    most = METAIMAGE_CHARACTERS if is_metaimage(path) else NRRD_CHARACTERS
    with path.open("rb") as file:
        while file.tell() < HEADER_BYTES and (line := file.readline(HEADER_BYTES)):
            text = line.decode("latin-1").strip()
            name, _, value = re.sub(":=", ":", text, count=1).partition("=" if is_metaimage(path) else ":")
            name = name.strip().lower()
            if len(value) > most and ":=" not in text and not text.startswith("#"):
                raise unreadable_file_error(path, f"a value of {len(value)} characters")
            if name in fields and text and not text.startswith("#"):
                raise unreadable_file_error(path, f"the field {name} twice")
            fields[name] = value.strip()
            if name == DATA_FILE[0] or not (text or is_metaimage(path)):
                break
        header_bytes = file.tell()
    _check(path, fields)
    return fields, header_bytes


def _check(path: Path, fields: dict[str, str]) -> None:
    dimensions = fields.get("ndims" if is_metaimage(path) else "dimension")
    if dimensions is None or (is_metaimage(path) and DATA_FILE[0] not in fields):
        raise unreadable_file_error(path, "no header of a MetaImage" if is_metaimage(path) else "no header of an NRRD")
    if dimensions not in map(str, range(1, MOST_DIMENSIONS + 1)):
        rule = "a volume has three dimensions, none of them empty"
        remedy = "split time points or channels into files of their own; a 2-D image is no volume"
        raise VolumeError(rule, found=f"{dimensions[:40]} dimensions", remedy=remedy)
    if dimensions >= "3":
        check_spacing((_metaimage_spacing if is_metaimage(path) else _nrrd_spacing)(fields))
    units = set(re.findall(r'"(.*?)"', fields.get("space units", ""))) - {"mm", "millimeter", "millimeters", ""}
    if units:
        rule = "lengths in the header are millimetres"
        raise GeometryError(rule, found=", ".join(sorted(units)), remedy="export the file again with millimetres")


def _metaimage_spacing(fields: dict[str, str]) -> list[float]:
    return _numbers(fields.get("elementspacing") or fields.get("elementsize") or "")


def _nrrd_spacing(fields: dict[str, str]) -> list[float]:
    """Return the lengths of the space directions, or the spacings; an axis without one counts as not spatial."""
    if "space directions" not in fields:
        return [value for value in _numbers(fields.get("spacings", "")) if not math.isnan(value)]
    return [math.hypot(*_numbers(vector)) for vector in re.findall(r"\((.*?)\)", fields["space directions"])]


def _numbers(text: str) -> list[float]:
    return [float(word) for word in text.replace(",", " ").split()]
