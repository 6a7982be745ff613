"""Artificial variety for training slices: flip, in-plane translation, in-plane elastic deformation (paper, 2.4.3).

Two classes draw from one distribution. `TorchioAugmentation` lets TorchIO move the slices, as the paper did;
`TensorAugmentation` moves them in plain torch, many times faster, and whole batches on any device. Image and label are
always transformed together, the image with linear and the label with nearest-neighbour interpolation, and nothing ever
leaves the plane. The random parameters are a pure function of the seed that comes with each call, so neither the number
of workers nor a resumed run changes them.
"""

from nerveseg.data.augmentation.interface import Augmentation, BatchAugmentation, NoAugmentation
from nerveseg.data.augmentation.options import MIN_CONTROL_POINTS, AugmentationOptions
from nerveseg.data.augmentation.seeds import slice_seed
from nerveseg.data.augmentation.tensor import TensorAugmentation
from nerveseg.data.augmentation.torchio_transforms import TorchioAugmentation

__all__ = [
    "MIN_CONTROL_POINTS",
    "Augmentation",
    "AugmentationOptions",
    "BatchAugmentation",
    "NoAugmentation",
    "TensorAugmentation",
    "TorchioAugmentation",
    "slice_seed",
]
