"""Numbers of each branch of one nerve, from its profile: sciatic (undivided), tibial and peroneal nerve.

The tibial and the peroneal nerve are measured in the slices that show both, the sciatic nerve in the others. Volume and
signals are as in `biomarkers.summary`; the length is counted between the centres of the first and the last slice.
"""

from collections.abc import Iterable

import pandas as pd

from nerveseg.biomarkers.branches import BRANCH_NAMES, UNDIVIDED
from nerveseg.biomarkers.course import NerveCourse, slice_step_mm
from nerveseg.biomarkers.profile import TOTAL
from nerveseg.biomarkers.summary import BranchSummary, summarise_branch


class BranchNumbers(BranchSummary, frozen=True, extra="forbid"):
    """Numbers of one branch, with those of `BranchSummary`."""

    label: int  # number of the branch, of `BRANCH_NAMES`
    length_mm: float | None  # length along its centreline; None for a single slice


def branch_numbers(profile: pd.DataFrame, course: NerveCourse, channels: Iterable[str] = ()) -> list[BranchNumbers]:
    """Return the numbers of the branches that a profile shows of one leg's nerve, the sciatic nerve first."""
    rows = profile[(profile["side"] == course.side) & (profile["csa_mm2"] > 0)]
    divided = set(rows.loc[rows["branch"] != TOTAL, "slice"])
    found, names = [], list(channels)
    for label, name in BRANCH_NAMES.items():
        is_undivided = label == UNDIVIDED
        part = rows[(rows["branch"] == TOTAL) & ~rows["slice"].isin(divided)] if is_undivided else rows
        part = part if is_undivided else part[part["branch"] == name]
        if not part.empty:
            numbers = summarise_branch(part, slice_step_mm(course.affine), names)
            found.append(BranchNumbers(label=label, length_mm=course.branch_length_mm(label), **dict(numbers)))
    return found
