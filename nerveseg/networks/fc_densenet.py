"""FC-DenseNet, the "one hundred layers tiramisu": a U-shaped network whose stages are densely connected blocks.

Balsiger et al. 2018 (section 2.4.2) use it with four transitions, four layers per block, growth rate 12 and 48 first
filters. On the way up a dense block hands on only the features it made itself, so that the number of feature maps does
not explode; the last block hands on everything it has.

In three dimensions the same network has kernels and poolings of three axes. Where slices are thick, the highest levels
work within the slice (kernel [3, 3, 1], pooling [2, 2, 1]) until voxels are about cubes: isotropic kernels would mix
tissue that lies far apart (Isensee et al. 2021, "image target spacing and network topology").

Training keeps every joined, normalised and rectified feature map for the backward pass, so the memory of a block grows
with the square of its layers. `checkpointing` recomputes the blocks in the backward pass instead.

References:
    Jegou S, Drozdzal M, Vazquez D, Romero A, Bengio Y. The one hundred layers tiramisu: fully convolutional DenseNets
    for semantic segmentation. CVPR Workshops 2017. Section 3, Table 1 and Table 2.
    Pleiss G, Chen D, Huang G, Li T, van der Maaten L, Weinberger KQ. Memory-efficient implementation of DenseNets.
    arXiv 1707.06990, 2017. Section 3 (recomputation).
    Isensee F, Jaeger PF, Kohl SAA, Petersen J, Maier-Hein KH. nnU-Net: a self-configuring method for deep
    learning-based biomedical image segmentation. Nature Methods 2021.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nerveseg.errors import ConfigurationError

Sizes: TypeAlias = int | Sequence[int | Sequence[int]]
"""Size along every axis of every level; or one per level, each a number or a number per axis."""

# Classes of each number of axes; Any, because torch types a size by the number of its axes.
CONVOLUTION: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED_CONVOLUTION: dict[int, Any] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORM: dict[int, Any] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MAX_POOL: dict[int, Any] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}


class Layer(nn.Sequential):
    """BN, ReLU, 3x3 convolution, dropout: `growth_rate` new feature maps from all that came before."""

    def __init__(self, in_channels: int, growth_rate: int, dropout: float, kernel: Sequence[int] = (3, 3)) -> None:
        super().__init__(
            NORM[len(kernel)](in_channels),
            nn.ReLU(inplace=True),
            CONVOLUTION[len(kernel)](in_channels, growth_rate, kernel_size=tuple(kernel), padding="same"),
            nn.Dropout(dropout),
        )


class DenseBlock(nn.Module):
    """Layers of which each sees the block's input and the output of every layer before it."""

    def __init__(
        self, in_channels: int, growth_rate: int, layers: int, dropout: float, kernel: Sequence[int] = (3, 3)
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            Layer(in_channels + index * growth_rate, growth_rate, dropout, kernel) for index in range(layers)
        )
        self.new_channels = layers * growth_rate

    def forward(self, x: Float[Tensor, "batch in *size"]) -> Float[Tensor, "batch new *size"]:
        """Return the new features only; the caller joins them to the input where the architecture says so."""
        features = [x]
        for layer in self.layers:
            features.append(layer(torch.cat(features, dim=1)))
        return torch.cat(features[1:], dim=1)


class TransitionDown(nn.Sequential):
    """BN, ReLU, 1x1 convolution, dropout, 2x2 max pooling: half the resolution, the same number of channels."""

    def __init__(self, channels: int, dropout: float, pooling: Sequence[int] = (2, 2)) -> None:
        super().__init__(
            NORM[len(pooling)](channels),
            nn.ReLU(inplace=True),
            CONVOLUTION[len(pooling)](channels, channels, kernel_size=1),
            nn.Dropout(dropout),
            MAX_POOL[len(pooling)](kernel_size=tuple(pooling), ceil_mode=True),
        )


class TransitionUp(nn.Module):
    """3x3 transposed convolution with stride 2, to the size of the skip connection it is joined with.

    Along an axis of another pooling p the kernel is 2 p - 1 wide and the stride is p.
    """

    def __init__(self, channels: int, pooling: Sequence[int] = (2, 2)) -> None:
        super().__init__()
        self.convolution = TRANSPOSED_CONVOLUTION[len(pooling)](
            channels,
            channels,
            kernel_size=tuple(2 * step - 1 for step in pooling),
            stride=tuple(pooling),
            padding=tuple(step - 1 for step in pooling),
        )

    def forward(
        self, x: Float[Tensor, "batch in *size"], skip: Float[Tensor, "batch skip *size2"]
    ) -> Float[Tensor, "batch out *size2"]:
        """Return the upsampled features followed by those of the skip connection, along the channels."""
        return torch.cat([self.convolution(x, output_size=list(skip.shape[2:])), skip], dim=1)


class FCDenseNet(nn.Module):
    """Fully convolutional DenseNet for images or volumes of any size; returns logits.

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
        dimensions: Number of axes: 2 for slices, 3 for volumes.
        kernel_size: Kernel of the first convolution and the layers, an odd number of pixels; or one per level, from
            the full resolution to the bottleneck, each a number or a list of a number per axis.
        pooling: Factor by which a transition divides the size; or one per transition, as `kernel_size`.

    Attributes:
        reductions: Factors by which the transitions down divide the size, for each axis.
        reduction: Factor by which they divide the in-plane size.

    Raises:
        ConfigurationError: A value is out of range, `layers_per_block` does not name `2 * transitions + 1` blocks, or
            `kernel_size` or `pooling` not the levels or the axes.
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
        dimensions: int = 2,
        kernel_size: Sizes = 3,
        pooling: Sizes = 2,
    ) -> None:
        super().__init__()
        layers = _layers_of_each_block(layers_per_block, transitions)
        _check_positive(in_channels=in_channels, classes=classes, first_filters=first_filters, growth_rate=growth_rate)
        if not 0 <= dropout < 1:
            raise ConfigurationError("network.dropout is a probability below 1", found=dropout)
        if dimensions not in CONVOLUTION:
            raise ConfigurationError("network.dimensions is 2 or 3", found=dimensions)
        kernels = _sizes_of_each_level("kernel_size", kernel_size, transitions + 1, dimensions)
        poolings = _sizes_of_each_level("pooling", pooling, transitions, dimensions)
        if any(size % 2 == 0 for kernel in kernels for size in kernel):
            raise ConfigurationError("network.kernel_size holds odd numbers", found=kernel_size)
        self.checkpointing = checkpointing
        self.dimensions = dimensions
        self.reductions = tuple(math.prod(step[axis] for step in poolings) for axis in range(dimensions))
        self.reduction = math.lcm(*self.reductions[:2])

        convolution = CONVOLUTION[dimensions]
        self.first = convolution(in_channels, first_filters, kernel_size=kernels[0], padding="same")
        channels = first_filters
        self.down_blocks = nn.ModuleList()
        self.transitions_down = nn.ModuleList()
        skip_channels: list[int] = []
        for count, kernel, step in zip(layers, kernels, poolings, strict=False):
            block = DenseBlock(channels, growth_rate, count, dropout, kernel)
            channels += block.new_channels
            self.down_blocks.append(block)
            self.transitions_down.append(TransitionDown(channels, dropout, step))
            skip_channels.append(channels)

        self.bottleneck = DenseBlock(channels, growth_rate, layers[transitions], dropout, kernels[-1])
        channels = self.bottleneck.new_channels
        self.transitions_up = nn.ModuleList()
        self.up_blocks = nn.ModuleList()
        for count, kernel, step in zip(layers[transitions + 1 :], kernels[-2::-1], poolings[::-1], strict=True):
            self.transitions_up.append(TransitionUp(channels, step))
            joined = channels + skip_channels.pop()
            block = DenseBlock(joined, growth_rate, count, dropout, kernel)
            self.up_blocks.append(block)
            channels = block.new_channels
        last = joined + channels if transitions else channels
        self.classifier = convolution(last, classes, kernel_size=1)
        self.apply(_initialise)

    def forward(self, x: Float[Tensor, "batch channel *size"]) -> Float[Tensor, "batch class *size"]:
        """Return the logits of every pixel or voxel."""
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

    def _new_features(self, block: nn.Module, x: Float[Tensor, "batch in *size"]) -> Float[Tensor, "batch new *size"]:
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
    norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d)]
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


def _sizes_of_each_level(name: str, sizes: Sizes, levels: int, dimensions: int) -> list[tuple[int, ...]]:
    each = [sizes] * levels if isinstance(sizes, int) else list(sizes)
    expanded = [(size,) * dimensions if isinstance(size, int) else tuple(size) for size in each]
    if len(expanded) != levels or any(len(size) != dimensions or min(size) < 1 for size in expanded):
        raise ConfigurationError(
            f"network.{name} is a positive number, or one for each of {levels} levels and each of {dimensions} axes",
            found=sizes,
            remedy=f"give one number, or a list of {levels} numbers or lists of {dimensions}",
        )
    return expanded


def _check_positive(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise ConfigurationError(f"network.{name} is a number from 1 up", found=value)


def _initialise(module: nn.Module) -> None:
    """Draw weights as He et al. (uniform) and set biases to zero: Jegou et al. 2017, section 4.1."""
    if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
