"""Labels of the tibial and the peroneal nerve, where the sciatic nerve has divided.

Every section of a divided slice belongs to the main branch with the nearer centre; where the two branches touch, every
voxel does. A branch has its name only in slices that show both: where a single section goes on below the split, which
of the two it is cannot be seen. A division towards the head is named if it is plain, since an image may be upside down;
a flag says so in any case (`biomarkers.plausibility`). The peroneal nerve is the lateral branch if the leg's side is
known and the two lie side by side, otherwise that with the smaller mean area. If the two criteria disagree, a note is
added.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from numpy.typing import NDArray

from nerveseg.biomarkers.division import MAIN_SHARE, Direction, Division, Sections, find_division
from nerveseg.data.legs import Side, of_side
from nerveseg.types import Mask, SpacingMm

TIBIAL, PERONEAL, UNDIVIDED = 1, 2, 3
BRANCH_NAMES = {UNDIVIDED: "nerve", TIBIAL: "tibial", PERONEAL: "peroneal"}

SIDE_BY_SIDE_MM = 2.0  # least mean lateral distance between the two nerves at which position decides


@dataclass(frozen=True)
class Branches:
    """Branches of one nerve."""

    labels: UInt8[np.ndarray[Any, Any], "x y z"]  # `TIBIAL`, `PERONEAL` or `UNDIVIDED` in the nerve, 0 elsewhere
    # The same, but that sections below the split have the label of the branch that they continue most likely.
    followed: UInt8[np.ndarray[Any, Any], "x y z"]
    # Number of sections per slice, side branches and specks included: row 0 of the whole mask, then of each label.
    components: Int[np.ndarray[Any, Any], "4 z"]
    split_slice: int | None  # index (RAS order) of the most proximal slice that shows two nerves; None without a split
    distal: Direction | None  # None if unknown
    notes: tuple[str, ...]  # for the readers of the measurements
    # Indices of the slices of a division towards the head, named or not; empty without one.
    headward: tuple[int, ...] = ()


def trace_branches(mask: Mask, spacing_mm: SpacingMm, side: Side = "unknown") -> Branches:
    """Label the branches of the nerve of one leg, a mask (x, y, z) in RAS order that may be empty."""
    sections = Sections.of(mask, spacing_mm)
    division = find_division(sections)
    labels = np.where(mask, np.uint8(UNDIVIDED), np.uint8(0))
    headward = tuple(range(division.first, division.last + 1)) if division is not None and division.headward else ()
    if division is None or not division.plain:
        return Branches(labels, labels, _components(labels, sections), None, None, (), headward)
    parts = _parts(sections, division, spacing_mm)
    swapped, notes = _order(parts, division, side)
    names = np.array([0, PERONEAL, TIBIAL] if swapped else [0, TIBIAL, PERONEAL], dtype=np.uint8)
    followed = np.where(parts > 0, names[parts], labels)
    labels = np.where(_shows_both(parts), followed, labels)
    split = (division.first if division.distal == 1 else division.last) if division.split_shown else None
    return Branches(labels, followed, _components(labels, sections), split, division.distal, notes, headward)


def _shows_both(parts: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell for each slice if both parts hold the share of a main branch in it."""
    sizes = np.stack([np.count_nonzero(parts == part, axis=(0, 1)) for part in (1, 2)])
    return np.asarray((sizes.min(axis=0) > 0) & (sizes.min(axis=0) >= MAIN_SHARE * sizes.sum(axis=0)))


def _components(labels: NDArray[np.uint8], sections: Sections) -> NDArray[np.intp]:
    """Count the sections per label and slice; a section in which two branches touch counts for both."""
    counts = np.zeros((4, labels.shape[2]), dtype=np.intp)
    counts[0] = sections.per_slice
    of_voxel = np.stack([labels[labels > 0], sections.labels[labels > 0] - 1], axis=1)
    for label, section in np.unique(of_voxel, axis=0):
        counts[label, sections.slices[section]] += 1
    return counts


def _parts(sections: Sections, division: Division, spacing_mm: SpacingMm) -> UInt8[np.ndarray[Any, Any], "x y z"]:
    """Label the parts 1 and 2 in the slices of the run and distal to it, 0 elsewhere."""
    parts = np.zeros(sections.labels.shape, dtype=np.uint8)
    begin = 0 if division.distal == -1 else division.first
    end = parts.shape[2] if division.distal == 1 else division.last + 1
    for number in range(begin, end):
        x, y = np.nonzero(sections.labels[:, :, number])
        centres = division.centres_mm(number)
        touching = division.first <= number <= division.last and sections.main_within(number).size == 1
        if touching:
            points_mm = np.stack([x, y], axis=1) * np.array(spacing_mm[:2])
        else:
            points_mm = sections.centres_mm[sections.labels[x, y, number] - 1]
        distances = np.linalg.norm(points_mm[:, None] - centres[None], axis=2)
        parts[x, y, number] = 1 + np.argmin(distances, axis=1)
    return parts


def _order(parts: NDArray[np.uint8], division: Division, side: Side) -> tuple[bool, tuple[str, ...]]:
    """Decide if the second part is the tibial nerve; return a flag, and notes."""
    sizes = np.bincount(parts[:, :, division.first : division.last + 1].ravel(), minlength=3)[1:]
    by_size = bool(sizes[1] > sizes[0])
    offset_mm = float((division.tracks_mm[:, 1, 0] - division.tracks_mm[:, 0, 0]).mean())
    if side == "unknown" or abs(offset_mm) < SIDE_BY_SIDE_MM:
        return by_size, (of_side(side, "tibial and peroneal nerve are told apart by size alone"),)
    second_is_lateral = offset_mm > 0 if side == "right" else offset_mm < 0
    if by_size == second_is_lateral:
        note = "the lateral branch is the larger one; it is called peroneal for its position"
        return not second_is_lateral, (of_side(side, note),)
    return not second_is_lateral, ()
