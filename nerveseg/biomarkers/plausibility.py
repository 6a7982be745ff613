"""Quality flags of an anatomy that a nerve cannot have.

The sciatic nerve divides once, towards the feet; its branches go on to the end of the stack; and its centre moves from
slice to slice by less than a course as steep as 45 degrees does. A mask that says otherwise holds a false part or lacks
one, or the image is upside down.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nerveseg.biomarkers.branches import UNDIVIDED
from nerveseg.biomarkers.course import STEEPEST, NerveCourse, slice_normal
from nerveseg.biomarkers.quality import Flag
from nerveseg.biomarkers.wording import in_words


def anatomy_flags(courses: Sequence[NerveCourse], slice_numbers: Sequence[int]) -> tuple[Flag, ...]:
    """Find the flags of the nerves' anatomy; slices have their numbers in the input file."""
    numbers, several = np.asarray(slice_numbers), len(courses) > 1
    flags: list[Flag] = []
    for course in courses:
        side = course.side if several else None
        flags += [Flag(code, message, side, _named(where, numbers)) for code, message, where in _found(course, numbers)]
    return tuple(flags)


def _found(course: NerveCourse, numbers: NDArray[np.intp]) -> list[tuple[str, str, NDArray[np.intp]]]:
    """Return code, message and slices, in RAS order, of each fault of one nerve."""
    headward, ends, jumps = np.array(course.branches.headward, dtype=np.intp), _unnamed(course), _jumps(course)
    found = [
        ("branches_headward", "the branches lie towards the head: upside down, or a false part", headward),
        ("branch_ends", "below the split a single section goes on, and a branch ends", ends),
        ("course_jump", "the nerve's centre moves to the side by more than a nerve does", jumps),
    ]
    return [
        (code, f"{message}, {in_words(_named(where, numbers))}", where) for code, message, where in found if where.size
    ]


def _unnamed(course: NerveCourse) -> NDArray[np.intp]:
    """Return the slices in which a branch is followed without its name."""
    branches = course.branches
    unnamed = (branches.labels == UNDIVIDED) & (branches.followed != UNDIVIDED)
    return np.flatnonzero(unnamed.any(axis=(0, 1)))


def _jumps(course: NerveCourse) -> NDArray[np.intp]:
    """Return the slices between which the centre of the undivided nerve, or of a branch, moves too far to the side."""
    normal, found = slice_normal(course.affine), [np.zeros(0, dtype=np.intp)]
    for line in course.centrelines:
        steps_mm = np.diff(line.points_mm, axis=0)
        along_mm = steps_mm @ normal
        aside_mm = np.linalg.norm(steps_mm - along_mm[:, None] * normal, axis=1)
        steep = np.flatnonzero(aside_mm > STEEPEST * np.abs(along_mm))
        found += [line.slices[steep], line.slices[steep + 1]]
    return np.unique(np.concatenate(found))


def _named(slices: NDArray[np.intp], numbers: NDArray[np.intp]) -> tuple[int, ...]:
    return tuple(sorted(numbers[slices].tolist()))
