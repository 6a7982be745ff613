"""Two masks on one grid, cut to their joint bounding box: outside it both are background, so no agreement changes.

Reference and prediction are roles: where two raters meet, the second named (the consensus in `OS-GT`) is the reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool

from nerveseg.errors import GeometryError
from nerveseg.types import Mask, SpacingMm

AnyMask: TypeAlias = Bool[np.ndarray[Any, Any], "_x _y _z"]
"""A mask whose shape is still to be compared with its partner's, by an error that names both."""


@dataclass(frozen=True)
class MaskPair:
    """Two masks in their joint bounding box.

    Attributes:
        reference: Mask (x, y, z) in the box.
        prediction: Mask of the same shape.
        spacing_mm: Distance between voxel centres along x, y, z.
        n_slices: Slices of the whole volume, not of the box.
    """

    reference: Mask
    prediction: Mask
    spacing_mm: SpacingMm
    n_slices: int

    @classmethod
    def of(cls, reference: AnyMask, prediction: AnyMask, spacing_mm: SpacingMm) -> MaskPair:
        """Cut two masks of one volume to their box.

        Raises:
            GeometryError: The shapes differ, or a spacing is not above zero.
        """
        check_shapes(reference, prediction)
        if not all(np.isfinite(step) and step > 0 for step in spacing_mm):
            raise GeometryError("a voxel spacing is above zero along every axis", found=f"{spacing_mm} mm")
        box = _bounding_box(reference | prediction)
        first, second = (np.ascontiguousarray(mask[box]) for mask in (reference, prediction))
        return cls(first, second, spacing_mm, n_slices=reference.shape[2])

    @cached_property
    def both(self) -> Mask:
        """Voxels that both masks hold."""
        return self.reference & self.prediction

    @cached_property
    def both_empty(self) -> bool:
        """Whether there is nothing to compare: every metric is NaN."""
        return not (self.reference.any() or self.prediction.any())

    @cached_property
    def an_empty_mask(self) -> bool:
        """Whether at least one mask is empty: distances do not exist, and overlaps are 0 if the other is not."""
        return not (self.reference.any() and self.prediction.any())


def check_shapes(reference: AnyMask, prediction: AnyMask) -> None:
    """Refuse masks that do not lie on one grid.

    Raises:
        GeometryError: The shapes differ.
    """
    if reference.shape != prediction.shape:
        raise GeometryError(
            "two masks are compared on one grid",
            found=f"shapes {reference.shape} and {prediction.shape}",
            remedy="resample one mask onto the other's grid",
        )


def _bounding_box(mask: Mask) -> tuple[slice, ...]:
    """Smallest box around the foreground; an empty mask's box is empty."""
    box: tuple[slice, ...] = ()
    for axis in range(mask.ndim):
        occupied = np.flatnonzero(mask[box].any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        box += (slice(int(occupied[0]), int(occupied[-1]) + 1) if occupied.size else slice(0, 0),)
    return box
