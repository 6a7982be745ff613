"""Follow-up of the nerves of one person: two results of `segment` or `measure` compared over their common stretch.

A nerve has changed if its mean area over the common stretch differs by more than the smallest detectable change of
that; of many quantities one in twenty differs so far without a change, so that the others, and stretches of `LEAST_RUN`
or more neighbouring positions, are exploratory. A mask graded not usable, or an alignment in doubt, is not judged.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel

from nerveseg import __version__
from nerveseg.biomarkers.change import AREA, NerveRows, compare_rows, overlap_mm, runs_beyond, summarise_change
from nerveseg.biomarkers.profile import TOTAL
from nerveseg.data.legs import Side, of_side
from nerveseg.errors import GeometryError
from nerveseg.files import file_sha256
from nerveseg.notices import NOTICE
from nerveseg.scans.dated_result import DatedResult, read_results, sides_of_both
from nerveseg.scans.detectable_change import DetectableChange, check_known, detectable_change, key_of, tables_of
from nerveseg.scans.grade import Grade
from nerveseg.scans.leg_alignment import Align, Alignment, PlacedNerve, align_at_split, align_by_header, align_by_image

COLUMNS = (
    "side", "branch", "quantity", "z_mm", "distance_from_split_mm", "first_slice", "second_slice", "first", "second",
    "difference", "smallest_detectable_change", "beyond", "warning",
)  # fmt: skip
"""Columns of `comparison.csv`; a quantity of the whole stretch has no position."""

DOUBTED_SPLIT = {"branches_headward", "branch_ends", "course_jump", "far_component"}
"""Codes of flags with which a split is no default for the alignment."""

VERDICT_OF = ("total", f"mean_{AREA}")  # branch and quantity on which the verdict rests

UNITS_NOTE = "a signal of a weighted image has no unit: between dates, compare maps and ratios to muscle"


class QuantityChange(BaseModel, frozen=True, extra="forbid"):
    """Change of a quantity over the common stretch."""

    branch: str  # total, tibial or peroneal
    quantity: str  # name of the quantity, with its unit
    first: float  # value of the first date
    second: float  # value of the second date
    difference: float  # second less first
    smallest_detectable_change: float | None  # value in the same unit; null where it is not known
    beyond: bool | None  # flag: true if the difference exceeds it; null where it is not known


class Stretch(BaseModel, frozen=True, extra="forbid"):
    """Part of the nerve whose area differs by more than the smallest detectable change at every position."""

    from_mm: float  # lower end in mm of its lowest slab, as `z_mm` of the first scan
    to_mm: float  # upper end in mm of its highest slab
    first_slices: tuple[int, int]  # numbers of its slices in the first file, lowest and highest in the patient
    second_slices: tuple[int, int]  # the same in the second file
    difference_mm2: float  # mean difference of the area in mm2


class NerveChange(BaseModel, frozen=True, extra="forbid"):
    """Change of one nerve."""

    side: Side  # side of the first date, which is that of the person where it is known
    second_side: Side  # name of the same nerve in the second date
    align: Align  # manner of the alignment
    shift_mm: float  # distance to add to `z_mm` of the second scan
    how: str  # explanation of the shift
    rival_mm: float | None = None  # another shift that fits nearly as well; null where there is none
    positions: int  # number of positions that both scans show
    height_mm: float  # height of a position's slab, the coarser slice step
    stretch_mm: tuple[float, float]  # ends of the common stretch in mm, as `z_mm` of the first scan
    # Of the mean area; not judged if its smallest detectable change is unknown, a mask not usable, the shift in doubt.
    verdict: Literal["changed", "unchanged", "not judged"]
    quantities: list[QuantityChange]
    stretches: list[Stretch]


class ResultRecord(BaseModel, frozen=True, extra="forbid"):
    """Record of a compared result."""

    folder: str  # absolute path of the folder
    name: str  # name of the scan
    mask: str  # name of the mask's file
    sha256: dict[str, str]  # SHA-256 of the summary, the profile and the mask
    grade: Grade | None  # grade of the mask; null in results of earlier versions
    pictured: bool = True  # flag: false if the scan was away, so that the page has no pictures of it


class ComparisonSummary(BaseModel, frozen=True, extra="forbid"):
    """Content of `comparison.json`."""

    warning: str  # warning "SYNTHETIC TRAINING DATA", or empty
    notice: str = NOTICE  # notice that this is no medical device
    first: ResultRecord
    second: ResultRecord
    nerves: list[NerveChange]
    notes: list[str]
    versions: dict[str, str]  # versions of nerveseg and the libraries that a result depends on
    identity: str  # hash of the inputs and options


@dataclass(frozen=True)
class Comparison:
    """Comparison of two results."""

    first: DatedResult
    second: DatedResult
    nerves: tuple[NerveChange, ...]  # change of each nerve that both dates show
    table: pd.DataFrame  # table with the columns `COLUMNS`, a row per side, branch, quantity and position
    notes: tuple[str, ...]  # remarks on the origin of the numbers
    identity: str  # hash of the inputs and options

    @property
    def warning(self) -> str:
        """Warning "SYNTHETIC TRAINING DATA", or empty."""
        return self.first.summary.warning or self.second.summary.warning

    def save(self, folder: Path | str) -> ComparisonSummary:
        """Write what the command writes; raise `RunError` if the folder holds another comparison."""
        from nerveseg.scans.comparison_files import check_free_comparison, write_comparison

        earlier = check_free_comparison(Path(folder), (self.first, self.second), self.identity)
        return earlier or write_comparison(Path(folder), self)


def compare_results(
    first: Path | str,
    second: Path | str,
    align: Align | None = None,
    repeats: str | None = None,
    smallest_detectable_change: Mapping[str, float] | None = None,
) -> Comparison:
    """Compare the results of two dates.

    Args:
        first: Folder of results of `segment` or `measure`, of the first date.
        second: Folder of results of the second date.
        align: Alignment along the leg; None for the split if both dates show one, else the image.
        repeats: Path or pattern of tables of repeated scans (`scans.detectable_change`).
        smallest_detectable_change: Values by quantity, in its unit.

    Raises:
        RunError: A folder holds no complete result, a mask was changed since, or the two are of other sides or classes.
        GeometryError: The two have no common stretch, or cannot be aligned.
        ConfigurationError: A table of repeated scans is none, or a limit is of no quantity that is compared.
    """
    return compare_dates(read_results(Path(first), Path(second)), align, repeats, smallest_detectable_change)


def compare_dates(
    results: tuple[DatedResult, DatedResult],
    align: Align | None,
    repeats: str | None,
    smallest_detectable_change: Mapping[str, float] | None,
) -> Comparison:
    """Compare two results that were read, with options and errors as in `compare_results`."""
    sides = sides_of_both(*results)
    grades = [each.summary.grade for each in results]
    usable = not any(grade and grade.level == "not usable" for grade in grades)
    automatic = all(each.summary.given is None for each in results)
    detectable = detectable_change(tables_of(repeats), smallest_detectable_change or {}, automatic=automatic)
    nerves: list[NerveChange] = []
    tables: list[pd.DataFrame] = []
    notes = [f"{side} nerve: only in one of the two" for side in sorted(sides.only_one)]
    for side, other in sides.both:
        rows = results[0].rows(side), results[1].rows(other)
        alignment = _align(results, (side, other), rows, align)
        nerve, table = _compare((side, other), rows, alignment, detectable, usable=usable)
        nerves.append(nerve)
        tables.append(table)
    compared = {key_of(each, name) for part in tables for each, name in zip(part.branch, part.quantity, strict=True)}
    check_known(compared, smallest_detectable_change or {}, detectable, repeats)
    warning = results[0].summary.warning or results[1].summary.warning
    table = pd.concat(tables, ignore_index=True).assign(warning=warning)[list(COLUMNS)]
    named = zip(("first", "second"), grades, strict=True)
    notes += [f"{name} mask, {grade.in_words()}" for name, grade in named if grade]
    notes += [detectable.note]
    notes += [UNITS_NOTE] if table["quantity"].str.startswith("signal_").any() else []
    if "volume_mm3" in detectable.values:
        notes.append("the smallest detectable change of a volume is that of the stretch of its repeated scans")
    identity = identity_of_comparison(results, align, repeats, smallest_detectable_change)
    return Comparison(*results, tuple(nerves), table, tuple(notes), identity)


def identity_of_comparison(
    results: tuple[DatedResult, DatedResult],
    align: Align | None,
    repeats: str | None,
    values: Mapping[str, float] | None,
) -> str:
    """Return the hash of everything that a comparison depends on; equal hashes give equal comparisons."""
    tables = [file_sha256(path) for path in tables_of(repeats)]
    hashed = [*(result.sha256 for result in results), tables, align, sorted((values or {}).items()), __version__]
    return hashlib.sha256(json.dumps(hashed).encode()).hexdigest()


def _align(
    results: tuple[DatedResult, DatedResult],
    sides: tuple[Side, Side],
    rows: tuple[NerveRows, NerveRows],
    align: Align | None,
) -> Alignment:
    doubts = {flag.code for each in results for flag in each.summary.flags if flag.side in (None, *sides)}
    splits = all(each.split_mm is not None for each in rows) and not doubts & DOUBTED_SPLIT
    if align == "split" or (align is None and splits):
        return align_at_split(*rows)
    nerves = [PlacedNerve(each.nerve(side), each.grid) for each, side in zip(results, sides, strict=True)]
    if align == "header":
        return align_by_header(nerves[0], nerves[1])
    return align_by_image(nerves[0], nerves[1], (results[0].needed_image, results[1].needed_image))


def _compare(
    sides: tuple[Side, Side],
    rows: tuple[NerveRows, NerveRows],
    alignment: Alignment,
    detectable: DetectableChange,
    *,
    usable: bool,
) -> tuple[NerveChange, pd.DataFrame]:
    side = sides[0]
    shift_mm, height_mm = alignment.shift_mm, max(each.step_mm for each in rows)
    changes = compare_rows(*rows, shift_mm)
    if changes.empty:
        overlap = overlap_mm(*rows, shift_mm)
        missed = f"they miss each other by {-overlap:.1f} mm" if overlap < 0 else f"they share {overlap:.1f} mm"
        raise GeometryError(
            of_side(side, "two dates have a common stretch of the nerve, a slice step or longer"),
            found=f"{missed}, aligned {alignment.how} ({shift_mm:+.1f} mm)",
            remedy="another align=, or two scans of the same part of the leg",
        )
    whole = summarise_change(changes, height_mm)
    table = _judged(pd.concat([changes, whole], ignore_index=True), detectable).assign(side=side)
    split = rows[0].split_mm or (float("nan"), 1)
    table["distance_from_split_mm"] = (table["z_mm"] - split[0]) * split[1] - rows[0].step_mm / 2
    table["first_slice"] = rows[0].nearest_slices(table["z_mm"])
    table["second_slice"] = rows[1].nearest_slices(table["z_mm"] - shift_mm)
    areas = table[(table["branch"] == TOTAL) & (table["quantity"] == AREA)]
    heights = areas["z_mm"].to_numpy(dtype=np.float64)
    beyond = areas["beyond"].fillna(value=False).to_numpy(dtype=np.bool_)
    stretches = [_stretch(areas.iloc[a : b + 1], height_mm) for a, b in runs_beyond(heights, beyond, height_mm)]
    quantities = [_quantity(row) for _, row in table[table["z_mm"].isna()].iterrows()]
    beyond_limit = next(each.beyond for each in quantities if (each.branch, each.quantity) == VERDICT_OF)
    judged = usable and beyond_limit is not None and alignment.rival_mm is None
    nerve = NerveChange(
        side=side,
        second_side=sides[1],
        align=alignment.method,
        shift_mm=round(shift_mm, 3),
        how=alignment.how,
        rival_mm=alignment.rival_mm,
        positions=len(areas),
        height_mm=height_mm,
        stretch_mm=(round(heights.min() - height_mm / 2, 3), round(heights.max() + height_mm / 2, 3)),
        verdict="changed" if judged and beyond_limit else "unchanged" if judged else "not judged",
        quantities=quantities,
        stretches=stretches,
    )
    return nerve, table


def _judged(table: pd.DataFrame, detectable: DetectableChange) -> pd.DataFrame:
    """Add the difference, the smallest detectable change, and a flag of a difference beyond it."""
    difference = table["second"] - table["first"]
    pairs = zip(table["branch"], table["quantity"], strict=True)
    limits = pd.Series([detectable.of(branch, quantity) for branch, quantity in pairs], dtype=np.float64)
    beyond = (difference.abs() > limits).astype("boolean").mask(limits.isna())
    return table.assign(difference=difference, smallest_detectable_change=limits, beyond=beyond)


def _stretch(rows: pd.DataFrame, height_mm: float) -> Stretch:
    low, high = rows.iloc[0], rows.iloc[-1]
    return Stretch(
        from_mm=round(float(low["z_mm"]) - height_mm / 2, 3),
        to_mm=round(float(high["z_mm"]) + height_mm / 2, 3),
        first_slices=(int(low["first_slice"]), int(high["first_slice"])),
        second_slices=(int(low["second_slice"]), int(high["second_slice"])),
        difference_mm2=float(rows["difference"].mean()),
    )


def _quantity(row: pd.Series) -> QuantityChange:
    limit = float(row["smallest_detectable_change"])
    return QuantityChange(
        branch=str(row["branch"]),
        quantity=str(row["quantity"]),
        first=float(row["first"]),
        second=float(row["second"]),
        difference=float(row["difference"]),
        smallest_detectable_change=None if np.isnan(limit) else limit,
        beyond=None if np.isnan(limit) else bool(row["beyond"]),
    )
