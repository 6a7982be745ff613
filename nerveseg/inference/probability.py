"""What the network says of a slice: softmax over background and nerve, and the threshold that makes it a mask."""

from __future__ import annotations

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from nerveseg.types import Mask, Probability

THRESHOLD = 0.5
"""A voxel is nerve if that is the likelier of the two classes (paper, 2.4.2)."""


def nerve_probability(network: nn.Module, slices: Float32[Tensor, "slice channel x y"]) -> Float32[Tensor, "slice x y"]:
    """Softmax over the two classes, the probability of the second, on the CPU.

    Args:
        network: In evaluation mode, on the device of the slices.
        slices: Preprocessed.
    """
    logits = network(slices.contiguous(memory_format=torch.channels_last))
    return torch.softmax(logits.float(), dim=1)[:, 1].cpu()


def nerve_mask(probability: Probability) -> Mask:
    """Voxels that are more likely nerve than background."""
    return probability > THRESHOLD
