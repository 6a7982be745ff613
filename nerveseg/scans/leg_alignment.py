"""Alignment of two dates along the leg: at the split of the nerve, by the image, or by the scanner's coordinates.

The shift is the distance to add to `z_mm` of the second scan, to get `z_mm` of the same tissue in the first. By the
image and by the coordinates it is the median over the sections of the second scan's nerve; a search by the image begins
with every shift by a slice at which a third of the shorter stack overlaps, with the two nerves on top of each other.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nerveseg.biomarkers.change import NerveRows
from nerveseg.biomarkers.course import slice_normal
from nerveseg.data.registration import register_from
from nerveseg.data.volumes.grids import Grid, Volume
from nerveseg.errors import GeometryError
from nerveseg.types import Affine, Mask

Align = Literal["split", "image", "header"]

NEARLY = 0.95  # share of the greatest mutual information from which another shift puts the alignment in doubt (assumed)


@dataclass(frozen=True)
class Alignment:
    """Alignment of the second date with the first."""

    method: Align
    shift_mm: float  # distance to add to a position of the second scan
    how: str  # explanation of the shift
    rival_mm: float | None = None  # another shift that fits nearly as well, which puts this one in doubt


@dataclass(frozen=True)
class PlacedNerve:
    """Nerve of one date on its grid."""

    mask: Mask  # mask of the nerve in RAS order
    grid: Grid  # grid of the mask and of its scan


def align_at_split(first: NerveRows, second: NerveRows) -> Alignment:
    """Align two nerves at their division; raise `GeometryError` unless both show one, distal on the same side."""
    splits = first.split_mm, second.split_mm
    if splits[0] is None or splits[1] is None:
        raise GeometryError("align=split: both scans show the split", found="not in both", remedy="align=image")
    if splits[0][1] != splits[1][1]:
        raise GeometryError(
            "the nerve divides towards the feet in both scans", found="one is upside down", remedy="align=image"
        )
    step_mm = max(first.step_mm, second.step_mm)
    return Alignment("split", splits[0][0] - splits[1][0], f"at the split, to within a slice step of {step_mm:g} mm")


def align_by_header(first: PlacedNerve, second: PlacedNerve) -> Alignment:
    """Align two nerves by the scanner's coordinates."""
    return Alignment("header", _shift_mm(np.eye(4), first.grid, second), "by the scanner's coordinates of both files")


def align_by_image(first: PlacedNerve, second: PlacedNerve, images: tuple[Volume, Volume]) -> Alignment:
    """Align two nerves by rigid registration of their images; raise `GeometryError` without a match."""
    fixed, moving = images
    found = register_from(moving, fixed, _starts(first, second))
    if not found:
        raise GeometryError(
            "align=image: two images of one leg with a common stretch",
            found="images with too little in common",
            remedy="align=split or align=header",
        )
    (shift_mm, similarity), *others = [(_shift_mm(motion, first.grid, second), value) for motion, value in found]
    how = f"by rigid registration of the images (mutual information {similarity:.2f})"
    step_mm = max(abs(_step_mm(each.grid)) for each in (first, second))
    rivals = [each for each, value in others if abs(each - shift_mm) > step_mm and value > NEARLY * similarity]
    if not rivals:
        return Alignment("image", shift_mm, how)
    doubt = f", in doubt: a shift of {rivals[0]:+.1f} mm fits nearly as well"
    return Alignment("image", shift_mm, how + doubt, rivals[0])


def _centres(nerve: PlacedNerve) -> NDArray[np.float64]:
    """Return the centre of the nerve in every slice in RAS mm; interpolated in gaps, as at the ends beyond them."""
    mask, grid = nerve.mask, nerve.grid
    x, y, z = np.nonzero(mask)
    counts = np.bincount(z, minlength=mask.shape[2])
    held = np.flatnonzero(counts)
    means = [np.bincount(z, axis, minlength=mask.shape[2])[held] / counts[held] for axis in (x, y)]
    slices = np.arange(mask.shape[2])
    voxels = np.stack([*(np.interp(slices, held, mean) for mean in means), slices], axis=1)
    return np.asarray(voxels @ grid.ras_affine[:3, :3].T + grid.ras_affine[:3, 3])


def _shift_mm(motion: Affine, fixed: Grid, second: PlacedNerve) -> float:
    """Return the shift of a motion from the first scan's positions to the second's (RAS mm)."""
    held = np.flatnonzero(second.mask.any(axis=(0, 1)))
    points = _centres(second)[held]
    back: Any = np.linalg.inv(motion)
    in_first = points @ back[:3, :3].T + back[:3, 3]
    heights = (in_first - fixed.ras_affine[:3, 3]) @ slice_normal(fixed.ras_affine)
    return float(np.median(heights - held * _step_mm(second.grid)))


def _step_mm(grid: Grid) -> float:
    return float(grid.ras_affine[:3, 2] @ slice_normal(grid.ras_affine))


def _starts(first: PlacedNerve, second: PlacedNerve) -> list[Affine]:
    """Return translations at which the two nerves lie on each other, one for each shift by a slice of the first."""
    (centres, step), (others, other_step) = ((_centres(each), _step_mm(each.grid)) for each in (first, second))
    heights, other_heights = np.arange(len(centres)) * step, np.arange(len(others)) * other_step
    least = min(heights[-1] + step, other_heights[-1] + other_step) / 3
    starts = []
    for shift in np.arange(-other_heights[-1], heights[-1] + step, step):
        inside = (heights >= shift - 1e-6) & (heights <= shift + other_heights[-1] + 1e-6)
        if np.count_nonzero(inside) * step < least:
            continue
        matched = np.stack([np.interp(heights[inside] - shift, other_heights, axis) for axis in others.T], axis=1)
        motion = np.eye(4)
        motion[:3, 3] = np.median(matched - centres[inside], axis=0)
        starts.append(motion)
    return starts
