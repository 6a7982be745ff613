"""Cross-sections of a nerve: in each axial slice, the 8-connected parts of the mask.

A slice with one section shows the undivided nerve, a slice with two or more shows its branches. Sections are not linked
between slices: at a slice step of eight pixels an oblique branch may not overlap itself in the next slice.

Centreline Dice (clDice, Shit et al., CVPR 2021) is the harmonic mean of the share of the prediction's centreline that
lies in the reference and of the reference's in the prediction, independent of calibre. Shit et al. thin the mask to a
skeleton, which assumes nearly isotropic voxels. Here voxels are eight times as long as wide: thinning shortens a tube
of 40 slices to 30, and gives a real sciatic mask 292 voxels for its 118 cross-sections. As the nerve runs along axis 2,
each cross-section gives one point instead, the voxel nearest to its centroid (several voxels equally near share the
point), which lies in the mask. All sections have the same weight. Two branches that touch in one slice are one section.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool

from nerveseg.evaluation.metrics.mask_pair import MaskPair
from nerveseg.evaluation.metrics.voxels import IN_PLANE, Indices, component_of, foreground
from nerveseg.types import Mask, SpacingMm

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


def centreline_dice(pair: MaskPair, reference: CrossSections, prediction: CrossSections) -> float:
    """Compute the centreline Dice in [0, 1] from the cross-sections; 0 if one mask is empty, NaN if both are."""
    if pair.any_empty:
        return float("nan") if pair.both_empty else 0.0
    precision = _share_of_centreline_in(pair.reference, prediction, pair.spacing_mm)
    sensitivity = _share_of_centreline_in(pair.prediction, reference, pair.spacing_mm)
    return 2 * precision * sensitivity / (precision + sensitivity) if precision + sensitivity else 0.0


def _share_of_centreline_in(mask: Mask, sections: CrossSections, spacing_mm: SpacingMm) -> float:
    size = sections.sizes()[sections.section]
    # The offset from the centroid times the section's size is a whole number, so voxels equally near tie exactly.
    offsets_mm = [
        step_mm * (size * index - np.bincount(sections.section, index)[sections.section])
        for index, step_mm in zip(sections.voxels[:2], spacing_mm[:2], strict=True)
    ]
    distance = offsets_mm[0] ** 2 + offsets_mm[1] ** 2
    least = np.full(sections.slices.size, np.inf)
    np.minimum.at(least, sections.section, distance)
    centre = distance == least[sections.section]
    of_section, inside = sections.section[centre], mask[sections.voxels][centre]
    return float((np.bincount(of_section, inside) / np.bincount(of_section)).mean())
