"""Data of the boxplots of the study page: one case per subject and comparison, pooled as in Table 1.

Beside the paper's two boxes, R-R and Auto-GT, is Auto-R, the automatic mask against each rater: only R-R and Auto-R
compare like with like. A value that is undefined, because a mask is empty, is no point; the page states their number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import pandas as pd

from nerveseg.evaluation.comparisons import AUTOMATIC, AUTOMATIC_CONSENSUS, RATER_RATER, cohorts_in_order, rater_pairs
from nerveseg.evaluation.metric_catalog import METRICS, MetricWords

AUTOMATIC_RATER = f"{AUTOMATIC}-R"
_SIGNIFICANT_DIGITS = 5


def boxplots(scores: pd.DataFrame, raters: Sequence[str], pages: Mapping[str, str | None]) -> dict[str, Any]:
    """Return the points of every box, as data for JSON.

    Args:
        scores: Rows of `scores.csv`.
        raters: Names of the raters, in the study's order.
        pages: Addresses of the subjects' pages, None without a page.

    Returns:
        Mapping with `metrics` (key, label, unit, better), `cohorts`, `groups`, `subjects` (id, page), and `cases`: each
        a list of the indices of its cohort, group and subject, its comparison, and one value per metric or None.
    """
    metrics = shown_metrics(scores)
    members = pooled_comparisons(raters)
    groups = [name for name, pooled in members.items() if scores["comparison"].isin(pooled).any()]
    cohorts = cohorts_in_order(scores)
    subjects = list(dict.fromkeys(map(str, scores["subject"])))
    wide = scores.pivot(index=["cohort", "subject", "comparison"], columns="metric", values="value")
    cases = [
        [cohorts.index(cohort), groups.index(group), subjects.index(subject), comparison, *_values(row, metrics)]
        for group in groups
        for (cohort, subject, comparison), row in zip(wide.index, wide.to_dict("records"), strict=True)
        if comparison in members[group]
    ]
    return {
        "metrics": [{"key": m.key, "label": m.label, "unit": m.unit, "better": m.better} for m in metrics],
        "cohorts": cohorts,
        "groups": groups,
        "subjects": [[subject, pages.get(subject)] for subject in subjects],
        "cases": cases,
    }


def shown_metrics(scores: pd.DataFrame) -> list[MetricWords]:
    """Return the metrics of these scores that the catalog explains, in the order of `METRICS`."""
    present = set(scores["metric"])
    return [metric for metric in METRICS if metric.key in present]


def pooled_comparisons(raters: Sequence[str]) -> dict[str, list[str]]:
    """Return the comparisons in each box; with a single rater, who is the reference, Auto-GT only."""
    several = list(raters) if len(raters) > 1 else []
    return {
        RATER_RATER: rater_pairs(several),
        AUTOMATIC_RATER: [f"{AUTOMATIC}-{rater}" for rater in several],
        AUTOMATIC_CONSENSUS: [AUTOMATIC_CONSENSUS],
    }


def _values(row: Mapping[Any, float], metrics: Sequence[MetricWords]) -> list[float | None]:
    values = [float(row[metric.key]) for metric in metrics]
    return [float(f"{value:.{_SIGNIFICANT_DIGITS}g}") if isfinite(value) else None for value in values]
