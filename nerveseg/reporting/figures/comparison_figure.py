"""Figure 2 of the paper: agreement of automatic and manual masks per cohort, and the time they took.

Beside the paper's contrast, Auto-GT against R-R, is the fair one, which compares like with like.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from nerveseg.evaluation.analysis import Analysis, Measurements
from nerveseg.evaluation.comparisons import AUTOMATIC, AUTOMATIC_CONSENSUS
from nerveseg.evaluation.metric_catalog import BY_KEY, TABLE_METRICS
from nerveseg.reporting.figures.boxes import draw_groups
from nerveseg.reporting.figures.contrast import draw_contrasts, has_contrasts
from nerveseg.reporting.figures.durations import draw_durations
from nerveseg.reporting.figures.score_groups import cohort_groups
from nerveseg.reporting.style import FILL, INK, LINE, MARKER, Kind, grid_shape, new_figure, styled

WORDS: dict[Kind, str] = {"manual": "manual (R-R: each pair of raters)", "automatic": "automatic (Auto-GT)"}
ALONE = "manual (time of the single rater)"
_ROW_INCHES = 2.75


@styled
def comparison_figure(analysis: Analysis, title: str = "", reference: pd.DataFrame | None = None) -> Figure:
    """Draw boxes of Dice, both HD95, VS and time per cohort, and the fair contrast with interval and margin.

    Panels without data are left out: with a single rater R-R, the p-values and the contrast.

    Args:
        analysis: Tables of the study.
        title: Title above, after "Agreement".
        reference: Published Table 1, whose means are drawn as ticks.
    """
    measured = analysis.measurements
    metrics = [metric for metric in TABLE_METRICS if (measured.scores["metric"] == metric).any()]
    panels: list[Callable[[SubFigure], None]] = [
        partial(_metric, analysis=analysis, metric=metric, reference=reference) for metric in metrics
    ]
    if len(measured.times):
        panels.append(partial(_durations, analysis=analysis))
    if has_contrasts(analysis.tests):
        panels.append(partial(draw_contrasts, tests=analysis.tests))
    rows, columns = grid_shape(len(panels), 3 if len(panels) > 4 else 2)
    named = f"Agreement, {title}" if title else "Agreement"
    legend = _legend(measured, reference is not None)
    figure, body = new_figure(_ROW_INCHES * rows, named, legend, _note(len(analysis.tests) > 0))
    cells = np.ravel(body.subfigures(rows, columns, squeeze=False))
    for letter, panel, cell in zip("ABCDEF", panels, cells, strict=False):
        panel(cell)
        cell.text(0.012, 0.99, letter, fontweight="bold", va="top", fontsize=10)
    return figure


def legend_entries(kinds: list[Kind]) -> list[Line2D]:
    """Return a legend entry of a box and its point, per kind."""
    return [
        Line2D([], [], color=FILL[kind], lw=7, alpha=0.55, marker=MARKER[kind], ms=4, mfc=LINE[kind], mec="white",
               mew=0.3, solid_capstyle="butt", label=WORDS[kind])
        for kind in kinds
    ]  # fmt: skip


def kinds_of(measured: Measurements) -> list[Kind]:
    """Return the kinds of masks: manual if there are several raters, automatic if there is such a mask."""
    kinds: list[Kind] = ["manual"] if len(measured.raters) > 1 else []
    return [*kinds, "automatic"] if (measured.scores["comparison"] == AUTOMATIC_CONSENSUS).any() else kinds


def _metric(cell: SubFigure, analysis: Analysis, metric: str, reference: pd.DataFrame | None) -> None:
    axes, words = cell.subplots(), BY_KEY[metric]
    draw_groups(axes, cohort_groups(analysis, metric, reference), "mm" if words.unit else "share")
    axes.set_ylabel(words.axis_label)


def _durations(cell: SubFigure, analysis: Analysis) -> None:
    draw_durations(cell.subplots(), analysis.measurements)


def _legend(measured: Measurements, published: bool) -> list[Line2D]:
    kinds = kinds_of(measured)
    entries = legend_entries(kinds)
    if "manual" not in kinds and (measured.times["source"] != AUTOMATIC).any():
        (alone,) = legend_entries(["manual"])
        alone.set_label(ALONE)
        entries.append(alone)
    if published:
        entries.append(Line2D([], [], color=INK, lw=1.4, ls=(0, (2, 1)), label="mean published in the paper"))
    return entries


def _note(tested: bool) -> str:
    boxes = "Boxes: quartiles; whiskers: within 1.5 interquartile ranges; every point is a pair of masks."
    if not tested:
        return f"{boxes} No test: it takes several raters and an automatic mask."
    return (
        f"{boxes} p: Mann-Whitney test as in the paper, not adjusted for the number of tests; it favours the automatic"
        " mask, because a consensus is less noisy than a rater. Like with like: the automatic mask's agreement with"
        " each rater against the raters' with each other, with 95 % interval; filled where the margin set beforehand"
        " (broken line) is excluded."
    )
