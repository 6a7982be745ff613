"""A batch of slices moved as told, with one interpolation for all three movements together.

Each place in the result asks where its value comes from: bent, then shifted back, then flipped back. Values between
pixel centres are linear in the image and the nearest in the label; up to the edges of the outermost pixels these go on
constantly. What comes in from beyond is the smallest value of its channel (air), and background in the label. All of
that is what ITK, and with it TorchIO, does.

Coordinates are those of `grid_sample`: the edges of the image lie at -1 and 1 along each axis. The movements are worked
out on the host and sent without waiting, so that a GPU that is still busy with the last step holds nobody up.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float32, Float64, UInt8
from torch import Tensor
from torch.nn.functional import grid_sample

from nerveseg.data.augmentation.movements import Movements
from nerveseg.data.augmentation.splines import spline_weights

Spacings = Sequence[tuple[float, float]]


def move_slices(
    images: Float32[Tensor, "slice channel x y"],
    labels: UInt8[Tensor, "slice x y"],
    spacings_mm: Spacings,
    movements: Movements,
) -> tuple[Float32[Tensor, "slice channel x y"], UInt8[Tensor, "slice x y"]]:
    """Flip, shift and bend slices, each with its own movements, on the device that they are on."""
    resampled = movements.resampled
    if resampled.all():
        return _resample(images, labels, spacings_mm, movements)
    images, labels = images.clone(), labels.clone()
    for index in (~resampled).nonzero().flatten().tolist():
        axes = movements.flipped[index].nonzero().flatten().tolist()
        images[index] = images[index].flip([axis + 1 for axis in axes])
        labels[index] = labels[index].flip(axes)
    if resampled.any():
        some = [spacing for spacing, chosen in zip(spacings_mm, resampled.tolist(), strict=True) if chosen]
        numbers = resampled.nonzero().flatten()  # a mask would make the host wait for a GPU
        there = numbers.to(images.device, non_blocking=True)
        images[there], labels[there] = _resample(images[there], labels[there], some, movements.of(resampled))
    return images, labels


def _resample(
    images: Float32[Tensor, "slice channel x y"],
    labels: UInt8[Tensor, "slice x y"],
    spacings_mm: Spacings,
    movements: Movements,
) -> tuple[Float32[Tensor, "slice channel x y"], UInt8[Tensor, "slice x y"]]:
    _, _, width, height = images.shape
    with torch.autocast(images.device.type, enabled=False):  # half precision would misplace values by whole pixels
        places, inside = _origins((width, height), spacings_mm, movements, images.device)
        grid = places.permute(0, 2, 3, 1)
        linear = grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
        nearest = grid_sample(labels[:, None].float(), grid, mode="nearest", padding_mode="border", align_corners=False)
    air = images.amin(dim=(-2, -1), keepdim=True)
    return torch.where(inside[:, None], linear, air), nearest[:, 0].to(torch.uint8) * inside


def _origins(
    shape: tuple[int, int], spacings_mm: Spacings, movements: Movements, device: torch.device
) -> tuple[Float32[Tensor, "slice 2 x y"], Bool[Tensor, "slice x y"]]:
    """Where each value comes from, along y and x as `grid_sample` wants it, and whether that lies inside.

    A bent place has to be inside too, for it is looked up in a shifted image that knows nothing beyond its own edges.
    """
    half_mm = torch.tensor(spacings_mm, dtype=torch.float64) * torch.tensor(shape) / 2
    sign = 1.0 - 2.0 * movements.flipped
    shift = movements.shift_mm / half_mm
    lowest = (-1 - sign * shift).clamp(min=-1)
    highest = (1 - sign * shift).clamp(max=1)
    rows, columns = (
        _sent((sign[:, axis, None] * (_centres(shape[axis]) - shift[:, axis, None])).float(), device) for axis in (0, 1)
    )
    places = _bends(shape, movements.bend_mm * (sign / half_mm)[..., None, None], device)
    places[:, 0] += columns[:, None, :]
    places[:, 1] += rows[:, :, None]
    middle, reach = (
        _sent(limit.flip(1)[..., None, None].float(), device)
        for limit in ((lowest + highest) / 2, (highest - lowest) / 2)
    )
    inside = (places - middle).abs_() <= reach
    return places, inside[:, 0] & inside[:, 1]


def _bends(
    shape: tuple[int, int], bend: Float64[Tensor, "slice 2 control_x control_y"], device: torch.device
) -> Float32[Tensor, "slice 2 x y"]:
    """Displacement at every pixel, along y and x: the control points between two matrices of spline weights."""
    along_x, along_y = (spline_weights(shape[axis], bend.shape[axis + 2]) for axis in (0, 1))
    return _sent(along_x.float(), device) @ _sent((bend.flip(1) @ along_y.T).float(), device)


def _centres(pixels: int) -> Float64[Tensor, " pixel"]:
    return (2 * torch.arange(pixels, dtype=torch.float64) + 1) / pixels - 1


def _sent(values: Tensor, device: torch.device) -> Tensor:
    """From the host to where the slices are; CUDA has taken what it is given when the call returns."""
    return values.to(device, non_blocking=device.type == "cuda")
