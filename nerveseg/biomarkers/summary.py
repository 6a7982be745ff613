"""Summary of one nerve, from its profile.

The volume includes the gap between slices: the sum of the slices' areas times the step from the affine (4.4 mm in the
paper, not 4.0). The mean area is over the slices that hold nerve. Areas are in the plane of the slices unless they are
called perpendicular. Strays (`biomarkers.course`) are counted apart, and are in no other number. A lesion is measured
where it could be judged: its volume is not extrapolated, and its burden is relative to the nerve that could be judged.
Unknown values are None.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from nerveseg.biomarkers.course import NerveCourse, pixel_area_mm2, slice_step_mm
from nerveseg.biomarkers.profile import TOTAL
from nerveseg.data.legs import Side, of_side


class BranchSummary(BaseModel, frozen=True, extra="forbid"):
    """Summary of one branch, over the slices that show both."""

    volume_mm3: float  # sum of the slices' areas times the slice step
    mean_csa_mm2: float  # mean area in the plane of the slices
    mean_csa_perpendicular_mm2: float | None  # mean area across the branch; None if unknown in one of the slices
    max_csa_mm2: float  # largest area in the plane of a slice
    mean_signal: dict[str, float]  # per channel, weighted by the slices' areas


class NerveSummary(BaseModel, frozen=True, extra="forbid"):
    """Summary of one leg's nerve."""

    side: Side
    volume_mm3: float  # sum of the slices' areas times the slice step
    # Along the centreline from the first to the last slice: undivided, then of the branch that is seen the farthest,
    # which is mostly the tibial nerve.
    length_mm: float
    mean_csa_mm2: float | None  # over slices with nerve
    # Across the nerve, over the same slices; None if the angle is unknown in one of them.
    mean_csa_perpendicular_mm2: float | None
    max_csa_mm2: float | None  # in the plane of a slice
    max_csa_slice: int | None  # number in the input file of the slice with the largest area (the first of equals)
    max_csa_z_mm: float | None  # position of that slice, as in the profile
    slices_with_nerve: int
    slices_total: int
    coverage: float  # share of slices with nerve between the first and the last of them
    coverage_of_stack: float  # share of slices with nerve in all slices
    split_slice: int | None  # number in the input file of the first slice that shows two nerves; None without a split
    branches: dict[str, BranchSummary] = Field(default_factory=dict)  # by name; empty without a split
    stray_pieces: int = 0  # number of pieces of the mask away from the nerve, which no other number includes
    stray_volume_mm3: float = 0.0  # volume of these
    lesion_volume_mm3: float | None = None  # in the judged nerve; None if no nerve could be judged
    lesion_burden: float | None = None  # share of the lesion in the volume of the judged nerve
    lesion_coverage: float | None = None  # share of the volume that could be judged; None if no lesion was searched
    lesion_exploratory: bool | None = None  # true if the lesion's threshold comes from this nerve itself
    mean_signal: dict[str, float] = Field(default_factory=dict)  # per channel, weighted by the slices' areas
    z_scores: dict[str, float] = Field(default_factory=dict)  # of the quantities in a normative table
    notes: tuple[str, ...] = ()  # for the readers of the measurements


def summarise(
    profile: pd.DataFrame, course: NerveCourse, channels: Iterable[str] = (), lesion_exploratory: bool | None = None
) -> NerveSummary:
    """Summarise one leg's part of a profile, with the given channels.

    `lesion_exploratory` is true if the threshold of the profile's lesion comes from the nerve itself.
    """
    rows = profile[(profile["side"] == course.side) & (profile["branch"] == TOTAL)].sort_values("z_mm")
    areas, step_mm = _numbers(rows, "csa_mm2"), slice_step_mm(course.affine)
    held = np.flatnonzero(areas)
    perpendicular = _numbers(rows, "csa_perpendicular_mm2")[held]
    branches = profile[(profile["side"] == course.side) & (profile["branch"] != TOTAL)]
    split = course.branches.split_slice
    largest = rows.iloc[int(areas.argmax())] if held.size else None
    judged = areas * _numbers(rows, "lesion_known_fraction")
    burden = _weighted(_numbers(rows, "lesion_fraction"), np.nan_to_num(judged))
    coverage = None if np.isnan(judged).all() else float(np.nansum(judged) / areas.sum())
    stray_mm3 = float(np.count_nonzero(course.strays) * pixel_area_mm2(course.affine) * step_mm)
    notes = course.branches.notes
    if course.stray_pieces:
        pieces = "1 stray piece" if course.stray_pieces == 1 else f"{course.stray_pieces} stray pieces"
        notes = (
            *notes,
            of_side(course.side, f"no number includes {pieces} away from the nerve ({stray_mm3:,.0f} mm3)"),
        )
    if coverage is not None and coverage <= 1 - 1e-9:
        note = f"a lesion could be judged in {int(100 * coverage)} % of the nerve"
        notes = (*notes, of_side(course.side, note))
    return NerveSummary(
        side=course.side,
        volume_mm3=float(areas.sum() * step_mm),
        length_mm=course.length_mm,
        mean_csa_mm2=_mean(areas[held]),
        mean_csa_perpendicular_mm2=_mean(perpendicular),
        max_csa_mm2=None if largest is None else float(largest["csa_mm2"]),
        max_csa_slice=None if largest is None else int(largest["slice"]),
        max_csa_z_mm=None if largest is None else float(largest["z_mm"]),
        slices_with_nerve=held.size,
        slices_total=areas.size,
        coverage=held.size / float(held[-1] - held[0] + 1) if held.size else 0.0,
        coverage_of_stack=held.size / max(areas.size, 1),
        split_slice=None if split is None else int(rows["slice"].iloc[split]),
        branches={str(name): summarise_branch(part, step_mm, channels) for name, part in branches.groupby("branch")},
        stray_pieces=course.stray_pieces,
        stray_volume_mm3=stray_mm3,
        lesion_volume_mm3=None if burden is None else float(burden * np.nansum(judged) * step_mm),
        lesion_burden=burden,
        lesion_coverage=coverage,
        lesion_exploratory=None if burden is None else lesion_exploratory,
        mean_signal=_signals(rows, channels),
        notes=notes,
    )


def summarise_branch(rows: pd.DataFrame, step_mm: float, channels: Iterable[str]) -> BranchSummary:
    """Summarise a branch by its rows of a profile, all with area, and the slice step in mm."""
    areas = _numbers(rows, "csa_mm2")
    return BranchSummary(
        volume_mm3=float(areas.sum() * step_mm),
        mean_csa_mm2=float(areas.mean()),
        mean_csa_perpendicular_mm2=_mean(_numbers(rows, "csa_perpendicular_mm2")),
        max_csa_mm2=float(areas.max()),
        mean_signal=_signals(rows, channels),
    )


def _signals(rows: pd.DataFrame, channels: Iterable[str]) -> dict[str, float]:
    """Return the mean signal of each channel that is known somewhere in the nerve."""
    areas = _numbers(rows, "csa_mm2")
    means = {name: _weighted(_numbers(rows, f"{name}_mean"), areas) for name in channels}
    return {name: value for name, value in means.items() if value is not None}


def _numbers(rows: pd.DataFrame, column: str) -> NDArray[np.float64]:
    return rows[column].to_numpy(dtype=np.float64)


def _mean(values: NDArray[np.float64]) -> float | None:
    """Average values of which all are known; None if one is not, or there are none."""
    return float(values.mean()) if values.size and not np.isnan(values).any() else None


def _weighted(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float | None:
    """Average the known values over slices with nerve, weighted; None if there are none."""
    known = ~np.isnan(values) & (weights > 0)
    return float(np.average(values[known], weights=weights[known])) if known.any() else None
