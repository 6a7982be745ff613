"""Consensus of several raters: majority vote as in the paper (2.3), or STAPLE.

STAPLE (Warfield et al., IEEE Trans Med Imaging 2004;23:903-921) weighs the raters by an estimate of their sensitivity
and specificity. Its result depends on the amount of background, which is therefore fixed: the joint bounding box of
all masks with a margin of five voxels, within the volume.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

import numpy as np
import SimpleITK
from scipy.ndimage import find_objects

from nerveseg.data.classes import Classes
from nerveseg.errors import StudyError
from nerveseg.types import LabelMap, Mask

Rule = Literal["majority", "staple"]
Target = Literal["consensus", "raters"]  # what a network learns: the consensus, or the share of raters in each voxel
AnyLabels = TypeVar("AnyLabels", Mask, LabelMap)
LEAVE_ONE_OUT_FROM = 4
"""Least number of raters for which the others are at least three, so that their consensus is better than one rater."""

STAPLE_MARGIN_VOXELS = 5


def consensus_of(maps: Sequence[AnyLabels], rule: Rule = "majority") -> AnyLabels:
    """Compute one mask, or label map, from those of several raters, all of one shape; raise `StudyError` without any.

    Args:
        maps: Masks, or label maps of the numbers of parts, (x, y, z).
        rule: Rule of the consensus. By STAPLE, a single class is estimated with its probability, and several together.
    """
    if not maps:
        raise StudyError("a consensus needs at least one rater", found="no masks")
    return staple(maps) if rule == "staple" and len(maps) > 1 else majority_vote(maps)


def class_consensus(raters: Mapping[str, Mask], consensus: LabelMap, classes: Classes, name: str, rule: Rule) -> Mask:
    """Return the consensus of one class: from that of the label maps, or for a class of several parts of its own masks.

    Raters may agree that a voxel is nerve and not on the branch: then no part has a majority, but the class has.
    """
    several = len(classes.parts_of(name)) > 1
    return consensus_of(list(raters.values()), rule) if several else classes.mask(consensus, name)


def leave_one_out(raters: Mapping[str, Mask], rule: Rule = "majority") -> dict[str, Mask]:
    """Compute, for each rater of a subject, the consensus of all others; nothing with fewer than four raters."""
    if len(raters) < LEAVE_ONE_OUT_FROM:
        return {}
    return {
        left_out: consensus_of([mask for rater, mask in raters.items() if rater != left_out], rule)
        for left_out in raters
    }


def majority_vote(maps: Sequence[AnyLabels]) -> AnyLabels:
    """Select the part that more than half of the raters drew in a voxel; otherwise, as in a tie, it is background."""
    result = np.zeros_like(maps[0])
    for part in range(1, _highest(maps) + 1):
        votes = np.sum([(each == part).view(np.uint8) for each in maps], axis=0, dtype=np.uint16)
        result[2 * votes > len(maps)] = part
    return result


def staple(maps: Sequence[AnyLabels]) -> AnyLabels:
    """Estimate the consensus within the box of the module docstring.

    Of a single part, voxels of a probability above one half are selected. Of several, each voxel gets the most probable
    part (SimpleITK's MultiLabelSTAPLE), or background where several are equally probable.
    """
    union = np.any([each > 0 for each in maps], axis=0)
    consensus = np.zeros_like(maps[0])
    if not union.any():
        return consensus
    box = tuple(
        slice(max(0, part.start - STAPLE_MARGIN_VOXELS), part.stop + STAPLE_MARGIN_VOXELS)
        for part in find_objects(union.astype(np.uint8))[0]
    )
    images = [SimpleITK.GetImageFromArray(each[box].astype(np.uint8)) for each in maps]
    if _highest(maps) == 1:
        consensus[box] = SimpleITK.GetArrayFromImage(SimpleITK.STAPLE(images, 1.0)) > 0.5
        return consensus
    undecided = _highest(maps) + 1
    found = SimpleITK.GetArrayFromImage(SimpleITK.MultiLabelSTAPLE(images, undecided))
    consensus[box] = np.where(found == undecided, 0, found)
    return consensus


def _highest(maps: Sequence[AnyLabels]) -> int:
    """Return the highest number of a part that any rater drew."""
    return max(int(each.max()) for each in maps)
