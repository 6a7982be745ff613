"""Division of the nerve: the slices in which it is divided, and the course of its two parts.

A speck, a side branch or a vein in the mask is a second section too, so the nerve is divided only over a run of slices
in which a second section holds a tenth of the nerve or more, which reaches the end of the nerve, or nearly, and in
which the two parts approach each other towards the split. The split lies towards the head; a run with its split towards
the feet is a false part of the mask, or an image that is upside down, and plain only over more slices. Sections are the
8-connected parts of the mask in each slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float64, Int
from numpy.typing import NDArray
from scipy import ndimage

from nerveseg.types import Mask, SpacingMm

IN_PLANE = np.zeros((3, 3, 3), dtype=bool)
IN_PLANE[:, :, 1] = True
Direction: TypeAlias = Literal[-1, 1]  # of the slice index towards the distal end

MAIN_SHARE = 0.1  # least share of the slice's nerve in a main branch (the peroneal nerve has a quarter or more)
LEAST_RUN = 3  # least number of slices of a run within the nerve; at its end one less
LONGEST_TOUCH = 3  # largest number of slices between two runs in which the two nerves touch
AWAY_AGAIN_MM = 2.0  # largest increase of their distance on the way to the split, by errors of the outlines
WIDEST_GAP_MM = 10.0  # largest gap in the first slice that shows both, if a nerve is detected a few slices late
PARTING_MM = 3.0  # least change of the distance over the run that distinguishes two nerves from a nerve and a vein
TOUCHING_MM = 4.0  # largest gap at the split at which a run that is too short for `PARTING_MM` is accepted
HEADWARD_RUN = 6  # least number of slices of a division towards the head that is plain
CLEARLY_APART = 1.25  # least ratio of the distances at both ends of a stack without the split, to know the distal end


@dataclass(frozen=True)
class Sections:
    """Sections of one mask."""

    labels: Int[np.ndarray[Any, Any], "x y z"]  # number of each voxel's section, from 1; 0 outside
    slices: Int[np.ndarray[Any, Any], " _n"]  # index of the slice of each section
    sizes: Int[np.ndarray[Any, Any], " _n"]  # number of voxels of each section
    areas_mm2: Float64[np.ndarray[Any, Any], " _n"]  # area of each section in its plane
    centres_mm: Float64[np.ndarray[Any, Any], "_n 2"]  # in-plane centre of each section, voxel index times spacing

    @classmethod
    def of(cls, mask: Mask, spacing_mm: SpacingMm) -> Sections:
        """Find the sections of a mask (x, y, z)."""
        labels, number = ndimage.label(mask, IN_PLANE)
        x, y, z = np.nonzero(labels)
        of_voxel = labels[x, y, z] - 1
        sizes = np.bincount(of_voxel, minlength=number)
        slices = np.zeros(number, dtype=np.intp)
        slices[of_voxel] = z
        sums = [np.bincount(of_voxel, index, minlength=number) for index in (x, y)]
        centres = [total / sizes * step_mm for total, step_mm in zip(sums, spacing_mm[:2], strict=True)]
        areas_mm2 = sizes * (spacing_mm[0] * spacing_mm[1])
        return cls(labels, slices, sizes, areas_mm2, np.stack(centres, axis=1).astype(np.float64))

    @property
    def per_slice(self) -> NDArray[np.intp]:
        """Number of sections in each slice."""
        return np.bincount(self.slices, minlength=self.labels.shape[2])

    def within(self, number: int) -> NDArray[np.intp]:
        """Return the sections of one slice, largest first."""
        found = np.flatnonzero(self.slices == number)
        return found[np.argsort(-self.sizes[found], kind="stable")]

    def main_within(self, number: int) -> NDArray[np.intp]:
        """Return the sections with at least `MAIN_SHARE` of the slice's nerve, largest first."""
        found = self.within(number)
        return np.asarray(found[self.sizes[found] >= MAIN_SHARE * self.sizes[found].sum()])


@dataclass(frozen=True)
class Division:
    """Division of a nerve into two parts."""

    first: int  # index of the first slice that shows both
    last: int  # index of the last slice that shows both
    tracks_mm: Float64[np.ndarray[Any, Any], "slice 2 2"]  # in-plane centres of the two parts in the run's slices
    distal: Direction | None  # None if unknown
    split_shown: bool  # true if the stack shows the split, false if the parts are apart throughout

    @property
    def headward(self) -> bool:
        """Flag of a division whose branches lie towards the head from the split."""
        return self.split_shown and self.distal == 1

    @property
    def plain(self) -> bool:
        """Flag of a division by which branches are named: towards the feet, or long and clearly parting."""
        apart_mm = np.linalg.norm(self.tracks_mm[:, 0] - self.tracks_mm[:, 1], axis=1)
        return not self.headward or (apart_mm.size >= HEADWARD_RUN and bool(np.ptp(apart_mm) >= PARTING_MM))

    def centres_mm(self, number: int) -> Float64[np.ndarray[Any, Any], "2 2"]:
        """Return the centres of the two parts in a slice; beyond the run, those of its nearest slice."""
        return np.asarray(self.tracks_mm[int(np.clip(number, self.first, self.last)) - self.first])


def find_division(sections: Sections) -> Division | None:
    """Find the run of slices that shows two nerves, the longest of several plain ones; None without one."""
    with_nerve = np.flatnonzero(sections.per_slice)
    if with_nerve.size == 0:
        return None
    first, last = int(with_nerve[0]), int(with_nerve[-1])
    double = np.array([sections.main_within(k).size >= 2 for k in range(sections.per_slice.size)])
    divisions = [_division(sections, run, first, last) for run in _runs(double, first, last)]
    possible = [found for found in divisions if found is not None]
    return max(possible, key=lambda found: (found.plain, found.last - found.first), default=None)


def _runs(double: NDArray[np.bool_], first: int, last: int) -> list[tuple[int, int]]:
    """Return first and last slice of every run, with single gaps closed, short runs dropped, neighbours joined."""
    closed = double.copy()
    closed[1:-1] |= double[:-2] & double[2:]
    edges = np.flatnonzero(np.diff(np.concatenate([[0], closed.astype(np.int8), [0]])))
    runs = [(int(begin), int(end) - 1) for begin, end in edges.reshape(-1, 2)]
    runs = [(a, b) for a, b in runs if b - a + 1 >= LEAST_RUN - (a == first or b == last)]
    joined = runs[:1]
    for run in runs[1:]:
        close = run[0] - joined[-1][1] - 1 <= LONGEST_TOUCH
        joined = [*joined[:-1], (joined[-1][0], run[1])] if close else [*joined, run]
    return joined


def _division(sections: Sections, run: tuple[int, int], first: int, last: int) -> Division | None:
    """Return the run as a division, or None if it does not show two nerves that part."""
    slices = np.arange(run[0], run[1] + 1)
    count = min(LEAST_RUN, slices.size // 2)
    at_begin_mm, at_end_mm = _apart_mm(sections, slices[:count]), _apart_mm(sections, slices[-count:])
    at_ends = (run[0] == first, run[1] == last)
    towards_last = at_ends[1] if at_ends[0] != at_ends[1] else at_end_mm >= at_begin_mm
    distal: Direction = 1 if towards_last else -1
    inward = slices[::-distal]
    pairs = _follow(sections, inward)
    tracks_mm = _between(sections.centres_mm[pairs], pairs[:, 0] >= 0)
    apart_mm = np.linalg.norm(tracks_mm[:, 0] - tracks_mm[:, 1], axis=1)
    kept = _up_to_the_split(apart_mm)
    split = int(inward[kept - 1])
    split_shown = split != (first if towards_last else last)
    above = range(split - distal, split - distal * (LEAST_RUN + 1), -distal)
    parting = kept >= LEAST_RUN - 1 and _parts_at_the_split(sections, pairs[:kept], apart_mm[:kept], above)
    if split_shown and not parting:
        return None
    distal_known = split_shown or max(at_begin_mm, at_end_mm) > CLEARLY_APART * min(at_begin_mm, at_end_mm)
    begin, end = sorted((int(inward[0]), split))
    return Division(begin, end, tracks_mm[:kept][::-distal], distal if distal_known else None, split_shown)


def _apart_mm(sections: Sections, slices: NDArray[np.intp]) -> float:
    """Return the median distance in mm of the two largest sections, over the slices that have two."""
    pairs = [pair for number in slices if (pair := sections.main_within(int(number))[:2]).size == 2]
    return float(np.median([np.linalg.norm(np.diff(sections.centres_mm[pair], axis=0)) for pair in pairs]))


def _follow(sections: Sections, inward: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the two sections (slice, part) from the far end to the split; -1 where a slice has one section."""
    pairs = np.full((inward.size, 2), -1)
    last: NDArray[np.intp] | None = None
    for row, number in enumerate(inward):
        main = sections.main_within(int(number))
        if main.size >= 2:
            last = main[:2] if last is None else _nearest_pair(sections.centres_mm, main, last)
            pairs[row] = last
    return pairs


def _nearest_pair(centres_mm: NDArray[np.float64], main: NDArray[np.intp], last: NDArray[np.intp]) -> NDArray[np.intp]:
    pairs = [np.array(pair) for pair in permutations(main, 2)]
    return min(pairs, key=lambda pair: float(np.linalg.norm(centres_mm[pair] - centres_mm[last], axis=1).sum()))


def _between(tracks_mm: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Interpolate the tracks linearly in slices in which the two nerves touch."""
    rows, filled = np.arange(len(tracks_mm)), tracks_mm.copy()
    for part, axis in np.ndindex(2, 2):
        filled[:, part, axis] = np.interp(rows, rows[known], tracks_mm[known, part, axis])
    return filled


def _up_to_the_split(apart_mm: NDArray[np.float64]) -> int:
    """Return how many slices of a run, from its far end, show two nerves; these do not move apart again."""
    nearest = int(np.argmin(apart_mm))
    return nearest + 1 if apart_mm[nearest:].max() > apart_mm[nearest] + AWAY_AGAIN_MM else len(apart_mm)


def _parts_at_the_split(
    sections: Sections, pairs: NDArray[np.intp], apart_mm: NDArray[np.float64], above: range
) -> bool:
    """Tell if the two sections meet at the split, as two nerves do and a nerve and a vein do not."""
    visible = pairs[pairs[:, 0] >= 0]
    gap_mm = apart_mm[-1] - np.sqrt(sections.areas_mm2[visible[-1]] / np.pi).sum()
    if apart_mm[: max(1, apart_mm.size // 3)].mean() - apart_mm[-1] >= PARTING_MM:
        return bool(gap_mm <= WIDEST_GAP_MM)
    # The areas of longer runs are not compared: a lesion may begin at the split.
    return bool(gap_mm <= TOUCHING_MM) and _make_the_nerve(sections, visible[-LEAST_RUN:], above)


def _make_the_nerve(sections: Sections, pairs: NDArray[np.intp], above: range) -> bool:
    """Tell if the area of the nerve above is nearer to that of both sections below than to the larger one."""
    largest = [sections.areas_mm2[ordered[0]] for ordered in map(sections.within, above) if ordered.size]
    if not largest:
        return True
    nerve, areas = float(np.median(largest)), sections.areas_mm2[pairs]
    both, larger = float(np.median(areas.sum(axis=1))), float(np.median(areas.max(axis=1)))
    return abs(nerve - both) <= abs(nerve - larger)
