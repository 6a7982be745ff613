"""How far and how often slices are moved: the options that every random augmentation takes, checked once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nerveseg.errors import ConfigurationError

LOCKED_POINTS = 2
"""Control points at each border of an axis that stay in place, as TorchIO's `locked_borders` has it."""

MIN_CONTROL_POINTS = 2 * LOCKED_POINTS + 1
"""With fewer, nothing is left to move."""


@dataclass(frozen=True)
class AugmentationOptions:
    """Random flip, translation and elastic deformation of a slice.

    Args:
        flip_axes: In-plane axes (0 is left-right, 1 is anterior-posterior), each flipped with `flip_probability`.
        flip_probability: Per axis.
        translation_mm: Largest shift along each in-plane axis.
        translation_probability: Share of slices that are shifted.
        elastic_displacement_mm: Largest displacement of a control point along each in-plane axis.
        elastic_control_points: Per in-plane axis, the locked border included.
        elastic_probability: Share of slices that are deformed.

    Raises:
        ConfigurationError: A value is out of its range.
    """

    flip_axes: Sequence[int] = (0,)
    flip_probability: float = 0.5
    translation_mm: float = 5.0
    translation_probability: float = 1.0
    elastic_displacement_mm: float = 5.0
    elastic_control_points: int = 7
    elastic_probability: float = 1.0

    def __post_init__(self) -> None:
        if not set(self.flip_axes) <= {0, 1}:
            raise ConfigurationError("augmentation.flip_axes holds in-plane axes, 0 and 1", found=list(self.flip_axes))
        if self.elastic_control_points < MIN_CONTROL_POINTS:
            raise ConfigurationError(
                f"augmentation.elastic_control_points is a number from {MIN_CONTROL_POINTS} up",
                found=self.elastic_control_points,
            )
        for name in ("flip_probability", "translation_probability", "elastic_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigurationError(f"augmentation.{name} lies between 0 and 1", found=getattr(self, name))
        for name in ("translation_mm", "elastic_displacement_mm"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigurationError(f"augmentation.{name} is a length from 0 up", found=getattr(self, name))
