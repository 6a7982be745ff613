"""Slices moved in plain torch: one at a time in a loader's worker, or batch by batch wherever the batch is.

The distribution is that of `TorchioAugmentation`, for the same movements so is the result, up to two things: here a
slice is interpolated once, there once per movement, which blurs it a little more; and the random stream differs, so a
seed stands for other movements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float32, UInt8
from torch import Tensor

from nerveseg.data.augmentation.movements import draw_movements
from nerveseg.data.augmentation.options import AugmentationOptions
from nerveseg.data.augmentation.resampling import move_slices


@dataclass(frozen=True)
class TensorAugmentation(AugmentationOptions):
    """Random flip, translation and elastic deformation of slices, in plain torch.

    The options are those of `AugmentationOptions`.
    """

    def __call__(
        self,
        image: Float32[Tensor, "channel x y"],
        label: UInt8[Tensor, "x y"],
        spacing_mm: tuple[float, float],
        seed: int,
    ) -> tuple[Float32[Tensor, "channel x y"], UInt8[Tensor, "x y"]]:
        """Augment one slice.

        Args:
            image: Preprocessed slice.
            label: Its label, 0 and 1.
            spacing_mm: In-plane spacing; displacements are in mm.
            seed: Fixes every random parameter.
        """
        images, labels = self.augment_batch(image[None], label[None], [spacing_mm], [seed])
        return images[0], labels[0]

    def augment_batch(
        self,
        images: Float32[Tensor, "slice channel x y"],
        labels: UInt8[Tensor, "slice x y"],
        spacings_mm: Sequence[tuple[float, float]],
        seeds: Sequence[int],
    ) -> tuple[Float32[Tensor, "slice channel x y"], UInt8[Tensor, "slice x y"]]:
        """Augment a batch on the device it is on, each slice as it would be alone.

        Args:
            images: Preprocessed slices.
            labels: Their labels, 0 and 1.
            spacings_mm: In-plane spacing of each slice; displacements are in mm.
            seeds: One per slice; fixes all its random parameters.
        """
        return move_slices(images, labels, spacings_mm, draw_movements(self, seeds))
