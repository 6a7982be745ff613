"""Augmentation of training slices: flip, in-plane translation, in-plane elastic deformation (paper, 2.4.3).

Two classes draw from one distribution: `TorchioAugmentation` with TorchIO, as the paper did; `TensorAugmentation` in
plain torch, many times faster, and whole batches on any device. The image is interpolated linearly, the label with the
nearest neighbour. The random parameters are a function of the seed that each call gets.
"""

from nerveseg.data.augmentation.base import (
    Augmentation,
    AugmentationOptions,
    BatchAugmentation,
    NoAugmentation,
    slice_seed,
)
from nerveseg.data.augmentation.torchio_augmentation import TorchioAugmentation
from nerveseg.data.augmentation.warp import TensorAugmentation

__all__ = [
    "Augmentation",
    "AugmentationOptions",
    "BatchAugmentation",
    "NoAugmentation",
    "TensorAugmentation",
    "TorchioAugmentation",
    "slice_seed",
]
