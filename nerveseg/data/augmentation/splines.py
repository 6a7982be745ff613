"""Uniform cubic B-splines along one axis of a slice, laid out as ITK's `BSplineTransformInitializer` does.

The outermost control points but one lie on the edges of the image (of its pixels, not of their centres), a margin of
1/8 pixel outside them; the very outermost ones lie one step further out.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import NDArray
from torch import Tensor

MARGIN = 0.125
"""In pixels; ITK's `BSplineEpsilon` keeps the edges inside the spline's domain."""


@lru_cache(maxsize=64)
def spline_weights(pixels: int, control_points: int) -> Float64[Tensor, "pixel control_point"]:
    """What each control point weighs at each pixel centre of an axis.

    Args:
        pixels: Length of the axis.
        control_points: At least 4.

    Returns:
        Rows that sum to one, with at most four weights above zero each. Shared between calls: do not write to it.
    """
    step = (pixels + 2 * MARGIN) / (control_points - 3)
    places = (np.arange(pixels) + 0.5 + MARGIN) / step
    return torch.from_numpy(cubic_b_spline(places[:, None] - (np.arange(control_points) - 1)))


def cubic_b_spline(steps: NDArray[Any]) -> NDArray[Any]:
    """The cubic B-spline at a distance of so many control point steps from its middle."""
    distance: NDArray[Any] = np.abs(steps)
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.asarray(np.where(distance < 1, near, far))
