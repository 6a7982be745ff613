"""What an augmentation is, and the one that does nothing."""

from __future__ import annotations

from collections.abc import Sequence
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


@runtime_checkable
class BatchAugmentation(Augmentation, Protocol):
    """An augmentation that also takes whole batches, on any device, and moves each slice as it would alone."""

    def augment_batch(
        self,
        images: Float32[Tensor, "slice channel x y"],
        labels: UInt8[Tensor, "slice x y"],
        spacings_mm: Sequence[tuple[float, float]],
        seeds: Sequence[int],
    ) -> tuple[Float32[Tensor, "slice channel x y"], UInt8[Tensor, "slice x y"]]:
        """Augment a batch on the device it is on, with a seed and a spacing for each slice."""
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

    def augment_batch(
        self,
        images: Float32[Tensor, "slice channel x y"],
        labels: UInt8[Tensor, "slice x y"],
        spacings_mm: Sequence[tuple[float, float]],
        seeds: Sequence[int],
    ) -> tuple[Float32[Tensor, "slice channel x y"], UInt8[Tensor, "slice x y"]]:
        """The batch unchanged."""
        return images, labels
