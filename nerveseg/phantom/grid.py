"""Grid of a scan in the thigh's coordinates, with the distortion of a scanner away from its isocentre.

Image, truth and raters' masks have the same distortion. Random fields over the thigh are sums of plane waves (a
Gaussian spectrum gives a Gaussian correlation), which depend neither on the grid nor on the slices computed before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float, Float64

from nerveseg.types import SpacingMm

Plane: TypeAlias = Float[np.ndarray[Any, Any], "x y"]
Axis: TypeAlias = Float[np.ndarray[Any, Any], " _"]
Box: TypeAlias = tuple[slice, slice]  # voxels along x and y, in every slice


@dataclass(frozen=True)
class WaveField:
    """Stationary random field of mean 0 and variance 1 over (lateral, anterior, level)."""

    wave_numbers: Float[np.ndarray[Any, Any], "wave 3"]  # in radians per millimetre
    phases: Float[np.ndarray[Any, Any], " wave"]  # in radians

    @classmethod
    def draw(cls, rng: np.random.Generator, lengths_mm: tuple[float, float, float], waves: int = 24) -> WaveField:
        """Draw a field with the given correlation lengths (standard deviations of the covariance) along the axes."""
        numbers = rng.standard_normal((waves, 3)) / np.asarray(lengths_mm)
        return cls(numbers, rng.uniform(0, 2 * np.pi, waves))

    def plane(self, lateral_mm: Axis, anterior_mm: Axis, level_mm: float) -> Plane:
        """Evaluate the field over a slice; cos(a + b) = cos a cos b - sin a sin b makes this one matrix product."""
        along_lateral = np.outer(lateral_mm, self.wave_numbers[:, 0]) + self.wave_numbers[:, 2] * level_mm + self.phases
        along_anterior = np.outer(self.wave_numbers[:, 1], anterior_mm)
        left = np.hstack([np.cos(along_lateral), -np.sin(along_lateral)]) * np.sqrt(2 / len(self.phases))
        right = np.vstack([np.cos(along_anterior), np.sin(along_anterior)])
        return np.asarray(left.astype(np.float32) @ right.astype(np.float32))

    def at(self, lateral_mm: float, anterior_mm: float, level_mm: float) -> float:
        """Evaluate the field at one point."""
        angles = self.wave_numbers @ np.array([lateral_mm, anterior_mm, level_mm]) + self.phases
        return float(np.cos(angles).sum() * np.sqrt(2 / len(self.phases)))


@dataclass(frozen=True)
class ScanGrid:
    """Grid of one scan in the thigh's coordinates."""

    lateral_mm: Float64[np.ndarray[Any, Any], "z x"]  # coordinate of every column of every slice
    anterior_mm: Float64[np.ndarray[Any, Any], "z y"]  # coordinate of every row of every slice
    levels_mm: Float64[np.ndarray[Any, Any], " z"]  # above the popliteal crease; rise with the slice index (RAS)
    spacing_mm: SpacingMm
    thickness_mm: float  # thickness over which a slice averages
    sub_slices: int  # planes of that average

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along x, y, z."""
        return self.lateral_mm.shape[1], self.anterior_mm.shape[1], len(self.levels_mm)

    def axes_mm(self, number: int) -> tuple[Axis, Axis]:
        """Return the lateral and anterior coordinates of one slice in mm."""
        return self.lateral_mm[number], self.anterior_mm[number]

    def planes_mm(self, number: int) -> Axis:
        """Return the levels in mm of the planes of one slice."""
        offsets = (np.arange(self.sub_slices) + 0.5) / self.sub_slices - 0.5
        return np.asarray(self.levels_mm[number] + offsets * self.thickness_mm)

    def crop(self, box: Box) -> ScanGrid:
        """Return the grid within a box."""
        x, y = box
        return replace(self, lateral_mm=self.lateral_mm[:, x], anterior_mm=self.anterior_mm[:, y])

    def voxel(self, number: int, lateral_mm: float, anterior_mm: float) -> tuple[float, float]:
        """Return the voxel indices of a position in a slice; beyond the field of view, those of the edge."""
        lateral, anterior = self.axes_mm(number)
        columns, rows = np.arange(len(lateral), dtype=float), np.arange(len(anterior), dtype=float)
        if lateral[0] > lateral[-1]:
            lateral, columns = lateral[::-1], columns[::-1]
        return float(np.interp(lateral_mm, lateral, columns)), float(np.interp(anterior_mm, anterior, rows))


def distorted(positions_mm: Axis, levels_mm: Axis, half_field_mm: float, half_stack_mm: float, edge_mm: float) -> Any:
    """Return the positions that a scanner shows at `positions_mm`, for every level, as (level, position).

    Positions and levels are from the isocentre. The displacement is greatest, `edge_mm`, at `half_field_mm` in the
    slice at `half_stack_mm`, the end of the stack.
    """
    apart = positions_mm / half_field_mm
    away = (levels_mm / max(half_stack_mm, 1e-6))[:, None] ** 2
    return positions_mm + edge_mm * apart * (apart**2 + away) / 2.0
