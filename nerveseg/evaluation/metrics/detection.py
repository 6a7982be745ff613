"""Detected, missed and false structures, counted as readers of the images do: slices, branches, components.

- Slices: the nerve is present in both masks, in one, or in neither, wherever in the slice.
- Branches: a cross-section of the reference is found if the prediction holds at least one of its voxels; counted apart
  for slices with one section of the reference (the undivided nerve) and with more (its branches).
- False-positive components: 26-connected parts of the prediction without a single voxel of the reference.

Empty masks are counted like all others; a share of zero structures (a nerve that does not divide) is NaN.
"""

import math

import numpy as np

from nerveseg.evaluation.metrics.cross_sections import CrossSections, PerSection
from nerveseg.evaluation.metrics.mask_pair import MaskPair
from nerveseg.evaluation.metrics.voxels import ALL_AROUND, component_of, foreground


def detect_slices(pair: MaskPair) -> dict[str, float]:
    """Count the slices with nerve in both masks, in one, in neither, as fields of `PairScores`."""
    reference, prediction = (np.asarray(mask.any(axis=(0, 1))) for mask in (pair.reference, pair.prediction))
    both, either = (float(np.count_nonzero(found)) for found in (reference & prediction, reference | prediction))
    return {
        "slices_both": both,
        "slices_missed": np.count_nonzero(reference) - both,
        "slices_false_positive": np.count_nonzero(prediction) - both,
        "slices_neither": pair.n_slices - either,
        "slice_sensitivity": _share(prediction[reference]),
    }


def detect_branches(pair: MaskPair, reference: CrossSections) -> dict[str, float]:
    """Compute the shares of the reference's cross-sections that the prediction found, as fields of `PairScores`."""
    found = reference.touched_by(pair.prediction)
    alone = reference.per_slice() == 1
    return {
        "branch_sensitivity": _share(found),
        "branch_sensitivity_undivided": _share(found[alone]),
        "branch_sensitivity_divided": _share(found[~alone]),
    }


def false_components(pair: MaskPair) -> dict[str, float]:
    """Return number and volume of the components of the prediction that share no voxel with the reference."""
    component, number = component_of(pair.prediction, ALL_AROUND)
    supported = np.bincount(component, pair.reference[foreground(pair.prediction)], minlength=number) > 0
    sizes = np.bincount(component, minlength=number)[~supported]
    volume_mm3 = float(sizes.sum() * math.prod(pair.spacing_mm))
    return {"fp_components": float(sizes.size), "fp_components_mm3": volume_mm3}


def _share(found: PerSection) -> float:
    return float(found.mean()) if found.size else float("nan")
