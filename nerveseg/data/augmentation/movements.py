"""The random parameters of a batch: what is flipped, how far it is shifted, how its control points bend it.

They are drawn from the distribution that TorchIO draws from. TorchIO bends a volume of control points, five along z of
which it locks none, and every displacement in it is uniform. A slice lies on the middle one, where a cubic B-spline
weighs the three nearest with 1/6, 4/6 and 1/6; a control point of the slice is therefore moved by the weighted sum of
three uniform displacements, and its standard deviation is the square root of one half of a uniform one's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Bool, Float64
from torch import Tensor
from torch.nn.functional import pad

from nerveseg.data.augmentation.options import LOCKED_POINTS, AugmentationOptions

DEPTH_WEIGHTS = (1 / 6, 4 / 6, 1 / 6)
"""Of the control points above, in and below a slice."""


@dataclass(frozen=True)
class Movements:
    """What happens to each slice of a batch: flipped first, then shifted, then bent, as TorchIO has it.

    Attributes:
        flipped: Along x and along y.
        shift_mm: What a slice shows moves by so much along x and y.
        bend_mm: The x and y displacements of the control points of an elastic deformation, which leads from a place in
            the result to the place whose value it takes.
    """

    flipped: Bool[Tensor, "slice 2"]
    shift_mm: Float64[Tensor, "slice 2"]
    bend_mm: Float64[Tensor, "slice 2 control_x control_y"]

    @property
    def resampled(self) -> Bool[Tensor, " slice"]:
        """Slices that are shifted or bent; the others keep their values exactly."""
        return self.shift_mm.any(dim=1) | self.bend_mm.flatten(1).any(dim=1)

    def of(self, slices: Bool[Tensor, " slice"]) -> Movements:
        """Those of some slices."""
        return Movements(self.flipped[slices], self.shift_mm[slices], self.bend_mm[slices])


def draw_movements(options: AugmentationOptions, seeds: Sequence[int]) -> Movements:
    """The movements of one slice per seed; a slice's depend on its own seed alone.

    The distribution is TorchIO's; the random stream is not, so one seed moves a slice differently here and there.
    """
    free = options.elastic_control_points - 2 * LOCKED_POINTS
    counts = (2, 1, 2, 1, 3 * 2 * free**2)
    streams = torch.stack([_uniform(sum(counts), seed) for seed in seeds])
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


def _uniform(count: int, seed: int) -> Float64[Tensor, " count"]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, generator=generator, dtype=torch.float64)
