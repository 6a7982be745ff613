"""Training of a segmentation network with Lightning: cross entropy, an optimizer and its schedule (paper, 2.4.3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import Float, Int64
from pytorch_lightning.utilities import rank_zero_info
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from nerveseg.networks.fc_densenet import FCDenseNet
from nerveseg.training.compilation import compile_or_explain

NERVE_CLASS = 1
CLASSIFIER_WEIGHT_SCALE = 0.01
"""Factor on the last layer's weights that keeps them from drowning the prior in its bias."""


class Segmenter(pl.LightningModule):
    """A network with its loss and its optimizer. Prediction is the business of `inference`.

    Args:
        network: Gives logits (batch, class, x, y).
        optimizer: Makes the optimizer from parameters.
        schedule: Makes the learning-rate schedule from the optimizer; stepped once per epoch.
        seed: Dropout of an epoch depends on it and the epoch's number alone.
        compiled: Whether to train through `torch.compile`, where that works.
    """

    def __init__(
        self,
        network: FCDenseNet,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        schedule: Callable[[Optimizer], LRScheduler],
        seed: int = 0,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._optimizer = optimizer
        self._schedule = schedule
        self._seed = seed
        self._compiled = compiled
        self._forward: Callable[[Tensor], Tensor] | None = None

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Float[Tensor, ""]:
        """Cross entropy of one batch, logged at every step."""
        image = batch["image"].contiguous(memory_format=torch.channels_last)
        if self._forward is None:
            network = compile_or_explain(self.network, image, rank_zero_info) if self._compiled else self.network
            self._forward = network.__call__  # a module here would be saved with every checkpoint
        loss = segmentation_loss(self._forward(image), batch["label"])
        self.log("train/loss", loss, on_step=True, on_epoch=True, batch_size=len(image), sync_dist=True)
        return loss

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed dropout by epoch, so that a run resumed at an epoch's start draws what it would have drawn.

        Not at the epoch's start: there Lightning makes the loader's iterator, which draws a number, before or after
        that hook, depending on whether the run was resumed.
        """
        if batch_idx > 0:
            return
        own = [self.global_rank] if self.global_rank else []  # of several processes, each drops other features
        torch.manual_seed(int(np.random.SeedSequence([self._seed, self.current_epoch, *own]).generate_state(1)[0]))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer, and its schedule with one step per epoch."""
        optimizer = self._optimizer(self.network.parameters())
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self._schedule(optimizer), "interval": "epoch", "name": "learning_rate"},
        }


def segmentation_loss(logits: Float[Tensor, "batch class x y"], label: Int64[Tensor, "batch x y"]) -> Float[Tensor, ""]:
    """Mean cross entropy over all pixels, in single precision."""
    return functional.cross_entropy(logits.float(), label)


def init_classifier_bias(network: FCDenseNet, foreground_share: float) -> None:
    """Make an untrained network predict the share of nerve instead of one half.

    On a nerve of 0.15 % of the pixels, cross entropy otherwise spends its first epochs learning that nearly everything
    is background. The paper does not do this.

    Args:
        network: With two classes.
        foreground_share: Between 0 and 1, of the training pixels.
    """
    bias = network.classifier.bias
    assert bias is not None
    with torch.no_grad():
        network.classifier.weight.mul_(CLASSIFIER_WEIGHT_SCALE)
        bias.zero_()
        bias[NERVE_CLASS] = math.log(foreground_share / (1 - foreground_share))
