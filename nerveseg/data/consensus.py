"""Consensus of several raters: majority vote as in the paper (2.3), or STAPLE.

STAPLE (Warfield et al., IEEE Trans Med Imaging 2004;23:903-921) weighs the raters by an estimate of their sensitivity
and specificity. Its result depends on the amount of background, which is therefore fixed: the joint bounding box of
all masks with a margin of five voxels, within the volume.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import SimpleITK
from scipy.ndimage import find_objects

from nerveseg.errors import StudyError
from nerveseg.types import Mask

Rule = Literal["majority", "staple"]
LEAVE_ONE_OUT_FROM = 4
"""Least number of raters for which the others are at least three, so that their consensus is better than one rater."""

STAPLE_MARGIN_VOXELS = 5


def consensus_of(masks: Sequence[Mask], rule: Rule = "majority") -> Mask:
    """Compute one mask from those of several raters, all of one shape; raise `StudyError` without any."""
    if not masks:
        raise StudyError("a consensus needs at least one rater", found="no masks")
    return staple(masks) if rule == "staple" and len(masks) > 1 else majority_vote(masks)


def leave_one_out(raters: Mapping[str, Mask], rule: Rule = "majority") -> dict[str, Mask]:
    """Compute, for each rater of a subject, the consensus of all others; nothing with fewer than four raters."""
    if len(raters) < LEAVE_ONE_OUT_FROM:
        return {}
    return {
        left_out: consensus_of([mask for rater, mask in raters.items() if rater != left_out], rule)
        for left_out in raters
    }


def majority_vote(masks: Sequence[Mask]) -> Mask:
    """Select voxels that more than half of the raters drew; with an even number a tie is background."""
    votes = np.sum([mask.astype(np.uint8) for mask in masks], axis=0, dtype=np.uint16)
    return np.asarray(2 * votes > len(masks), dtype=np.bool_)


def staple(masks: Sequence[Mask]) -> Mask:
    """Select voxels whose STAPLE probability of nerve is above one half, within the box of the module docstring."""
    union = np.asarray(np.any(masks, axis=0), dtype=np.bool_)
    consensus = np.zeros(union.shape, dtype=np.bool_)
    if not union.any():
        return consensus
    box = tuple(
        slice(max(0, part.start - STAPLE_MARGIN_VOXELS), part.stop + STAPLE_MARGIN_VOXELS)
        for part in find_objects(union.astype(np.uint8))[0]
    )
    images = [SimpleITK.GetImageFromArray(mask[box].astype(np.uint8)) for mask in masks]
    consensus[box] = SimpleITK.GetArrayFromImage(SimpleITK.STAPLE(images, 1.0)) > 0.5
    return consensus
