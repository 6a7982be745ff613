"""Speed of a training and its share of waiting for data, once per epoch, for dashboards.

These values differ from run to run of the same seed, so `metrics.csv`, which is the same bit for bit, has none of them.
Lightning's `ThroughputMonitor` and `DeviceStatsMonitor` log to every logger and know no waiting time.
"""

import time
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning import Callback

from nerveseg.training.checkpointed_loggers import CheckpointedLogger
from nerveseg.training.progress import count_slices

THROUGHPUT = "nerveseg_throughput"  # key of the rows in a checkpoint


class Throughput(Callback):
    """Slices per second, share of time spent waiting for data (not for an epoch's first batch), GPU's peak MiB."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float | int]] = []
        self._begun_s = self._ended_s = self._waited_s = 0.0
        self._slices = 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count."""
        self._begun_s = self._ended_s = time.monotonic()
        self._waited_s, self._slices = 0.0, 0

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, _: int) -> None:
        """Add the time since the last batch ended."""
        self._waited_s += time.monotonic() - self._ended_s

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, _: int
    ) -> None:
        """Count the slices."""
        self._slices += count_slices(batch["image"]) * trainer.world_size
        self._ended_s = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the epoch's values."""
        seconds = max(self._ended_s - self._begun_s, 1e-9)
        values = {"speed/slices_per_s": self._slices / seconds, "speed/data_wait_share": self._waited_s / seconds}
        if pl_module.device.type == "cuda":
            values["memory/gpu_peak_mib"] = torch.cuda.max_memory_allocated(pl_module.device) / 2**20
        step = max(trainer.global_step - 1, 0)
        self.rows.append({"step": step, **values})
        for logger in trainer.loggers:
            if isinstance(logger, CheckpointedLogger):
                logger.log_metrics(values, step)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the rows of all epochs."""
        checkpoint[THROUGHPUT] = self.rows

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take the rows back."""
        self.rows = list(checkpoint.get(THROUGHPUT, []))
