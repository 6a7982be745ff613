"""Change of one nerve between two scans: alignment at the split, common stretch, areas and signals at one position.

Positions are in mm along the slice normal of the first scan (`z_mm` of its profile). A slice stands for a slab one
slice step high. Of equal steps, each slice is compared with the nearest one. Of others, both profiles are averaged over
the slabs of the coarser scan, an area by height and a signal by volume, so that the volume of a stretch does not depend
on the step. A position counts only if slices with nerve fill its slab in both scans. The nerve divides half a step
before the first slice that shows two nerves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nerveseg.biomarkers.profile import TOTAL

AREA = "csa_mm2"
ACROSS = "csa_perpendicular_mm2"
SIGNALS = ("_mean", "_muscle_ratio")  # endings of the columns of signals that are compared
FILLED = 0.98  # least share of a slab that slices with nerve fill; the rest is rounding
LEAST_RUN = 2  # least number of neighbouring positions beyond the smallest detectable change that make a stretch


@dataclass(frozen=True)
class NerveRows:
    """Rows of one nerve in a profile."""

    rows: pd.DataFrame  # rows of `biomarkers.profile` of one side
    step_mm: float  # slice step in mm

    @property
    def total(self) -> pd.DataFrame:
        """Rows of the whole nerve, by position."""
        return self.branch(TOTAL)

    def branch(self, name: str) -> pd.DataFrame:
        """Return the rows of a branch, by position, without slices that show none of it."""
        rows = self.rows[(self.rows["branch"] == name) & (self.rows[AREA] > 0)]
        return rows.sort_values("z_mm")

    def nearest_slices(self, z_mm: pd.Series) -> pd.Series:
        """Return the number of the slice of the nerve nearest to each position; missing without one."""
        total = self.total
        numbers = [
            pd.NA if np.isnan(each) else int(total["slice"].iloc[int((total["z_mm"] - each).abs().argmin())])
            for each in z_mm
        ]
        return pd.Series(numbers, index=z_mm.index, dtype="Int64")

    @property
    def split_mm(self) -> tuple[float, int] | None:
        """Position in mm at which the nerve divides, and 1 or -1 if distal is up or down; None without a split."""
        rows = self.rows[(self.rows["branch"] == TOTAL)].sort_values("z_mm")
        away, z_mm = (rows[name].to_numpy(dtype=np.float64) for name in ("distance_from_split_mm", "z_mm"))
        if away.size < 2 or np.isnan(away).any():
            return None
        distal = 1 if away[-1] > away[0] else -1
        return float(z_mm[int(np.abs(away).argmin())] - distal * self.step_mm / 2), distal

    @property
    def ends_mm(self) -> tuple[float, float]:
        """Lowest and highest position in mm of the slabs with nerve."""
        z_mm = self.total["z_mm"]
        return float(z_mm.min() - self.step_mm / 2), float(z_mm.max() + self.step_mm / 2)


def overlap_mm(first: NerveRows, second: NerveRows, shift_mm: float) -> float:
    """Return the height in mm that two nerves share, negative for the distance by which they miss each other."""
    (low, high), (other_low, other_high) = first.ends_mm, second.ends_mm
    return min(high, other_high + shift_mm) - max(low, other_low + shift_mm)


def compare_rows(first: NerveRows, second: NerveRows, shift_mm: float) -> pd.DataFrame:
    """Compare the profiles of one nerve, position by position.

    Args:
        first: Rows of the first scan.
        second: Rows of the second scan.
        shift_mm: Distance in mm to add to a position of the second scan, to get that of the same tissue in the first.

    Returns:
        Table with the columns branch, quantity, z_mm, first, second, and `weight`, the mean area in mm2; empty
        without a common position. Rows of a branch are of positions in which both scans show it.
    """
    if abs(second.step_mm - first.step_mm) < 0.001 * first.step_mm and not first.total.empty and not second.total.empty:
        # Slice by slice: an average over two slices of the second scan alone would lower its peaks.
        offset_mm = second.total["z_mm"].iloc[0] + shift_mm - first.total["z_mm"].iloc[0]
        shift_mm += float(round(offset_mm / first.step_mm) * first.step_mm - offset_mm)
    second_rows = second.rows.assign(z_mm=second.rows["z_mm"] + shift_mm)
    moved = NerveRows(second_rows, second.step_mm)
    coarse = moved if second.step_mm > first.step_mm * 1.001 else first
    positions, height_mm = coarse.total["z_mm"].to_numpy(dtype=np.float64), coarse.step_mm
    columns = [AREA, ACROSS, *_signals(first.rows, second.rows)]
    parts = []
    for branch in dict.fromkeys([TOTAL, *first.rows["branch"]]):
        found = [_averaged(each, branch, columns, positions, height_mm) for each in (first, moved)]
        known = ~np.isnan(found[0][AREA]) & ~np.isnan(found[1][AREA])
        for column in columns:
            values = {"first": found[0][column], "second": found[1][column]}
            weight = (found[0][AREA] + found[1][AREA]) / 2
            part = pd.DataFrame({"branch": branch, "quantity": column, "z_mm": positions, **values, "weight": weight})
            parts.append(part[known & part["first"].notna() & part["second"].notna()])
    return pd.concat(parts, ignore_index=True)


def _signals(first: pd.DataFrame, second: pd.DataFrame) -> list[str]:
    return [str(name) for name in first.columns if str(name).endswith(SIGNALS) and name in second.columns]


def _averaged(
    nerve: NerveRows, branch: str, columns: Sequence[str], positions: NDArray[np.float64], height_mm: float
) -> dict[str, NDArray[np.float64]]:
    """Average each column of a branch over slabs; NaN where slices with a value do not fill the slab."""
    rows = nerve.branch(branch)
    z_mm, area = (rows[name].to_numpy(dtype=np.float64) for name in ("z_mm", AREA))
    low = np.maximum(positions[:, None] - height_mm / 2, z_mm - nerve.step_mm / 2)
    high = np.minimum(positions[:, None] + height_mm / 2, z_mm + nerve.step_mm / 2)
    share = np.clip(high - low, 0, None) / height_mm
    found = {}
    for column in columns:
        values = rows[column].to_numpy(dtype=np.float64)
        known = ~np.isnan(values)
        filled = share[:, known].sum(axis=1) >= FILLED
        weights = share[:, known] * (1.0 if column in (AREA, ACROSS) else area[known])
        with np.errstate(invalid="ignore", divide="ignore"):
            found[column] = np.where(filled, weights @ values[known] / weights.sum(axis=1), np.nan)
    return found


def summarise_change(table: pd.DataFrame, height_mm: float) -> pd.DataFrame:
    """Summarise a nerve over the common stretch.

    Args:
        table: Result of `compare_rows`.
        height_mm: Height in mm of a slab, the coarser slice step.

    Returns:
        Table with the columns branch, quantity, first, second: of the whole nerve volume, length (the height of each
        slab over the mean cosine of the nerve's angle), mean and largest area and mean signals; of a branch its mean
        area.
    """
    rows: list[dict[str, object]] = []

    def add(branch: str, quantity: str, values: Sequence[float]) -> None:
        rows.append({"branch": branch, "quantity": quantity, "first": values[0], "second": values[1]})

    for branch, part in table.groupby("branch", sort=False):
        wide = {
            str(name): [each[date].to_numpy(dtype=np.float64) for date in ("first", "second")]
            for name, each in part.groupby("quantity", sort=False)
        }
        name = str(branch)
        if branch != TOTAL:
            add(name, f"mean_{AREA}", [float(area.mean()) for area in wide[AREA]])
            continue
        add(name, "volume_mm3", [float(area.sum() * height_mm) for area in wide[AREA]])
        across = wide.get(ACROSS, [])
        if across and across[0].size == wide[AREA][0].size:
            lengths = [float((height_mm * area / cut).sum()) for area, cut in zip(wide[AREA], across, strict=True)]
            add(name, "length_mm", lengths)
            add(name, f"mean_{ACROSS}", [float(cut.mean()) for cut in across])
        add(name, f"mean_{AREA}", [float(area.mean()) for area in wide[AREA]])
        add(name, f"max_{AREA}", [float(area.max()) for area in wide[AREA]])
        for column in (each for each in wide if each.endswith(SIGNALS)):
            weights = part.loc[part["quantity"] == column, "weight"].to_numpy(dtype=np.float64)
            means = [float(np.average(values, weights=weights)) for values in wide[column]]
            add(name, f"signal_{column.removesuffix('_mean')}", means)
    return pd.DataFrame(rows, columns=["branch", "quantity", "first", "second"])


def runs_beyond(positions: NDArray[np.float64], beyond: NDArray[np.bool_], height_mm: float) -> list[tuple[int, int]]:
    """Return the first and last index of each run of at least `LEAST_RUN` neighbouring positions that are flagged."""
    runs, start = [], None
    for index in range(beyond.size + 1):
        follows = index > 0 and index < beyond.size and positions[index] - positions[index - 1] < 1.5 * height_mm
        if start is not None and not (index < beyond.size and beyond[index] and follows):
            if index - start >= LEAST_RUN:
                runs.append((start, index - 1))
            start = None
        if start is None and index < beyond.size and beyond[index]:
            start = index
    return runs
