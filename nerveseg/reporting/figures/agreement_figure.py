"""Bland-Altman plots of volume and area, measured by the automatic mask and by the raters.

Differences are in percent of the pair's mean, as in `agreement.csv`, whose bias and limits of agreement are drawn with
their 95 % intervals. Without an automatic mask the pairs of raters are shown, each with its own marker and line.
"""

import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from nerveseg.evaluation.analysis import Analysis
from nerveseg.evaluation.comparisons import AUTOMATIC, MEAN_AREA, VOLUME
from nerveseg.evaluation.tables.agreement_table import RATERS_MEAN, first_scans
from nerveseg.reporting.style import INK, LINE, MARKERS, PALE, new_figure, styled

QUANTITIES = {VOLUME: ("volume", "mm³"), MEAN_AREA: ("mean cross-sectional area", "mm²")}
_LIMITS = (("estimate", "ci"), ("lower_limit", "lower_limit_ci"), ("upper_limit", "upper_limit_ci"))
NOTE = (
    "Full line: bias; broken lines: limits of agreement; shaded, where there is one comparison: their 95 % intervals."
    " One point per subject; pairs of two empty masks are left out."
)

Row = Mapping[Hashable, Any]


@styled
def agreement_figure(analysis: Analysis, title: str = "") -> Figure:
    """Draw one panel per quantity and cohort of a study with two masks of some subject."""
    rows = _chosen(analysis)
    quantities = [quantity for quantity in QUANTITIES if (rows["quantity"] == quantity).any()]
    cohorts = analysis.measurements.cohorts
    figure, body = new_figure(2.5 * len(quantities), title, _legend(list(dict.fromkeys(rows["comparison"]))), NOTE)
    panels = body.subplots(len(quantities), len(cohorts), squeeze=False, sharey="row")
    for quantity, line in zip(quantities, panels, strict=True):
        name, unit = QUANTITIES[quantity]
        for cohort, axes in zip(cohorts, line, strict=True):
            found = rows[(rows["quantity"] == quantity) & (rows["cohort"] == cohort)].to_dict("records")
            for number, row in enumerate(found):
                _draw(axes, row, *_pairs(analysis, row), number, alone=len(found) == 1)
            axes.set_title(_heading(f"{cohort}, {name}", found), loc="left")
            axes.set_xlabel(f"mean of the pair ({unit})")
            axes.margins(0.08)
        line[0].set_ylabel(f"difference of {name}\n(% of the pair's mean)")
    return figure


def _pairs(analysis: Analysis, row: Row) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the points of one row of `agreement.csv`: mean of each pair, and difference in percent of the mean."""
    quantities = first_scans(analysis.measurements.quantities, analysis.measurements.repeats)
    chosen = quantities[(quantities["cohort"] == row["cohort"]) & (quantities["quantity"] == row["quantity"])]
    wide = chosen.pivot(index="subject", columns="source", values="value")
    other, _, reference = str(row["comparison"]).partition(" - ")
    raters = wide.reindex(columns=list(analysis.measurements.raters))
    manual = raters.mean(axis=1) if reference == RATERS_MEAN else wide[reference]
    known = pd.concat([manual, wide[other]], axis=1).dropna().to_numpy(dtype=np.float64)
    first, second = known[(known != 0).any(axis=1)].T
    mean = (first + second) / 2
    return mean, 100 * (second - first) / mean


def _chosen(analysis: Analysis) -> pd.DataFrame:
    """Return the rows of the method, or without an automatic mask those of the raters."""
    rows = analysis.agreement[analysis.agreement["analysis"] == "bland_altman"]
    automatic = rows["comparison"].str.startswith(f"{AUTOMATIC} - ").astype(bool)
    return rows[automatic] if automatic.any() else rows


def _draw(axes: Axes, row: Row, mean: Any, percent: Any, number: int, alone: bool) -> None:
    """Draw points, bias and limits of one comparison, and their intervals if it is the only one."""
    automatic = str(row["comparison"]).startswith(AUTOMATIC)
    colour, marker = _look(number, automatic)
    axes.plot(mean, percent, ls="", marker=marker, ms=4.5, mfc=colour, mec="white", mew=0.4, zorder=3)
    for quantity, interval in _LIMITS:
        if pd.isna(row[quantity]):
            continue
        ends = row[f"{interval}_low"], row[f"{interval}_high"]
        style = "-" if quantity == "estimate" else "--"
        axes.axhline(row[quantity], color=INK if alone else colour, lw=1.0, ls=style)
        if alone and not pd.isna(ends[0]):
            axes.axhspan(*ends, color=PALE, alpha=0.22 if quantity == "estimate" else 0.14, lw=0)


def _heading(name: str, rows: Sequence[Row]) -> str:
    """Return the heading of a panel, with bias and limits if there is one comparison only."""
    if len(rows) != 1 or pd.isna(rows[0]["lower_limit"]):
        return name
    bias, lower, upper = (f"{rows[0][key]:.0f}" for key in ("estimate", "lower_limit", "upper_limit"))
    text = f"{name}\nbias {bias} %, limits of agreement {lower} to {upper} %"
    return re.sub(r"-0(?= )", "0", text).replace(" -", " −")


def _look(number: int, automatic: bool) -> tuple[str, str]:
    if automatic:
        return LINE["automatic"], "^"
    return (LINE["manual"], INK, "#c46a00")[number % 3], MARKERS[number % len(MARKERS)]


def _legend(comparisons: list[str]) -> list[Line2D]:
    looks = [_look(number, comparison.startswith(AUTOMATIC)) for number, comparison in enumerate(comparisons)]
    return [
        Line2D([], [], ls="", marker=marker, color=colour, ms=5, label=comparison.replace(" - ", " − "))
        for (colour, marker), comparison in zip(looks, comparisons, strict=True)
    ]
