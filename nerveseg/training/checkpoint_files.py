"""Checkpoint files that survive what stops a run: a signal at any moment, a full disk, a power cut, flipped bits.

A checkpoint is written aside, synced to the disk, read back from it and compared by its SHA-256; only then does it take
the place of the last one, which stays as the previous one. The digest stands in the file itself, as the comment of the
zip archive that torch writes, so that no second file can disagree with it, and torch reads the file as ever.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from nerveseg.errors import RunError
from nerveseg.files import atomic_write

LAST = "last.ckpt"
PREVIOUS = "previous.ckpt"
DAMAGED = "damaged.ckpt"
_END_OF_ARCHIVE = b"PK\x05\x06"
_LABEL = b"sha256:"
_COMMENT_BYTES = len(_LABEL) + 64


@dataclass(frozen=True)
class Resumption:
    """What a run goes on from.

    Attributes:
        checkpoint: A file that was found whole.
        warning: What the user has to know of the files; empty if nothing.
    """

    checkpoint: Path
    warning: str = ""


class VerifiedCheckpoints(TorchCheckpointIO):
    """Lightning's way to the disk, with the care that this module's beginning describes."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write a checkpoint; the one before it stays, whatever happens.

        Raises:
            RunError: The disk is full or faulty; the checkpoint before is untouched.
        """
        last = Path(path)
        content = sealed(checkpoint)
        try:
            with atomic_write(last) as aside:
                _write_to_disk(aside, content)
                if damage(aside):
                    raise OSError("what was read back is not what was written")
                if last.is_file():
                    os.replace(last, last.with_name(PREVIOUS))
        except OSError as error:
            raise RunError(
                "a checkpoint is written in full",
                found=error.strerror or error,
                path=last,
                remedy="make room on a sound disk; the same command goes on from the checkpoint before",
            ) from error


def sealed(checkpoint: dict[str, Any]) -> bytes:
    """The content of a checkpoint's file, with the digest of all before it at its end."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    archive = buffer.getvalue()
    assert archive[-22:-18] == _END_OF_ARCHIVE, "torch writes a zip archive without a comment"
    body = archive[:-2]
    return body + struct.pack("<H", _COMMENT_BYTES) + _LABEL + hashlib.sha256(body).hexdigest().encode()


def damage(path: Path) -> str:
    """What is wrong with a checkpoint's file; empty if it is as it was written.

    A file without our digest, from an earlier version, is checked by the archive's own CRC-32.
    """
    try:
        content = path.read_bytes()
        body, comment = content[: -2 - _COMMENT_BYTES], content[-_COMMENT_BYTES:]
        if comment.startswith(_LABEL):
            return "" if hashlib.sha256(body).hexdigest().encode() == comment[len(_LABEL) :] else "its SHA-256 differs"
        if content[-22:-18] != _END_OF_ARCHIVE or content[-2:] != b"\x00\x00":
            return "its end is missing or altered"
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return "its CRC-32 differs" if archive.testzip() else ""
    except (OSError, zipfile.BadZipFile, EOFError, ValueError) as error:
        return str(error)


def find_resumption(folder: Path, set_aside: bool = True) -> Resumption | None:
    """The newest sound checkpoint of a folder; None where there is none at all.

    A damaged last one is set aside as `damaged.ckpt`: left in place, it would become the previous one.

    Args:
        folder: Of the checkpoints.
        set_aside: Whether to do that here, or leave it to the first of several processes.

    Raises:
        RunError: There are checkpoints, but none is sound.
    """
    last, previous = folder / LAST, folder / PREVIOUS
    faults = {path: damage(path) for path in (last, previous) if path.is_file()}
    if not faults:
        return None
    if faults.get(last) == "":
        return Resumption(last)
    if faults.get(previous) != "":
        raise RunError(
            "a run goes on from a sound checkpoint",
            found="; ".join(f"{path.name} is damaged ({fault})" for path, fault in faults.items()),
            path=folder,
            remedy="delete this folder: the same command then trains the fold from its beginning",
        )
    if last not in faults:  # stopped between the two renames
        return Resumption(previous)
    if set_aside:
        os.replace(last, folder / DAMAGED)
    return Resumption(
        previous, f"{last} is damaged ({faults[last]}) and kept as {DAMAGED}; {previous}, the one before it, is used"
    )


def _write_to_disk(path: Path, content: bytes) -> None:
    """Write and sync; what is read next comes from the disk where the system lets us forget its copy."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
