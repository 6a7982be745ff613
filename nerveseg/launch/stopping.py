"""Stop a process on a signal: Ctrl-C, SIGTERM of a cluster or a shutdown, SIGUSR1 of Slurm before a time limit.

Each of them raises a KeyboardInterrupt at once; the same command goes on from the last checkpoint on the disk. The exit
code is the shell's: 128 plus the number of the signal.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from nerveseg.errors import StoppedBySignal

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Raise `StoppedBySignal` on SIGTERM and SIGUSR1, which would end the process without an exception."""
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
