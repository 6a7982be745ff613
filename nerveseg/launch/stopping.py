"""Stopping on demand: Ctrl-C, the SIGTERM of a cluster or a shutdown, the SIGUSR1 that Slurm sends before a time limit.

All of them end the process at once and in the same way, as a KeyboardInterrupt: what counts is on the disk already, and
the same command goes on from the last checkpoint. The exit code tells them apart, as a shell has it: 128 + the number.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from nerveseg.errors import StoppedBySignal

if TYPE_CHECKING:
    pass

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Raise `Stopped` on a signal that would end the process without a word."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise StoppedBySignal(number)

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
