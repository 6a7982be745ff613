"""Losses of training: any loss of torch or MONAI, and cross entropy with the soft Dice loss of the parts.

The paper's loss (2.4.3) is torch's own cross entropy. A loss maps logits (batch, class, x, y) in single precision and
labels (batch, x, y) to a scalar; those of patches have a last axis z. With `target=raters` the labels of the training
are probabilities (batch, class, x, y), which torch's cross entropy and `DiceCrossEntropy` take, too. MONAI's losses
want labels with a channel axis, (batch, 1, x, y): every loss whose class is MONAI's, or derived from one of MONAI's,
gets them so and works as it is, as `monai.losses.DiceCELoss(to_onehot_y=True, softmax=True)`.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from nerveseg.errors import ConfigurationError

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]  # logits (batch, class, x, y) and labels (batch, x, y) to a scalar


HALF = 0.5  # least share of a soft label from which a pixel has a class


class DiceCrossEntropy(nn.Module):
    """Cross entropy plus the soft Dice loss, the mean over the classes but background that a batch shows.

    Slices without nerve have no Dice of their own, which is why the batch counts as one volume. A class that no pixel
    of the batch has is left out: its Dice would push the class down in every pixel, much harder than cross entropy
    does, and a class that few batches show would never be learned. With soft labels the overlap is the sum of the
    smaller of probability and label, so that the loss is least where both are equal (Wang et al.); for labels of 0 and
    1 that is the usual product.

    Args:
        dice_weight: Factor on the soft Dice loss.
        smoothing_pixels: Pixels added to numerator and denominator; above 0 with `logarithm`.
        logarithm: Flag: true to take -log(Dice) in place of 1 - Dice (Wong et al., with exponent 1). The smaller the
            Dice of a class, the larger its gradient: for several classes of which some are small.

    Raises:
        ConfigurationError: The logarithm is to be taken without smoothing, and may be that of 0.

    References:
        Milletari F, Navab N, Ahmadi SA. V-Net: fully convolutional neural networks for volumetric medical image
        segmentation. 3DV 2016.
        Wang Z, Popordanoska T, Bertels J, et al. Dice semimetric losses: optimizing the Dice score with soft labels.
        MICCAI 2023, arXiv 2303.16296.
        Wong KCL, Moradi M, Tang H, Syeda-Mahmood T. 3D segmentation with exponential logarithmic loss for highly
        unbalanced object sizes. MICCAI 2018, arXiv 1809.00076.
    """

    def __init__(self, dice_weight: float = 1.0, smoothing_pixels: float = 1.0, logarithm: bool = False) -> None:
        super().__init__()
        if logarithm and not smoothing_pixels > 0:
            rule = "loss.smoothing_pixels is above 0 with loss.logarithm=true"
            raise ConfigurationError(rule, found=smoothing_pixels, remedy="loss.smoothing_pixels=1e-5")
        self.dice_weight = dice_weight
        self.smoothing_pixels = smoothing_pixels
        self.logarithm = logarithm

    def forward(
        self,
        logits: Float[Tensor, "batch class *size"],
        label: Int64[Tensor, "batch *size"] | Float[Tensor, "batch class *size"],
    ) -> Float[Tensor, ""]:
        """Return the loss in single precision; labels are numbers of classes, or the probability of each class."""
        logits = logits.float()
        probabilities = logits.softmax(dim=1).unbind(dim=1)
        soft = label.is_floating_point()
        drawn = label.unbind(dim=1)[1:] if soft else [label == part for part in range(1, len(probabilities))]
        shown = torch.stack([(each >= HALF).any() if soft else each.any() for each in drawn])
        dice = torch.stack([self._dice(*pair) for pair in zip(probabilities[1:], drawn, strict=True)])
        losses = -dice.log() if self.logarithm else 1 - dice
        mean = (losses * shown).sum() / shown.sum().clamp(min=1)
        return functional.cross_entropy(logits, label) + self.dice_weight * mean

    def _dice(
        self,
        probability: Float[Tensor, "batch *size"],
        drawn: Bool[Tensor, "batch *size"] | Float[Tensor, "batch *size"],
    ) -> Float[Tensor, ""]:
        common = torch.minimum(probability, drawn) if drawn.is_floating_point() else probability[drawn]
        overlap = 2 * common.sum() + self.smoothing_pixels
        return overlap / (probability.sum() + drawn.sum() + self.smoothing_pixels)


def loss_value(
    loss: Loss,
    logits: Float[Tensor, "batch class *size"],
    label: Int64[Tensor, "batch *size"] | Float[Tensor, "batch class *size"],
) -> Tensor:
    """Return the loss of a batch in single precision; a loss of MONAI's gets its labels with a channel axis."""
    is_monai = any(cls.__module__.startswith("monai.") for cls in type(loss).__mro__)
    return loss(logits.float(), label.unsqueeze(1) if is_monai and not label.is_floating_point() else label)


def check_loss(loss: Loss, classes: int = 2, soft: bool = False) -> None:
    """Try a loss on a small batch of some classes; raise `ConfigurationError` unless it returns a finite scalar.

    With `soft` it is tried on probabilities, too. MONAI's losses are refused then: with `to_onehot_y` they take numbers
    of classes alone, without it probabilities alone, and training needs the second and validation the first.
    """
    label = torch.zeros(2, 16, 16, dtype=torch.int64)
    label[:, 4:8, 4:8] = classes - 1
    remedy = "see nerveseg/training/losses.py; MONAI's losses need to_onehot_y=true and softmax=true"
    _try_loss(loss, classes, label, "loss takes logits (batch, class, x, y) and labels (batch, x, y)", remedy)
    if soft:
        shares = functional.one_hot(label, classes).movedim(-1, 1).float()
        rule = "with target=raters loss takes probabilities (batch, class, x, y) as labels, too"
        _try_loss(loss, classes, shares, rule, "a loss of conf/loss/ that is not MONAI's, or target=consensus")


def _try_loss(loss: Loss, classes: int, label: Tensor, rule: str, remedy: str) -> None:
    try:
        value = loss_value(loss, torch.zeros(2, classes, 16, 16), label)
    except Exception as error:  # whatever a loss raises about its arguments
        found = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigurationError(rule, found=found, remedy=remedy) from error
    if value.ndim or not value.isfinite():
        found = f"shape {tuple(value.shape)}" if value.ndim else f"{float(value)}"
        raise ConfigurationError("loss returns a finite scalar", found=found, remedy=remedy)
