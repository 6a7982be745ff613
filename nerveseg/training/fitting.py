"""Call of `trainer.fit` that raises an exception when a signal stops it, instead of ending the process."""

import signal
from pathlib import Path

import pytorch_lightning as pl

from nerveseg.errors import StoppedBySignal


def fit_interruptible(
    trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule, resumed: Path | None
) -> None:
    """Run `trainer.fit`; re-raise the SystemExit that Lightning makes of a signal as an exception of the signal.

    Args:
        trainer: Lightning's trainer.
        module: Module to train.
        data: Data to train on.
        resumed: Path of the checkpoint to resume from; None to begin anew.

    Raises:
        StoppedBySignal: SIGTERM, or another signal that asks the process to end, came.
        KeyboardInterrupt: Ctrl-C was pressed.
    """
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
