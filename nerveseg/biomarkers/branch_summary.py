"""Numbers of each branch of one nerve, from its profile: sciatic (undivided), tibial and peroneal nerve.

The tibial and the peroneal nerve are measured in the slices that show both, the sciatic nerve in the others. Volume and
signals are as in `biomarkers.summary`; the length is counted between the centres of the first and the last slice.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nerveseg.biomarkers.branches import BRANCH_NAMES, UNDIVIDED
from nerveseg.biomarkers.course import NerveCourse, slice_step_mm
from nerveseg.biomarkers.profile import TOTAL


@dataclass(frozen=True)
class BranchNumbers:
    """Numbers of one branch."""

    label: int  # number of the branch, of `BRANCH_NAMES`
    volume_mm3: float  # sum of the slices' areas times the slice step
    length_mm: float | None  # length along its centreline; None for a single slice
    mean_csa_mm2: float  # mean area in the plane of the slices
    max_csa_mm2: float  # largest area in the plane of a slice
    mean_signal: dict[str, float]  # mean of each channel, weighted by the slices' areas


def branch_numbers(profile: pd.DataFrame, course: NerveCourse, channels: Iterable[str] = ()) -> list[BranchNumbers]:
    """Return the numbers of the branches that a profile shows of one leg's nerve, the sciatic nerve first."""
    rows = profile[(profile["side"] == course.side) & (profile["csa_mm2"] > 0)]
    divided = set(rows.loc[rows["branch"] != TOTAL, "slice"])
    found, names = [], list(channels)
    for label, name in BRANCH_NAMES.items():
        is_undivided = label == UNDIVIDED
        part = rows[(rows["branch"] == TOTAL) & ~rows["slice"].isin(divided)] if is_undivided else rows
        part = part if is_undivided else part[part["branch"] == name]
        if part.empty:
            continue
        areas = part["csa_mm2"].to_numpy(dtype=np.float64)
        signals = {}
        for channel in names:
            values = part[f"{channel}_mean"].to_numpy(dtype=np.float64)
            if (known := ~np.isnan(values)).any():
                signals[channel] = float(np.average(values[known], weights=areas[known]))
        volume_mm3 = float(areas.sum() * slice_step_mm(course.affine))
        length_mm = course.branch_length_mm(label)
        found.append(BranchNumbers(label, volume_mm3, length_mm, float(areas.mean()), float(areas.max()), signals))
    return found
