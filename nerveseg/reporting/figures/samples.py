"""Which scores go into which box: R-R pools all pairs of raters, as in Table 1, and Auto-GT stands beside it.

A distance to or from an empty mask is infinite; two empty masks have no value and no point.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from nerveseg.evaluation.comparisons import AUTOMATIC_CONSENSUS, RATER_RATER, rater_pairs
from nerveseg.evaluation.rater_agreement import with_failures
from nerveseg.reporting.figures.boxes import Group, Sample, p_in_words
from nerveseg.reporting.figures.figure_data import StudyTables
from nerveseg.reporting.style import Kind

NAMES: dict[Kind, str] = {"manual": RATER_RATER, "automatic": AUTOMATIC_CONSENSUS}


def cohort_groups(tables: StudyTables, metric: str) -> list[Group]:
    """Per cohort the boxes of a metric, the paper's test on the bracket, and the published means.

    Args:
        tables: Of the study.
        metric: As of `scores.csv`.
    """
    return [
        Group(
            label=f"{cohort}\n(n = {tables.subjects(cohort)})",
            samples=_samples(tables, metric, tables.scores["cohort"] == cohort, cohort),
            p_text=_p_text(tables.tests, cohort, metric),
        )
        for cohort in tables.cohorts
    ]


def location_groups(tables: StudyTables, metric: str, cohort: str) -> list[Group]:
    """Per location of one cohort the boxes of a metric; empty where fewer than two locations are known."""
    scores = tables.scores
    of_cohort = scores["cohort"] == cohort
    known = [str(location) for location in sorted(scores.loc[of_cohort, "location"].dropna().unique(), key=_in_order)]
    groups = []
    for location in known if len(known) > 1 else []:
        chosen = of_cohort & (scores["location"] == location).fillna(False)
        number = scores.loc[chosen, "subject"].nunique()
        groups.append(Group(f"{location}\n(n = {number})", _samples(tables, metric, chosen)))
    return groups


def values_of(scores: pd.DataFrame, metric: str, comparisons: list[str]) -> np.ndarray:
    """The values of a metric in some comparisons, in the table's order; infinite where a mask is empty, no NaN."""
    rows = with_failures(scores[scores["metric"].isin(["dice", metric]) & scores["comparison"].isin(comparisons)])
    values = rows.loc[rows["metric"] == metric, "value"].to_numpy(dtype=np.float64)
    return np.asarray(values[~np.isnan(values)])


def _samples(tables: StudyTables, metric: str, chosen: pd.Series, published: str | None = None) -> list[Sample]:
    several = tables.raters if len(tables.raters) > 1 else []
    pooled: dict[Kind, list[str]] = {"manual": rater_pairs(several), "automatic": [AUTOMATIC_CONSENSUS]}
    present = set(tables.scores["comparison"])
    return [
        Sample(
            kind,
            values_of(tables.scores[chosen], metric, comparisons),
            None if published is None else _published(tables.reference, published, NAMES[kind], metric),
        )
        for kind, comparisons in pooled.items()
        if present & set(comparisons)
    ]


def _published(reference: pd.DataFrame | None, cohort: str, comparison: str, metric: str) -> float | None:
    if reference is None or f"{metric}_mean" not in reference:
        return None
    found = reference[(reference["cohort"] == cohort) & (reference["comparison"] == comparison)]
    return float(found[f"{metric}_mean"].iloc[0]) if len(found) else None


def _p_text(tests: pd.DataFrame, cohort: str, metric: str) -> str:
    if not len(tests):
        return ""
    found = tests[(tests["test"] == "paper") & (tests["cohort"] == cohort) & (tests["metric"] == metric)]
    return p_in_words(float(found["p_value"].iloc[0])) if len(found) else ""


def _in_order(location: str) -> tuple[int, str]:
    first = ["proximal", "medial", "distal"]
    return (first.index(location) if location in first else len(first), location)
