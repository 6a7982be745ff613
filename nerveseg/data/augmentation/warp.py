"""Augmentation in plain torch: flip, rotation, scaling, translation and elastic deformation in one interpolation.

Each pixel of the result looks up the position in the slice that its value comes from: deformed, then shifted back, then
turned and scaled back about the centre, in millimetres, then flipped back. Between pixel centres the image is linear
and the label nearest-neighbour, or linear if it holds shares of raters; up to the outer edges of the border pixels all
are constant. Positions outside get the smallest value of their channel (air), and background in the label, as in
TorchIO. A seed means other parameters than in `TorchioAugmentation`.

The distribution of flip, translation and deformation is TorchIO's. It deforms a volume of control points, five along z
without locked ones, each displaced uniformly. A slice lies on the middle layer, where a cubic B-spline weighs the
nearest three by 1/6, 4/6 and 1/6, so a control point of the slice is displaced by the weighted sum of three uniform
displacements.

Coordinates are those of `grid_sample`: the outer edges of a slice are at -1 and 1. Parameters are computed on the host
and copied without waiting, so that a GPU that still computes the last step does not stall the host.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64
from scipy.interpolate import BSpline
from torch import Tensor
from torch.nn.functional import grid_sample, pad

from nerveseg.data.augmentation.base import LOCKED_POINTS, AugmentationOptions, Image2d, Images2d, Label2d, Labels2d
from nerveseg.data.augmentation.intensity import IntensityOptions, change_intensities
from nerveseg.errors import ConfigurationError

DEPTH_WEIGHTS = (1 / 6, 4 / 6, 1 / 6)  # B-spline weights of the control points above, in and below a slice

MARGIN = 0.125  # pixels by which ITK's control points reach beyond the edges (its `BSplineEpsilon`)

TURNS = 3  # number that makes the stream of rotation and scaling another than those of the other parameters


@dataclass(frozen=True)
class TensorAugmentation(IntensityOptions, AugmentationOptions):
    """Random flip, rotation, scaling, translation, elastic deformation and changes of intensity in plain torch.

    Takes the options of `AugmentationOptions`, those of `IntensityOptions`, and its own; raises `ConfigurationError`.
    """

    rotation_degrees: float = 0.0  # largest rotation in the plane, in either direction
    rotation_probability: float = 1.0  # share of slices that are rotated
    scaling: float = 0.0  # largest relative change of size, the same along both axes
    scaling_probability: float = 1.0  # share of slices that are scaled

    def __post_init__(self) -> None:
        AugmentationOptions.__post_init__(self)
        IntensityOptions.__post_init__(self)
        for name, highest in (("rotation_probability", 1), ("scaling_probability", 1), ("rotation_degrees", 180)):
            if not 0 <= getattr(self, name) <= highest:
                raise ConfigurationError(f"augmentation.{name} lies from 0 to {highest}", found=getattr(self, name))
        if not 0 <= self.scaling < 1:
            raise ConfigurationError("augmentation.scaling lies from 0 to below 1", found=self.scaling)

    def __call__(
        self, image: Image2d, label: Label2d, spacing_mm: tuple[float, float], seed: int
    ) -> tuple[Image2d, Label2d]:
        """Augment one slice (see `Augmentation`)."""
        images, labels = self.augment_batch(image[None], label[None], [spacing_mm], [seed])
        return images[0], labels[0]

    def augment_batch(
        self, images: Images2d, labels: Labels2d, spacings_mm: Sequence[tuple[float, float]], seeds: Sequence[int]
    ) -> tuple[Images2d, Labels2d]:
        """Augment a batch on its device (see `BatchAugmentation`)."""
        movements = draw_movements(self, seeds)
        if self.rotation_degrees or self.scaling:
            movements = replace(movements, turn=draw_turns(self, seeds))
        images, labels = move_slices(images, labels, spacings_mm, movements)
        if self.changes_intensity:
            images = change_intensities(self, images, spacings_mm, seeds)
        return images, labels


@dataclass(frozen=True)
class Movements:
    """Parameters of each slice of a batch: flip, then rotation and scaling, then shift, then deformation."""

    flipped: Bool[Tensor, "slice 2"]  # flags of a flip along x and y
    shift_mm: Float64[Tensor, "slice 2"]  # shift of the content along x and y
    # Displacements of the control points along x and y, from a position in the result to the position that its value
    # comes from.
    bend_mm: Float64[Tensor, "slice 2 control_x control_y"]
    # Matrices of the way back, in mm about the centre: from a position after rotation and scaling to the one before.
    turn: Float64[Tensor, "slice 2 2"] | None = None

    @property
    def resampled(self) -> Bool[Tensor, " slice"]:
        """Flags of the slices that are interpolated; those that are only flipped keep their values exactly."""
        moved = self.shift_mm.any(dim=1) | self.bend_mm.flatten(1).any(dim=1)
        return moved if self.turn is None else moved | (self.turn != torch.eye(2)).flatten(1).any(dim=1)

    def of(self, slices: Tensor) -> Movements:
        """Return the parameters of some slices, by a mask."""
        turn = None if self.turn is None else self.turn[slices]
        return Movements(self.flipped[slices], self.shift_mm[slices], self.bend_mm[slices], turn)


def draw_movements(options: AugmentationOptions, seeds: Sequence[int]) -> Movements:
    """Draw the parameters of one slice per seed; those of a slice depend on its own seed alone."""
    free = options.elastic_control_points - 2 * LOCKED_POINTS
    counts = (2, 1, 2, 1, 3 * 2 * free**2)
    streams = torch.stack(
        [torch.rand(sum(counts), generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in seeds]
    )
    flip, shifts, shift, bends, bend = torch.tensor_split(streams, list(accumulate(counts))[:-1], dim=1)
    chosen = torch.tensor([axis in options.flip_axes for axis in (0, 1)])
    shift_mm = options.translation_mm * (2 * shift - 1) * (shifts < options.translation_probability)
    layers_mm = options.elastic_displacement_mm * (2 * bend - 1) * (bends < options.elastic_probability)
    weights = torch.tensor(DEPTH_WEIGHTS, dtype=torch.float64)
    bend_mm = torch.einsum("sdaxy,d->saxy", layers_mm.reshape(-1, 3, 2, free, free), weights)
    return Movements(
        flipped=chosen & (flip < options.flip_probability),
        shift_mm=shift_mm,
        bend_mm=pad(bend_mm, 4 * [LOCKED_POINTS]),
    )


def draw_turns(options: TensorAugmentation, seeds: Sequence[int]) -> Float64[Tensor, "slice 2 2"]:
    """Draw the rotation and scaling of one slice per seed, as matrices of the way back."""
    rotate, angle, scale, size = np.array([np.random.default_rng([seed, TURNS]).random(4) for seed in seeds]).T
    angles = math.radians(options.rotation_degrees) * (2 * angle - 1) * (rotate < options.rotation_probability)
    sizes = 1 + options.scaling * (2 * size - 1) * (scale < options.scaling_probability)
    cosines, sines = np.cos(angles) / sizes, np.sin(angles) / sizes
    return torch.from_numpy(np.stack([cosines, sines, -sines, cosines], axis=1).reshape(-1, 2, 2))


def move_slices(
    images: Images2d, labels: Labels2d, spacings_mm: Sequence[tuple[float, float]], movements: Movements
) -> tuple[Images2d, Labels2d]:
    """Move slices, each with its own parameters, on their device."""
    resampled = movements.resampled
    if resampled.all():
        return _resample(images, labels, spacings_mm, movements)
    images, labels = images.clone(), labels.clone()
    for index in (~resampled).nonzero().flatten().tolist():
        axes = [axis - 2 for axis in movements.flipped[index].nonzero().flatten().tolist()]
        images[index] = images[index].flip(axes)
        labels[index] = labels[index].flip(axes)
    if resampled.any():
        spacings = [spacing for spacing, chosen in zip(spacings_mm, resampled.tolist(), strict=True) if chosen]
        numbers = resampled.nonzero().flatten()  # a mask would make the host wait for a GPU
        chosen = numbers.to(images.device, non_blocking=True)
        moved = _resample(images[chosen], labels[chosen], spacings, movements.of(resampled))
        images[chosen], labels[chosen] = moved
    return images, labels


def _resample(
    images: Images2d, labels: Labels2d, spacings_mm: Sequence[tuple[float, float]], movements: Movements
) -> tuple[Images2d, Labels2d]:
    _, _, width, height = images.shape
    with torch.autocast(images.device.type, enabled=False):  # half precision would misplace values by whole pixels
        positions, inside = _origins((width, height), spacings_mm, movements, images.device)
        grid = positions.permute(0, 2, 3, 1)
        linear = grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
        each = labels.reshape(len(labels), -1, width, height).float()
        mode = "bilinear" if labels.is_floating_point() else "nearest"
        looked_up = grid_sample(each, grid, mode=mode, padding_mode="border", align_corners=False)
    air = images.amin(dim=(-2, -1), keepdim=True)
    moved = (looked_up.to(labels.dtype) * inside[:, None]).reshape(labels.shape)
    return torch.where(inside[:, None], linear, air), moved


def _origins(
    shape: tuple[int, int], spacings_mm: Sequence[tuple[float, float]], movements: Movements, device: torch.device
) -> tuple[Float32[Tensor, "slice 2 x y"], Bool[Tensor, "slice x y"]]:
    """Return the position each value comes from, as (y, x) for `grid_sample`, and the flags of positions inside.

    The deformed position has to be inside too, before the shift: TorchIO looks it up in the shifted slice, which holds
    air beyond its own edges.
    """
    half_mm = torch.tensor(spacings_mm, dtype=torch.float64) * torch.tensor(shape) / 2
    sign = 1.0 - 2.0 * movements.flipped
    shift = movements.shift_mm / half_mm
    lowest = (-1 - sign * shift).clamp(min=-1)
    highest = (1 - sign * shift).clamp(max=1)
    rows, columns = (
        _to(device, sign[:, axis, None] * (_centres(shape[axis]) - shift[:, axis, None])) for axis in (0, 1)
    )
    positions = _bends(shape, movements.bend_mm * (sign / half_mm)[..., None, None], device)
    positions[:, 0] += columns[:, None, :]
    positions[:, 1] += rows[:, :, None]
    if movements.turn is not None:
        lowest, highest = -1 - sign * shift, 1 - sign * shift
    middle, reach = (
        _to(device, limit.flip(1)[..., None, None]) for limit in ((lowest + highest) / 2, (highest - lowest) / 2)
    )
    inside = (positions - middle).abs_() <= reach
    if movements.turn is not None:
        # The flip changes the direction of a rotation, and half_mm makes an ellipse of a circle.
        turn = movements.turn * (sign[:, :, None] * sign[:, None] * half_mm[:, None] / half_mm[:, :, None])
        positions = (_to(device, turn.flip(1, 2)) @ positions.flatten(2)).reshape(positions.shape)
        inside &= positions.abs() <= 1
    return positions, inside[:, 0] & inside[:, 1]


def _bends(
    shape: tuple[int, int], bend: Float64[Tensor, "slice 2 control_x control_y"], device: torch.device
) -> Float32[Tensor, "slice 2 x y"]:
    """Return the displacement of every pixel along y and x: control points times the spline weights of each axis."""
    along_x, along_y = (spline_weights(shape[axis], bend.shape[axis + 2]) for axis in (0, 1))
    return _to(device, along_x) @ _to(device, bend.flip(1) @ along_y.T)


@lru_cache(maxsize=64)
def spline_weights(pixels: int, control_points: int) -> Float64[Tensor, "pixel control_point"]:
    """Return the weight of each control point, of at least 4, at each pixel centre of an axis (shared between calls).

    ITK's `BSplineTransformInitializer` puts the second control point from each end on the edge of the image (of its
    pixels, not of their centres), and the outermost one a step further out.
    """
    step = (pixels + 2 * MARGIN) / (control_points - 3)
    positions = (np.arange(pixels) + 0.5 + MARGIN) / step
    return torch.from_numpy(BSpline.design_matrix(positions, np.arange(-3.0, control_points + 1), 3).toarray())


def _centres(pixels: int) -> Float64[Tensor, " pixel"]:
    return (2 * torch.arange(pixels, dtype=torch.float64) + 1) / pixels - 1


def _to(device: torch.device, values: Tensor) -> Tensor:
    """Copy float32 values to a device; CUDA has read them when the call returns, so it need not be waited for."""
    return values.float().to(device, non_blocking=device.type == "cuda")
