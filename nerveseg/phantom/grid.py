"""Grid of a scan in the thigh's coordinates, with the distortion of a scanner away from its isocentre.

Gradients and field are least accurate far from the isocentre, so a voxel shows a position nearer or farther than its
coordinates. Image, truth and raters' masks have the same distortion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from nerveseg.phantom.fields import Axis
from nerveseg.types import SpacingMm


@dataclass(frozen=True)
class Box:
    """Rectangle of voxels in every slice: first index and end along x and y."""

    x: tuple[int, int]
    y: tuple[int, int]

    @property
    def index(self) -> tuple[slice, slice]:
        """Index into an array of a whole slice."""
        return slice(*self.x), slice(*self.y)


@dataclass(frozen=True)
class ScanGrid:
    """Grid of one scan in the thigh's coordinates.

    Attributes:
        lateral_mm: Lateral coordinate in mm of every column of every slice.
        anterior_mm: Anterior coordinate in mm of every row of every slice.
        levels_mm: Level in mm of every slice above the popliteal crease; rises with the slice index (RAS).
        spacing_mm: Voxel spacing in mm.
        thickness_mm: Thickness in mm over which a slice averages.
        sub_slices: Number of planes of that average.
    """

    lateral_mm: Float64[np.ndarray[Any, Any], "z x"]
    anterior_mm: Float64[np.ndarray[Any, Any], "z y"]
    levels_mm: Float64[np.ndarray[Any, Any], " z"]
    spacing_mm: SpacingMm
    thickness_mm: float
    sub_slices: int

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
        x, y = box.index
        return ScanGrid(
            self.lateral_mm[:, x], self.anterior_mm[:, y], self.levels_mm, self.spacing_mm, self.thickness_mm,
            self.sub_slices,
        )  # fmt: skip

    def voxel(self, number: int, lateral_mm: float, anterior_mm: float) -> tuple[float, float]:
        """Return the voxel indices of a position in a slice; beyond the field of view, those of the edge."""
        lateral, anterior = self.axes_mm(number)
        columns, rows = np.arange(len(lateral), dtype=float), np.arange(len(anterior), dtype=float)
        if lateral[0] > lateral[-1]:
            lateral, columns = lateral[::-1], columns[::-1]
        return float(np.interp(lateral_mm, lateral, columns)), float(np.interp(anterior_mm, anterior, rows))


def distorted(positions_mm: Axis, levels_mm: Axis, half_field_mm: float, half_stack_mm: float, edge_mm: float) -> Any:
    """Return the positions that a scanner shows at `positions_mm`, for every level, as (level, position).

    Args:
        positions_mm: Positions from the isocentre in mm.
        levels_mm: Levels from the isocentre in mm.
        half_field_mm: Distance in mm at which, at the end of the stack, the displacement is `edge_mm`.
        half_stack_mm: Distance of that end in mm.
        edge_mm: Greatest displacement in mm.
    """
    apart = positions_mm / half_field_mm
    away = (levels_mm / max(half_stack_mm, 1e-6))[:, None] ** 2
    return positions_mm + edge_mm * apart * (apart**2 + away) / 2.0
