"""Training and validation of a segmentation network with Lightning: loss, optimizer and schedule (paper, 2.4.3)."""

import math
import signal
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import Float
from pytorch_lightning.utilities import rank_zero_info
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import ConstantLR, LRScheduler, ReduceLROnPlateau
from torchmetrics import MeanMetric

from nerveseg.errors import ConfigurationError, StoppedBySignal, TrainingError
from nerveseg.networks.inspection import arranged, find_classifier, memory_layout
from nerveseg.training.compilation import compile_or_explain
from nerveseg.training.losses import Loss, loss_value
from nerveseg.training.validation_metrics import SubjectDice

MakeSchedule: TypeAlias = Callable[[Optimizer], LRScheduler]
Interval: TypeAlias = Literal["epoch", "step"]

CLASSIFIER_WEIGHT_SCALE = 0.01  # of initial weights, so that initial predictions are the class prior in the bias
LEAST_BACKGROUND = 1e-6  # share of background for the initial bias where the parts cover every pixel
STEPS_UNKNOWN = 1000  # number of steps that a schedule is tried with where there is no trainer to ask


class Segmenter(pl.LightningModule):
    """A network with its loss, optimizer and schedule, for any `pl.Trainer`.

    A training batch is a dict with `image` (batch, channel, x, y) and `label` int64 (batch, x, y); a validation batch
    has `subject` int64 (batch), the number of the subject of each slice, too. Patches have a last axis z, and `counted`
    bool (batch, z) in validation, the slices that count. Logged are `train/loss`, `validation/loss` and
    `validation/dice`, the mean over subjects and parts (the classes but background) of the Dice in a subject's slices.
    To load a checkpoint, give the arguments again: `Segmenter.load_from_checkpoint(path, network=...)`.

    Args:
        network: Network that maps images to logits (batch, class, x, y), or (batch, class, x, y, z).
        optimizer: Callable that makes the optimizer from parameters.
        schedule: Callable that makes the learning-rate schedule from the optimizer, see `build_schedule`; None for a
            constant rate.
        loss: Loss, see `training.losses`; by default cross entropy.
        interval: Interval between two steps of the schedule, "epoch" or "step".
        monitor: Name of the logged value that `ReduceLROnPlateau` follows, at the end of each epoch.
        seed: Seed of dropout, which depends on it and the epoch's number alone.
        compiled: Flag: true to train through `torch.compile` if it works.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] = Adam,
        schedule: MakeSchedule | None = None,
        loss: Loss | None = None,
        *,
        interval: Interval = "epoch",
        monitor: str | None = None,
        seed: int = 0,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        axes = 3 if any(weight.ndim == 5 for weight in network.parameters()) else 2
        self.network = network.to(memory_format=memory_layout(axes))  # type: ignore[call-overload]
        self.loss = loss or nn.CrossEntropyLoss()
        self.validation_loss = MeanMetric()
        self.validation_dice = SubjectDice()
        self._optimizer = optimizer
        self._schedule = schedule
        self._interval = interval
        self._monitor = monitor
        self._seed = seed
        self._compiled = compiled
        self._training_forward: Callable[[Tensor], Tensor] | None = None

    def forward(self, image: Float[Tensor, "batch channel *size"]) -> Float[Tensor, "batch class *size"]:
        """Return the network's logits."""
        logits: Tensor = self.network(arranged(image))
        return logits

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Float[Tensor, ""]:
        """Return the loss of one batch, logged at every step; raise `TrainingError` if it is not finite."""
        image = arranged(batch["image"])
        if self._training_forward is None:
            network = compile_or_explain(self.network, image, rank_zero_info) if self._compiled else self.network
            self._training_forward = network.__call__  # a module here would be saved with every checkpoint
        loss = loss_value(self.loss, self._training_forward(image), batch["label"])
        self._check_finite(loss, "loss")
        self.log("train/loss", loss, on_step=True, on_epoch=True, batch_size=len(image), sync_dist=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Add one batch to the loss and Dice of the validation subjects."""
        logits, label = self(batch["image"]), batch["label"]
        predicted, parts, counted = logits.argmax(dim=1), logits.shape[1] - 1, batch.get("counted")
        self._add_loss(logits, label, counted)
        if counted is not None:
            predicted, label = predicted * counted[:, None, None], label * counted[:, None, None]
        for part in range(1, parts + 1):
            self.validation_dice.update(predicted == part, label == part, batch["subject"] * parts + part - 1)
        self.log("validation/loss", self.validation_loss)
        self.log("validation/dice", self.validation_dice)

    def _add_loss(self, logits: Tensor, label: Tensor, counted: Tensor | None) -> None:
        if counted is None:
            self.validation_loss.update(loss_value(self.loss, logits, label), weight=len(label))
            return
        for each, own, flags in zip(logits, label, counted, strict=True):
            value = loss_value(self.loss, each[None, ..., flags], own[None, ..., flags])
            self.validation_loss.update(value, weight=int(flags.sum()))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed dropout by epoch, so that a run resumed at an epoch's start draws what it would have drawn.

        `on_train_epoch_start` is no place for it: Lightning makes the loader's iterator, which draws a number, before
        or after that hook, depending on whether the run was resumed.
        """
        if batch_idx > 0:
            return
        rank = [self.global_rank] if self.global_rank else []  # each process drops other features
        torch.manual_seed(int(np.random.SeedSequence([self._seed, self.current_epoch, *rank]).generate_state(1)[0]))

    def on_train_epoch_end(self) -> None:
        """Check the weights and step `ReduceLROnPlateau`, both before callbacks write a checkpoint.

        Lightning itself would step it after them, so that a resumed run would miss the step.

        Raises:
            TrainingError: A weight is not finite.
            ConfigurationError: The monitored value was not logged.
        """
        self._check_finite(get_total_norm(self.network.parameters()), "norm of the weights")
        schedule = self.lr_schedulers()
        if isinstance(schedule, ReduceLROnPlateau):
            values = self.trainer.callback_metrics
            if self._monitor not in values:
                raise ConfigurationError(
                    "the value that optimization.schedule_monitor names is logged in every epoch",
                    found=f"{self._monitor} is not among {', '.join(sorted(values))}",
                    remedy="validation/... needs folds.validation_fraction above 0",
                )
            schedule.step(values[self._monitor])

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step a schedule, but for `ReduceLROnPlateau`, which `on_train_epoch_end` has stepped."""
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return optimizer and schedule; raise `ConfigurationError` if `ReduceLROnPlateau` cannot follow its value."""
        optimizer = self._optimizer(self.network.parameters())
        schedule = build_schedule(self._schedule, optimizer, self._training_steps)
        options: dict[str, Any] = {"scheduler": schedule, "interval": self._interval, "name": "learning_rate"}
        if isinstance(schedule, ReduceLROnPlateau):
            if self._monitor is None or self._interval == "step":
                raise ConfigurationError(
                    "ReduceLROnPlateau follows a logged value at the end of each epoch",
                    found=f"schedule_monitor={self._monitor or 'null'}, schedule_interval={self._interval}",
                    remedy="optimization.schedule_monitor=validation/dice, schedule_interval=epoch, and mode: max",
                )
            options |= {"monitor": self._monitor}
        return {"optimizer": optimizer, "lr_scheduler": options}  # type: ignore[return-value]

    def _training_steps(self) -> int:
        try:
            trainer = self.trainer
        except RuntimeError:  # Lightning's way to say that the module has none
            return STEPS_UNKNOWN
        return int(trainer.estimated_stepping_batches)

    def _check_finite(self, value: Tensor, name: str) -> None:
        if not value.isfinite():
            raise TrainingError(
                f"the {name} is finite",
                found=f"{value.item()} in epoch {self.current_epoch + 1}, after {self.global_step} optimizer steps",
                remedy="lower optimization.optimizer.lr, or clip gradients: trainer.gradient_clip_val=1; images or"
                " labels with values that are not finite have the same effect",
            )


def init_classifier_bias(
    network: nn.Module, shares: Sequence[float], in_channels: int = 1, depth: int | None = None
) -> None:
    """Make an untrained network predict the share of each part among the pixels instead of equal shares.

    On a nerve of 0.15 % of the pixels, cross entropy otherwise spends its first epochs learning that nearly everything
    is background. The paper does not do this. Without a last convolution with a bias, `ConfigurationError` is raised.
    """
    classifier = find_classifier(network, in_channels, classes=len(shares) + 1, depth=depth)
    bias = classifier.bias
    assert bias is not None
    with torch.no_grad():
        classifier.weight.mul_(CLASSIFIER_WEIGHT_SCALE)
        bias.zero_()
        background = max(1 - sum(shares), LEAST_BACKGROUND)
        bias[1:] = torch.tensor([math.log(share / background) for share in shares])


def build_schedule(make: MakeSchedule | None, optimizer: Optimizer, training_steps: Callable[[], int]) -> LRScheduler:
    """Return the schedule of an optimizer, built from a callable that takes the optimizer; None is a constant rate.

    Any schedule of `torch.optim.lr_scheduler` works. Three kinds need something that no configuration can hold, and get
    it here: `OneCycleLR` its number of steps (`total_steps: null`), `SequentialLR` (a warm-up) schedules that share one
    optimizer, and a training without a schedule a constant one, so that the rate is logged and saved all the same.
    """
    if make is None:
        return ConstantLR(optimizer, factor=1.0, total_iters=0)
    if not isinstance(make, partial):
        return make(optimizer)
    options = dict(make.keywords)
    if "total_steps" in options and options["total_steps"] is None:
        options["total_steps"] = training_steps()
    if "schedulers" in options:
        options["schedulers"] = [build_schedule(each, optimizer, training_steps) for each in options["schedulers"]]
    schedule: LRScheduler = make.func(optimizer, *make.args, **options)
    return schedule


def fit_interruptible(
    trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule, resumed: Path | None
) -> None:
    """Run `trainer.fit`, anew or from a checkpoint; re-raise the SystemExit that Lightning makes of a signal.

    Raises:
        StoppedBySignal, KeyboardInterrupt: A signal asked the process to end, or Ctrl-C was pressed.
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
