"""Resampling of a map or second channel onto the reference grid, by linear interpolation in millimetres.

Each voxel of the target gets the linear interpolation at its centre. If the source is finer in the plane, the voxel
gets the mean over points spread evenly over the target's pixel, one per source pixel. Values are not averaged across
slices: an affine holds the step, not the thickness.

Missing values (NaN, a masked map's zeros, outside the field of view) never enter a mean. A voxel has a value if voxels
with a value carry at least half of its weight, and is then the weighted mean of these alone.
"""

from itertools import product
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float32
from scipy.ndimage import affine_transform

from nerveseg.data.volumes.grids import Grid, Volume
from nerveseg.types import Affine, Image

Sampled: TypeAlias = Float32[np.ndarray[Any, Any], "target_x target_y target_z"]  # image on the target's grid

_SAME_SIZE = 0.1  # relative difference of pixel sizes below which the source counts as equally fine


def resample_onto(
    volume: Volume,
    grid: Grid,
    *,
    fill: float = float("nan"),
    missing: float | None = None,
    motion: Affine | None = None,
) -> Sampled:
    """Sample a volume at the voxels of another grid.

    Args:
        volume: Volume to sample; NaN is a missing value.
        grid: Grid of the result.
        fill: Value of voxels without a value: outside the field of view, or missing in the volume.
        missing: Value that means "missing" in this volume, as 0 does in most masked maps.
        motion: Rigid motion (4 x 4, RAS mm) from a position on the grid to the same tissue's position in the volume, as
            `register_rigidly` finds it; by default the headers are used as they are.

    Returns:
        Array (x, y, z) in the grid's RAS order; on an equal grid the values are returned bit for bit.
    """
    valid = np.isfinite(volume.array)
    if missing is not None:
        valid &= volume.array != missing
    values = np.where(valid, volume.array, np.float32(0))
    to_mm = grid.ras_affine if motion is None else motion @ grid.ras_affine
    to_source = np.linalg.solve(volume.grid.ras_affine, to_mm)  # from indices of the result to those of the volume
    if volume.array.shape == grid.ras_shape and np.allclose(to_source, np.eye(4), rtol=0, atol=1e-6):
        return np.where(valid, volume.array, np.float32(fill))
    total, weight = np.zeros(grid.ras_shape, np.float32), np.zeros(grid.ras_shape, np.float32)
    points = _points(to_source)
    for point in points:
        total += _interpolated(values, to_source, point, grid.ras_shape)
        weight += _interpolated(valid.astype(np.float32), to_source, point, grid.ras_shape)
    # A voxel exactly half a step outside, as in two stacks that are out of step, must not depend on the last bit.
    enough = weight >= (0.5 - 1e-4) * len(points)
    return np.where(enough, total / np.where(enough, weight, np.float32(1)), np.float32(fill))


def _points(to_source: Affine) -> list[tuple[float, float]]:
    """Return the sampling points of a target pixel, in fractions of a pixel along x and y from its centre."""
    numbers = [max(1, int(np.ceil(np.linalg.norm(to_source[:3, axis]) - _SAME_SIZE))) for axis in (0, 1)]
    x, y = (((np.arange(number) + 0.5) / number - 0.5).tolist() for number in numbers)
    return list(product(x, y))


def _interpolated(values: Image, to_source: Affine, point: tuple[float, float], shape: tuple[int, int, int]) -> Sampled:
    """Interpolate linearly, with zeros outside the array."""
    offset = to_source[:3] @ np.array([*point, 0.0, 1.0])
    sampled = affine_transform(
        values, to_source[:3, :3], offset, shape, output=np.float32, order=1, mode="grid-constant", cval=0.0
    )
    return np.asarray(sampled)
