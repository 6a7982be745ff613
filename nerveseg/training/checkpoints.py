"""Checkpoints of a run, kept only to resume it: what is shared is the model bundle.

A checkpoint is written at the end of every few epochs; training resumes at the start of the epoch that follows.
"""

from __future__ import annotations

from pathlib import Path

from pytorch_lightning.callbacks import ModelCheckpoint


def last_epoch_checkpoint(folder: Path, every_n_epochs: int) -> ModelCheckpoint:
    """A callback that keeps the newest state as `last.ckpt`; no epoch is ever preferred to another."""
    return ModelCheckpoint(
        dirpath=folder,
        filename="last",
        save_top_k=1,
        monitor=None,
        every_n_epochs=every_n_epochs,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
