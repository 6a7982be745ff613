"""`times.csv`: drawing time of the raters, as the study states it, and measured run time of the method."""

from __future__ import annotations

import pandas as pd

from nerveseg.evaluation.comparisons import AUTOMATIC, cohorts_in_order

TIME_COLUMNS = ("subject", "cohort", "source", "minutes")
SUMMARY_COLUMNS = ("cohort", "source", "n", "minutes_mean", "minutes_sd")
RATERS = "raters"


def time_summary(times: pd.DataFrame) -> pd.DataFrame:
    """Compute mean and sample standard deviation of the minutes per subject.

    Args:
        times: Table with columns `TIME_COLUMNS`, one row per subject and source (a rater, or `Auto`).

    Returns:
        Table with columns `SUMMARY_COLUMNS`; per cohort each rater, all raters pooled as in the paper's Figure 2, and
        `Auto`.
    """
    automatic = times["source"] == AUTOMATIC
    pooled = times[~automatic].assign(source=RATERS)
    several = pooled if times.loc[~automatic, "source"].nunique() > 1 else pooled.iloc[:0]
    ordered = pd.concat([times[~automatic], several, times[automatic]])
    rows = [
        (cohort, source, len(minutes), minutes.mean(), minutes.std())
        for cohort in cohorts_in_order(ordered)
        for source, minutes in ordered[ordered["cohort"] == cohort].groupby("source", sort=False)["minutes"]
    ]
    return pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS))
