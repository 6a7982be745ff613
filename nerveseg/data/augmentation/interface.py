"""What an augmentation is, and the one that does nothing."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float32, UInt8
from torch import Tensor


@runtime_checkable
class Augmentation(Protocol):
    """Anything that turns a slice and its label into another pair of the same shapes."""

    def __call__(
        self,
        image: Float32[Tensor, "channel x y"],
        label: UInt8[Tensor, "x y"],
        spacing_mm: tuple[float, float],
        seed: int,
    ) -> tuple[Float32[Tensor, "channel x y"], UInt8[Tensor, "x y"]]:
        """Augment one slice; `seed` fixes every random parameter."""
        ...


class NoAugmentation:
    """Slices as they are."""

    def __call__(
        self,
        image: Float32[Tensor, "channel x y"],
        label: UInt8[Tensor, "x y"],
        spacing_mm: tuple[float, float],
        seed: int,
    ) -> tuple[Float32[Tensor, "channel x y"], UInt8[Tensor, "x y"]]:
        """The pair unchanged."""
        return image, label
