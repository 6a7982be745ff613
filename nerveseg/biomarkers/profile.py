"""Nerve profile: one row per slice and branch with area, course and signal.

Every slice has a row `total`; slices below the split have rows `tibial` and `peroneal` as well. The perpendicular area
is that of a cut across the nerve: each branch's area in the slice times the cosine of the angle between that branch's
centreline and the slice normal; the total is the sum over branches. No number includes strays (`biomarkers.course`).

`z_mm` is counted from the first slice of the RAS array along the slice normal, `distance_from_split_mm` from the first
slice that shows two nerves, positive distally; `slice` is the number in the input file. `lesion_fraction` is the
abnormal share of the voxels that could be judged, `lesion_known_fraction` the share of the section that could be.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from nerveseg.biomarkers.branches import BRANCH_NAMES, UNDIVIDED
from nerveseg.biomarkers.course import NerveCourse, pixel_area_mm2, slice_step_mm
from nerveseg.biomarkers.signals import NerveInside, Signals

PROFILE_COLUMNS = (
    "side", "branch", "slice", "z_mm", "distance_from_split_mm", "csa_mm2", "csa_perpendicular_mm2", "angle_deg",
    "components", "eroded", "lesion_fraction", "lesion_known_fraction",
)  # fmt: skip
"""Columns of every profile; those of the channels follow."""

TOTAL = "total"
NO_SIGNALS = Signals({})


def nerve_profile(
    courses: Sequence[NerveCourse], slice_numbers: Sequence[int], signals: Signals = NO_SIGNALS
) -> pd.DataFrame:
    """Measure every nerve of `follow_nerves` slice by slice; slices have their numbers in the input file.

    Returns:
        Table with columns `PROFILE_COLUMNS`, then `<channel>_mean`, `_sd`, `_p10`, `_p50`, `_p90`, `_coverage` per
        channel and, for the fat-suppressed one, `<channel>_muscle_ratio`; sorted by side (as given), slice, and total
        before branches.

    Raises:
        GeometryError: A channel or mask has another shape than the nerve's mask.
    """
    rows: list[dict[str, Any]] = []
    for course in courses:
        signals.check_shape(course.mask.shape)
        inside = NerveInside(course.mask, signals, course.leg.columns)
        for number in np.argsort(slice_numbers).tolist():
            rows += _rows(course, number, slice_numbers[number], inside)
    return pd.DataFrame(rows, columns=[*PROFILE_COLUMNS, *signals.columns]).astype({"eroded": "boolean"})


def _rows(course: NerveCourse, number: int, slice_number: int, inside: NerveInside) -> list[dict[str, Any]]:
    branches, step_mm = course.branches, slice_step_mm(course.affine)
    labels = branches.labels[:, :, number]
    position = {"side": course.side, "slice": slice_number, "z_mm": number * step_mm}
    if branches.split_slice is not None and branches.distal is not None:
        position["distance_from_split_mm"] = (number - branches.split_slice) * branches.distal * step_mm
    parts = [label for label in BRANCH_NAMES if (labels == label).any()]
    areas = [_area(course, number, label) for label in parts]
    total = {
        "branch": TOTAL,
        "csa_mm2": sum((area["csa_mm2"] for area in areas), 0.0),
        "csa_perpendicular_mm2": sum((area["csa_perpendicular_mm2"] for area in areas), 0.0),
        "angle_deg": areas[0]["angle_deg"] if len(areas) == 1 else float("nan"),
        "components": int(branches.components[0, number]),
    }
    rows = [position | total | inside.measure(labels > 0, number)]
    for label, area in zip(parts, areas, strict=True):
        if label != UNDIVIDED:
            rows.append(position | {"branch": BRANCH_NAMES[label]} | area | inside.measure(labels == label, number))
    return rows


def _area(course: NerveCourse, number: int, label: int) -> dict[str, Any]:
    # A single section below the split has no name, and the angle of the branch that it continues.
    part = course.branches.labels[:, :, number] == label
    followed = int(np.bincount(course.branches.followed[:, :, number][part]).argmax())
    line = next(line for line in course.centrelines if line.branch == BRANCH_NAMES[followed])
    angle_deg = float(line.angle_deg[line.slices == number][0])
    area_mm2 = np.count_nonzero(part) * pixel_area_mm2(course.affine)
    return {
        "csa_mm2": area_mm2,
        "csa_perpendicular_mm2": area_mm2 * float(np.cos(np.radians(angle_deg))),
        "angle_deg": angle_deg,
        "components": int(course.branches.components[label, number]),
    }
