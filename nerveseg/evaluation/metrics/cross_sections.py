"""Cross-sections of a nerve: in each axial slice, the 8-connected parts of the mask.

A slice with one section shows the undivided nerve, a slice with two or more shows its branches. Sections are not linked
between slices: at a slice step of eight pixels an oblique branch may not overlap itself in the next slice.
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
    """Sections of a mask, with the section of every voxel.

    Attributes:
        voxels: Indices of the foreground voxels along x, y and z.
        section: Number of the section, from 0, of each of these voxels.
        slices: Index of the slice of each section.
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
        """Return the number of voxels of each section."""
        return np.bincount(self.section, minlength=self.slices.size)

    def per_slice(self) -> Indices:
        """Return, for each section, the number of sections in its slice."""
        return np.bincount(self.slices)[self.slices]

    def touched_by(self, other: Mask) -> PerSection:
        """Return, for each section, true if it shares a voxel with another mask of the same shape."""
        return np.bincount(self.section, other[self.voxels], minlength=self.slices.size) > 0
