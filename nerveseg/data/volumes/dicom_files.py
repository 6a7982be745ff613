"""One DICOM file: what its header says of the slice in it, read by SimpleITK (GDCM) without other packages.

Names, ids and dates of the person are never looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from nerveseg.files import DEFLATE_LIMIT, check_exists, check_file_size, unreadable_file_error, voxel_count

PREAMBLE_BYTES = 128
MAGIC = b"DICM"
FIRST_GROUP_BYTES = 1024
STORAGE_CLASS_ELEMENT = b"\x02\x00\x02\x00UI"
TRANSFER_SYNTAX_ELEMENT = b"\x02\x00\x10\x00UI"
"""In the file's first group, which is always explicit little endian."""

UNCOMPRESSED = ("", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")

STORAGE = "1.2.840.10008.5.1.4.1.1"
IMAGE_CLASSES = (f"{STORAGE}.2", f"{STORAGE}.4", f"{STORAGE}.7", f"{STORAGE}.128")
"""CT, MR, secondary capture and PET; their multi-frame kinds have one number more."""

ENHANCED_CLASSES = (f"{STORAGE}.2.1", f"{STORAGE}.2.2", f"{STORAGE}.4.1", f"{STORAGE}.4.4", f"{STORAGE}.128.1")
"""Each file holds a whole stack, and says in other words where the slices lie."""

NO_SCANS = ("1.2.840.10008.1.3.10", f"{STORAGE}.66", f"{STORAGE}.4.2")
"""Directories of a disk (DICOMDIR), raw data with registrations and segmentations, spectra."""


@dataclass(frozen=True)
class DicomSlice:
    """One file of a series.

    Attributes:
        path: The file.
        series_uid: Series Instance UID.
        series_number: As the scanner counts, where it does.
        series_description: In words.
        instance_uid: SOP Instance UID.
        instance_number: Place in the series as the scanner counts; says nothing of where the slice lies.
        size: Columns and rows.
        frames: 1, but in multi-frame files.
        is_enhanced: Whether it is of a multi-frame kind, with one frame or more.
        samples: Numbers for each pixel: 1, or 3 in colour.
        placed: Whether the header says where the slice lies and how large its pixels are.
        position_mm: Centre of the first pixel, left-posterior-superior.
        direction: Unit vectors along a row, along a column and normal to the slice, as the columns of a matrix.
        spacing_mm: Between columns and between rows.
        kind: What tells apart images at one position (image type, echo time, time point).
    """

    path: Path
    series_uid: str
    series_number: int | None
    series_description: str
    instance_uid: str
    instance_number: int
    size: tuple[int, int]
    frames: int
    is_enhanced: bool
    samples: int
    placed: bool
    position_mm: NDArray[Any]
    direction: NDArray[Any]
    spacing_mm: NDArray[Any]
    kind: dict[str, str]

    @property
    def is_mosaic(self) -> bool:
        """Whether one picture holds all slices side by side."""
        return "MOSAIC" in self.kind["image type"].upper()


def is_dicom(path: Path, subject: str | None = None) -> bool:
    """Whether a file is DICOM, from its first bytes (old files may lack the preamble).

    Raises:
        VolumeError: The file may not be read.
    """
    check_exists(path, subject)
    with path.open("rb") as file:
        start = file.read(PREAMBLE_BYTES + len(MAGIC))
    return start[PREAMBLE_BYTES:] == MAGIC or start.startswith(b"\x08\x00")


def read_slice(path: Path, subject: str | None = None) -> DicomSlice | None:
    """What a file's header says; None where the file is no DICOM image (text, DICOMDIR, reports, segmentations).

    Raises:
        VolumeError: A truncated or damaged image, or a file that may not be read.
    """
    if not is_dicom(path, subject):
        return None
    storage_class = _first_group_uid(path, STORAGE_CLASS_ELEMENT)
    if _belongs(storage_class, NO_SCANS):
        return None
    reader = _reader(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        if _belongs(storage_class, IMAGE_CLASSES):
            raise unreadable_file_error(path, subject, "a DICOM image that ends early or is damaged") from error
        return None
    _check_size(reader, path, subject)
    return _slice(reader, path)


def read_pixels(path: Path, subject: str | None = None) -> NDArray[Any]:
    """Pixels of one slice as (row, column), with the file's rescale slope and intercept applied.

    Raises:
        VolumeError: The file is damaged.
    """
    try:
        pixels: NDArray[Any] = SimpleITK.GetArrayFromImage(_reader(path).Execute())[0]
    except RuntimeError as error:
        raise unreadable_file_error(path, subject, error) from error
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
        series_description=_text(reader, "0008|103e"),
        instance_uid=_text(reader, "0008|0018"),
        instance_number=_integer(reader, "0020|0013") or 0,
        size=(columns, rows),
        frames=_integer(reader, "0028|0008") or 1,
        is_enhanced=_belongs(_text(reader, "0008|0016"), ENHANCED_CLASSES),
        samples=_integer(reader, "0028|0002") or 1,
        placed=all(_text(reader, key) for key in ("0020|0032", "0020|0037", "0028|0030")),
        position_mm=np.array(reader.GetOrigin()[:3]),
        direction=np.reshape(reader.GetDirection(), (-1, len(reader.GetSize())))[:3, :3],
        spacing_mm=np.array(reader.GetSpacing()[:2]),
        kind={
            "image type": _text(reader, "0008|0008"),
            "echo time": _text(reader, "0018|0081"),
            "inversion time": _text(reader, "0018|0082"),
            "b value": _text(reader, "0018|9087"),
            "time point": _text(reader, "0020|0100"),
            "trigger time": _text(reader, "0018|1060"),
            "acquisition": _text(reader, "0020|0012"),
        },
    )


def _text(reader: Any, key: str) -> str:
    """A header's value without padding; bytes that are no UTF-8 are Latin-1, as in most of Europe's scanners."""
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


def _check_size(reader: Any, path: Path, subject: str | None) -> None:
    """Compare rows and columns with the file's size; compressed pixels hardly shrink more than by deflate's limit."""
    bits = _integer(reader, "0028|0100") or 8
    samples = _integer(reader, "0028|0002") or 1
    is_compressed = _first_group_uid(path, TRANSFER_SYNTAX_ELEMENT) not in UNCOMPRESSED
    held = path.stat().st_size * (DEFLATE_LIMIT if is_compressed else 1)
    check_file_size(path, subject, reader.GetSize(), voxel_count(reader.GetSize()) * samples * bits // 8, held)


def _first_group_uid(path: Path, element: bytes) -> str:
    with path.open("rb") as file:
        start = file.read(FIRST_GROUP_BYTES)
    _, found, rest = start.partition(element)
    length = int.from_bytes(rest[:2], "little") if found else 0
    return rest[2 : 2 + length].rstrip(b"\0 ").decode("ascii", "replace")
