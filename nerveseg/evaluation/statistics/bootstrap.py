"""Intervals from resampling subjects: the subject is the unit that a study drew at random, so it is what is redrawn.

A subject keeps all its values together in every resample. The interval is the bias-corrected and accelerated one
(BCa; Efron 1987, Efron and Tibshirani 1993, chapter 14). Of n subjects it is too narrow as a normal interval with the
n-divisor would be, so its quantiles are taken further out by that much: sqrt(n / (n - 1)) t instead of z (Hesterberg,
The American Statistician 2015;69:371-386, section 4.2). It stays approximate: on synthetic raters it covers in 93 to
94 % (without the widening 91 to 92 %) of studies of 20 to 42 subjects, hence the exact signed-rank interval below 20.
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
    """95 % BCa interval, widened for few subjects, of a statistic of one or several values per subject.

    Args:
        statistic: Takes as many arrays as there are samples and an `axis` to reduce.
        samples: Values (n,) of the same n subjects each (at least two), finite.
        resamples: How often the subjects are drawn anew.
        seed: The same seed and values give the same interval.

    Returns:
        Lower and upper bound; both NaN where the statistic does not vary from resample to resample.
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
    """Nominal level at which a bootstrap interval of n subjects is read, so that it covers in about 95 %."""
    return float(1 - 2 * norm.sf(np.sqrt(n / (n - 1)) * t.isf(ALPHA / 2, n - 1)))
