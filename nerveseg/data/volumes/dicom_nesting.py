"""Depth of a DICOM file's sequences, found without recursion before a library parses the file (DICOM PS3.5, 7.5).

GDCM and pydicom parse sequences by recursion; GDCM ends the process where they are nested some thousand times.
"""

import mmap
import struct
import zlib
from pathlib import Path

from nerveseg.data.volumes.guard import unreadable_file_error
from nerveseg.errors import VolumeError

PREAMBLE_BYTES = 128
MAGIC = b"DICM"

MOST_LEVELS = 32  # largest depth of sequences; Enhanced images have 5, structured reports some 15

INFLATED_BYTES = 1 << 28  # largest size in bytes of a deflated file's content

LONG_LENGTH = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
"""Value representations whose length has 4 bytes."""

ITEM, ITEM_END, SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
PIXELS = (0x7FE0, 0x0010)
TRANSFER_SYNTAX = (0x0002, 0x0010)
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
UNDEFINED = 0xFFFFFFFF


def check_nesting(path: Path) -> None:
    """Raise `VolumeError` if a DICOM file's sequences are nested more than `MOST_LEVELS` deep."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = PREAMBLE_BYTES + len(MAGIC) if data[PREAMBLE_BYTES : PREAMBLE_BYTES + len(MAGIC)] == MAGIC else 0
        start, syntax = _first_group(data, start)
        if syntax != DEFLATED:
            order = ">" if syntax == BIG_ENDIAN or data[start : start + 2] == b"\0\x08" else "<"
            _check_levels(data, start, order)
            return
        unpack = zlib.decompressobj(-zlib.MAX_WBITS)
        content = unpack.decompress(data[start:], INFLATED_BYTES)
        if unpack.unconsumed_tail:
            raise unreadable_file_error(path, f"more than {INFLATED_BYTES:,} bytes of deflated data")
        _check_levels(content, 0, "<")


def _first_group(data: bytes | mmap.mmap, at: int) -> tuple[int, str]:
    """Return the end of the elements of group 0002, and the transfer syntax that they name."""
    syntax = ""
    while data[at : at + 2] == b"\x02\x00" and at + 8 <= len(data):
        tag, _, length, begin = _element(data, at, "<")
        at = begin + length
        if tag == TRANSFER_SYNTAX:
            syntax = data[begin:at].rstrip(b"\0 ").decode("ascii", "replace")
    return at, syntax


def _check_levels(data: bytes | mmap.mmap, at: int, order: str) -> None:
    item = struct.pack(f"{order}HH", *ITEM)
    ends: list[int] = []  # of the open sequences and items
    while at + 8 <= len(data):
        while ends and at >= ends[-1]:
            at = ends.pop()
        tag, name, length, begin = _element(data, at, order)
        if tag in (ITEM_END, SEQUENCE_END):
            at = begin
            if ends:
                ends.pop()
        elif tag == PIXELS and length == UNDEFINED:
            at = _end_of_fragments(data, begin, order)
        elif tag == ITEM or name == b"SQ" or length == UNDEFINED or data[begin : begin + 4] == item:
            ends.append(len(data) if length == UNDEFINED else min(begin + length, len(data)))
            at = begin
            if len(ends) > 2 * MOST_LEVELS:
                rule = f"the sequences of a DICOM file are nested at most {MOST_LEVELS} deep"
                raise VolumeError(rule, found=f"more than {MOST_LEVELS} levels", remedy="export the series again")
        else:
            at = begin + length


def _element(data: bytes | mmap.mmap, at: int, order: str) -> tuple[tuple[int, int], bytes, int, int]:
    """Return tag, value representation (empty if implicit), length, and begin of the value of the element at `at`."""
    group, number = struct.unpack_from(f"{order}HH", data, at)
    name = data[at + 4 : at + 6]
    if group == ITEM[0] or not (name.isalpha() and name.isupper()):
        return (group, number), b"", struct.unpack_from(f"{order}I", data, at + 4)[0], at + 8
    if name not in LONG_LENGTH:
        return (group, number), name, struct.unpack_from(f"{order}H", data, at + 6)[0], at + 8
    if at + 12 > len(data):
        return (group, number), name, 0, len(data)
    return (group, number), name, struct.unpack_from(f"{order}I", data, at + 8)[0], at + 12


def _end_of_fragments(data: bytes | mmap.mmap, at: int, order: str) -> int:
    """Return the end of compressed pixels, whose fragments are items without elements."""
    while at + 8 <= len(data):
        tag, _, length, begin = _element(data, at, order)
        at = begin + length
        if tag != ITEM:
            return begin
    return len(data)
