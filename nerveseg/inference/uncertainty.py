"""Signs of a wrong mask in a scan without a reference, from its final mask and probability.

The probability is the mean over mirrored views, and over the members of a model where it has several, so it is softer
where these disagree.
A nerve runs through the stack in one chain and hardly moves between two slices: a mask that jumps or falls apart is
wrong in places, even where the network was sure. Each leg has a nerve of its own, so these two are measured leg by leg.
`expected_dice` predicts the Dice coefficient from these features.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64
from pydantic import BaseModel
from scipy.ndimage import find_objects, label

from nerveseg.data.classes import Classes
from nerveseg.data.legs import Leg
from nerveseg.inference.postprocessing import CONNECTED_IN_SPACE
from nerveseg.types import LabelMap, Mask, Probabilities, Probability, SpacingMm


class Features(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """Features of the mask of one class in one scan; the first three rise with the quality of a mask.

    All but the first are of each leg by itself, and the means over legs by their numbers of voxels.
    """

    soft_dice: float  # Dice that the probability itself expects if it is right and voxels are independent
    slice_agreement: float  # mean Dice of the sections in neighbouring slices, over all pairs that show the class
    largest_component_share: float  # share of the mask's voxels in its largest component (26-connected)
    area_mm2: float  # mean area of the sections, in mm2; compared with the calibration's, not used to predict


def measure_features(
    mask: Mask, probability: Probability, spacing_mm: SpacingMm, legs: Sequence[Leg] = ()
) -> Features | None:
    """Return the features of a mask and its probability; None if the mask is empty.

    Args:
        mask: Mask of a class after the clean-up.
        probability: Probability of the class before it.
        spacing_mm: Voxel spacing in mm.
        legs: Legs of the scan; by default the whole width is one.
    """
    nerves = [mask[leg.columns] for leg in legs] or [mask]
    voxels = [int(np.count_nonzero(nerve)) for nerve in nerves]
    if not any(voxels):
        return None
    inside, expected = float(probability[mask].sum(dtype=np.float64)), float(probability.sum(dtype=np.float64))
    found = [_of_one_leg(nerve, spacing_mm) for nerve in nerves if nerve.any()]
    agreement, share, area_mm2 = np.average(found, axis=0, weights=[number for number in voxels if number])
    return Features(
        soft_dice=2 * inside / (sum(voxels) + expected),
        slice_agreement=agreement,
        largest_component_share=share,
        area_mm2=area_mm2,
    )


def _of_one_leg(mask: Mask, spacing_mm: SpacingMm) -> tuple[float, float, float]:
    """Return agreement of slices, share of the largest component, mean area in mm2 of a mask that is not empty."""
    (box,) = find_objects(mask.astype(np.uint8))
    components, _ = label(mask[box], CONNECTED_IN_SPACE)
    voxels = np.bincount(components.ravel())[1:]
    areas = np.count_nonzero(mask, axis=(0, 1))
    area_mm2 = float(areas[areas > 0].mean() * spacing_mm[0] * spacing_mm[1])
    return _slice_agreement(mask), float(voxels.max() / voxels.sum()), area_mm2


def _slice_agreement(mask: Mask) -> float:
    """Return the mean Dice of neighbouring slices, a pair of which only one shows the class counting as 0."""
    voxels = np.count_nonzero(mask, axis=(0, 1))
    either = voxels[:-1] + voxels[1:]
    both = 2 * np.count_nonzero(mask[..., :-1] & mask[..., 1:], axis=(0, 1))
    return float((both[either > 0] / either[either > 0]).mean()) if either.any() else 1.0


def measure_classes(
    labels: LabelMap, probabilities: Probabilities, classes: Classes, spacing_mm: SpacingMm, legs: Sequence[Leg] = ()
) -> Mapping[str, Features | None]:
    """Return the features of every class, whose probability is the sum over its parts; None where a mask is empty."""
    return {
        name: measure_features(
            classes.mask(labels, name),
            probabilities[[part - 1 for part in classes.parts_of(name)]].sum(axis=0),
            spacing_mm,
            legs,
        )
        for name in classes.names
    }


def slice_uncertainty_mm2(probability: Probability, spacing_mm: SpacingMm) -> Float64[np.ndarray, " z"]:
    """Return the area in mm2 of each slice that the most likely mask is expected to get wrong, by its probability."""
    wrong: Float64[np.ndarray, " z"] = np.minimum(probability, 1 - probability).sum(axis=(0, 1), dtype=np.float64)
    return wrong * spacing_mm[0] * spacing_mm[1]
