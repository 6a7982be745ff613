"""Figure 2 of the paper: agreement of automatic and manual masks per cohort, and the time they took.

Beside the paper's contrast, Auto-GT against R-R, is the fair one, which compares single masks with single masks: the
agreement of the automatic mask with the raters minus theirs with each other. Its interval is compared with the margin
of non-inferiority that was chosen before; an interval that includes zero shows nothing by itself. Dice by location
along the thigh (paper, section 3) is a figure of its own.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from string import ascii_uppercase
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from nerveseg.evaluation.analysis import Analysis, Measurements
from nerveseg.evaluation.comparisons import AUTOMATIC, AUTOMATIC_CONSENSUS
from nerveseg.evaluation.hypotheses import CONTRAST
from nerveseg.evaluation.metric_catalog import BY_KEY, TABLE_METRICS, label_of
from nerveseg.evaluation.tables.table1 import SET_OFF, published_rows
from nerveseg.reporting.figures.boxes import cohort_groups, draw_durations, draw_groups, location_groups
from nerveseg.reporting.style import FILL, INK, LESION, LINE, MARKER, PALE, Kind, new_figure, styled

WORDS: dict[Kind, str] = {"manual": "manual (R-R: each pair of raters)", "automatic": "automatic (Auto-GT)"}
ALONE = "manual (time of the single rater)"
_ROW_INCHES = 2.75

SHARE = "share above"
_SIGN = {CONTRAST: -1.0, SHARE: 1.0}  # sign of the margin: a loss of Dice, an excess of misses

Row = Mapping[Hashable, Any]


@styled
def comparison_figure(analysis: Analysis, title: str = "", reference: pd.DataFrame | None = None) -> Figure:
    """Draw boxes of Dice, both HD95, VS and time per cohort, and the fair contrast with interval and margin.

    Panels without data are left out: with a single rater R-R, the p-values and the contrast. The means of the published
    Table 1 (`reference`) are drawn as ticks.
    """
    measured = analysis.measurements
    metrics = [metric for metric in TABLE_METRICS if (measured.scores["metric"] == metric).any()]
    panels: list[Callable[[SubFigure], None]] = [
        partial(_metric, analysis=analysis, metric=metric, reference=reference) for metric in metrics
    ]
    if len(measured.times):
        panels.append(lambda cell: draw_durations(cell.subplots(), measured))
    if (analysis.tests["test"].isin(list(_SIGN)) & analysis.tests["estimate"].notna()).any():
        panels.append(partial(_draw_contrasts, tests=analysis.tests))
    columns = min(3 if len(panels) > 4 else 2, len(panels))
    rows = -(-len(panels) // columns)
    published = any(name in SET_OFF for _, name in published_rows(reference, analysis.table1))
    note = _note(len(analysis.tests) > 0, analysis.margins_changed)
    figure, body = new_figure(_ROW_INCHES * rows, title, _legend(measured, published), note)
    cells = np.ravel(body.subfigures(rows, columns, squeeze=False))
    for letter, panel, cell in zip(ascii_uppercase, panels, cells, strict=False):
        panel(cell)
        cell.text(0.012, 0.99, letter, fontweight="bold", va="top", fontsize=10)
    return figure


def _legend_entries(kinds: list[Kind]) -> list[Line2D]:
    """Return a legend entry of a box and its point, per kind."""
    return [
        Line2D([], [], color=FILL[kind], lw=7, alpha=0.55, marker=MARKER[kind], ms=4, mfc=LINE[kind], mec="white",
               mew=0.3, solid_capstyle="butt", label=WORDS[kind])
        for kind in kinds
    ]  # fmt: skip


def _kinds(measured: Measurements) -> list[Kind]:
    """Return the kinds of masks: manual if there are several raters, automatic if there is such a mask."""
    kinds: list[Kind] = ["manual"] if len(measured.raters) > 1 else []
    return [*kinds, "automatic"] if (measured.scores["comparison"] == AUTOMATIC_CONSENSUS).any() else kinds


def _metric(cell: SubFigure, analysis: Analysis, metric: str, reference: pd.DataFrame | None) -> None:
    axes, words = cell.subplots(), BY_KEY[metric]
    draw_groups(axes, cohort_groups(analysis, metric, reference), "mm" if words.unit else "share")
    axes.set_ylabel(words.axis_label)


def _legend(measured: Measurements, published: bool) -> list[Line2D]:
    kinds = _kinds(measured)
    entries = _legend_entries(kinds)
    if "manual" not in kinds and (measured.times["source"] != AUTOMATIC).any():
        (alone,) = _legend_entries(["manual"])
        alone.set_label(ALONE)
        entries.append(alone)
    if published:
        entries.append(Line2D([], [], color=INK, lw=1.4, ls=(0, (2, 1)), label="mean published in the paper"))
    return entries


def _note(tested: bool, changed: str) -> str:
    boxes = "Boxes: quartiles; whiskers: within 1.5 interquartile ranges; every point is a pair of masks."
    if not tested:
        return f"{boxes} No test: it takes several raters and an automatic mask."
    return (
        f"{boxes} p: Mann-Whitney test as in the paper, not adjusted for the number of tests; it favours the automatic"
        " mask, because a consensus is less noisy than a rater. Like with like: the automatic mask's agreement with"
        " each rater against the raters' with each other, with 95 % interval; filled where the margin (broken line) is"
        f" excluded{f'; {changed}' if changed else ''}."
    )


@styled
def locations_figure(analysis: Analysis, title: str = "") -> Figure:
    """Draw a panel per cohort with more than one location, of which there is at least one; a group per location."""
    measured = analysis.measurements
    found = {cohort: location_groups(measured, "dice", cohort) for cohort in measured.cohorts}
    found = {cohort: groups for cohort, groups in found.items() if groups}
    figure, body = new_figure(2.9, title, _legend_entries(_kinds(measured)))
    widths = [len(groups) for groups in found.values()]
    panels = body.subplots(1, len(found), squeeze=False, sharey=True, width_ratios=widths)[0]
    lowest = 1.0
    for (cohort, groups), axes in zip(found.items(), panels, strict=True):
        draw_groups(axes, groups, "share")
        lowest = min(lowest, axes.get_ylim()[0])
        axes.set_title(cohort, loc="left")
    panels[0].set_ylim(bottom=lowest)
    panels[0].set_ylabel(BY_KEY["dice"].axis_label)
    return figure


def _draw_contrasts(cell: SubFigure, tests: pd.DataFrame) -> None:
    """Draw two panels, one above the other: differences of Dice and VS, and of the share of far misses."""
    overlaps, shares = (_rows(tests, test) for test in (CONTRAST, SHARE))
    upper, lower = cell.subplots(2, 1, height_ratios=[max(len(overlaps), 1) + 1.0, max(len(shares), 1) + 1.0])
    _draw(upper, overlaps, 1.0)
    upper.set_title("like with like")
    upper.set_xlabel("Auto-rater − R-R\n(pseudomedian, no unit)")
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
