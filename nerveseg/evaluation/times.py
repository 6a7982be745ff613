"""`times.csv`: how long the raters drew, where the study knows it, and how long the method took, as measured."""

from __future__ import annotations

import pandas as pd

from nerveseg.evaluation.comparisons import AUTOMATIC

TIME_COLUMNS = ("subject", "cohort", "source", "minutes")
SUMMARY_COLUMNS = ("cohort", "source", "n", "minutes_mean", "minutes_sd")
RATERS = "raters"


def time_summary(times: pd.DataFrame) -> pd.DataFrame:
    """Mean and sample standard deviation of the minutes per subject.

    Args:
        times: Columns `TIME_COLUMNS`, one row per subject and source (a rater, or `Auto`).

    Returns:
        Columns `SUMMARY_COLUMNS`; per cohort each rater, all raters pooled as in the paper's Figure 2, and `Auto`.
    """
    pooled = times[times["source"] != AUTOMATIC].assign(source=RATERS)
    several = pooled if times.loc[times["source"] != AUTOMATIC, "source"].nunique() > 1 else pooled.iloc[:0]
    rows = [
        (cohort, source, len(minutes), minutes.mean(), minutes.std())
        for (cohort, source), minutes in pd.concat([times, several]).groupby(["cohort", "source"], sort=False)[
            "minutes"
        ]
    ]
    return pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS))
