"""Nerve of each leg in one scan: mask, branches and their smoothed centrelines, the input of profile and summary.

The centre of a branch in a slice is the centroid of its voxels, transformed by the affine. It varies between slices by
about half a pixel, like outlines; with neighbours 4.4 mm apart, 0.3 mm would be an angle of 4 degrees. A parabola is
therefore fitted to the slices within 13 mm (seven of the paper's slices, at least five; Savitzky and Golay 1964), which
lowers the error to one degree.

Pieces of a mask away from the nerve (strays) are no part of it, and in no number; quality flags name the same pieces.
The largest component (26-connected) of a leg is nerve; every component near nerve is nerve too. The distance is
measured in the plane to the nerve's sections in the same slice; beyond its ends and across a gap, in the nearest slice
with nerve, less the offset of a course as steep as 45 degrees. Nerve goes on, too, where it was missed in up to three
slices: a component within half the distance of the nerve of such a slice is near. A distant component in every slice of
the nerve is the other of two nerves that have divided above the stack; it is measured, and flagged.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float64, Int
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, label, minimum

from nerveseg.biomarkers.branches import BRANCH_NAMES, Branches, trace_branches
from nerveseg.biomarkers.division import LONGEST_TOUCH, MAIN_SHARE
from nerveseg.data.legs import Leg, Side
from nerveseg.types import Affine, Mask, SpacingMm

HALF_WINDOW_MM = 13.5
LEAST_WINDOW = 5  # least number of slices in the window
FAR_MM = 15.0  # distance from which on a component is outlying (assumed: more than twice a nerve's diameter)
STEEPEST = 1.0  # steepest course, in millimetres in the plane per millimetre along the slices


@dataclass(frozen=True)
class Centreline:
    """Course of one branch through its slices."""

    branch: str  # `nerve` (undivided), `tibial` or `peroneal`
    # Indices of its slices in RAS order, ascending; with those in which it is followed without its name.
    slices: Int[np.ndarray[Any, Any], " _n"]
    points_mm: Float64[np.ndarray[Any, Any], "_n 3"]  # smoothed centres in world coordinates
    angle_deg: Float64[np.ndarray[Any, Any], " _n"]  # to the normal of the slices; NaN for a single slice


def slice_normal(affine: Affine) -> Float64[np.ndarray[Any, Any], "3"]:
    """Return the unit normal of the slices, towards rising slice indices."""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    return np.asarray(normal / np.linalg.norm(normal) * np.sign(normal @ affine[:3, 2]))


def slice_step_mm(affine: Affine) -> float:
    """Return the distance in mm between the planes of neighbouring slices.

    >>> slice_step_mm(np.diag([0.5, 0.5, 4.4, 1.0]))
    4.4
    """
    return float(affine[:3, 2] @ slice_normal(affine))


def pixel_area_mm2(affine: Affine) -> float:
    """Return the area in mm2 of a voxel in the plane of its slice.

    >>> pixel_area_mm2(np.diag([0.5, 0.5, 4.4, 1.0]))
    0.25
    """
    return float(np.linalg.norm(np.cross(affine[:3, 0], affine[:3, 1])))


def _spacing_mm(affine: Affine) -> SpacingMm:
    x, y, z = (float(step) for step in np.linalg.norm(affine[:3, :3], axis=0))
    return x, y, z


def centrelines(branches: Branches, affine: Affine) -> tuple[Centreline, ...]:
    """Compute the course of every branch."""
    nerves = {name: branches.followed == number for number, name in BRANCH_NAMES.items()}
    return tuple(_centreline(nerve, name, affine) for name, nerve in nerves.items() if nerve.any())


def length_mm(points_mm: Float64[np.ndarray[Any, Any], "_n 3"]) -> float:
    """Return the length in mm of a curve."""
    return float(np.linalg.norm(np.diff(points_mm, axis=0), axis=1).sum())


def _centreline(mask: NDArray[np.bool_], name: str, affine: Affine) -> Centreline:
    x, y, z = np.nonzero(mask)
    voxels = np.bincount(z)
    slices = np.flatnonzero(voxels)
    centres = np.stack([np.bincount(z, index)[slices] / voxels[slices] for index in (x, y, z)], axis=1)
    points_mm = centres @ affine[:3, :3].T + affine[:3, 3]
    smoothed, slopes = _smoothed(slices * slice_step_mm(affine), points_mm, slice_step_mm(affine))
    along = slopes @ slice_normal(affine)
    cosine = np.clip(along / np.linalg.norm(slopes, axis=1), -1.0, 1.0)
    return Centreline(name, slices, smoothed, np.degrees(np.arccos(cosine)))


def _smoothed(
    heights_mm: NDArray[Any], points_mm: NDArray[np.float64], step_mm: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return smoothed points, and their derivative by the height along the normal (NaN for a single point)."""
    window = max(LEAST_WINDOW, 2 * int(HALF_WINDOW_MM / step_mm) + 1)
    smoothed, slopes = points_mm.copy(), np.full_like(points_mm, np.nan)
    if len(points_mm) < 2:
        return smoothed, slopes
    for index, height_mm in enumerate(heights_mm):
        away = heights_mm - height_mm
        near = np.sort(np.argsort(np.abs(away), kind="stable")[:window])
        degree = 2 if near.size > 3 else 1
        design = (away[near, None] / step_mm) ** np.arange(degree + 1)
        fit = np.linalg.lstsq(design, points_mm[near], rcond=None)[0]
        smoothed[index], slopes[index] = fit[0], fit[1] / step_mm
    return smoothed, slopes


@dataclass(frozen=True)
class Pieces:
    """Parts of the mask of one leg."""

    nerve: Mask  # nerve, with a distant branch
    distant: Mask  # branch that is farther than `far_mm` from the rest of the nerve in every slice; mostly empty
    strays: Mask  # components that are no part of the nerve
    stray_pieces: int  # number of these


def without_strays(mask: Mask, spacing_mm: SpacingMm, far_mm: float = FAR_MM) -> Pieces:
    """Divide a leg's mask into the nerve and the components farther than `far_mm` from it."""
    result = Pieces(mask.copy(), np.zeros_like(mask), np.zeros_like(mask), 0)
    if not mask.any():
        return result
    # Every distance is between voxels of the mask, so that those outside their box are not needed.
    box = tuple(slice(int(found.min()), int(found.max()) + 1) for found in np.nonzero(mask))
    found = _divided(mask[box], spacing_mm, far_mm)
    result.nerve[box], result.distant[box], result.strays[box] = found.nerve, found.distant, found.strays
    return replace(result, stray_pieces=found.stray_pieces)


def _divided(mask: Mask, spacing_mm: SpacingMm, far_mm: float) -> Pieces:
    labels, count = label(mask, np.ones((3, 3, 3)))
    if count < 2:
        return Pieces(mask, np.zeros_like(mask), np.zeros_like(mask), 0)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    near = _grown(np.arange(count + 1) == sizes.argmax(), labels, spacing_mm, far_mm)
    held = near[labels].any(axis=(0, 1))
    throughout = np.zeros_like(near)
    if np.count_nonzero(held) >= LEAST_WINDOW:
        for number in np.flatnonzero(~near & (sizes >= MAIN_SHARE * sizes.max())):
            throughout[number] = bool((labels == number).any(axis=(0, 1))[held].all())
    nerve = _grown(near | throughout, labels, spacing_mm, far_mm) if throughout.any() else near
    strays = mask & ~nerve[labels]
    return Pieces(nerve[labels], (nerve & ~near)[labels], strays, count - int(nerve.sum()))


def _grown(
    is_nerve: NDArray[np.bool_], labels: NDArray[Any], spacing_mm: SpacingMm, far_mm: float
) -> NDArray[np.bool_]:
    """Add the components within `far_mm` of the nerve to it, a flag per label, until none is left."""
    while True:
        distance_mm = _distance_mm(is_nerve[labels], spacing_mm, far_mm)
        nearest_mm = minimum(distance_mm, labels, np.arange(is_nerve.size))
        grown = is_nerve | (nearest_mm <= far_mm)
        grown[0] = False
        if np.array_equal(grown, is_nerve):
            return is_nerve
        is_nerve = grown


def _distance_mm(nerve: Mask, spacing_mm: SpacingMm, far_mm: float) -> NDArray[np.float32]:
    """Compute every voxel's in-plane distance in mm to the nerve of the nearest slice, less the steepest offset.

    The distance to the nerve of the next slices counts half of `far_mm` more, if it is smaller even so.
    """
    levels = np.flatnonzero(nerve.any(axis=(0, 1)))
    maps = {level: distance_transform_edt(~nerve[..., level], sampling=spacing_mm[:2]) for level in levels.tolist()}
    result = np.empty(nerve.shape, dtype=np.float32)
    for number in range(nerve.shape[2]):
        level = int(levels[np.argmin(np.abs(levels - number))])
        result[..., number] = maps[level] - STEEPEST * abs(level - number) * spacing_mm[2]
        for other in range(number - LONGEST_TOUCH, number + LONGEST_TOUCH + 1):
            if other in maps and other != number:
                np.minimum(result[..., number], maps[other] + far_mm / 2, out=result[..., number])
    return result


@dataclass(frozen=True)
class NerveCourse:
    """Nerve of one leg."""

    side: Side
    leg: Leg
    mask: Mask  # nerve of this leg on the whole grid, in RAS order, without strays
    strays: Mask  # pieces of the mask in this leg that are no part of the nerve, on the same grid
    stray_pieces: int  # number of these
    branches: Branches
    centrelines: tuple[Centreline, ...]
    affine: Affine  # of the RAS array

    @property
    def length_mm(self) -> float:
        """Length in mm along `main_course`, at most that of a course as steep as 45 degrees."""
        return self._along_mm(self.main_course[1])

    def branch_length_mm(self, label: int) -> float | None:
        """Return the length in mm along a branch, at most that of a course as steep as 45 degrees.

        It is counted between the centres of the first and the last slice that show the branch by its name; None for
        fewer than two of them.
        """
        shown = (self.branches.labels == label).any(axis=(0, 1))
        lines = [line for line in self.centrelines if line.branch == BRANCH_NAMES[label]]
        points_mm = [line.points_mm[shown[line.slices]] for line in lines]
        return self._along_mm(points_mm[0]) if points_mm and len(points_mm[0]) > 1 else None

    def _along_mm(self, points_mm: Float64[np.ndarray[Any, Any], "_n 3"]) -> float:
        steps_mm = np.diff(points_mm, axis=0)
        along_mm = np.abs(steps_mm @ slice_normal(self.affine))
        return float(np.minimum(np.linalg.norm(steps_mm, axis=1), np.hypot(1.0, STEEPEST) * along_mm).sum())

    @property
    def main_branch(self) -> str:
        """Branch that is seen the farthest: the tibial nerve, unless it ends before the peroneal nerve does."""
        sizes = {line.branch: line.slices.size for line in self.centrelines}
        return max(("tibial", "peroneal"), key=lambda name: sizes.get(name, 0))

    @property
    def main_course(self) -> tuple[Int[np.ndarray[Any, Any], " _n"], Float64[np.ndarray[Any, Any], "_n 3"]]:
        """Slices in RAS order and smoothed centres of the undivided nerve and of the `main_branch`."""
        lines = {line.branch: line for line in self.centrelines}
        main = [lines[name] for name in ("nerve", self.main_branch) if name in lines]
        slices = np.concatenate([line.slices for line in main]) if main else np.zeros(0, dtype=np.intp)
        points_mm = np.concatenate([line.points_mm for line in main]) if main else np.zeros((0, 3))
        order = np.argsort(slices, kind="stable")
        return slices[order], points_mm[order]


def follow_nerves(mask: Mask, affine: Affine, legs: Sequence[Leg], far_mm: float = FAR_MM) -> tuple[NerveCourse, ...]:
    """Trace the nerve of every leg in a mask (x, y, z) in RAS order; it may be oblique, and empty in a leg.

    Components farther than `far_mm` from the nerve of their leg are strays.
    """
    courses, spacing_mm = [], _spacing_mm(affine)
    for leg in legs:
        nerve, strays = np.zeros_like(mask), np.zeros_like(mask)
        pieces = without_strays(mask[leg.columns], spacing_mm, far_mm)
        nerve[leg.columns], strays[leg.columns] = pieces.nerve, pieces.strays
        branches = trace_branches(nerve, spacing_mm, leg.side)
        lines = centrelines(branches, affine)
        courses.append(NerveCourse(leg.side, leg, nerve, strays, pieces.stray_pieces, branches, lines, affine))
    return tuple(courses)
