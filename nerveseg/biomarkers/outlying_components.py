"""Outlying components: parts of a mask away from the nerve's course.

A nerve's branches may be 51 mm apart in one slice (as in the real mask), so the distance from a central line is not
used. The largest component (26-connected) is nerve; every component near nerve is nerve too. The distance is measured
in the plane to the nerve's sections in the same slice; beyond its ends and across a gap, in the nearest slice with
nerve, less the offset of a course as steep as 45 degrees (the real mask's branches: 27 at most).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, label, minimum

from nerveseg.types import Mask, SpacingMm

FAR_MM = 15.0
"""Distance from which on a component is outlying (assumed: more than twice a nerve's diameter)."""

STEEPEST = 1.0
"""Steepest course, in millimetres in the plane per millimetre along the slices."""


def without_strays(mask: Mask, spacing_mm: SpacingMm, far_mm: float = FAR_MM) -> tuple[Mask, int]:
    """Return the mask without its components farther than `far_mm` from the nerve, and the number of these."""
    labels, count = label(mask, np.ones((3, 3, 3)))
    if count < 2:
        return mask, 0
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    is_nerve = np.arange(count + 1) == sizes.argmax()
    while True:
        distance_mm = _distance_mm(is_nerve[labels], spacing_mm)
        nearest_mm = minimum(distance_mm, labels, np.arange(count + 1))
        grown = is_nerve | (nearest_mm <= far_mm)
        grown[0] = False
        if np.array_equal(grown, is_nerve):
            return is_nerve[labels], count - int(is_nerve.sum())
        is_nerve = grown


def _distance_mm(nerve: Mask, spacing_mm: SpacingMm) -> NDArray[np.float32]:
    """Compute every voxel's in-plane distance in mm to the nerve of the nearest slice, less the steepest offset."""
    levels = np.flatnonzero(nerve.any(axis=(0, 1)))
    maps = {level: distance_transform_edt(~nerve[..., level], sampling=spacing_mm[:2]) for level in levels.tolist()}
    result = np.empty(nerve.shape, dtype=np.float32)
    for number in range(nerve.shape[2]):
        level = int(levels[np.argmin(np.abs(levels - number))])
        result[..., number] = maps[level] - STEEPEST * abs(level - number) * spacing_mm[2]
    return result
