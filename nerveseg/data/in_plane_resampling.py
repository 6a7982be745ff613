"""In-plane resampling to the spacing that a model was trained at, and back; never across slices.

The centres of the two fields of view coincide. Going finer, a pixel is interpolated linearly. Going coarser, it is the
mean of the linear interpolant over a width that, added in quadrature to the old pixel's, gives the new pixel's: nothing
above the new sampling rate is folded down, and at equal spacing nothing is blurred. Both reproduce a linear ramp
exactly. Outside the field of view the border's value is repeated.

The probability is resampled back: labels are never interpolated, and the threshold is applied in the input's grid.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from nerveseg.types import Size2d

SAME_SPACING = 0.01
"""Relative difference below which two spacings count as equal: a tenth of a millimetre over a nerve of 10 mm. Files
round their spacing, and a volume that needs no resampling is not touched."""


@dataclass(frozen=True)
class InPlaneResampling:
    """Resampling from an in-plane grid to one of another spacing, and back."""

    shape: Size2d  # in-plane size of the input in pixels
    spacing_mm: tuple[float, float]  # in-plane spacing of the input in mm
    target_mm: tuple[float, float]  # in-plane spacing of the result in mm

    @property
    def size(self) -> Size2d:
        """In-plane size of the result in pixels, which covers the whole field of view."""
        x, y = (max(1, math.ceil(pixels / step - 1e-6)) for pixels, step in zip(self.shape, self.steps, strict=True))
        return x, y

    @property
    def steps(self) -> tuple[float, float]:
        """Spacing of the result in pixels of the input; exactly 1 along an axis of equal spacing."""
        x, y = (
            1.0 if abs(target - own) <= SAME_SPACING * target else target / own
            for own, target in zip(self.spacing_mm, self.target_mm, strict=True)
        )
        return x, y

    @property
    def spacing_after_mm(self) -> tuple[float, float]:
        """In-plane spacing of the result in mm; along an axis that is not resampled, the input's."""
        x, y = (own * step for own, step in zip(self.spacing_mm, self.steps, strict=True))
        return x, y

    def apply(self, array: NDArray[Any]) -> Float32[np.ndarray[Any, Any], "..."]:
        """Resample an array whose axes 1 and 2 are x and y: (channel, x, y, slice)."""
        return self._along_both(array, self._to_target)

    def undo(self, array: NDArray[Any]) -> Float32[np.ndarray[Any, Any], "..."]:
        """Resample an array of `size`, (channel, x, y, slice), back onto the input's pixels."""
        return self._along_both(array, self._to_input)

    @cached_property
    def _to_target(self) -> list[NDArray[np.float32] | None]:
        return list(map(_weights, self.shape, self.size, self.steps))

    @cached_property
    def _to_input(self) -> list[NDArray[np.float32] | None]:
        return list(map(_weights, self.size, self.shape, [1 / step for step in self.steps]))

    @staticmethod
    def _along_both(array: NDArray[Any], matrices: list[NDArray[np.float32] | None]) -> NDArray[Any]:
        for axis, weights in enumerate(matrices, start=1):
            if weights is not None:
                array = np.moveaxis(np.tensordot(weights, array, (1, axis)), 0, axis)
        return array


def _weights(old: int, new: int, step: float) -> NDArray[np.float32] | None:
    """Return the matrix (new, old) that resamples an axis by a step in old pixels; every row sums to 1; None at 1."""
    if step == 1:
        return None
    centres = (np.arange(new) - (new - 1) / 2) * step + (old - 1) / 2
    width = math.sqrt(max(step * step - 1, 0.0))
    margin = math.ceil(max(0.0, -float(centres[0])) + width / 2) + 1
    offsets = centres[:, None] - np.arange(-margin, old + margin)
    padded = _mean_of_hat(offsets, width) if width > 1e-6 else np.clip(1 - np.abs(offsets), 0, None)
    weights = padded[:, margin : margin + old].copy()
    weights[:, 0] += padded[:, :margin].sum(axis=1)
    weights[:, -1] += padded[:, margin + old :].sum(axis=1)
    return np.asarray(weights, dtype=np.float32)


def _mean_of_hat(offsets: NDArray[Any], width: float) -> NDArray[Any]:
    """Return the mean of the interpolation's hat function over a width around each offset, in closed form."""
    left, right = (np.clip(offsets + side * width / 2, -1, 1) for side in (-1, 1))
    low, high = (np.where(end < 0, (1 + end) ** 2 / 2, 1 - (1 - end) ** 2 / 2) for end in (left, right))
    return np.asarray((high - low) / width)
