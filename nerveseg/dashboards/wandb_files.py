"""What W&B's own files say was logged: they are the only record of an offline run, and a killed one lost its tail.

The files are logs in the format of LevelDB: blocks of 32 KiB with records of CRC-32, length and kind (whole, first,
middle, last), each whole record one protocol buffer of W&B's. What follows the first torn record is lost.

References:
    LevelDB, doc/log_format.md. W&B's header is `:W&B`, a magic number and a version.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

BLOCK_BYTES = 32 * 1024
STEP = "trainer/global_step"
"""Under this name Lightning logs its step."""

_HEADER = struct.Struct("<4sHB")
_RECORD = struct.Struct("<IHB")
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def logged_steps(folder: Path) -> set[int]:
    """Steps of Lightning's that the W&B runs of a folder hold, over all processes that wrote to it."""
    rows = (row for path in run_files(folder) for row in history(path))
    return {int(row[STEP]) for row in rows if row.get(STEP) is not None}


def run_files(folder: Path) -> list[Path]:
    """The files of the W&B runs that were started in a folder, oldest first."""
    runs = [run for run in (folder / "wandb").glob("*run-*") if run.is_dir() and not run.is_symlink()]
    return sorted(path for run in runs for path in run.glob("*.wandb"))


def was_synced(path: Path) -> bool:
    """Whether `wandb sync` has uploaded a run's file, or has begun to."""
    return any(path.with_name(path.name + ending).exists() for ending in (".synced", ".syncstate"))


def history(path: Path) -> list[dict[str, Any]]:
    """The rows that a run's file holds, as they were logged."""
    messages: Any = import_module("wandb.proto.wandb_internal_pb2")

    rows = []
    for content in _records(path.read_bytes()):
        record = messages.Record()
        record.ParseFromString(content)
        if record.HasField("history"):
            items = record.history.item
            rows.append({"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items})
    return rows


def _records(content: bytes) -> Iterator[bytes]:
    """Whole records, up to the first that is torn."""
    if len(content) < _HEADER.size or content[:4] != b":W&B":
        return
    place, parts = _HEADER.size, b""
    while place + _RECORD.size <= len(content):
        left = BLOCK_BYTES - place % BLOCK_BYTES
        if left < _RECORD.size:
            place += left
            continue
        checksum, length, kind = _RECORD.unpack_from(content, place)
        place += _RECORD.size
        part = content[place : place + length]
        if kind not in (_WHOLE, _FIRST, _MIDDLE, _LAST) or zlib.crc32(part, zlib.crc32(bytes([kind]))) != checksum:
            return
        parts = part if kind in (_WHOLE, _FIRST) else parts + part
        place += length
        if kind in (_WHOLE, _LAST):
            yield parts
