"""A loss, a callback and an augmentation that inherit nothing of ours."""

from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import nn


class SquaredError(nn.Module):
    """Mean squared error of the nerve's probability, weighted where the nerve is."""

    def __init__(self, nerve_weight=1.0):
        super().__init__()
        self.nerve_weight = nerve_weight

    def forward(self, logits, label):
        error = (logits.softmax(dim=1)[:, 1] - label) ** 2
        return (error * (1 + self.nerve_weight * label)).mean()


class Noise:
    """Normally distributed noise, a function of the slice's seed."""

    def __init__(self, sd=0.1):
        self.sd = sd

    def __call__(self, image, label, spacing_mm, seed):
        generator = torch.Generator().manual_seed(seed)
        return image + self.sd * torch.randn(image.shape, generator=generator), label


class StopOnce(pl.Callback):
    """Ctrl-C at the start of the second epoch, if a file exists, which is removed; counts the epochs it has seen."""

    def __init__(self, marker):
        self.marker = Path(marker)
        self.epochs = 0

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 1 and self.marker.exists():
            self.marker.unlink()
            raise KeyboardInterrupt

    def on_train_epoch_end(self, trainer, pl_module):
        self.epochs += 1
        pl_module.log("own/epochs", float(self.epochs))

    def state_dict(self):
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict):
        self.epochs = state_dict["epochs"]
