"""Detected, missed and false structures, counted as readers of the images do: slices, branches, components.

- Slices: the nerve is present in both masks, in one, or in neither, wherever in the slice.
- Branches: a cross-section of the reference is found if the prediction holds at least one of its voxels; counted apart
  for slices with one section of the reference (the undivided nerve) and with more (its branches).
- False-positive components: 26-connected parts of the prediction without a single voxel of the reference.

Empty masks are counted like all others; a share of zero structures (a nerve that does not divide) is NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nerveseg.evaluation.metrics.cross_sections import CrossSections, PerSection
from nerveseg.evaluation.metrics.mask_pair import MaskPair
from nerveseg.evaluation.metrics.voxels import ALL_AROUND, component_of, foreground


@dataclass(frozen=True)
class SliceDetection:
    """Number of slices in which the nerve is present in both masks, in one, in neither.

    Attributes:
        both: Number of slices with nerve in both masks.
        missed: Number of slices with nerve in the reference only.
        false_positive: Number of slices with nerve in the prediction only.
        neither: Number of slices without nerve.
    """

    both: int
    missed: int
    false_positive: int
    neither: int

    @property
    def sensitivity(self) -> float:
        """Share of the reference's slices in which the prediction shows nerve; NaN if there are none."""
        present = self.both + self.missed
        return self.both / present if present else float("nan")


@dataclass(frozen=True)
class BranchDetection:
    """Share of the reference's cross-sections that were found; NaN if there are none.

    Attributes:
        sensitivity: Share of all sections.
        undivided: Share of the sections that are alone in their slice.
        divided: Share of the sections in slices with two or more.
    """

    sensitivity: float
    undivided: float
    divided: float


@dataclass(frozen=True)
class FalseComponents:
    """Parts of the prediction that share no voxel with the reference.

    Attributes:
        number: Number of parts.
        volume_mm3: Volume of all parts in mm3.
    """

    number: int
    volume_mm3: float


def detect_slices(pair: MaskPair) -> SliceDetection:
    """Count the slices by the masks that show nerve."""
    reference, prediction = (mask.any(axis=(0, 1)) for mask in (pair.reference, pair.prediction))
    both, either = (int(np.count_nonzero(found)) for found in (reference & prediction, reference | prediction))
    return SliceDetection(
        both=both,
        missed=int(np.count_nonzero(reference)) - both,
        false_positive=int(np.count_nonzero(prediction)) - both,
        neither=pair.n_slices - either,
    )


def detect_branches(pair: MaskPair, reference: CrossSections) -> BranchDetection:
    """Compute the shares of the reference's cross-sections that the prediction found.

    Args:
        pair: Pair of masks.
        reference: Cross-sections of the reference.
    """
    found = reference.touched_by(pair.prediction)
    alone = reference.per_slice() == 1
    return BranchDetection(_share(found), _share(found[alone]), _share(found[~alone]))


def false_components(pair: MaskPair) -> FalseComponents:
    """Count and measure the components of the prediction that share no voxel with the reference."""
    component, number = component_of(pair.prediction, ALL_AROUND)
    supported = np.bincount(component, pair.reference[foreground(pair.prediction)], minlength=number) > 0
    sizes = np.bincount(component, minlength=number)[~supported]
    return FalseComponents(sizes.size, float(sizes.sum() * math.prod(pair.spacing_mm)))


def _share(found: PerSection) -> float:
    return float(found.mean()) if found.size else float("nan")
