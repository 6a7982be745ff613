"""Scores of the boxes: R-R pools all pairs of raters, as in Table 1, beside Auto-GT.

A distance to or from an empty mask is infinite; two empty masks have no value and no point. The time per subject is on
one logarithmic axis (paper, Figure 2 D).
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from nerveseg.evaluation.analysis import Analysis, Measurements
from nerveseg.evaluation.comparisons import AUTOMATIC, AUTOMATIC_CONSENSUS, RATER_RATER, rater_pairs
from nerveseg.evaluation.rater_agreement import with_failures
from nerveseg.evaluation.tables.table1 import published_rows
from nerveseg.reporting.figures.boxes import Group, PanelSample, draw_groups
from nerveseg.reporting.style import Kind, format_p

SECONDS_PER_MINUTE = 60.0
_TICKS_S = {0.01: "0.01 s", 0.1: "0.1 s", 1: "1 s", 10: "10 s", 60: "1 min", 600: "10 min", 3600: "1 h", 36000: "10 h"}
_FINE_TICKS_S = _TICKS_S | {0.2: "0.2 s", 0.5: "0.5 s", 2: "2 s", 5: "5 s", 20: "20 s", 30: "30 s", 120: "2 min",
                            300: "5 min", 1200: "20 min", 1800: "30 min", 7200: "2 h", 18000: "5 h"}  # fmt: skip
_LEAST_TICKS = 3

NAMES: dict[Kind, str] = {"manual": RATER_RATER, "automatic": AUTOMATIC_CONSENSUS}


def cohort_groups(analysis: Analysis, metric: str, reference: pd.DataFrame | None = None) -> list[Group]:
    """Return the boxes of a metric per cohort, with the p-value of the paper's test and the published means.

    Args:
        analysis: Tables of the study.
        metric: Name of the metric in `scores.csv`.
        reference: Published Table 1.
    """
    measured, published = analysis.measurements, published_rows(reference, analysis.table1)
    groups = []
    for cohort in measured.cohorts:
        means = {name: published.get((cohort, name), {}).get(f"{metric}_mean") for name in NAMES.values()}
        samples = _samples(measured, metric, measured.scores["cohort"] == cohort, means)
        label = f"{cohort}\n(n = {measured.subject_count(cohort)})"
        groups.append(Group(label, samples, _p_text(analysis.tests, cohort, metric)))
    return groups


def location_groups(measured: Measurements, metric: str, cohort: str) -> list[Group]:
    """Return the boxes of a metric per location of one cohort, if at least two locations are known."""
    scores = measured.scores
    of_cohort = scores["cohort"] == cohort
    locations = [
        str(location) for location in sorted(scores.loc[of_cohort, "location"].dropna().unique(), key=_in_order)
    ]
    groups = []
    for location in locations if len(locations) > 1 else []:
        chosen = of_cohort & (scores["location"] == location).fillna(False)
        number = scores.loc[chosen, "subject"].nunique()
        groups.append(Group(f"{location}\n(n = {number})", _samples(measured, metric, chosen, {})))
    return groups


def values_of(scores: pd.DataFrame, metric: str, comparisons: list[str]) -> np.ndarray:
    """Return the values of a metric in some comparisons, in the table's order; infinite for an empty mask, no NaN."""
    rows = with_failures(scores[scores["metric"].isin(["dice", metric]) & scores["comparison"].isin(comparisons)])
    values = rows.loc[rows["metric"] == metric, "value"].to_numpy(dtype=np.float64)
    return np.asarray(values[~np.isnan(values)])


def _samples(
    measured: Measurements, metric: str, chosen: pd.Series, published: Mapping[str, float | None]
) -> list[PanelSample]:
    several = measured.raters if len(measured.raters) > 1 else []
    pooled: dict[Kind, list[str]] = {"manual": rater_pairs(several), "automatic": [AUTOMATIC_CONSENSUS]}
    present = set(measured.scores["comparison"])
    return [
        PanelSample(kind, values_of(measured.scores[chosen], metric, comparisons), published.get(NAMES[kind]))
        for kind, comparisons in pooled.items()
        if present & set(comparisons)
    ]


def _p_text(tests: pd.DataFrame, cohort: str, metric: str) -> str:
    if not len(tests):
        return ""
    found = tests[(tests["test"] == "paper") & (tests["cohort"] == cohort) & (tests["metric"] == metric)]
    return format_p(float(found["p_value"].iloc[0])) if len(found) else ""


def _in_order(location: str) -> tuple[int, str]:
    first = ["proximal", "medial", "distal"]
    return (first.index(location) if location in first else len(first), location)


def draw_durations(axes: Axes, measured: Measurements) -> None:
    """Draw boxes of every subject's time.

    Args:
        axes: Empty panel.
        measured: Measurements of the study, with times.
    """
    groups = _groups(measured)
    draw_groups(axes, groups)
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
