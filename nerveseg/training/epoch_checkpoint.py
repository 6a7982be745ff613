"""Checkpoints of a run, kept only to resume it; models are shared as bundles.

A checkpoint is written at the end of every few epochs; training resumes at the start of the epoch that follows. Besides
weights, optimizer and schedule it carries everything logged so far, so that all loggers can be brought to its state
(`checkpointed_loggers`).
"""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities.types import LRSchedulerTypeUnion
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from nerveseg.errors import RunError
from nerveseg.training.checkpoint_files import LAST
from nerveseg.training.checkpointed_loggers import CheckpointedLogger, CommittedLogger, MetricsCsv
from nerveseg.training.throughput import THROUGHPUT

METRICS = "nerveseg_metrics"
OPTIMIZATION = "nerveseg_optimization"
STOPPED = "nerveseg_stopped"


class EpochCheckpoint(Checkpoint):
    """Callback that keeps the newest state as `last.ckpt`; no epoch is preferred to another.

    A run resumed under other options of `optimization`, in plain types, goes on with the new ones.
    """

    def __init__(self, folder: Path, every_n_epochs: int, optimization: dict[str, Any]) -> None:
        self.folder = folder
        self.every_n_epochs = every_n_epochs
        self.optimization = optimization
        self._values_before: dict[str, Any] = {}

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember which values earlier epochs have logged."""
        self._values_before = dict(trainer.logged_metrics)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the epoch's values, write the checkpoint, then commit what was logged up to it."""
        self._log_epoch_values(trainer)
        if (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        trainer.save_checkpoint(self.folder / LAST, False)  # the whole state, not the weights alone
        for logger in trainer.loggers:
            if isinstance(logger, CommittedLogger):
                logger.commit()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the history, the options of optimizer and schedule, and whether the training was stopped early."""
        checkpoint[OPTIMIZATION] = self.optimization
        checkpoint[STOPPED] = trainer.should_stop
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCsv):
                checkpoint[METRICS] = logger.text()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Bring every history to the checkpoint's state: later values are dropped, missing values added."""
        trainer.should_stop = checkpoint.get(STOPPED, False)
        if checkpoint.get(OPTIMIZATION, self.optimization) != self.optimization:
            _apply_rates(pl_module, checkpoint, checkpoint[OPTIMIZATION], self.optimization)
        histories = [logger for logger in trainer.loggers if isinstance(logger, MetricsCsv)]
        for history in histories:
            history.restore(checkpoint.get(METRICS), checkpoint["global_step"])
            for logger in trainer.loggers:
                if isinstance(logger, CheckpointedLogger):
                    logger.resume([*history.rows, *checkpoint.get(THROUGHPUT, [])])

    def _log_epoch_values(self, trainer: pl.Trainer) -> None:
        """Log the epoch's own values before its checkpoint; Lightning logs the same ones again, but only after it."""
        before = self._values_before
        values = {name: float(value) for name, value in trainer.logged_metrics.items() if value is not before.get(name)}
        if values:
            for logger in trainer.loggers:
                logger.log_metrics(values | {"epoch": trainer.current_epoch}, trainer.global_step - 1)


def check_resumable(checkpoint: dict[str, Any], module: pl.LightningModule, epochs: int, path: Path) -> None:
    """Raise `RunError` if a checkpoint has other weights than the module, or more epochs than `epochs`."""
    before = {name: tuple(tensor.shape) for name, tensor in checkpoint["state_dict"].items()}
    now = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    if before != now:
        differing = next(name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name))
        raise RunError(
            "a run goes on with the network it was begun with",
            found=f"{differing}: {before.get(differing)} -> {now.get(differing)}",
            path=path,
            remedy="name=<another> begins a new run",
        )
    done = checkpoint["epoch"] + 1
    if done > epochs:
        raise RunError(
            "optimization.epochs is not less than what is trained already",
            found=f"{epochs}, trained {done}",
            path=path,
            remedy="name=<another> begins a new run",
        )


def _apply_rates(
    module: pl.LightningModule, checkpoint: dict[str, Any], before: dict[str, Any], now: dict[str, Any]
) -> None:
    """Give a checkpoint the rates and options that its epoch has in the new configuration; moments stay.

    The rates that `ReduceLROnPlateau` has set cannot be computed again, so it begins at the configured rate. Moments of
    another kind of optimizer mean nothing to it and are dropped.
    """
    configured: Any = module.configure_optimizers()
    optimizer: Optimizer = configured["optimizer"]
    schedule: LRSchedulerTypeUnion = configured["lr_scheduler"]["scheduler"]
    done = checkpoint["global_step"] if configured["lr_scheduler"]["interval"] == "step" else checkpoint["epoch"] + 1
    for _ in range(0 if isinstance(schedule, ReduceLROnPlateau) else done):
        optimizer.step()
        schedule.step()  # type: ignore[call-arg]
    (state,) = checkpoint["optimizer_states"]
    state["param_groups"] = optimizer.state_dict()["param_groups"]
    if before.get("optimizer", {}).get("_target_") != now.get("optimizer", {}).get("_target_"):
        state["state"] = {}
    checkpoint["lr_schedulers"] = [schedule.state_dict()]
