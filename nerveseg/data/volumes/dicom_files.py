"""Header and pixels of one DICOM file, read by SimpleITK (GDCM).

Names, ids and dates of the patient are not read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from nerveseg.data.volumes.dicom_nesting import MAGIC, PREAMBLE_BYTES, check_nesting
from nerveseg.data.volumes.guard import (
    DEFLATE_LIMIT,
    check_regular_file,
    check_size,
    library_errors,
    unreadable_file_error,
)
from nerveseg.errors import VolumeError, errors_about

FIRST_GROUP_BYTES = 1024  # bytes from the start of a file that hold the preamble and the first group of elements

STORAGE_CLASS_ELEMENT = b"\x02\x00\x02\x00UI"
TRANSFER_SYNTAX_ELEMENT = b"\x02\x00\x10\x00UI"  # elements of the first group, which is always explicit little endian

UNIT_TOLERANCE = 0.02
"""Largest difference of products of two directions from those of unit vectors at right angles, by rounding."""

UNCOMPRESSED = ("", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")

STORAGE = "1.2.840.10008.5.1.4.1.1"
IMAGE_CLASSES = (f"{STORAGE}.2", f"{STORAGE}.4", f"{STORAGE}.7", f"{STORAGE}.128")
"""CT, MR, secondary capture and PET; the UIDs of their multi-frame variants are one number longer."""

ENHANCED_CLASSES = (f"{STORAGE}.2.1", f"{STORAGE}.2.2", f"{STORAGE}.4.1", f"{STORAGE}.4.4", f"{STORAGE}.128.1")
"""Enhanced classes: each file holds stacks of frames, with positions in functional groups."""

NO_SCANS = ("1.2.840.10008.1.3.10", *(f"{STORAGE}.{number}" for number in ("66", "4.2", "11", "88", "104")))
"""Directories of a disk (DICOMDIR), raw data with registrations and segmentations, spectra, presentation states,
reports and documents: no images."""


@dataclass(frozen=True)
class DicomSlice:
    """Header of one file of a series."""

    path: Path  # path of the file
    series_uid: str  # series Instance UID
    series_number: int | None  # number of the series on the scanner; None if missing
    instance_uid: str  # SOP Instance UID
    instance_number: int  # number of the slice on the scanner; independent of its position
    size: tuple[int, int]  # number of columns and rows
    frames: int  # number of frames; 1 except in multi-frame files
    is_enhanced: bool  # flag of an Enhanced class, with one frame or more
    samples: int  # numbers per pixel: 1, or 3 in colour
    placed: bool  # flag of a header with a position, two directions and a pixel spacing above zero
    position_mm: NDArray[Any]  # centre of the first pixel in mm, left-posterior-superior
    # Unit vectors along a row, along a column and normal to the slice, as the columns of a matrix.
    direction: NDArray[Any]
    spacing_mm: NDArray[Any]  # distance between columns and between rows, in mm
    # Values that distinguish images at one position (image type, echo time, time point), by name.
    contrast: dict[str, str]
    frame: int = 0  # index of the frame in an Enhanced file
    stack: str = ""  # name of the stack in an Enhanced file; empty in others
    rescaling: tuple[float, float] = (1.0, 0.0)  # factor and offset of the pixels that ITK reads

    @property
    def is_mosaic(self) -> bool:
        """Flag of a picture that holds all slices side by side."""
        return "MOSAIC" in self.contrast["image type"].upper()


def is_dicom(path: Path) -> bool:
    """Return true for a DICOM file, by its first bytes (old files may lack the preamble).

    Raises:
        VolumeError: The file is not readable.
    """
    return has_dicom_start(_first_bytes(path))


def may_be_image(path: Path) -> bool:
    """Return true for a DICOM file unless its first group says that it holds no image; raise as `is_dicom`."""
    start = _first_bytes(path)
    return has_dicom_start(start) and not _belongs(_first_group_uid(start, STORAGE_CLASS_ELEMENT), NO_SCANS)


def read_slice(path: Path) -> DicomSlice | None:
    """Read a file's header; return None for a file that is no DICOM image (text, DICOMDIR, reports, segmentations).

    Raises:
        VolumeError: The image is truncated or damaged, or the file is not readable.
    """
    start = _first_bytes(path)
    storage_class = _first_group_uid(start, STORAGE_CLASS_ELEMENT)
    if not has_dicom_start(start) or _belongs(storage_class, NO_SCANS):
        return None
    with errors_about(path):
        check_nesting(path)
    reader = _reader(path)
    try:
        with library_errors(path):
            reader.ReadImageInformation()
    except VolumeError as error:
        if _belongs(storage_class, IMAGE_CLASSES):
            raise unreadable_file_error(path, "a DICOM image that ends early or is damaged") from error
        return None
    with library_errors(path):
        one = _slice(reader, path)
        slope = _text(reader, "0028|1053")
        if slope and (float(slope) == 0 or not np.isfinite(float(slope))):  # GDCM would take 1 instead
            raise ValueError(f"RescaleSlope {slope}")
        is_compressed = _first_group_uid(start, TRANSFER_SYNTAX_ELEMENT) not in UNCOMPRESSED
        held_bytes = path.stat().st_size * (DEFLATE_LIMIT if is_compressed else 1)
        check_size(path, reader.GetSize(), (_integer(reader, "0028|0100") or 8) * one.samples, held_bytes)
        return one


def read_pixels(path: Path) -> NDArray[Any]:
    """Read the pixels of a file as (frame, row, column), with its (first) rescale slope and intercept applied.

    Raises:
        VolumeError: The file is damaged.
    """
    with library_errors(path):
        pixels: NDArray[Any] = SimpleITK.GetArrayFromImage(_reader(path).Execute())
        return pixels


def _reader(path: Path) -> Any:
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    return reader


def _slice(reader: Any, path: Path) -> DicomSlice:
    columns, rows = reader.GetSize()[:2]
    return DicomSlice(
        path=path,
        series_uid=_text(reader, "0020|000e"),
        series_number=_integer(reader, "0020|0011"),
        instance_uid=_text(reader, "0008|0018"),
        instance_number=_integer(reader, "0020|0013") or 0,
        size=(columns, rows),
        frames=_integer(reader, "0028|0008") or 1,
        is_enhanced=_belongs(_text(reader, "0008|0016"), ENHANCED_CLASSES),
        samples=_integer(reader, "0028|0002") or 1,
        placed=is_placed(*(_text(reader, key).split("\\") for key in ("0020|0032", "0020|0037", "0028|0030"))),
        position_mm=np.array(reader.GetOrigin()[:3]),
        direction=np.reshape(reader.GetDirection(), (-1, len(reader.GetSize())))[:3, :3],
        spacing_mm=np.array(reader.GetSpacing()[:2]),
        contrast={
            "image type": _text(reader, "0008|0008"),
            "echo time": _text(reader, "0018|0081"),
            "inversion time": _text(reader, "0018|0082"),
            "b value": _text(reader, "0018|9087"),
            "time point": _text(reader, "0020|0100"),
            "trigger time": _text(reader, "0018|1060"),
            "acquisition": _text(reader, "0020|0012"),
        },
    )


def is_placed(position: Sequence[Any], orientation: Sequence[Any], spacing: Sequence[Any]) -> bool:
    """Return true for the numbers of a position, of two unit vectors at right angles and of a pixel spacing above zero.

    ITK replaces a spacing of zero or a direction that is none, and takes a negative spacing for a mirrored picture.
    """
    try:
        numbers = np.array([float(value) for value in (*position, *orientation, *spacing)])
    except (TypeError, ValueError):
        return False
    if len(numbers) != 11 or not np.isfinite(numbers).all():
        return False
    axes = numbers[3:9].reshape(2, 3)
    return bool(np.allclose(axes @ axes.T, np.eye(2), rtol=0, atol=UNIT_TOLERANCE) and (numbers[9:] > 0).all())


def _text(reader: Any, key: str) -> str:
    """Return a header's value without padding; bytes that are not UTF-8 are read as Latin-1, common in Europe."""
    if not reader.HasMetaDataKey(key):
        return ""
    value: str = reader.GetMetaData(key)
    raw = value.encode("utf-8", "surrogateescape")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return "".join(letter for letter in text if letter.isprintable()).strip()


def _integer(reader: Any, key: str) -> int | None:
    text = _text(reader, key)
    return int(text) if text.lstrip("+-").isdecimal() else None


def _belongs(storage_class: str, classes: tuple[str, ...]) -> bool:
    return any(f"{storage_class}.".startswith(f"{name}.") for name in classes)


def _first_bytes(path: Path) -> bytes:
    check_regular_file(path)
    with path.open("rb") as file:
        return file.read(FIRST_GROUP_BYTES)


def has_dicom_start(start: bytes) -> bool:
    """Return true for the bytes of a file with preamble, or without one: group 0002 with its explicit VR, or 0008."""
    has_meta = start.startswith(b"\x02\x00") and start[4:6].isalpha() and start[4:6].isupper()
    return start[PREAMBLE_BYTES:].startswith(MAGIC) or has_meta or start.startswith(b"\x08\x00")


def _first_group_uid(start: bytes, element: bytes) -> str:
    _, found, rest = start.partition(element)
    length = int.from_bytes(rest[:2], "little") if found else 0
    return rest[2 : 2 + length].rstrip(b"\0 ").decode("ascii", "replace")
