"""Panels of the fair contrast: agreement of the automatic mask with the raters minus theirs with each other.

Single masks are compared with single masks. The interval is compared with the margin of non-inferiority that was chosen
before; an interval that includes zero shows nothing by itself.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from nerveseg.evaluation.hypotheses import CONTRAST
from nerveseg.evaluation.metric_catalog import label_of
from nerveseg.reporting.style import INK, LESION, LINE, PALE

SHARE = "share above"
_SIGN = {CONTRAST: -1.0, SHARE: 1.0}
"""Sign of the margin: a loss of Dice, an excess of misses."""

Row = Mapping[Hashable, Any]


def has_contrasts(tests: pd.DataFrame) -> bool:
    """Tell if any contrast was estimated."""
    return bool(len(tests)) and bool((tests["test"].isin(list(_SIGN)) & tests["estimate"].notna()).any())


def draw_contrasts(cell: SubFigure, tests: pd.DataFrame) -> None:
    """Draw two panels, one above the other: differences of Dice and VS, and of the share of far misses.

    Args:
        cell: Empty part of a figure.
        tests: Rows of `tests.csv`.
    """
    overlaps, shares = (_rows(tests, test) for test in (CONTRAST, SHARE))
    upper, lower = cell.subplots(2, 1, height_ratios=[max(len(overlaps), 1) + 1.0, max(len(shares), 1) + 1.0])
    _draw(upper, overlaps, 1.0)
    upper.set_title("like with like")
    upper.set_xlabel("Auto-rater − R-R (no unit)")
    _draw(lower, shares, 100.0)
    limit = str(shares[0]["method"]).partition(";")[0] if shares else "above the limit"
    lower.set_title(f"HD95 {limit}")
    lower.set_xlabel("automatic − raters\n(% points of subjects)")


def _rows(tests: pd.DataFrame, test: str) -> list[Row]:
    found = tests[(tests["test"] == test) & tests["estimate"].notna()]
    return list(found.to_dict("records"))


def _draw(axes: Axes, rows: Sequence[Row], scale: float) -> None:
    """Draw a line per row, the first at the top; filled where the interval excludes the margin."""
    axes.axvline(0, color=PALE, lw=0.8)
    for height, row in enumerate(reversed(rows)):
        if pd.notna(row["ci_low"]) and pd.notna(row["ci_high"]):
            axes.plot([scale * row["ci_low"], scale * row["ci_high"]], [height] * 2, color=LINE["automatic"], lw=1.6)
        excluded = row["non_inferior"] is not None and pd.notna(row["non_inferior"]) and bool(row["non_inferior"])
        axes.plot(
            [scale * row["estimate"]], [height], marker="^", ms=5.5, ls="", color=LINE["automatic"],
            mfc=LINE["automatic"] if excluded else "white", zorder=3,
        )  # fmt: skip
        if pd.notna(row["margin"]):
            margin = scale * _SIGN[str(row["test"])] * float(row["margin"])
            axes.plot([margin] * 2, [height - 0.45, height + 0.45], color=LESION, lw=1.2, ls="--")
    axes.set_yticks(range(len(rows)), [_name(row) for row in reversed(rows)])
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.tick_params(axis="y", length=0, colors=INK)
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.12)


def _name(row: Row) -> str:
    return f"{label_of(row['metric'])}, {row['cohort']}" if row["test"] == CONTRAST else str(row["cohort"])
