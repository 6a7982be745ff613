"""Crops of a slice around the nerve."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Crop: TypeAlias = tuple[slice, slice]
"""Pixels along x and y."""

CLOSE_UP_MARGIN_MM, CLOSE_UP_SIDE_MM = 12.0, 50.0
"""Margin around the nerve and least side of a close-up in mm (assumed): surrounding muscles and vessels are visible."""


def side_mm(extent_mm: float, least_mm: float, margin_mm: float) -> float:
    """Return the side in mm of a square around a nerve of a given extent."""
    return max(least_mm, extent_mm + 2 * margin_mm)


def extent_mm(nerve: NDArray[Any], pixel_mm: tuple[float, ...]) -> float:
    """Return the larger extent in mm of the nerve in a slice (x, y); 0 without nerve."""
    occupied = np.argwhere(nerve)
    return float(((np.ptp(occupied, axis=0) + 1) * pixel_mm[:2]).max()) if len(occupied) else 0.0


def square_around(nerve: NDArray[Any], pixel_mm: tuple[float, ...], least_mm: float, margin_mm: float) -> Crop:
    """Return a square in mm around all nerve of a slice (x, y), inside the image where it fits.

    Args:
        nerve: Nerve in the slice; without any, the square is about the middle.
        pixel_mm: Pixel size along x and y in mm.
        least_mm: Least side in mm.
        margin_mm: Margin around the nerve in mm.
    """
    side = side_mm(extent_mm(nerve, pixel_mm), least_mm, margin_mm)
    return crop_of_size(nerve, (round(side / pixel_mm[0]), round(side / pixel_mm[1])))


def crop_of_size(nerve: NDArray[Any], size: tuple[int, int]) -> Crop:
    """Return a crop of a given size in pixels about the nerve's box, or about the middle without nerve."""
    occupied = np.argwhere(nerve if nerve.any() else np.ones_like(nerve))
    sides = []
    for low, high, length, full in zip(occupied.min(axis=0), occupied.max(axis=0), size, nerve.shape, strict=True):
        start = max(0, min((int(low) + int(high) + 1 - length) // 2, full - length))
        sides.append(slice(start, min(start + length, full)))
    return sides[0], sides[1]
