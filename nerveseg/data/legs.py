"""Detection of the legs in an image: one or both, and the columns of each.

The amount of tissue per column along x is computed slice by slice. A leg is one hump; two legs are two humps of similar
size with a valley between, which is air or, where the thighs touch, a waist. Proximally the thighs become a pelvis, so
a third of the slices is enough to detect two legs; the position of the valley is the median over the slices that show
it.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from nerveseg.types import Image, SpacingMm

Side: TypeAlias = Literal["left", "right", "unknown"]

COARSE_MM = 3.0  # in-plane pixel of the silhouette: coarse enough that noise in air averages out
AIR = 0.35  # largest ratio of the mean signals of air and tissue; above, the slice shows tissue only
VALLEY = 0.5  # largest amount of tissue in the valley relative to the lower of the two humps
LEG_AREA_MM2 = 2500.0  # least section of a leg: a thin calf
LEAST_RATIO = 0.5  # least section of the smaller leg to the larger; below, the other is cut by the field of view
LEGS_APART_MM = 70.0  # least distance between the middles of two legs
SHARE_OF_SLICES = 1 / 3  # least share of the slices with tissue that must show two legs


@dataclass(frozen=True)
class Leg:
    """Leg in an image."""

    side: Side  # unknown where the image shows one leg
    columns: slice  # voxels of the leg along x (RAS order: x grows towards the patient's right)


def of_side(side: Side, note: str) -> str:
    """Prefix a note with the side of its leg, where that is known.

    >>> of_side("left", "thick"), of_side("unknown", "thick")
    ('left: thick', 'thick')
    """
    return note if side == "unknown" else f"{side}: {note}"


def find_legs(image: Image, spacing_mm: SpacingMm, side: str | None = None) -> tuple[Leg, ...]:
    """Find one leg (the whole width), or the left and the right leg with their columns.

    Args:
        image: Image in RAS order, with dark air; of several channels that with the most homogeneous tissue.
        spacing_mm: Distance between voxel centres in mm.
        side: Side of a single leg, if known.
    """
    width = image.shape[0]
    blocks = max(1, round(COARSE_MM / spacing_mm[0])), max(1, round(COARSE_MM / spacing_mm[1]))
    valleys_mm = [
        _valley_mm(tissue, pixel_mm)
        for tissue, pixel_mm in (_silhouette(image[:, :, k], blocks, spacing_mm) for k in range(image.shape[2]))
        if tissue.sum() * np.prod(pixel_mm) >= LEG_AREA_MM2
    ]
    between = [valley for valley in valleys_mm if valley is not None]
    if not between or len(between) < SHARE_OF_SLICES * len(valleys_mm):
        return with_side((Leg("unknown", slice(0, width)),), side)
    first_right = int(np.clip(round(float(np.median(between)) / spacing_mm[0]), 1, width - 1))
    return Leg("left", slice(0, first_right)), Leg("right", slice(first_right, width))


def with_side(legs: tuple[Leg, ...], side: str | None) -> tuple[Leg, ...]:
    """Return the legs, of which a single one has this side if it is "left" or "right"."""
    named: dict[str | None, Side] = {"left": "left", "right": "right"}
    return (replace(legs[0], side=named.get(side, "unknown")),) if len(legs) == 1 else legs


def _silhouette(
    plane: NDArray[Any], blocks: tuple[int, int], spacing_mm: SpacingMm
) -> tuple[NDArray[np.bool_], tuple[float, float]]:
    blocks = min(blocks[0], plane.shape[0]), min(blocks[1], plane.shape[1])
    columns, rows = (size // block for size, block in zip(plane.shape, blocks, strict=True))
    cut = plane[: columns * blocks[0], : rows * blocks[1]].astype(np.float64)
    coarse = cut.reshape(columns, blocks[0], rows, blocks[1]).mean(axis=(1, 3))
    coarse -= min(0.0, float(coarse.min()))
    pixel_mm = (blocks[0] * spacing_mm[0], blocks[1] * spacing_mm[1])
    return ndimage.binary_fill_holes(_tissue(coarse)), pixel_mm


def _tissue(coarse: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Threshold the square root by Otsu's method; the root separates muscle and fat from air."""
    root = np.sqrt(coarse)
    if root.min() == root.max():
        return np.zeros(coarse.shape, dtype=bool)
    tissue = np.asarray(root > threshold_otsu(root))
    has_air = coarse[~tissue].mean() <= AIR * coarse[tissue].mean()
    return tissue if has_air else np.ones(coarse.shape, dtype=bool)


def _valley_mm(tissue: NDArray[np.bool_], pixel_mm: tuple[float, float]) -> float | None:
    """Return the middle in mm of the valley between two humps along x, or None without two legs."""
    height = tissue.sum(axis=1).astype(np.float64)
    lower_hump = np.minimum(np.maximum.accumulate(height), np.maximum.accumulate(height[::-1])[::-1])
    depth = np.divide(height, lower_hump, out=np.ones_like(height), where=lower_hump > 0)
    valley = np.flatnonzero(depth <= depth.min() + 1e-9)
    if depth.min() > VALLEY:
        return None
    middle = valley.mean()
    left, right = height[: round(middle)], height[round(middle) :]
    areas = np.array([left.sum(), right.sum()]) * np.prod(pixel_mm)
    if areas.min() < max(LEG_AREA_MM2, LEAST_RATIO * areas.max()):
        return None
    columns = np.arange(height.size)
    centres = [np.average(columns[: left.size], weights=left), np.average(columns[left.size :], weights=right)]
    apart_mm = (centres[1] - centres[0]) * pixel_mm[0]
    return float((middle + 0.5) * pixel_mm[0]) if apart_mm >= LEGS_APART_MM else None
