"""Agreement of the method with the raters, and of each rater with the others, per subject.

Like is compared with like: a single mask with single raters' masks. `Auto` is the mean over the raters of Auto-rater; a
rater's value is the mean over the other raters; `R-R` is the mean over all rater pairs. The consensus, which is less
noisy than any rater, is not used. With four raters or more, each rater and the method are also compared with the
consensus of all other raters.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from nerveseg.evaluation.comparisons import AUTOMATIC, RATER_RATER, leave_one_out_pairs

DISTANCE_SUFFIX = "_mm"
RATER_CONSENSUS = "R-GT w/o R"  # mean over the raters, each against the consensus of the others


def agreement_pairs(raters: Sequence[str]) -> dict[str, list[str]]:
    """Return the comparisons that `R-R`, each rater and `Auto` are the mean of."""
    pairs = {frozenset(pair): f"{pair[0]}-{pair[1]}" for pair in combinations(raters, 2)}
    own = {rater: [name for pair, name in pairs.items() if rater in pair] for rater in raters}
    return {RATER_RATER: [*pairs.values()], **own, AUTOMATIC: [f"{AUTOMATIC}-{rater}" for rater in raters]}


def like_for_like(scores: pd.DataFrame, raters: Sequence[str], failed: float = np.inf) -> pd.DataFrame:
    """Compute the mean agreement with the raters from rows of `scores.csv`, one row per subject and metric.

    Returns:
        Table with index (cohort, subject, metric) and columns `R-R`, each rater, and `Auto` where there is an automatic
        mask. A distance that is undefined because one mask is empty counts as `failed`: +infinity, and so are the means
        that include it, or NaN, and the means are those of the other pairs. A mean without any value is NaN.
    """
    wide = _wide(scores, failed)
    pairs = agreement_pairs(raters)
    if not set(pairs[AUTOMATIC]) & set(wide.columns):
        del pairs[AUTOMATIC]
    return pd.DataFrame({source: _mean(wide, names) for source, names in pairs.items()}, index=wide.index)


def left_out_agreement(scores: pd.DataFrame, raters: Sequence[str]) -> pd.DataFrame:
    """Compute the mean agreement with the consensus of all raters but one, from rows of `scores.csv`.

    Returns:
        Table with index (cohort, subject, metric) and columns `R-GT w/o R` (the rater left out against the others'
        consensus) and `Auto` (the method against the same consensus). NaN for subjects with fewer than four raters or
        no automatic mask; infinite as in `like_for_like`.
    """
    wide = _wide(scores)
    manual, automatic = zip(*leave_one_out_pairs(raters), strict=True)
    agreement = {RATER_CONSENSUS: _mean(wide, manual), AUTOMATIC: _mean(wide, automatic)}
    return pd.DataFrame(agreement, index=wide.index)


def with_failures(scores: pd.DataFrame) -> pd.DataFrame:
    """Replace distances to or from an empty mask by +infinity in rows of `scores.csv`; two empty masks stay NaN.

    Every comparison has its `dice`, which is 0 if one mask is empty, NaN if both are.
    """
    key = ["subject", "comparison"]
    dice = scores[scores["metric"] == "dice"].set_index(key)["value"]
    of_pair = dice.reindex(pd.MultiIndex.from_frame(scores[key])).to_numpy(dtype=np.float64)
    failed = scores["metric"].str.endswith(DISTANCE_SUFFIX) & scores["value"].isna() & (of_pair == 0)
    return scores.assign(value=scores["value"].mask(failed.to_numpy(dtype=bool), np.inf))


def _wide(scores: pd.DataFrame, failed: float = np.inf) -> pd.DataFrame:
    """Pivot the scores to one row per cohort, subject and metric, one column per comparison."""
    counted = with_failures(scores) if np.isinf(failed) else scores
    return counted.set_index(["cohort", "subject", "metric", "comparison"])["value"].unstack()


def _mean(wide: pd.DataFrame, comparisons: Sequence[str]) -> pd.Series:
    """Average the comparisons that a subject has (a rater may be missing)."""
    return wide.reindex(columns=list(comparisons)).astype(float).mean(axis=1)
