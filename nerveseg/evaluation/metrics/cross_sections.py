"""Cross-sections of a nerve: in each axial slice, the 8-connected parts of the mask, not linked between slices.

A slice with one section shows the undivided nerve, a slice with two or more shows its branches.

Centreline Dice (clDice, Shit et al., CVPR 2021) is the harmonic mean of the share of the prediction's centreline that
lies in the reference and of the reference's in the prediction. Shit et al. thin the mask to a skeleton, which assumes
nearly isotropic voxels; with voxels eight times as long as wide, thinning shortens a tube of 40 slices to 30. Here each
cross-section gives one point, the voxel nearest to its centroid (several voxels equally near share the point).

A section of the reference is found if the prediction holds one of its voxels. False-positive components are
26-connected parts of the prediction without a voxel of the reference. A share of zero structures is NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nerveseg.evaluation.metrics.mask_pair import MaskPair
from nerveseg.evaluation.metrics.voxels import ALL_AROUND, IN_PLANE, Indices, component_of, foreground
from nerveseg.types import Mask, SpacingMm


@dataclass(frozen=True)
class CrossSections:
    """Sections of a mask, with the section of every voxel."""

    voxels: tuple[Indices, Indices, Indices]  # indices of the foreground voxels along x, y and z
    section: Indices  # number of the section, from 0, of each of these voxels
    slices: Indices  # index of the slice of each section

    @classmethod
    def of(cls, mask: Mask) -> CrossSections:
        """Find the sections of a mask (x, y, z)."""
        voxels = foreground(mask)
        section, number = component_of(mask, IN_PLANE)
        slices = np.zeros(number, dtype=np.intp)
        slices[section] = voxels[2]
        return cls(voxels, section, slices)


def centreline_dice(pair: MaskPair, reference: CrossSections, prediction: CrossSections) -> float:
    """Compute the centreline Dice in [0, 1] from the cross-sections; 0 if one mask is empty, NaN if both are."""
    if pair.any_empty:
        return float("nan") if pair.both_empty else 0.0
    precision = _share_of_centreline_in(pair.reference, prediction, pair.spacing_mm)
    sensitivity = _share_of_centreline_in(pair.prediction, reference, pair.spacing_mm)
    return 2 * precision * sensitivity / (precision + sensitivity) if precision + sensitivity else 0.0


def _share_of_centreline_in(mask: Mask, sections: CrossSections, spacing_mm: SpacingMm) -> float:
    size = np.bincount(sections.section)[sections.section]
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


def detect_slices(pair: MaskPair) -> dict[str, float]:
    """Count the slices with nerve in both masks, in one, in neither, as fields of `PairScores`."""
    reference, prediction = (np.asarray(mask.any(axis=(0, 1))) for mask in (pair.reference, pair.prediction))
    both, either = (float(np.count_nonzero(found)) for found in (reference & prediction, reference | prediction))
    return {
        "slices_both": both,
        "slices_missed": np.count_nonzero(reference) - both,
        "slices_false_positive": np.count_nonzero(prediction) - both,
        "slices_neither": pair.n_slices - either,
        "slice_sensitivity": share(prediction[reference]),
    }


def detect_branches(pair: MaskPair, reference: CrossSections) -> dict[str, float]:
    """Compute the shares of the reference's cross-sections that the prediction found, as fields of `PairScores`."""
    found = np.bincount(reference.section, pair.prediction[reference.voxels], minlength=reference.slices.size) > 0
    alone = np.bincount(reference.slices)[reference.slices] == 1
    return {
        "branch_sensitivity": share(found),
        "branch_sensitivity_undivided": share(found[alone]),
        "branch_sensitivity_divided": share(found[~alone]),
    }


def false_components(pair: MaskPair) -> dict[str, float]:
    """Return number and volume of the components of the prediction that share no voxel with the reference."""
    component, number = component_of(pair.prediction, ALL_AROUND)
    supported = np.bincount(component, pair.reference[foreground(pair.prediction)], minlength=number) > 0
    sizes = np.bincount(component, minlength=number)[~supported]
    volume_mm3 = float(sizes.sum() * math.prod(pair.spacing_mm))
    return {"fp_components": float(sizes.size), "fp_components_mm3": volume_mm3}


def share(found: NDArray[np.bool_]) -> float:
    """Return the share of true values; NaN without any value."""
    return float(found.mean()) if found.size else float("nan")
