"""Checkpoints of a run, kept only to resume it: what is shared is the model bundle.

A checkpoint is written at the end of every few epochs; training resumes at the start of the epoch that follows. It is
the one truth about a run: besides weights, optimizer and schedule it carries everything logged so far, so that all
histories can be brought to its state (`CommittedAtCheckpoints`, `MetricsFile`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities.types import LRSchedulerTypeUnion
from torch.optim import Optimizer

from nerveseg.dashboards.checkpointed_logger import CheckpointedLogger
from nerveseg.dashboards.metrics_csv import MetricsCsv
from nerveseg.errors import RunError
from nerveseg.training.checkpoint_files import LAST
from nerveseg.training.throughput import THROUGHPUT

METRICS = "nerveseg_metrics"
OPTIMIZATION = "nerveseg_optimization"


class EpochCheckpoint(Checkpoint):
    """Keeps the newest state as `last.ckpt`; no epoch is ever preferred to another.

    Args:
        folder: Of the checkpoints.
        every_n_epochs: Epochs from one checkpoint to the next.
        optimization: Options of optimizer and schedule in plain types; a checkpoint that was made under others goes on
            with these.
    """

    def __init__(self, folder: Path, every_n_epochs: int, optimization: dict[str, Any]) -> None:
        self.folder = folder
        self.every_n_epochs = every_n_epochs
        self.optimization = optimization

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the checkpoint, then commit what was logged up to it."""
        _log_epoch_values(trainer)
        if (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        trainer.save_checkpoint(self.folder / LAST, False)  # the whole state, not the weights alone
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCsv | CheckpointedLogger):
                logger.commit()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the history and the options of optimizer and schedule."""
        checkpoint[OPTIMIZATION] = self.optimization
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCsv):
                checkpoint[METRICS] = logger.text()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Bring every history to the checkpoint's state: what is beyond it is dropped, what is missing is added."""
        if checkpoint.get(OPTIMIZATION, self.optimization) != self.optimization:
            _apply_rates(pl_module, checkpoint, checkpoint[OPTIMIZATION], self.optimization)
        histories = [logger for logger in trainer.loggers if isinstance(logger, MetricsCsv)]
        for history in histories:
            history.resume(checkpoint.get(METRICS), checkpoint["global_step"])
            for logger in trainer.loggers:
                if isinstance(logger, CheckpointedLogger):
                    logger.resume([*history.rows, *checkpoint.get(THROUGHPUT, [])])


def check_resumable(checkpoint: dict[str, Any], module: pl.LightningModule, epochs: int, path: Path) -> None:
    """Refuse to go on under a configuration that a checkpoint does not fit.

    Args:
        checkpoint: What was loaded.
        module: That goes on.
        epochs: In all.
        path: Of the checkpoint, for errors.

    Raises:
        RunError: The network has other weights, or more epochs are done than are asked for.
    """
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


def _log_epoch_values(trainer: pl.Trainer) -> None:
    """Log an epoch's own values before its checkpoint; Lightning logs the same again, but only behind it."""
    values = {name: float(value) for name, value in trainer._logger_connector.metrics["log"].items()}
    if values:
        for logger in trainer.loggers:
            logger.log_metrics(values | {"epoch": trainer.current_epoch}, trainer.global_step - 1)


def _apply_rates(
    module: pl.LightningModule, checkpoint: dict[str, Any], before: dict[str, Any], now: dict[str, Any]
) -> None:
    """Give a checkpoint the rates and options that its epoch has in the new configuration; moments stay.

    Moments of another kind of optimizer mean nothing to it and are dropped.
    """
    configured: Any = module.configure_optimizers()
    optimizer: Optimizer = configured["optimizer"]
    schedule: LRSchedulerTypeUnion = configured["lr_scheduler"]["scheduler"]
    for _ in range(checkpoint["lr_schedulers"][0]["last_epoch"]):
        optimizer.step()
        schedule.step()  # type: ignore[call-arg]
    (state,) = checkpoint["optimizer_states"]
    state["param_groups"] = optimizer.state_dict()["param_groups"]
    if before.get("optimizer", {}).get("_target_") != now.get("optimizer", {}).get("_target_"):
        state["state"] = {}
    checkpoint["lr_schedulers"] = [schedule.state_dict()]
