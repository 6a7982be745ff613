"""Figure 2 of the paper: how well automatic and manual masks agree, per cohort, and how long they took.

Beside the paper's contrast, Auto-GT against R-R, stands the fair one, which compares like with like.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from nerveseg.evaluation.comparisons import AUTOMATIC, AUTOMATIC_CONSENSUS
from nerveseg.reporting.figures.boxes import Scale, draw_groups
from nerveseg.reporting.figures.contrast import draw_contrasts, has_contrasts
from nerveseg.reporting.figures.durations import draw_durations
from nerveseg.reporting.figures.figure_data import StudyTables
from nerveseg.reporting.figures.samples import cohort_groups
from nerveseg.reporting.style import FILL, INK, LINE, MARKER, Kind, grid_shape, new_figure, styled

PANELS: dict[str, tuple[str, Scale]] = {
    "dice": ("Dice (no unit)", "share"),
    "hd95_paper_mm": ("HD95, paper's rule (mm)", "mm"),
    "hd95_mm": ("HD95, surface (mm)", "mm"),
    "vs": ("volumetric similarity (no unit)", "share"),
}
"""By metric, the label of its axis and its scale."""

WORDS: dict[Kind, str] = {"manual": "manual (R-R: each pair of raters)", "automatic": "automatic (Auto-GT)"}
ALONE = "manual (time of the single rater)"
_ROW_INCHES = 2.75


@styled
def comparison_figure(tables: StudyTables) -> Figure:
    """Boxes of Dice, both HD95, VS and time per cohort, and the fair contrast with interval and margin.

    Panels for which there is nothing are left out: with a single rater R-R, the p-values and the contrast.

    Args:
        tables: Of the study.
    """
    metrics = [metric for metric in PANELS if (tables.scores["metric"] == metric).any()]
    panels: list[Callable[[SubFigure], None]] = [partial(_metric, tables=tables, metric=metric) for metric in metrics]
    if len(tables.minutes) or len(tables.times):
        panels.append(partial(_durations, tables=tables))
    if has_contrasts(tables.tests):
        panels.append(partial(draw_contrasts, tests=tables.tests))
    rows, columns = grid_shape(len(panels), 3 if len(panels) > 4 else 2)
    title = f"Agreement, {tables.title}" if tables.title else "Agreement"
    figure, body = new_figure(_ROW_INCHES * rows, title, _legend(tables), _note(tables))
    cells = np.ravel(body.subfigures(rows, columns, squeeze=False))
    for letter, panel, cell in zip("ABCDEF", panels, cells, strict=False):
        panel(cell)
        cell.text(0.012, 0.99, letter, fontweight="bold", va="top", fontsize=10)
    return figure


def legend_entries(kinds: list[Kind]) -> list[Line2D]:
    """A box and its point per kind."""
    return [
        Line2D([], [], color=FILL[kind], lw=7, alpha=0.55, marker=MARKER[kind], ms=4, mfc=LINE[kind], mec="white",
               mew=0.3, solid_capstyle="butt", label=WORDS[kind])
        for kind in kinds
    ]  # fmt: skip


def kinds_of(tables: StudyTables) -> list[Kind]:
    """What is compared: manual where there are several raters, automatic where there is such a mask."""
    kinds: list[Kind] = ["manual"] if len(tables.raters) > 1 else []
    return [*kinds, "automatic"] if (tables.scores["comparison"] == AUTOMATIC_CONSENSUS).any() else kinds


def _metric(cell: SubFigure, tables: StudyTables, metric: str) -> None:
    axes = cell.subplots()
    label, scale = PANELS[metric]
    draw_groups(axes, cohort_groups(tables, metric), scale)
    axes.set_ylabel(label)


def _durations(cell: SubFigure, tables: StudyTables) -> None:
    draw_durations(cell.subplots(), tables)


def _legend(tables: StudyTables) -> list[Line2D]:
    kinds = kinds_of(tables)
    entries = legend_entries(kinds)
    if "manual" not in kinds and (tables.times["source"] != AUTOMATIC).any():
        (alone,) = legend_entries(["manual"])
        alone.set_label(ALONE)
        entries.append(alone)
    if tables.reference is not None:
        entries.append(Line2D([], [], color=INK, lw=1.4, ls=(0, (2, 1)), label="mean published in the paper"))
    return entries


def _note(tables: StudyTables) -> str:
    boxes = "Boxes: quartiles; whiskers: within 1.5 interquartile ranges; every point is a pair of masks."
    if not len(tables.tests):
        return f"{boxes} No test: it takes several raters and an automatic mask."
    return (
        f"{boxes} p: Mann-Whitney test as in the paper, not adjusted for the number of tests; it favours the automatic"
        " mask, because a consensus is less noisy than a rater. Like with like: the automatic mask's agreement with"
        " each rater against the raters' with each other, with 95 % interval; filled where the margin set beforehand"
        " (broken line) is excluded."
    )
