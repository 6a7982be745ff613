"""Interface of augmentations, the options of the random ones, seeds of slices, and an augmentation without effect."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8
from torch import Tensor

from nerveseg.errors import ConfigurationError

LOCKED_POINTS = 2  # control points at each border of an axis that stay in place: TorchIO's `locked_borders`

MIN_CONTROL_POINTS = 2 * LOCKED_POINTS + 1
"""Least number of control points along an axis, for one of them to be movable."""


Image2d: TypeAlias = Float32[Tensor, "channel x y"]
Label2d: TypeAlias = UInt8[Tensor, "*slices x y"] | Float32[Tensor, "*slices x y"]
Images2d: TypeAlias = Float32[Tensor, "slice channel x y"]
Labels2d: TypeAlias = UInt8[Tensor, "slice *slices x y"] | Float32[Tensor, "slice *slices x y"]
"""Preprocessed slices and their labels. A patch is a slice whose channels are those of several slices, with a label for
each (`*slices`); all are moved alike. Float labels are shares of raters, of each part (`rater_counts`)."""


@runtime_checkable
class Augmentation(Protocol):
    """Function from a slice, its label and its in-plane spacing to another pair; the seed fixes what is random."""

    def __call__(
        self, image: Image2d, label: Label2d, spacing_mm: tuple[float, float], seed: int
    ) -> tuple[Image2d, Label2d]:
        """Augment one slice."""
        ...


@runtime_checkable
class BatchAugmentation(Augmentation, Protocol):
    """Augmentation that also takes whole batches, on any device."""

    def augment_batch(
        self, images: Images2d, labels: Labels2d, spacings_mm: Sequence[tuple[float, float]], seeds: Sequence[int]
    ) -> tuple[Images2d, Labels2d]:
        """Augment a batch on its device, each slice, with its spacing and seed, as `__call__` augments it."""
        ...


class NoAugmentation:
    """Augmentation that returns slices unchanged."""

    def __call__(
        self, image: Image2d, label: Label2d, spacing_mm: tuple[float, float], seed: int
    ) -> tuple[Image2d, Label2d]:
        """Return the pair unchanged."""
        return image, label

    def augment_batch(
        self, images: Images2d, labels: Labels2d, spacings_mm: Sequence[tuple[float, float]], seeds: Sequence[int]
    ) -> tuple[Images2d, Labels2d]:
        """Return the batch unchanged."""
        return images, labels


@dataclass(frozen=True)
class AugmentationOptions:
    """Options of random flip, translation and elastic deformation, with the defaults of `conf/augmentation/paper.yaml`.

    Raises:
        ConfigurationError: A value is out of its range.
    """

    flip_axes: Sequence[int] = (0,)  # in-plane axes that are flipped (0 is left-right, 1 is anterior-posterior)
    flip_probability: float = 0.5  # probability of a flip, per axis
    translation_mm: float = 10.0  # largest shift along each in-plane axis
    translation_probability: float = 1.0  # share of slices that are shifted
    elastic_displacement_mm: float = 5.0  # largest displacement of a control point along each in-plane axis
    elastic_control_points: int = 7  # number of control points per in-plane axis, with the locked ones at the border
    elastic_probability: float = 1.0  # share of slices that are deformed

    def __post_init__(self) -> None:
        if not set(self.flip_axes) <= {0, 1}:
            raise ConfigurationError("augmentation.flip_axes holds in-plane axes, 0 and 1", found=list(self.flip_axes))
        if self.elastic_control_points < MIN_CONTROL_POINTS:
            rule = f"augmentation.elastic_control_points is a number from {MIN_CONTROL_POINTS} up"
            raise ConfigurationError(rule, found=self.elastic_control_points)
        for name in ("flip_probability", "translation_probability", "elastic_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigurationError(f"augmentation.{name} lies between 0 and 1", found=getattr(self, name))
        for name in ("translation_mm", "elastic_displacement_mm"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigurationError(f"augmentation.{name} is a length from 0 up", found=getattr(self, name))


def slice_seed(seed: int, epoch: int, index: int) -> int:
    """Return the seed of one slice in one epoch, independent of the order in which slices are read."""
    return int(np.random.SeedSequence([seed, epoch, index]).generate_state(1)[0])
