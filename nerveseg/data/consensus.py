"""The consensus of several raters: majority vote as in the paper (2.3), or STAPLE.

STAPLE (Warfield et al., IEEE Trans Med Imaging 2004;23:903-921) weighs the raters by an estimate of their sensitivity
and specificity. Its result depends on how much background it sees, so it sees a declared amount: the joint bounding box
of all masks and five voxels around it, as far as the volume reaches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import SimpleITK
from scipy.ndimage import find_objects

from nerveseg.errors import StudyError
from nerveseg.types import Mask

Rule = Literal["majority", "staple"]
LEAVE_ONE_OUT_FROM = 4
"""Raters from which on the consensus of all but one is made of three and more, hence better than a rater."""

STAPLE_MARGIN_VOXELS = 5


def consensus_of(masks: Sequence[Mask], rule: Rule = "majority") -> Mask:
    """One mask from those of several raters; a single rater's mask is its own consensus.

    Args:
        masks: One mask per rater, all of one shape.
        rule: "majority" or "staple".

    Raises:
        StudyError: There is no mask.
    """
    if not masks:
        raise StudyError("a consensus needs at least one rater", found="no masks")
    return staple(masks) if rule == "staple" and len(masks) > 1 else majority_vote(masks)


def leave_one_out(raters: Mapping[str, Mask], rule: Rule = "majority") -> dict[str, Mask]:
    """For each rater the consensus of all others, which he had no part in.

    Args:
        raters: The mask of each rater who drew the subject, all of one shape.
        rule: "majority" (with an even number of others a tie is background) or "staple".

    Returns:
        By the rater left out; empty with fewer than four raters, where the others are two and their vote an
        intersection.
    """
    if len(raters) < LEAVE_ONE_OUT_FROM:
        return {}
    return {
        left_out: consensus_of([mask for rater, mask in raters.items() if rater != left_out], rule)
        for left_out in raters
    }


def majority_vote(masks: Sequence[Mask]) -> Mask:
    """Voxels that more than half of the raters drew; with an even number a tie is background.

    Args:
        masks: One mask per rater, all of one shape.
    """
    votes = np.sum([mask.astype(np.uint8) for mask in masks], axis=0, dtype=np.uint16)
    return np.asarray(2 * votes > len(masks), dtype=np.bool_)


def staple(masks: Sequence[Mask]) -> Mask:
    """Voxels whose probability of being nerve is above one half by STAPLE, within the box described above.

    Args:
        masks: One mask per rater, all of one shape.
    """
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
