"""Label maps: whole numbers in voxels, and checks of the labels that they hold.

A file is refused if its values cannot be labels, and as a study's mask if its foreground cannot be a nerve: an image, a
probability map or an inverted mask would otherwise become a mask without a word.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerveseg.errors import VolumeError
from nerveseg.types import Mask

ROUNDING = 1e-3  # largest distance from a whole number of a label that was written through a scaled header

MOST_LABELS = 8  # largest number of different labels above zero of a map whose labels are not declared

MOST_FOREGROUND = 0.5  # largest share of a volume's voxels that can be foreground


def whole_labels(array: NDArray[Any]) -> NDArray[np.int64]:
    """Return the labels of a map as integers; values within `ROUNDING` of a whole number are rounded.

    Raises:
        VolumeError: A value is not finite, negative or not whole.
    """
    labels = array if array.dtype.kind in "bui" else np.rint(array)
    with np.errstate(invalid="ignore"):
        faulty = ~np.isfinite(array) | (labels < 0) | (np.abs(array - labels) > ROUNDING)
    if array.dtype.kind not in "bu" and faulty.any():
        values = np.unique(array[faulty])[:3]
        rule = "a mask holds labels: whole numbers from 0 up"
        remedy = "threshold a probability map, or resample labels with nearest neighbour"
        raise VolumeError(rule, found="values such as " + ", ".join(f"{value:.9g}" for value in values), remedy=remedy)
    return labels.astype(np.int64)


def check_declared(labels: NDArray[np.int64], declared: Sequence[int]) -> None:
    """Raise `VolumeError` if a map holds labels, but none of the declared ones."""
    present = present_labels(labels)
    if present and not set(declared) & set(present):
        rule = "a label map holds a declared label: " + ", ".join(map(str, declared))
        raise VolumeError(rule, found=f"only {_listed(present)}", remedy="correct study.classes or prediction_classes")


def check_few_labels(labels: NDArray[np.int64]) -> None:
    """Raise `VolumeError` for a map of undeclared labels that has more of them than a label map has."""
    present = present_labels(labels)
    if len(present) > MOST_LABELS:
        raise VolumeError(
            f"a mask has at most {MOST_LABELS} labels, unless study.classes declares the nerve's",
            found=f"{len(present)} values: {_listed(present)}, as an image or a probability map has",
            remedy="give the mask instead of the image, threshold a probability map, or declare study.classes",
        )


def check_foreground(mask: Mask) -> None:
    """Raise `VolumeError` for a mask that is too large to be a nerve: more than `MOST_FOREGROUND` of the voxels."""
    share = float(mask.mean())
    if share > MOST_FOREGROUND:
        rule = f"a mask covers at most {MOST_FOREGROUND:.0%} of its volume"
        found = f"{share:.0%}, as an inverted mask or the outline of the body does"
        raise VolumeError(rule, found=found, remedy="export the nerve as foreground, with 0 outside")


def present_labels(labels: NDArray[np.int64]) -> list[int]:
    """Return the labels above zero, ascending."""
    return [int(value) for value in np.unique(labels) if value > 0]


def _listed(labels: Sequence[int]) -> str:
    return ", ".join(map(str, labels[:MOST_LABELS])) + (", ..." if len(labels) > MOST_LABELS else "")
