"""Bootstrap intervals: subjects are resampled, because the subject is the unit that a study samples at random.

A subject keeps all its values together in every resample. The interval is the bias-corrected and accelerated one
(BCa; Efron 1987, Efron and Tibshirani 1993, chapter 14). With n subjects it is too narrow, as a normal interval with
the n-divisor is, so its quantiles are widened accordingly: sqrt(n / (n - 1)) t instead of z (Hesterberg, The American
Statistician 2015;69:371-386, section 4.2). It remains approximate: on synthetic raters it covers in 93 to 94 % (without
the widening 91 to 92 %) of studies of 20 to 42 subjects, hence the exact signed-rank interval below 20.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import DegenerateDataWarning, bootstrap, norm, t

from nerveseg.evaluation.statistics.rank_tests import ALPHA
from nerveseg.evaluation.statistics.samples import Sample

RESAMPLES = 9999
SEED = 20180101


def bca_interval(
    statistic: Callable[..., Any], *samples: Sample, resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[float, float]:
    """Compute the 95 % BCa interval, widened for few subjects, of a statistic of one or several values per subject.

    Args:
        statistic: Function of as many arrays as there are samples and of an `axis` to reduce.
        samples: Values (n,) of the same n subjects each (at least two), finite.
        resamples: Number of bootstrap samples.
        seed: Seed of the resampling; the same seed and values give the same interval.

    Returns:
        Lower and upper bound; both NaN where the statistic is the same in all bootstrap samples.
    """
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", DegenerateDataWarning)
        interval = bootstrap(
            samples,
            statistic,
            n_resamples=resamples,
            paired=True,
            vectorized=True,
            confidence_level=widened_confidence(samples[0].size),
            method="BCa",
            random_state=np.random.default_rng(seed),
        ).confidence_interval
    low, high = float(interval.low), float(interval.high)
    return (low, high) if np.isfinite([low, high]).all() else (float("nan"), float("nan"))


def widened_confidence(n: int) -> float:
    """Return the nominal level at which a bootstrap interval of n subjects covers in about 95 %."""
    return float(1 - 2 * norm.sf(np.sqrt(n / (n - 1)) * t.isf(ALPHA / 2, n - 1)))
