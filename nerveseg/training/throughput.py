"""How fast a training runs and what it waits for, once per epoch, for dashboards.

These values differ from run to run on the same seed, so `metrics.csv`, which is the same bit for bit, has none of them.
They ride in the checkpoint on their own, so that a run that goes on shows them for all its epochs.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning import Callback

from nerveseg.dashboards.checkpointed_logger import CheckpointedLogger

THROUGHPUT = "nerveseg_throughput"
_MEBIBYTE = 1 << 20
_KIBIBYTE = 1 << 10


class Throughput(Callback):
    """Slices per second, the share of time spent waiting for data, and the peak of memory so far.

    Lightning fetches the first batch of an epoch before the epoch begins; that wait is not counted.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float | int]] = []
        self._begun_s = self._waiting_since_s = self._waited_s = 0.0
        self._slices = 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count."""
        self._begun_s = self._waiting_since_s = time.monotonic()
        self._waited_s, self._slices = 0.0, 0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The batch is there."""
        self._waited_s += time.monotonic() - self._waiting_since_s

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The next one is waited for."""
        self._slices += len(batch["image"]) * trainer.world_size
        self._waiting_since_s = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log what the epoch gave."""
        seconds = max(self._waiting_since_s - self._begun_s, 1e-9)
        values = {
            "speed/slices_per_s": self._slices / seconds,
            "speed/data_wait_share": self._waited_s / seconds,
            **_memory(pl_module.device),
        }
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
        """Take them back."""
        self.rows = list(checkpoint.get(THROUGHPUT, []))


def _memory(device: torch.device) -> dict[str, float]:
    """Peak of this process, without those that prepare its batches, and of the GPU, in MiB."""
    values = {}
    if sys.platform != "win32":
        import resource

        unit = 1 if sys.platform == "darwin" else _KIBIBYTE
        values["memory/process_peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MEBIBYTE
    if device.type == "cuda":
        values["memory/gpu_peak_mib"] = torch.cuda.max_memory_allocated(device) / _MEBIBYTE
    return values
