"""Per subject, how well the method agrees with the raters, and how well each rater agrees with the others.

A comparison is fair only between like and like: a single mask with single raters' masks. `Auto` is the mean over the
raters of Auto-rater; a rater's value is the mean over the other raters; `R-R` is the mean over all rater pairs. The
consensus plays no part: it is less noisy than any rater, and each rater took part in making it.

With four raters or more there is a second fair comparison, against the less noisy reference: a rater and the method
alike meet the consensus of all other raters.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from nerveseg.evaluation.comparisons import AUTOMATIC, RATER_RATER, leave_one_out_pairs

DISTANCE_SUFFIX = "_mm"
RATER_CONSENSUS = "R-GT w/o R"
"""Every rater against the consensus of the others, averaged."""


def like_for_like(scores: pd.DataFrame, raters: Sequence[str]) -> pd.DataFrame:
    """Mean agreement with the raters, one row per subject and metric.

    Args:
        scores: Rows as of `scores.csv`.
        raters: In the study's order.

    Returns:
        Index (cohort, subject, metric); columns `R-R`, each rater, and `Auto` where there is an automatic mask. A
        distance that does not exist because one mask is empty is +infinity, and so are the means it enters. A subject
        that one of the means cannot be made for has NaN there.
    """
    wide = _wide(scores)
    pairs = {frozenset(pair): f"{pair[0]}-{pair[1]}" for pair in combinations(raters, 2)}
    agreement = pd.DataFrame(index=wide.index)
    agreement[RATER_RATER] = _mean(wide, list(pairs.values()))
    for rater in raters:
        agreement[rater] = _mean(wide, [name for pair, name in pairs.items() if rater in pair])
    automatic = [f"{AUTOMATIC}-{rater}" for rater in raters]
    if set(automatic) & set(wide.columns):
        agreement[AUTOMATIC] = _mean(wide, automatic)
    return agreement


def left_out_agreement(scores: pd.DataFrame, raters: Sequence[str]) -> pd.DataFrame:
    """Mean agreement with the consensus of all raters but one, over the rater left out; one row per subject and metric.

    Args:
        scores: Rows as of `scores.csv`.
        raters: In the study's order.

    Returns:
        Index (cohort, subject, metric); columns `R-GT w/o R` (the rater left out against the others' consensus) and
        `Auto` (the method against the same consensus). NaN for subjects with fewer than four raters or no automatic
        mask; infinite as in `like_for_like`.
    """
    wide = _wide(scores)
    manual, automatic = zip(*leave_one_out_pairs(raters), strict=True)
    agreement = {RATER_CONSENSUS: _mean(wide, manual), AUTOMATIC: _mean(wide, automatic)}
    return pd.DataFrame(agreement, index=wide.index)


def with_failures(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores in which a distance to or from an empty mask is +infinity; two empty masks stay NaN.

    Args:
        scores: Rows as of `scores.csv`; every comparison has its `dice`, which is 0 if one mask is empty, NaN if both.
    """
    key = ["subject", "comparison"]
    dice = scores[scores["metric"] == "dice"].set_index(key)["value"]
    of_pair = dice.reindex(pd.MultiIndex.from_frame(scores[key])).to_numpy(dtype=np.float64)
    failed = scores["metric"].str.endswith(DISTANCE_SUFFIX) & scores["value"].isna() & (of_pair == 0)
    return scores.assign(value=scores["value"].mask(failed.to_numpy(dtype=bool), np.inf))


def _wide(scores: pd.DataFrame) -> pd.DataFrame:
    """One row per cohort, subject and metric, one column per comparison."""
    return with_failures(scores).set_index(["cohort", "subject", "metric", "comparison"])["value"].unstack()


def _mean(wide: pd.DataFrame, comparisons: Sequence[str]) -> pd.Series:
    """Mean over the comparisons that a subject has (a rater may be missing)."""
    present = [name for name in comparisons if name in wide.columns]
    if not present:
        return pd.Series(np.nan, index=wide.index)
    return wide[present].mean(axis=1)
