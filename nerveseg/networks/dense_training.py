"""The training pass of a dense block: one buffer, statistics of each feature map taken once, activations made anew.

In a dense block every layer normalises the same maps with the same statistics of the batch; only scale and shift
differ. So the block keeps its maps in one buffer, pixel by pixel, instead of joining them anew for each layer, takes
mean and variance of a map when it is made, and keeps nothing else for the way back but what dropout dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nerveseg.networks.concurrency import share_out
from nerveseg.networks.dropping import Dropping
from nerveseg.networks.strips import Norm, Statistics, Strip, convolve, convolve_backward, statistics_of, strips

PER_LAYER = 4
"""Scale and shift of the normalisation, weight and bias of the convolution."""


def can_train_leanly(network: nn.Module, x: Tensor) -> bool:
    """Whether this is a step of training on a CPU, in single or double precision, that nothing traces."""
    return (
        network.training
        and torch.is_grad_enabled()
        and x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        and all(module.training for module in network.modules())
    )


def dense_block(parts: Sequence[Tensor], layers: Iterable[nn.Module]) -> tuple[Tensor, Statistics]:
    """A dense block in training, its running statistics moved.

    Args:
        parts: What the block sees, (batch, channel, x, y) each.
        layers: Normalisation, ReLU, convolution and dropout each.

    Returns:
        Maps of the parts and of all layers (batch, channel, x, y), channels last in memory, and their statistics.

    Raises:
        ValueError: There is but one value per channel, as `nn.BatchNorm2d` raises it.
    """
    if parts[0][:, 0].numel() == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {parts[0].shape}")
    steps = [_Step.of(layer) for layer in layers]
    parameters = [parameter for step in steps for parameter in step.parameters]
    features, mean, variance = _DenseBlock.apply(len(parts), steps[0].norm.eps, steps[0].dropout, *parts, *parameters)  # type: ignore[no-untyped-call]
    statistics = Statistics(mean, variance)
    for step in steps:
        _move(step.norm, statistics, features)
    return features, statistics


def norm_relu_convolution(x: Tensor, statistics: Statistics, layers: nn.Sequential) -> Tensor:
    """Normalisation, ReLU, convolution and dropout of a transition down, for maps whose statistics are known."""
    step = _Step.of(layers)
    maps: Tensor = _Transition.apply(  # type: ignore[no-untyped-call]
        step.norm.eps, step.dropout, statistics.mean, statistics.variance, x, *step.parameters
    )
    _move(step.norm, statistics, x)
    return maps


@dataclass(frozen=True)
class _Step:
    """Normalisation, convolution and dropout of a layer or transition."""

    norm: nn.BatchNorm2d
    convolution: nn.Conv2d
    dropout: float

    @classmethod
    def of(cls, layers: nn.Module) -> _Step:
        norm, _, convolution, dropout, *_ = layers.children()
        assert isinstance(norm, nn.BatchNorm2d)
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(dropout, nn.Dropout)
        return cls(norm, convolution, dropout.p)

    @property
    def parameters(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        assert self.convolution.bias is not None
        return self.norm.weight, self.norm.bias, self.convolution.weight, self.convolution.bias


class _DenseBlock(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parts: int, eps: float, dropout: float, *tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        inputs, layers = tensors[:parts], _grouped(tensors[parts:])
        buffer, channels = _joined(inputs, sum(len(weight) for _, _, weight, _ in layers))
        known = [statistics_of(buffer[..., :channels])]
        drops: list[Dropping] = []
        for scale, shift, weight, bias in layers:
            new = convolve(buffer, Norm.of(_together(known), scale, shift, eps), weight, bias)
            drops.append(Dropping.of(new, dropout))
            drops[-1].apply(new)
            buffer[..., channels : channels + len(weight)] = new
            channels += len(weight)
            known.append(statistics_of(new))
        features, statistics = buffer.permute(0, 3, 1, 2), _together(known)
        ctx.save_for_backward(features, statistics.mean, statistics.variance, *tensors[parts:])
        ctx.eps, ctx.drops, ctx.channels = eps, drops, [part.shape[1] for part in inputs]
        ctx.mark_non_differentiable(statistics.mean, statistics.variance)
        return features, statistics.mean, statistics.variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        features, mean, variance, *parameters = ctx.saved_tensors
        buffer, into = features.permute(0, 2, 3, 1), _writable(gradient)
        following = _FollowingTerms(mean, variance, ctx.eps, buffer)
        gradients: list[Tensor] = []
        last = buffer.shape[-1]
        for number, (scale, shift, weight, _bias) in reversed(list(enumerate(_grouped(parameters)))):
            first = last - len(weight)
            following.subtract(into, first, last)
            new = into[..., first:last].contiguous()
            ctx.drops[number].apply(new)
            gradients = [*following.layer(scale, shift, weight, new, into), *gradients]
            last = first
        following.subtract(into, 0, last)
        inputs = torch.split(into[..., :last].permute(0, 3, 1, 2), ctx.channels, dim=1)
        return (None, None, None, *inputs, *gradients)


class _Transition(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, eps: float, dropout: float, mean: Tensor, variance: Tensor, *tensors: Tensor) -> Tensor:
        x, scale, shift, weight, bias = tensors
        result = convolve(x.permute(0, 2, 3, 1), Norm.of(Statistics(mean, variance), scale, shift, eps), weight, bias)
        ctx.eps, ctx.drop = eps, Dropping.of(result, dropout)
        ctx.drop.apply(result)
        ctx.save_for_backward(x, mean, variance, scale, shift, weight)
        return result.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, variance, scale, shift, weight = ctx.saved_tensors
        maps = x.permute(0, 2, 3, 1)
        following = _FollowingTerms(mean, variance, ctx.eps, maps)
        into, new = torch.zeros_like(maps, memory_format=torch.contiguous_format), _writable(gradient)
        ctx.drop.apply(new)
        gradients = following.layer(scale, shift, weight, new, into)
        following.subtract(into, 0, maps.shape[-1])
        return (None, None, None, None, into.permute(0, 3, 1, 2), *gradients)


class _FollowingTerms:
    """The two terms of the gradient through the statistics, summed over the layers that read the maps."""

    def __init__(self, mean: Tensor, variance: Tensor, eps: float, maps: Tensor) -> None:
        self.statistics = Statistics(mean, variance)
        self.eps = eps
        self.maps = maps
        self.constant = torch.zeros(len(mean), dtype=torch.float64)
        self.slope = torch.zeros(len(mean), dtype=torch.float64)

    def layer(self, scale: Tensor, shift: Tensor, weight: Tensor, new: Tensor, into: Tensor) -> list[Tensor]:
        """Go back through one layer: add to `into`, and give the gradients of its four parameters."""
        channels = weight.shape[1]
        known = Statistics(self.statistics.mean[:channels], self.statistics.variance[:channels])
        norm = Norm.of(known, scale, shift, self.eps)
        back = convolve_backward(self.maps, norm, weight, new, into)
        each = norm.scale.double() / self.maps[..., 0].numel()
        self.constant[:channels] += each * back.sum
        self.slope[:channels] += each * back.product * norm.inverse_std
        return [back.product.to(scale.dtype), back.sum.to(shift.dtype), back.weight, new.sum(dim=(0, 1, 2))]

    def subtract(self, into: Tensor, first: int, last: int) -> None:
        """Complete the gradient of some channels, once every layer that reads them is done."""
        mean = self.statistics.mean[first:last]
        constant, slope = (term[first:last].to(mean.dtype) for term in (self.constant, self.slope))

        def part(some: Sequence[Strip]) -> None:
            for strip in some:
                terms = (strip.pixels(self.maps)[:, first:last] - mean).mul_(slope).add_(constant)
                strip.pixels(into)[:, first:last] -= terms

        share_out(part, list(strips(into, last - first)))


def _grouped(tensors: Sequence[Tensor]) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    numbers = range(0, len(tensors), PER_LAYER)
    return [(tensors[i], tensors[i + 1], tensors[i + 2], tensors[i + 3]) for i in numbers]


def _joined(inputs: Sequence[Tensor], room: int) -> tuple[Tensor, int]:
    """The parts side by side in a buffer (batch, x, y, channel) with room for the new maps, and their channels."""
    batch, _, x, y = inputs[0].shape
    channels = sum(part.shape[1] for part in inputs)
    buffer = inputs[0].new_empty(batch, x, y, channels + room)
    first = 0
    for part in inputs:
        buffer[..., first : first + part.shape[1]] = part.permute(0, 2, 3, 1)
        first += part.shape[1]
    return buffer, channels


def _together(known: Sequence[Statistics]) -> Statistics:
    return Statistics(torch.cat([each.mean for each in known]), torch.cat([each.variance for each in known]))


def _writable(gradient: Tensor) -> Tensor:
    return gradient.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format)


@torch.no_grad()
def _move(norm: nn.BatchNorm2d, statistics: Statistics, maps: Tensor) -> None:
    """Move running statistics as `nn.BatchNorm2d` does: the variance without bias."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked += 1
    momentum = norm.momentum if norm.momentum is not None else 1 / int(norm.num_batches_tracked)
    channels, count = norm.num_features, maps[:, 0].numel()
    norm.running_mean.lerp_(statistics.mean[:channels], momentum)
    norm.running_var.lerp_(statistics.variance[:channels] * (count / max(count - 1, 1)), momentum)
