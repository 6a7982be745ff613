"""Augmentation of training slices: flip, in-plane translation, in-plane elastic deformation (paper, 2.4.3).

Two classes draw from one distribution. `TorchioAugmentation` transforms slices with TorchIO, as the paper did;
`TensorAugmentation` transforms them in plain torch, many times faster, and whole batches on any device. Image and label
are transformed together, the image with linear and the label with nearest-neighbour interpolation, and nothing leaves
the plane. The random parameters are a function of the seed that each call gets, so the number of workers and a resumed
run do not change them.
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
