"""Stopping on demand: Ctrl-C, the SIGTERM of a cluster or a shutdown, the SIGUSR1 that Slurm sends before a time limit.

All of them end the process at once and in the same way, as a KeyboardInterrupt: what counts is on the disk already, and
the same command goes on from the last checkpoint. The exit code tells them apart, as a shell has it: 128 + the number.
"""

from __future__ import annotations

import errno
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from nerveseg.errors import RunError

if TYPE_CHECKING:
    import pytorch_lightning as pl

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Stopped(KeyboardInterrupt):
    """A signal that asks the process to end.

    Args:
        number: Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raise `Stopped` on a signal that would end the process without a word."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def full_disk_is_told(folder: Path) -> Iterator[None]:
    """Say what a full disk means for a run.

    Raises:
        RunError: A file could not be written for want of room.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise RunError(
            "the disk has room for the run's files",
            found=error.strerror,
            path=error.filename or folder,
            remedy="make room; the same command goes on from the last checkpoint",
        ) from error


@contextmanager
def full_memory_is_told(folder: Path) -> Iterator[None]:
    """Say what it means for a run that memory does not suffice; where the system kills instead, nothing can be said.

    Raises:
        RunError: An allocation failed, on a GPU or in the machine's memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise RunError(
            "the training fits into the memory",
            found=" ".join(str(error).split())[:300] or type(error).__name__,
            path=folder,
            remedy="end other programs on this device, or take one with more; the same command goes on from the last"
            " checkpoint. A smaller optimization.batch_size or network is another experiment",
        ) from error


def _is_out_of_memory(error: Exception) -> bool:
    """PyTorch has a class for GPUs alone; of the CPU's allocator there are only words."""
    from torch import OutOfMemoryError

    return isinstance(error, MemoryError | OutOfMemoryError) or "can't allocate memory" in str(error)


def fit(trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule, resumed: Path | None) -> None:
    """Train; a stop, which Lightning answers with the end of the process and a deaf ear, stays a KeyboardInterrupt."""
    try:
        trainer.fit(module, data, ckpt_path=resumed, weights_only=True)
    except SystemExit as end:
        if trainer.received_sigterm and not isinstance(end.__context__, KeyboardInterrupt):
            raise Stopped(signal.SIGTERM) from end
        if not trainer.interrupted:
            raise
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        raise (end.__context__ if isinstance(end.__context__, Stopped) else KeyboardInterrupt) from end
