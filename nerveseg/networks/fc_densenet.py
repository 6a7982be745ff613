"""FC-DenseNet, the "one hundred layers tiramisu": a U-shaped network whose stages are densely connected blocks.

Balsiger et al. 2018 (section 2.4.2) use it with four transitions, four layers per block, growth rate 12 and 48 first
filters. On the way up a dense block hands on only the features it made itself, so that the number of feature maps does
not explode; the last block hands on everything it has.

Training keeps every joined, normalised and rectified feature map for the backward pass, so the memory of a block grows
with the square of its layers. `checkpointing` recomputes the blocks in the backward pass instead.

References:
    Jegou S, Drozdzal M, Vazquez D, Romero A, Bengio Y. The one hundred layers tiramisu: fully convolutional DenseNets
    for semantic segmentation. CVPR Workshops 2017. Section 3, Table 1 and Table 2.
    Pleiss G, Chen D, Huang G, Li T, van der Maaten L, Weinberger KQ. Memory-efficient implementation of DenseNets.
    arXiv 1707.06990, 2017. Section 3 (recomputation).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nerveseg.errors import ConfigurationError


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
        """Return the new features only; the caller joins them to the input where the architecture says so."""
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
        """Return the upsampled features followed by those of the skip connection, along the channels."""
        return torch.cat([self.convolution(x, output_size=list(skip.shape[-2:])), skip], dim=1)


class FCDenseNet(nn.Module):
    """Fully convolutional DenseNet for images of any size; returns logits.

    Args:
        in_channels: Image channels.
        classes: Output channels, background included.
        first_filters: Feature maps of the 3x3 convolution in front of the first block.
        growth_rate: Feature maps that each layer adds.
        layers_per_block: One number for all blocks, or one per block: down path, bottleneck, up path.
        transitions: Transitions down, and as many up.
        dropout: Probability of dropping a value behind each convolution of a layer or transition down.
        checkpointing: Recomputation of the dense blocks in the backward pass, to the same gradients: about a third more
            time, and a fraction of the memory.

    Attributes:
        reduction: Factor by which the transitions down divide the in-plane size.

    Raises:
        ConfigurationError: A value is out of range, or `layers_per_block` does not name `2 * transitions + 1` blocks.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 2,
        first_filters: int = 48,
        growth_rate: int = 12,
        layers_per_block: int | Sequence[int] = 4,
        transitions: int = 4,
        dropout: float = 0.2,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        layers = _layers_of_each_block(layers_per_block, transitions)
        _check_positive(in_channels=in_channels, classes=classes, first_filters=first_filters, growth_rate=growth_rate)
        if not 0 <= dropout < 1:
            raise ConfigurationError("network.dropout is a probability below 1", found=dropout)
        self.checkpointing = checkpointing
        self.reduction = 2**transitions

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
        """Return the logits of every pixel."""
        x = self.first(x)
        skips: list[Tensor] = []
        for block, transition in zip(self.down_blocks, self.transitions_down, strict=True):
            x = torch.cat([x, self._new_features(block, x)], dim=1)
            skips.append(x)
            x = transition(x)
        new = self._new_features(self.bottleneck, x)
        for block, transition in zip(self.up_blocks, self.transitions_up, strict=True):
            x = transition(new, skips.pop())
            new = self._new_features(block, x)
        logits: Tensor = self.classifier(torch.cat([x, new], dim=1) if self.up_blocks else new)
        return logits

    def _new_features(self, block: nn.Module, x: Float[Tensor, "batch in x y"]) -> Float[Tensor, "batch new x y"]:
        """Apply a dense block, with checkpointing if asked for; dropout draws the same values again."""
        if not (self.checkpointing and self.training and torch.is_grad_enabled()):
            new: Tensor = block(x)
        elif torch.compiler.is_compiling():  # a compiled graph updates each buffer once
            new = checkpoint(block, x, use_reentrant=False)
        else:
            new = checkpoint(
                block, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _running_statistics_kept(block))
            )
        return new


@contextmanager
def _running_statistics_kept(block: nn.Module) -> Iterator[None]:
    """Let batch normalisation update copies of its running statistics, which the forward pass has updated already."""
    norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    buffers = [dict(norm.named_buffers()) for norm in norms]
    try:
        for norm, originals in zip(norms, buffers, strict=True):
            for name, buffer in originals.items():
                setattr(norm, name, buffer.clone())
        yield
    finally:
        for norm, originals in zip(norms, buffers, strict=True):
            for name, buffer in originals.items():
                setattr(norm, name, buffer)


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
    """Draw weights as He et al. (uniform) and set biases to zero: Jegou et al. 2017, section 4.1."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
