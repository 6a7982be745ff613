"""Parts of a mask that lie away from the nerve's course.

A nerve's branches may lie 51 mm apart in one slice (as in the real mask) and each still belongs to it, so distance from
a middle line says nothing. The largest part (26-connected) is nerve; whatever lies near nerve is nerve too. Near means
within so many millimetres in the plane of the nerve's sections in the same slice; beyond its ends and across a gap, in
the nearest slice that has any, allowing for a course as steep as 45 degrees (the real mask's branches: 27 at most).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, find_objects, label, minimum

from nerveseg.types import Mask, SpacingMm

FAR_MM = 15.0
"""Assumed: more than twice a nerve's diameter."""

STEEPEST = 1.0
"""Millimetres in the plane per millimetre along the slices."""


def without_strays(mask: Mask, spacing_mm: SpacingMm, far_mm: float = FAR_MM) -> Mask:
    """The mask of the nerve alone."""
    nerve = mask.copy()
    for stray in strays(mask, spacing_mm, far_mm):
        nerve[tuple(stray.T)] = False
    return nerve


def strays(mask: Mask, spacing_mm: SpacingMm, far_mm: float) -> list[NDArray[Any]]:
    """The parts of a mask that lie farther than `far_mm` from the nerve.

    Returns:
        Per part, from large to small, the indices (voxel, 3) of its voxels; empty for an empty mask.
    """
    labels, count = label(mask, np.ones((3, 3, 3)))
    if count < 2:
        return []
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    is_nerve = np.arange(count + 1) == sizes.argmax()
    while True:
        distance_mm = _distance_mm(is_nerve[labels], spacing_mm)
        nearest_mm = minimum(distance_mm, labels, np.arange(count + 1))
        grown = is_nerve | (nearest_mm <= far_mm)
        grown[0] = False
        if np.array_equal(grown, is_nerve):
            break
        is_nerve = grown
    rest = [number for number in np.argsort(-sizes, kind="stable") if sizes[number] and not is_nerve[number]]
    boxes: list[Any] = find_objects(labels)
    return [_voxels(labels, int(number), boxes[number - 1]) for number in rest]


def _voxels(labels: NDArray[Any], number: int, box: tuple[slice, ...]) -> NDArray[Any]:
    inside: NDArray[Any] = np.argwhere(labels[box] == number) + [side.start for side in box]
    return inside


def _distance_mm(nerve: Mask, spacing_mm: SpacingMm) -> NDArray[np.float32]:
    """Of every voxel, in its plane, to the nearest slice's nerve, less what a steep course explains."""
    levels = np.flatnonzero(nerve.any(axis=(0, 1)))
    maps = {level: distance_transform_edt(~nerve[..., level], sampling=spacing_mm[:2]) for level in levels.tolist()}
    result = np.empty(nerve.shape, dtype=np.float32)
    for number in range(nerve.shape[2]):
        level = int(levels[np.argmin(np.abs(levels - number))])
        result[..., number] = maps[level] - STEEPEST * abs(level - number) * spacing_mm[2]
    return result
