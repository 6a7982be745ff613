"""Plain U-Net of slices: fast on a CPU, because its convolutions are wide and few.

At equal memory traffic it has ten times the weights of a small FC-DenseNet. Batch normalisation, not instance
normalisation: a network that is trained on parts of the plane sees whole slices later, whose mean and variance differ.

References:
    Ronneberger O, Fischer P, Brox T. U-Net: convolutional networks for biomedical image segmentation. MICCAI 2015,
    arXiv:1505.04597.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn


class UNet(nn.Module):
    """U-Net of two convolutions a level, with strided convolutions down and transposed ones up.

    Args:
        in_channels: Number of image channels.
        classes: Number of classes, with background.
        filters: Feature maps of each level, from the finest; each further level halves the resolution.
    """

    def __init__(self, in_channels: int = 1, classes: int = 2, filters: Sequence[int] = (8, 24, 48, 96, 192)) -> None:
        super().__init__()
        pairs = list(pairwise(filters))
        self.first = _block(in_channels, filters[0], stride=1)
        self.down = nn.ModuleList(_block(fine, coarse, stride=2) for fine, coarse in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, 2, bias=False) for fine, coarse in reversed(pairs))
        self.merge = nn.ModuleList(_block(2 * fine, fine, stride=1) for fine, _ in reversed(pairs))
        self.classifier = nn.Conv2d(filters[0], classes, 1)

    @property
    def reduction(self) -> int:
        """Factor by which the in-plane size is divided; inputs are multiples of it."""
        return int(2 ** len(self.down))

    def forward(self, images: Float[Tensor, "batch channel x y"]) -> Float[Tensor, "batch class x y"]:
        """Return the logits of every pixel."""
        features = self.first(images)  # (batch, filters[0], x, y)
        skipped = []
        for down in self.down:
            skipped.append(features)
            features = down(features)  # half the size
        for up, merge in zip(self.up, self.merge, strict=True):
            features = merge(torch.cat([skipped.pop(), up(features)], dim=1))  # twice the size
        logits: Tensor = self.classifier(features)
        return logits


def _block(in_channels: int, filters: int, stride: int) -> nn.Sequential:
    def layer(channels: int, step: int) -> list[nn.Module]:
        convolution = nn.Conv2d(channels, filters, 3, stride=step, padding=1, bias=False)
        return [convolution, nn.BatchNorm2d(filters), nn.LeakyReLU(0.01, inplace=True)]

    return nn.Sequential(*layer(in_channels, stride), *layer(filters, 1))
