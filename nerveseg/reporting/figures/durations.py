"""Panel of the time per subject, manual and automatic, on one logarithmic axis (paper, Figure 2 D)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from nerveseg.evaluation.analysis import Measurements
from nerveseg.evaluation.comparisons import AUTOMATIC
from nerveseg.reporting.figures.boxes import Group, PanelSample, draw_boxes
from nerveseg.reporting.style import Kind

SECONDS_PER_MINUTE = 60.0
_TICKS_S = {0.01: "0.01 s", 0.1: "0.1 s", 1: "1 s", 10: "10 s", 60: "1 min", 600: "10 min", 3600: "1 h", 36000: "10 h"}
_FINE_TICKS_S = _TICKS_S | {0.2: "0.2 s", 0.5: "0.5 s", 2: "2 s", 5: "5 s", 20: "20 s", 30: "30 s", 120: "2 min",
                            300: "5 min", 1200: "20 min", 1800: "30 min", 7200: "2 h", 18000: "5 h"}  # fmt: skip
_LEAST_TICKS = 3


def draw_durations(axes: Axes, measured: Measurements) -> None:
    """Draw boxes of every subject's time.

    Args:
        axes: Empty panel.
        measured: Measurements of the study, with times.
    """
    groups = _groups(measured)
    draw_boxes(axes, groups, 0.0)
    seconds = [float(value) for group in groups for sample in group.samples for value in sample.values]
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


def _groups(measured: Measurements) -> list[Group]:
    groups = []
    for cohort in measured.cohorts:
        rows = measured.times[measured.times["cohort"] == cohort]
        drawn = rows["source"] != AUTOMATIC
        kinds: dict[Kind, pd.DataFrame] = {"manual": rows[drawn], "automatic": rows[~drawn]}
        samples = [
            PanelSample(kind, SECONDS_PER_MINUTE * part["minutes"].to_numpy(dtype=np.float64))
            for kind, part in kinds.items()
            if len(part)
        ]
        groups.append(Group(f"{cohort}\n(n = {measured.subject_count(cohort)})", samples))
    return groups
