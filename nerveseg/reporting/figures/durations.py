"""Time per subject: minutes of drawing beside fractions of a second, on one logarithmic axis (paper, Figure 2 D)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from nerveseg.evaluation.comparisons import AUTOMATIC
from nerveseg.evaluation.tables.times import RATERS
from nerveseg.reporting.figures.boxes import APART, Group, Sample, draw_boxes
from nerveseg.reporting.figures.figure_data import StudyTables
from nerveseg.reporting.style import LINE, MARKER, Kind

SECONDS_PER_MINUTE = 60.0
_TICKS_S = {0.01: "0.01 s", 0.1: "0.1 s", 1: "1 s", 10: "10 s", 60: "1 min", 600: "10 min", 3600: "1 h", 36000: "10 h"}
_FINE_TICKS_S = _TICKS_S | {0.2: "0.2 s", 0.5: "0.5 s", 2: "2 s", 5: "5 s", 20: "20 s", 30: "30 s", 120: "2 min",
                            300: "5 min", 1200: "20 min", 1800: "30 min", 7200: "2 h", 18000: "5 h"}  # fmt: skip
_LEAST_TICKS = 3


def draw_durations(axes: Axes, tables: StudyTables) -> None:
    """Boxes of every subject's time where that is known, else mean and standard deviation.

    Args:
        axes: Empty.
        tables: Of the study.
    """
    seconds = _boxes(axes, tables) if len(tables.minutes) else _means(axes, tables)
    axes.set_yscale("log")
    low, high = 0.7 * min(seconds), 1.5 * max(seconds)
    axes.set_ylim(low, high)
    coarse = [tick for tick in _TICKS_S if low <= tick <= high]
    fine = [tick for tick in sorted(_FINE_TICKS_S) if low <= tick <= high]
    ticks = coarse if len(coarse) >= _LEAST_TICKS else fine
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_yticklabels([_FINE_TICKS_S[tick] for tick in ticks])
    axes.set_ylabel("time per subject (log scale)")


def _boxes(axes: Axes, tables: StudyTables) -> list[float]:
    groups = []
    for cohort in tables.cohorts:
        rows = tables.minutes[tables.minutes["cohort"] == cohort]
        drawn = rows["source"] != AUTOMATIC
        kinds: dict[Kind, pd.DataFrame] = {"manual": rows[drawn], "automatic": rows[~drawn]}
        samples = [
            Sample(kind, SECONDS_PER_MINUTE * part["minutes"].to_numpy(dtype=np.float64))
            for kind, part in kinds.items()
            if len(part)
        ]
        groups.append(Group(f"{cohort}\n(n = {tables.subjects(cohort)})", samples))
    draw_boxes(axes, groups, 0.0)
    return [float(value) for group in groups for sample in group.samples for value in sample.values]


def _means(axes: Axes, tables: StudyTables) -> list[float]:
    seconds: list[float] = []
    for place, cohort in enumerate(tables.cohorts):
        rows = {str(row["source"]): row for row in tables.times[tables.times["cohort"] == cohort].to_dict("records")}
        manual = RATERS if RATERS in rows else next((name for name in rows if name != AUTOMATIC), None)
        sources: dict[Kind, str | None] = {"manual": manual, "automatic": AUTOMATIC}
        for side, (kind, source) in zip((-1, 1), sources.items(), strict=True):
            if source is None or source not in rows:
                continue
            mean, sd = (SECONDS_PER_MINUTE * float(rows[source][f"minutes_{what}"]) for what in ("mean", "sd"))
            low, high = (mean, mean) if np.isnan(sd) else (max(mean - sd, mean / 3), mean + sd)
            axes.errorbar(
                [place + side * APART / 2], [mean], yerr=[[mean - low], [high - mean]], fmt=MARKER[kind], ms=5,
                color=LINE[kind], capsize=3, lw=1.2,
            )  # fmt: skip
            seconds += [low, high]
    axes.set_xticks(range(len(tables.cohorts)), [f"{c}\n(mean ± SD)" for c in tables.cohorts])
    axes.set_xlim(-0.55, len(tables.cohorts) - 0.45)
    axes.tick_params(axis="x", length=0)
    axes.set_title(" ")
    return seconds or [1.0]
