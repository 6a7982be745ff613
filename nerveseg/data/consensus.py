"""The consensus of several raters: a voxel is nerve if more than half of them drew it (paper, 2.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nerveseg.errors import StudyError
from nerveseg.types import Mask


def majority_vote(masks: Sequence[Mask]) -> Mask:
    """Voxels that more than half of the raters drew; with an even number a tie is background.

    Args:
        masks: One mask per rater, all of one shape; a single one is its own consensus.

    Raises:
        StudyError: There is no mask.
    """
    if not masks:
        raise StudyError("a consensus needs at least one rater", found="no masks")
    votes = np.sum([mask.astype(np.uint8) for mask in masks], axis=0, dtype=np.uint16)
    return np.asarray(2 * votes > len(masks))
