"""FC-DenseNet, the "one hundred layers tiramisu": a U-shaped network whose stages are densely connected blocks.

Balsiger et al. 2018 (section 2.4.2) use it with four transitions, four layers per block, growth rate 12 and 48 first
filters. On the way up a dense block hands on only the features it made itself, so that the number of feature maps does
not explode; the last block hands on everything it has.

References:
    Jegou S, Drozdzal M, Vazquez D, Romero A, Bengio Y. The one hundred layers tiramisu: fully convolutional DenseNets
    for semantic segmentation. CVPR Workshops 2017. Section 3, Table 1 and Table 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from nerveseg.errors import ConfigurationError
from nerveseg.networks.dense_training import can_train_leanly, dense_block, norm_relu_convolution

LEAN_WIDTH, LEAN_VALUES = 128, 2_500_000
"""Feature maps at full resolution, and their values in a batch, from which on `dense_training` is faster (measured)."""


class Layer(nn.Sequential):
    """BN, ReLU, 3x3 convolution, dropout: `growth_rate` new feature maps from all that came before."""

    def __init__(self, in_channels: int, growth_rate: int, dropout: float) -> None:
        super().__init__(
            nn.BatchNorm2d(in_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(in_channels, growth_rate, kernel_size=3, padding="same"),
            nn.Dropout(dropout),
        )


class DenseBlock(nn.Module):
    """Layers of which each sees the block's input and the output of every layer before it."""

    def __init__(self, in_channels: int, growth_rate: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            Layer(in_channels + index * growth_rate, growth_rate, dropout) for index in range(layers)
        )
        self.new_channels = layers * growth_rate

    def forward(self, x: Float[Tensor, "batch in x y"]) -> Float[Tensor, "batch new x y"]:
        """The new features only; the caller joins them to the input where the architecture says so."""
        features = [x]
        for layer in self.layers:
            features.append(layer(torch.cat(features, dim=1)))
        return torch.cat(features[1:], dim=1)


class TransitionDown(nn.Sequential):
    """BN, ReLU, 1x1 convolution, dropout, 2x2 max pooling: half the resolution, the same number of channels."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__(
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, kernel_size=1),
            nn.Dropout(dropout),
            nn.MaxPool2d(kernel_size=2, ceil_mode=True),
        )


class TransitionUp(nn.Module):
    """3x3 transposed convolution with stride 2, to the size of the skip connection it is joined with."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.ConvTranspose2d(channels, channels, kernel_size=3, stride=2, padding=1)

    def forward(
        self, x: Float[Tensor, "batch in x y"], skip: Float[Tensor, "batch skip x2 y2"]
    ) -> Float[Tensor, "batch out x2 y2"]:
        """Upsampled features followed by the skip connection's, along the channels."""
        return torch.cat([self.upsample(x, skip), skip], dim=1)

    def upsample(
        self, x: Float[Tensor, "batch in x y"], skip: Float[Tensor, "batch skip x2 y2"]
    ) -> Float[Tensor, "batch in x2 y2"]:
        """The features at the size of the skip connection."""
        up: Tensor = self.convolution(x, output_size=list(skip.shape[-2:]))
        return up


class FCDenseNet(nn.Module):
    """Fully convolutional DenseNet; returns logits.

    Args:
        in_channels: Image channels.
        classes: Output channels, background included.
        first_filters: Feature maps of the 3x3 convolution in front of the first block.
        growth_rate: Feature maps that each layer adds.
        layers_per_block: One number for all blocks, or one per block: down path, bottleneck, up path.
        transitions: Transitions down, and as many up.
        dropout: Probability of dropping a value behind each convolution of a layer or transition down.

    Raises:
        ConfigurationError: A value is out of range, or `layers_per_block` does not name `2 * transitions + 1` blocks.
    """

    lean_training: bool | None = None
    """Whether training on a CPU goes the way of `dense_training`, to the same numbers; None: where that pays."""

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 2,
        first_filters: int = 48,
        growth_rate: int = 12,
        layers_per_block: int | Sequence[int] = 4,
        transitions: int = 4,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        layers = _layers_of_each_block(layers_per_block, transitions)
        _check_positive(in_channels=in_channels, classes=classes, first_filters=first_filters, growth_rate=growth_rate)
        if not 0 <= dropout < 1:
            raise ConfigurationError("network.dropout is a probability below 1", found=dropout)
        self.arguments: dict[str, int | float | list[int]] = {
            "in_channels": in_channels,
            "classes": classes,
            "first_filters": first_filters,
            "growth_rate": growth_rate,
            "layers_per_block": layers,
            "transitions": transitions,
            "dropout": dropout,
        }

        self.first = nn.Conv2d(in_channels, first_filters, kernel_size=3, padding="same")
        channels = first_filters
        self.down_blocks = nn.ModuleList()
        self.transitions_down = nn.ModuleList()
        skip_channels: list[int] = []
        for count in layers[:transitions]:
            block = DenseBlock(channels, growth_rate, count, dropout)
            channels += block.new_channels
            self.down_blocks.append(block)
            self.transitions_down.append(TransitionDown(channels, dropout))
            skip_channels.append(channels)

        self.bottleneck = DenseBlock(channels, growth_rate, layers[transitions], dropout)
        channels = self.bottleneck.new_channels
        self.transitions_up = nn.ModuleList()
        self.up_blocks = nn.ModuleList()
        for count in layers[transitions + 1 :]:
            self.transitions_up.append(TransitionUp(channels))
            joined = channels + skip_channels.pop()
            block = DenseBlock(joined, growth_rate, count, dropout)
            self.up_blocks.append(block)
            channels = block.new_channels
        last = joined + channels if transitions else channels
        self.classifier = nn.Conv2d(last, classes, kernel_size=1)
        self.apply(_initialise)

    def forward(self, x: Float[Tensor, "batch channel x y"]) -> Float[Tensor, "batch class x y"]:
        """Logits of every pixel; any in-plane size.

        Training on a CPU takes another way to the same numbers: `dense_training`.
        """
        pays = (
            self.classifier.in_channels >= LEAN_WIDTH and x[:, 0].numel() * self.classifier.in_channels >= LEAN_VALUES
        )
        if (self.lean_training or (pays and self.lean_training is None)) and can_train_leanly(self, x):
            return self._forward_leanly(x)
        x = self.first(x)
        skips: list[Tensor] = []
        for block, transition in zip(self.down_blocks, self.transitions_down, strict=True):
            x = torch.cat([x, block(x)], dim=1)
            skips.append(x)
            x = transition(x)
        new = self.bottleneck(x)
        for block, transition in zip(self.up_blocks, self.transitions_up, strict=True):
            x = transition(new, skips.pop())
            new = block(x)
        logits: Tensor = self.classifier(torch.cat([x, new], dim=1) if self.up_blocks else new)
        return logits

    def _forward_leanly(self, x: Float[Tensor, "batch channel x y"]) -> Float[Tensor, "batch class x y"]:
        x = self.first(x)
        skips: list[Tensor] = []
        for block, down in zip(self.down_blocks, self.transitions_down, strict=True):
            assert isinstance(block, DenseBlock)
            assert isinstance(down, TransitionDown)
            maps, statistics = dense_block([x], block.layers)
            skips.append(maps)
            x = down[-1](norm_relu_convolution(maps, statistics, down))
        maps, _ = dense_block([x], self.bottleneck.layers)
        new = maps[:, -self.bottleneck.new_channels :]
        for block, up in zip(self.up_blocks, self.transitions_up, strict=True):
            assert isinstance(block, DenseBlock)
            assert isinstance(up, TransitionUp)
            skip = skips.pop()
            maps, _ = dense_block([up.upsample(new, skip), skip], block.layers)
            new = maps[:, -block.new_channels :]
        seen = (maps if self.up_blocks else new).permute(0, 2, 3, 1)
        # a product of matrices: measured faster than the way back of a convolution
        weight = self.classifier.weight.flatten(1)
        return functional.linear(seen, weight, self.classifier.bias).permute(0, 3, 1, 2)


def _layers_of_each_block(layers_per_block: int | Sequence[int], transitions: int) -> list[int]:
    if transitions < 0:
        raise ConfigurationError("network.transitions is a number from 0 up", found=transitions)
    blocks = 2 * transitions + 1
    layers = [layers_per_block] * blocks if isinstance(layers_per_block, int) else list(layers_per_block)
    if len(layers) != blocks or min(layers) < 1:
        raise ConfigurationError(
            "network.layers_per_block is a positive number, or one for each of the 2 * transitions + 1 blocks",
            found=f"{layers_per_block} for {transitions} transitions",
            remedy=f"give one number, or a list of {blocks}",
        )
    return layers


def _check_positive(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise ConfigurationError(f"network.{name} is a number from 1 up", found=value)


def _initialise(module: nn.Module) -> None:
    """He initialisation (uniform), zero biases: Jegou et al. 2017, section 4.1."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
