"""Running `trainer.fit` so that a signal stays an exception."""

from __future__ import annotations

import signal
from pathlib import Path

import pytorch_lightning as pl

from nerveseg.errors import StoppedBySignal


def fit_interruptible(
    trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule, resumed: Path | None
) -> None:
    """Train; a stop, which Lightning answers with the end of the process and a deaf ear, stays a KeyboardInterrupt."""
    try:
        trainer.fit(module, data, ckpt_path=resumed, weights_only=True)
    except SystemExit as end:
        if trainer.received_sigterm and not isinstance(end.__context__, KeyboardInterrupt):
            raise StoppedBySignal(signal.SIGTERM) from end
        if not trainer.interrupted:
            raise
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        raise (end.__context__ if isinstance(end.__context__, StoppedBySignal) else KeyboardInterrupt) from end
