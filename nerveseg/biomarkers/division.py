"""In which slices the nerve is divided, and where its two parts run.

Two sections are not yet two nerves: a speck, a side branch or a vein taken for nerve make a second section as well. The
nerve is divided over a run of slices in which a second section holds a tenth of the nerve or more. The run reaches the
end of the nerve, or nearly so, as the two do not join again, and its parts come together towards the split. What does
not is no division, and all of it stays one nerve.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from nerveseg.biomarkers.sections import Sections

Direction: TypeAlias = Literal[-1, 1]
"""Of the slice number towards the distal end."""

MAIN_SHARE = 0.1
"""A section of this share of the slice's nerve may be a main branch (the peroneal nerve has a quarter or more)."""

LEAST_RUN = 3
"""Slices a run needs within the nerve; at its end one less."""

LONGEST_TOUCH = 3
"""Slices between two runs in which the two nerves may touch."""

AWAY_AGAIN_MM = 2.0
"""By how much the distance between the two may rise again on the way to the split, as outlines err."""

WIDEST_GAP_MM = 10.0
"""Between the outlines of the two in the first slice that shows both: a nerve found a few slices too late."""

PARTING_MM = 3.0
"""Change of their distance over the run that tells two nerves from a nerve and a vein beside it."""

TOUCHING_MM = 4.0
"""Gap at the split at which a run too short to show them part is believed."""

CLEARLY_APART = 1.25
"""Ratio of the distances at the two ends of a stack without the split that tells which end is distal."""


@dataclass(frozen=True)
class Division:
    """The two parts of a divided nerve.

    Attributes:
        first: First slice that shows both.
        last: Last slice that shows both.
        tracks_mm: In-plane centres of the two parts in the slices of the run: (slice, part, 2).
        distal: Direction of the slice number towards the distal end; None where the stack does not tell.
        split_shown: Whether the stack shows where they part; otherwise they are apart throughout.
    """

    first: int
    last: int
    tracks_mm: Float64[np.ndarray[Any, Any], "slice 2 2"]
    distal: Direction | None
    split_shown: bool

    def centres_mm(self, number: int) -> Float64[np.ndarray[Any, Any], "2 2"]:
        """Of the two parts in a slice; beyond the run those of its nearest slice."""
        return np.asarray(self.tracks_mm[int(np.clip(number, self.first, self.last)) - self.first])


def find_division(sections: Sections) -> Division | None:
    """The run of slices that shows two nerves, or None.

    Of several runs the longest that could be one counts.
    """
    with_nerve = np.flatnonzero(sections.per_slice)
    if with_nerve.size == 0:
        return None
    first, last = int(with_nerve[0]), int(with_nerve[-1])
    double = np.array([sections.main_within(k, MAIN_SHARE).size >= 2 for k in range(sections.per_slice.size)])
    divisions = [_division(sections, run, first, last) for run in _runs(double, first, last)]
    possible = [found for found in divisions if found is not None]
    return max(possible, key=lambda found: found.last - found.first, default=None)


def _runs(double: NDArray[np.bool_], first: int, last: int) -> list[tuple[int, int]]:
    """First and last slice of every run, single slices bridged, short runs dropped, neighbours joined."""
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
    """The run as a division, or None if it shows something else than two nerves that part."""
    at_begin_mm, at_end_mm = _apart_mm(sections, run, begin=True), _apart_mm(sections, run, begin=False)
    at_ends = (run[0] == first, run[1] == last)
    towards_last = at_ends[1] if at_ends[0] != at_ends[1] else at_end_mm >= at_begin_mm
    distal: Direction = 1 if towards_last else -1
    inward = np.arange(run[0], run[1] + 1)[::-distal]
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
    told = split_shown or max(at_begin_mm, at_end_mm) > CLEARLY_APART * min(at_begin_mm, at_end_mm)
    begin, end = sorted((int(inward[0]), split))
    return Division(begin, end, tracks_mm[:kept][::-distal], distal if told else None, split_shown)


def _apart_mm(sections: Sections, run: tuple[int, int], *, begin: bool) -> float:
    """Distance between the two largest sections, the median over up to three slices at an end of a run."""
    slices = np.arange(run[0], run[1] + 1)
    here = min(LEAST_RUN, slices.size // 2)
    distances = []
    for number in slices[:here] if begin else slices[-here:]:
        largest = sections.main_within(int(number), MAIN_SHARE)[:2]
        if largest.size == 2:
            distances.append(float(np.linalg.norm(np.diff(sections.centres_mm[largest], axis=0))))
    return float(np.median(distances))


def _follow(sections: Sections, inward: NDArray[np.intp]) -> NDArray[np.intp]:
    """The two sections of every slice, from the far end to the split, each time the pair nearest to the last one.

    Returns:
        (slice, part); -1 where a slice has one section.
    """
    pairs = np.full((inward.size, 2), -1)
    last: NDArray[np.intp] | None = None
    for row, number in enumerate(inward):
        main = sections.main_within(int(number), MAIN_SHARE)
        if main.size >= 2:
            last = main[:2] if last is None else _nearest_pair(sections.centres_mm, main, last)
            pairs[row] = last
    return pairs


def _nearest_pair(centres_mm: NDArray[np.float64], main: NDArray[np.intp], last: NDArray[np.intp]) -> NDArray[np.intp]:
    pairs = [np.array(pair) for pair in permutations(main, 2)]
    return min(pairs, key=lambda pair: float(np.linalg.norm(centres_mm[pair] - centres_mm[last], axis=1).sum()))


def _between(tracks_mm: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Tracks with the slices in which the two nerves touch filled in along straight lines."""
    rows, filled = np.arange(len(tracks_mm)), tracks_mm.copy()
    for part, axis in np.ndindex(2, 2):
        filled[:, part, axis] = np.interp(rows, rows[known], tracks_mm[known, part, axis])
    return filled


def _up_to_the_split(apart_mm: NDArray[np.float64]) -> int:
    """How many slices of a run, from its far end, show the two nerves.

    They only come nearer on the way to the split; a second section that moves away again is something else.
    """
    nearest = int(np.argmin(apart_mm))
    return nearest + 1 if apart_mm[nearest:].max() > apart_mm[nearest] + AWAY_AGAIN_MM else len(apart_mm)


def _parts_at_the_split(
    sections: Sections, pairs: NDArray[np.intp], apart_mm: NDArray[np.float64], above: range
) -> bool:
    """Whether the two come together at the split, as two nerves do and a nerve and a vein do not.

    A run too short to show it is believed if they all but touch and make the nerve above together. (Longer runs are
    not asked for the areas: a lesion may begin at the split.)
    """
    shown = pairs[pairs[:, 0] >= 0]
    gap_mm = apart_mm[-1] - np.sqrt(sections.areas_mm2[shown[-1]] / np.pi).sum()
    if apart_mm[: max(1, apart_mm.size // 3)].mean() - apart_mm[-1] >= PARTING_MM:
        return bool(gap_mm <= WIDEST_GAP_MM)
    return bool(gap_mm <= TOUCHING_MM) and _make_the_nerve(sections, shown[-LEAST_RUN:], above)


def _make_the_nerve(sections: Sections, pairs: NDArray[np.intp], above: range) -> bool:
    """Whether the nerve above is about as large as both sections below it, rather than as the larger one alone."""
    largest = [sections.areas_mm2[here[0]] for here in map(sections.within, above) if here.size]
    if not largest:
        return True
    nerve, areas = float(np.median(largest)), sections.areas_mm2[pairs]
    both, larger = float(np.median(areas.sum(axis=1))), float(np.median(areas.max(axis=1)))
    return abs(nerve - both) <= abs(nerve - larger)
