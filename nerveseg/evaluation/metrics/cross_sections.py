"""The cross-sections of a nerve: in each axial slice, the 8-connected parts of the mask.

A slice with one section shows the undivided nerve, one with two or more shows its branches. Sections are not followed
from slice to slice: at a slice step of eight pixels an oblique branch need not overlap itself in the next slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool

from nerveseg.evaluation.metrics.voxels import IN_PLANE, Indices, component_of, foreground
from nerveseg.types import Mask

PerSection: TypeAlias = Bool[np.ndarray[Any, Any], " _n"]


@dataclass(frozen=True)
class CrossSections:
    """The sections of a mask, and which voxel belongs to which.

    Attributes:
        voxels: Foreground voxels, their indices along x, y and z.
        section: The section, from 0, of each of these voxels.
        slices: The slice of each section.
    """

    voxels: tuple[Indices, Indices, Indices]
    section: Indices
    slices: Indices

    @classmethod
    def of(cls, mask: Mask) -> CrossSections:
        """Find the sections of a mask (x, y, z)."""
        voxels = foreground(mask)
        section, number = component_of(mask, IN_PLANE)
        slices = np.zeros(number, dtype=np.intp)
        slices[section] = voxels[2]
        return cls(voxels, section, slices)

    def sizes(self) -> Indices:
        """Voxels of each section."""
        return np.bincount(self.section, minlength=self.slices.size)

    def per_slice(self) -> Indices:
        """How many sections there are in the slice of each section, itself included."""
        return np.bincount(self.slices)[self.slices]

    def touched_by(self, other: Mask) -> PerSection:
        """Whether each section shares a voxel with another mask of the same shape."""
        return np.bincount(self.section, other[self.voxels], minlength=self.slices.size) > 0
