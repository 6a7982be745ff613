"""Two masks on one grid, cropped to their joint bounding box, which changes no metric.

Reference and prediction are roles: of two raters, the second in the name (the consensus in `OS-GT`) is the reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool

from nerveseg.errors import GeometryError
from nerveseg.types import Mask, SpacingMm

AnyMask: TypeAlias = Bool[np.ndarray[Any, Any], "_x _y _z"]
"""A mask whose shape has not been checked against another mask or image yet."""


@dataclass(frozen=True)
class MaskPair:
    """Two masks in their joint bounding box."""

    reference: Mask  # reference mask (x, y, z) in the box
    prediction: Mask  # predicted mask of the same shape
    spacing_mm: SpacingMm  # distance between voxel centres in mm along x, y, z
    n_slices: int  # number of slices of the whole volume, not of the box

    @classmethod
    def of(cls, reference: AnyMask, prediction: AnyMask, spacing_mm: SpacingMm) -> MaskPair:
        """Crop two masks of one volume to their joint box.

        Raises:
            GeometryError: The shapes differ, or a spacing is not above zero.
        """
        check_shapes(reference, prediction)
        if not all(np.isfinite(step) and step > 0 for step in spacing_mm):
            raise GeometryError("a voxel spacing above zero along every axis", found=f"{spacing_mm} mm")
        box = _bounding_box(reference | prediction)
        first, second = (np.ascontiguousarray(mask[box]) for mask in (reference, prediction))
        return cls(first, second, spacing_mm, n_slices=reference.shape[2])

    @cached_property
    def both_empty(self) -> bool:
        """True if both masks are empty; every metric is then NaN."""
        return not (self.reference.any() or self.prediction.any())

    @cached_property
    def any_empty(self) -> bool:
        """True if a mask is empty; distances are then undefined, and overlaps 0 if the other mask is not."""
        return not (self.reference.any() and self.prediction.any())


def nominal_spacing(spacing_mm: SpacingMm) -> SpacingMm:
    """Return the spacing in mm without the noise that an oblique affine in single precision leaves (up to 1e-6).

    A step is the fraction with a denominator of at most 1000 that agrees to 1e-6 (0.5208333 is 25/48), so that one
    protocol has one spacing and equal distances tie; a step without such a fraction is rounded to 1e-6.
    """

    def nominal(step: float) -> float:
        fraction = float(Fraction(step).limit_denominator(1000)) if np.isfinite(step) else step
        return fraction if abs(fraction - step) <= 1e-6 * abs(step) else round(step, 6)

    x, y, z = (nominal(float(step)) for step in spacing_mm)
    return x, y, z


def check_shapes(reference: AnyMask, prediction: AnyMask) -> None:
    """Raise `GeometryError` unless two masks have one shape."""
    if reference.shape != prediction.shape:
        found = f"shapes {reference.shape} and {prediction.shape}"
        raise GeometryError("two masks on one grid", found=found, remedy="resample one mask onto the other's grid")


def _bounding_box(mask: Mask) -> tuple[slice, ...]:
    """Return the smallest box around the foreground; it is empty for an empty mask."""
    box: tuple[slice, ...] = ()
    for axis in range(mask.ndim):
        occupied = np.flatnonzero(mask[box].any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        box += (slice(int(occupied[0]), int(occupied[-1]) + 1) if occupied.size else slice(0, 0),)
    return box
