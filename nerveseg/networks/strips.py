"""Normalise, rectify and convolve strip by strip, and the way back, so that what is made on the way stays in the cache.

Batch normalisation, ReLU and a convolution are bound by memory: written one after the other they send every feature
map to memory and back several times, and keep the results for the way back. Here the maps lie pixel by pixel, channels
innermost; a strip of pixels is normalised and rectified when the convolution wants it, and once more on the way back.

With x the maps, m and s their mean and inverse standard deviation over the batch, a = relu(weight * s * (x - m) + bias)
and d the gradient that reaches the normalised maps, the gradient of x is (Ioffe and Szegedy 2015, section 3)

    weight * s * (d - mean(d) - (x - m) * s**2 * mean(d * (x - m)))

Only its first term needs d itself; the other two follow at the end, once for all layers that read these maps. For the
convolution, the gradient's windows of 3 x 3 pixels are laid out once as a matrix: times the weights it gives d, times
the activations the gradient of the weights. The sum of d * a needs no pass of its own: it is the sum of the weights
times their gradient, as both are the same bilinear form; and a = weight * normalised + bias wherever d is not zero.

References:
    Ioffe S, Szegedy C. Batch normalization: accelerating deep network training by reducing internal covariate shift.
    ICML 2015.
    Pleiss G, et al. Memory-efficient implementation of DenseNets. arXiv:1707.06990, 2017.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor
from torch.nn import functional

from nerveseg.networks.concurrency import share_out

STRIP_VALUES = 400_000
"""Values of the maps in one strip: 1.6 MB in single precision, of which a few fit the caches of a core."""

SMALL_WEIGHT = 1e-2
"""Below it a normalisation's weight is not divided by."""


@dataclass(frozen=True)
class Strip:
    """Some rows of one image, or several whole images."""

    images: slice
    rows: slice

    def pixels(self, maps: Tensor) -> Tensor:
        """The strip of maps (batch, x, y, channel), as a view (pixel, channel)."""
        part = maps[self.images, self.rows]
        return part.view(-1, part.shape[-1])


@dataclass(frozen=True)
class Statistics:
    """Mean and biased variance of each channel over a batch, both (channel)."""

    mean: Tensor
    variance: Tensor


@dataclass(frozen=True)
class Norm:
    """A batch normalisation with the statistics it uses; all tensors (channel).

    Attributes:
        mean: Of the batch.
        inverse_std: Of the batch.
        weight: Learnt.
        bias: Learnt.
        scale: `weight * inverse_std`.
        shift: What is left of mean and bias: the result is `scale * x + shift`.
    """

    mean: Tensor
    inverse_std: Tensor
    weight: Tensor
    bias: Tensor
    scale: Tensor
    shift: Tensor

    @classmethod
    def of(cls, statistics: Statistics, weight: Tensor, bias: Tensor, eps: float) -> Norm:
        """Scale and shift of what `nn.BatchNorm2d` computes in training."""
        inverse_std = (statistics.variance + eps).rsqrt()
        scale = weight * inverse_std
        return cls(statistics.mean, inverse_std, weight, bias, scale, bias - statistics.mean * scale)

    def activations(self, pixels: Tensor) -> Tensor:
        """Normalised and rectified pixels (pixel, channel), in new memory."""
        return torch.addcmul(self.shift, pixels, self.scale).relu_()


@dataclass(frozen=True)
class ConvolutionGradient:
    """What one layer's way back gives besides the gradient of its maps.

    Attributes:
        weight: Gradient of the convolution's weights.
        sum: Sum of d over all pixels, (channel), in double precision: the gradient of the normalisation's bias.
        product: Sum of d times the normalised maps, likewise: the gradient of its weight.
    """

    weight: Tensor
    sum: Tensor
    product: Tensor


def strips(maps: Tensor, channels: int) -> Iterator[Strip]:
    """Cut maps (batch, x, y, channel) into strips, for work on so many channels at a time."""
    batch, x, y, _ = maps.shape
    lines = max(1, STRIP_VALUES // (y * channels))
    if lines >= x:
        step = lines // x
        yield from (Strip(slice(first, min(first + step, batch)), slice(0, x)) for first in range(0, batch, step))
        return
    lines = -(-x // -(-x // lines))  # as even as they can be
    for image in range(batch):
        for first in range(0, x, lines):
            yield Strip(slice(image, image + 1), slice(first, min(first + lines, x)))


def statistics_of(maps: Tensor) -> Statistics:
    """Statistics of maps (batch, x, y, channel), put together from those of strips (Chan et al. 1979)."""
    channels = maps.shape[-1]

    def part(some: Sequence[Strip]) -> list[tuple[int, Tensor, Tensor]]:
        found = []
        for strip in some:
            pixels = maps[strip.images, strip.rows].flatten(0, 2)
            mean = column_sums(pixels) / len(pixels)
            found.append((len(pixels), mean, column_sums((pixels - mean.to(pixels.dtype)).square_())))
        return found

    count, mean, squares = 0, torch.zeros(channels).double(), torch.zeros(channels).double()
    for here, middle, spread in chain(*share_out(part, list(strips(maps, channels)))):
        distance = middle - mean
        count += here
        squares += spread + distance.square() * (count - here) * here / count
        mean += distance * here / count
    return Statistics(mean.to(maps.dtype), (squares / count).to(maps.dtype))


def column_sums(matrix: Tensor) -> Tensor:
    """Sums (channel) over the pixels of a strip, in double precision from here on."""
    return (matrix.new_ones(len(matrix)) @ matrix).double()


def convolve(maps: Tensor, norm: Norm, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolution of the normalised, rectified first channels of maps (batch, x, y, channel): (batch, x, y, out)."""
    out, channels, kernel, _ = weight.shape
    result = maps.new_empty(*maps.shape[:-1], out)
    matrix = weight.flatten(1).t()

    def part(some: Sequence[Strip]) -> None:
        for strip in some:
            if kernel == 1:
                product = norm.activations(strip.pixels(maps)[:, :channels]) @ matrix
                strip.pixels(result).copy_(product if bias is None else product.add_(bias))
            else:
                active = _with_margin(maps, norm, strip, channels, kernel // 2).permute(0, 3, 1, 2)
                new = functional.conv2d(active, weight, bias, padding=(0, kernel // 2))
                result[strip.images, strip.rows] = new.permute(0, 2, 3, 1)

    share_out(part, list(strips(maps, channels)))
    return result


def _with_margin(maps: Tensor, norm: Norm, strip: Strip, channels: int, margin: int) -> Tensor:
    """Activations of a strip and of the lines around it (batch, x, y, channel), zero beyond the image."""
    _, x, y, _ = maps.shape
    first, last = strip.rows.start, strip.rows.stop
    above, below = min(margin, first), min(margin, x - last)
    wider = Strip(strip.images, slice(first - above, last + below))
    active = norm.activations(wider.pixels(maps)[:, :channels]).view(-1, last + below - first + above, y, channels)
    if above == below == margin:
        return active
    return functional.pad(active, (0, 0, 0, 0, margin - above, margin - below))


def convolve_backward(maps: Tensor, norm: Norm, weight: Tensor, gradient: Tensor, into: Tensor) -> ConvolutionGradient:
    """Add the gradient of `convolve` to that of its maps, but for the two terms that follow at the end.

    Args:
        maps: (batch, x, y, channel), as given to `convolve`.
        norm: Likewise.
        weight: Likewise.
        gradient: Of the result (batch, x, y, out).
        into: Gradient of the maps (batch, x, y, channel), to which is added.
    """
    out, channels, kernel, _ = weight.shape
    backwards = weight.flip(2, 3).permute(2, 3, 0, 1).reshape(-1, channels)
    small = bool((norm.weight.abs() < SMALL_WEIGHT).any())
    windows = _windows(gradient, kernel)

    def part(some: Sequence[Strip]) -> tuple[Tensor, Tensor, Tensor]:
        weight_gradient = torch.zeros_like(backwards)
        total, product = (torch.zeros(channels, dtype=torch.float64) for _ in range(2))
        for strip in some:
            pixels = strip.pixels(maps)[:, :channels]
            window = windows[strip.images, strip.rows].reshape(len(pixels), -1)
            active = norm.activations(pixels)
            weight_gradient.addmm_(window.t(), active)
            d = window @ backwards
            torch.ops.aten.threshold_backward.grad_input(d, active, 0, grad_input=d)
            total += column_sums(d)
            strip.pixels(into)[:, :channels].addcmul_(d, norm.scale)
            if small:
                product += column_sums((pixels - norm.mean).mul_(norm.inverse_std).mul_(d))
        return weight_gradient, total, product

    parts = share_out(part, list(strips(maps, max(channels, kernel**2 * out))))
    weight_gradient, total, product = (torch.stack(terms).sum(dim=0) for terms in zip(*parts, strict=True))
    if not small:
        activity = (weight_gradient.double() * backwards).sum(dim=0)
        product = (activity - norm.bias * total) / norm.weight
    ordered = weight_gradient.view(kernel, kernel, out, channels).flip(0, 1).permute(2, 3, 0, 1)
    return ConvolutionGradient(ordered, total, product)


def _windows(gradient: Tensor, kernel: int) -> Tensor:
    """The kernel x kernel pixels around each one, (batch, x, y, kernel, kernel * out), as a view."""
    if kernel == 1:
        return gradient.unsqueeze(3)
    batch, x, y, out = gradient.shape
    margin = kernel // 2
    padded = functional.pad(gradient, (0, 0, margin, margin, margin, margin))
    image, row, column, _ = padded.stride()
    return padded.as_strided((batch, x, y, kernel, kernel * out), (image, row, column, row, 1))
