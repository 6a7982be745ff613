"""Expected against measured Dice of the subjects of a sweep, and the gain from leaving the lowest to a person.

Left: each subject with its interval, by a calibration on the other folds. Right: the risk-coverage curve, the mean Dice
of the scans that are kept against their share, in the order of the expected Dice; ideal is the order of the measured
Dice, random the mean of all.
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nerveseg.evaluation.analysis import Analysis
from nerveseg.evaluation.comparisons import cohorts_in_order
from nerveseg.evaluation.risk_coverage import FAILED_BELOW, kept_dice
from nerveseg.inference.expected_dice import LEVEL
from nerveseg.reporting.style import INK, LINE, MARKERS, PALE, new_figure, styled

NOTE = (
    "Every fold by a calibration on the other folds: no subject had a part in its own expectation. Bars: intervals that"
    f" should hold the measured Dice of {LEVEL:.0%} of the subjects. Dotted: a Dice of {FAILED_BELOW:g}, below which a"
    " mask counts as failed."
)


@styled
def expected_dice_figure(analysis: Analysis, title: str = "") -> Figure:
    """Draw both panels for a class whose Dice was calibrated."""
    figure, body = new_figure(2.9, title, note=NOTE)
    left, right = body.subplots(1, 2)
    _draw_subjects(left, analysis)
    _draw_curve(right, analysis)
    return figure


def _draw_subjects(axes: Axes, analysis: Analysis) -> None:
    table = analysis.measurements.expected
    for number, cohort in enumerate(cohorts_in_order(table)):
        rows = table[table["cohort"] == cohort]
        middle = rows["expected"]
        ends = [middle - rows["lower"], rows["upper"] - middle]
        look: dict[str, Any] = {"markersize": 4.0, "ecolor": PALE, "elinewidth": 0.5, "alpha": 0.8}
        marker = MARKERS[number % len(MARKERS)]
        axes.errorbar(middle, rows["dice"], xerr=ends, fmt=marker, label=cohort, **look)
    axes.axline((0, 0), slope=1, color=INK, linewidth=0.8)
    axes.axhline(FAILED_BELOW, color=INK, linewidth=0.8, linestyle=":")
    axes.set_xlabel("expected Dice")
    axes.set_ylabel("measured Dice (Auto-GT)")
    least = float(table[["expected", "lower", "dice"]].to_numpy(dtype=np.float64).min())
    axes.set(xlim=(max(0.0, least - 0.05), 1.0), ylim=(max(0.0, least - 0.05), 1.0))
    axes.legend(loc="upper left")


def _draw_curve(axes: Axes, analysis: Analysis) -> None:
    table = analysis.measurements.expected
    dice, expected = (table[name].to_numpy(dtype=np.float64) for name in ("dice", "expected"))
    kept = np.arange(1, len(dice) + 1) / len(dice)
    axes.plot(kept, kept_dice(dice, dice), color=PALE, linestyle="--", label="ideal order")
    axes.plot(kept, kept_dice(dice, expected), color=LINE["automatic"], label="order of the expected Dice")
    axes.axhline(dice.mean(), color=INK, linewidth=0.8, linestyle=":", label="random order")
    axes.set_xlabel("share of the scans that are kept")
    axes.set_ylabel("mean Dice of the kept scans")
    axes.legend(loc="lower left")
