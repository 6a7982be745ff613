"""Checkpoint files that survive a signal at any moment, a full disk, a power cut and flipped bits.

A checkpoint is written to a temporary file, synced to the disk, read back and compared by its SHA-256. Only then does
it replace the last checkpoint, which is kept as the previous one. The digest is the comment of the zip archive that
torch writes, so `torch.load` reads the file as usual. The archive's own CRC-32 would not do: it covers the content of
the entries but not their directory, where one flipped bit (the entry's attribute "directory") makes torch load
uninitialised memory as weights.
"""

import hashlib
import io
import os
import struct
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
_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Resumption:
    """Checkpoint to resume a run from."""

    checkpoint: Path  # undamaged
    warning: str = ""  # about a damaged file


class VerifiedCheckpoints(TorchCheckpointIO):
    """Lightning plugin that writes checkpoints as the module docstring describes."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write a checkpoint and keep the one before; raise `RunError` if the disk is full or faulty."""
        last = Path(path)
        content = sealed(checkpoint)
        try:
            with atomic_write(last) as temporary:
                _write_to_disk(temporary, content)
                if damage(temporary):
                    raise OSError("the bytes read back differ from those written")
                if last.is_file():
                    os.replace(last, last.with_name(PREVIOUS))
        except OSError as error:
            raise RunError(
                "a checkpoint is written completely",
                found=error.strerror or error,
                path=last,
                remedy="free space, or write to another disk; the same command resumes from the checkpoint before",
            ) from error


def sealed(checkpoint: dict[str, Any]) -> bytes:
    """Return the content of a checkpoint's file: torch's zip archive with its SHA-256 as the archive's comment."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    archive = buffer.getvalue()[:-2] + struct.pack("<H", _DIGEST_BYTES)  # an archive ends with its comment's length
    return archive + hashlib.sha256(archive).digest()


def damage(path: Path) -> str:
    """Return a description of a checkpoint file's damage; empty if the file is as it was written."""
    try:
        content = path.read_bytes()
    except OSError as error:
        return str(error)
    archive, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    return "" if hashlib.sha256(archive).digest() == digest else "its SHA-256 differs"


def _foreign(path: Path) -> str:
    """Return why a sealed file is no checkpoint of tensors and plain values; empty if it is."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises errors of many classes for a file that it did not write
        return f"{type(error).__name__}: no checkpoint of tensors alone"
    return "" if isinstance(content, dict) and "state_dict" in content else "it has no state_dict"


def find_resumption(folder: Path, set_aside: bool = True) -> Resumption | None:
    """Find the newest undamaged checkpoint of a folder; return None if it holds none.

    A damaged last checkpoint is renamed to `damaged.ckpt`, or the next save would keep it as the previous one; of
    several processes only the first does it (`set_aside`).

    Raises:
        RunError: Every checkpoint of the folder is damaged.
    """
    last, previous = folder / LAST, folder / PREVIOUS
    faults = {path: damage(path) or _foreign(path) for path in (last, previous) if path.is_file()}
    if not faults:
        return None
    if faults.get(last) == "":
        return Resumption(last)
    if faults.get(previous) != "":
        raise RunError(
            "a run is resumed from an undamaged checkpoint",
            found="; ".join(f"{path.name} is damaged ({fault})" for path, fault in faults.items()),
            path=folder,
            remedy="delete this folder: the same command then trains the fold from its beginning",
        )
    if last not in faults:  # stopped between the two renames
        return Resumption(previous)
    if set_aside:
        os.replace(last, folder / DAMAGED)
    renamed = f" and was renamed to {DAMAGED}" if set_aside else ""
    return Resumption(
        previous, f"{last} is damaged ({faults[last]}){renamed}; {previous}, the checkpoint before, is used"
    )


def _write_to_disk(path: Path, content: bytes) -> None:
    """Write and sync a file, and drop it from the page cache so that the next read comes from the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
