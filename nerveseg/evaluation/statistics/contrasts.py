"""Contrast of the method with the raters: one value per subject for each side, one estimate per cohort.

The paper's question (section 2.5) is answered by comparing like with like: the mean agreement of the method with the
raters against the mean agreement among the raters. The subject is the unit; pairs of masks are never counted as
independent. A mean of Hausdorff distances is undefined where a mask is empty; distances are compared by the share of
subjects above a limit, above which an infinite one lies too.

Bootstrap intervals resample subjects and are bias-corrected and accelerated (BCa; Efron 1987, Efron and Tibshirani
1993, chapter 14). With n subjects such an interval is too narrow, so its quantiles are widened: sqrt(n / (n - 1)) t
instead of z (Hesterberg, The American Statistician 2015;69:371-386, section 4.2). A difference has the Hodges-Lehmann
pseudomedian and the interval of the signed-rank test at every number of subjects, so all cohorts state one quantity.
"""

import warnings
from collections.abc import Callable
from dataclasses import replace
from math import nan
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.stats import DegenerateDataWarning, binom, bootstrap, norm, t

from nerveseg.errors import ConfigurationError
from nerveseg.evaluation.statistics.rank_tests import ALPHA, above_zero_p_value, hodges_lehmann, signed_rank
from nerveseg.evaluation.statistics.samples import (
    DECIMALS,
    Estimate,
    Sample,
    is_constant,
    paired,
    sample,
    why_not_finite,
    why_undefined,
)

RESAMPLES = 9999
SEED = 20180101
BCA_FROM = 20  # number of subjects below which a bootstrap interval is called rough

INTERVAL_FROM = 6  # number of subjects from which a signed-rank interval of 95 % exists

PSEUDOMEDIAN = "Hodges-Lehmann pseudomedian, signed-rank interval"
_EXACT_MCNEMAR_BELOW = 25


def bca_interval(statistic: Callable[..., Any], *samples: Sample, resamples: int = RESAMPLES) -> tuple[float, float]:
    """Compute the 95 % BCa interval, widened for few subjects, of a statistic of one or several values per subject.

    Args:
        statistic: Function of as many arrays as there are samples and of an `axis` to reduce.
        samples: Values (n,) of the same n subjects each (at least two), finite.
        resamples: Number of bootstrap samples, drawn with a fixed seed.

    Returns:
        Lower and upper bound; both NaN where the statistic is the same in all bootstrap samples.
    """
    n = samples[0].size
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", DegenerateDataWarning)
        interval = bootstrap(
            samples,
            statistic,
            n_resamples=resamples,
            paired=True,
            vectorized=True,
            confidence_level=float(1 - 2 * norm.sf(np.sqrt(n / (n - 1)) * t.isf(ALPHA / 2, n - 1))),
            method="BCa",
            random_state=np.random.default_rng(SEED),
        ).confidence_interval
    low, high = float(interval.low), float(interval.high)
    return (low, high) if np.isfinite([low, high]).all() else (nan, nan)


def contrast(differences: ArrayLike, margin: float | int) -> Estimate:
    """Compare the method with the raters by one difference per subject, of a metric that is higher if better.

    The estimate is the Hodges-Lehmann pseudomedian with its signed-rank interval, which exists from 6 subjects on.
    Failures skew the differences; a loss of just the margin is then called non-inferior in 3 to 5 % instead of 2.5 %.

    Args:
        differences: Mean Auto-rater minus mean R-R of each subject (n,), in the metric's unit; infinite ones (a failed
            mask) rank last.
        margin: Largest loss that counts as no loss, above zero, in the metric's unit; to be chosen before the test.

    Returns:
        Pseudomedian with interval, signed-rank test of no difference, effect size, one-sided signed-rank test of a loss
        of the margin or more, and the verdict: non-inferior if the interval excludes such a loss (at 2.5 %). All but n
        is NaN for one subject or if a difference is NaN.

    Raises:
        ConfigurationError: The margin is not above zero.
        NervesegError: The differences are not one-dimensional.
    """
    if not 0 < margin < np.inf:
        raise ConfigurationError("a margin above zero", found=margin, remedy="0.05 for Dice, for instance")
    values = sample(differences)
    if note := why_undefined(values):
        return Estimate(values.size, note=note)
    found, ranks = hodges_lehmann(values), signed_rank(values)
    return replace(
        found,
        p_value=ranks.p_value,
        effect_size=ranks.effect_size,
        p_non_inferiority=above_zero_p_value(values + margin),
        non_inferior=None if np.isnan(found.ci_low) else bool(round(found.ci_low + margin, DECIMALS) > 0),
        method=PSEUDOMEDIAN,
    )


def williams_index(automatic_rater: ArrayLike, rater_rater: ArrayLike, resamples: int = RESAMPLES) -> Estimate:
    """Compute the Williams index: mean agreement method-raters over mean agreement among the raters.

    Williams, Biometrics 1976;32:619-627, with the mean over a cohort's subjects in numerator and denominator.

    Args:
        automatic_rater: Mean agreement of the method with the raters, per subject (n,); a measure that is higher for
            better agreement and never negative, such as Dice.
        rater_rater: Mean agreement among the raters, per subject (n,), in the same order.
        resamples: Number of bootstrap samples.

    Returns:
        Index with its interval; 1 is as close as a rater. One subject (or the means of a published table) gives an
        index without interval. NaN if a value is not finite, or if the raters do not agree at all.

    Raises:
        NervesegError: The samples differ in length.
    """
    automatic, raters = paired(automatic_rater, rater_rater)
    n = automatic.size
    index = float(_ratio_of_means(automatic, raters)) if n and raters.sum() > 0 else nan
    value = index if np.isfinite(index) else nan
    if note := _why_no_williams(automatic, raters, value):
        return Estimate(n, value, note=note)
    low, high = bca_interval(_ratio_of_means, automatic, raters, resamples=resamples)
    if n < BCA_FROM:
        note = f"n={n}: the interval from resampling fewer than {BCA_FROM} subjects is rough, rather too narrow"
    return Estimate(n, value, low, high, note=note)


def _why_no_williams(automatic: Sample, raters: Sample, value: float) -> str:
    """Return why the index or its interval is undefined, or an empty text."""
    n = automatic.size
    note = why_not_finite(automatic, raters) if n != 1 or np.isnan(value) else ""
    if not note and np.isnan(value):
        return "not computable, the raters do not agree at all (mean 0)"
    if not note and n < INTERVAL_FROM:
        return f"no interval, n={n}: at least {INTERVAL_FROM} subjects are needed"
    if not note and is_constant(automatic - value * raters):
        return "no interval, the index is the same for all subjects"
    return note


def _ratio_of_means(numerator: Any, denominator: Any, axis: int = -1) -> Any:
    return np.mean(numerator, axis=axis) / np.mean(denominator, axis=axis)


def share_above(automatic: ArrayLike, raters: ArrayLike, margin: float | int, limit: float | int = 10.0) -> Estimate:
    """Compare the share of subjects above a limit between the method and the raters.

    Args:
        automatic: Distances of the method, one per subject (n,), in mm; +inf where a mask was empty.
        raters: Distances among the raters, one per subject (n,), in the same order and unit.
        margin: Difference of shares up to which the method counts as no worse, for instance 0.1.
        limit: Distance in mm; an equal value, to six decimals, is not above.

    Returns:
        Difference of the two shares (method minus raters; 0.1 is ten percentage points) with Tango's interval,
        McNemar's p-value (exact below 25 discordant subjects, else without continuity correction), Tango's one-sided
        score test of an excess of the margin or more, and the verdict: non-inferior if the interval lies below the
        margin. With one subject or a NaN all is NaN. No subject above the limit on either side is a result (difference
        0, p = 1), but with fewer than `subjects_for_share` does not exclude the margin.

    Raises:
        ConfigurationError: The margin is not in (0, 1).
        NervesegError: The samples differ in length.
    """
    if not 0 < margin < 1:
        raise ConfigurationError("a margin of shares in (0, 1)", found=margin, remedy="0.1 is ten points")
    first, second = paired(automatic, raters)
    n = first.size
    if note := why_undefined(first, second):
        return Estimate(n, note=note)
    above, raters_above = (np.round(values, DECIMALS) > round(limit, DECIMALS) for values in (first, second))
    only_first, only_second = int((above & ~raters_above).sum()), int((~above & raters_above).sum())
    low, high = tango_interval(only_first, only_second, n)
    difference, discordant = only_first - only_second, only_first + only_second
    if discordant < _EXACT_MCNEMAR_BELOW:
        mcnemar = min(1.0, 2 * float(binom.cdf(min(only_first, only_second), discordant, 0.5)))
    else:
        mcnemar = float(2 * norm.sf(abs(difference) / np.sqrt(discordant)))
    below_margin = (n * margin - difference) / np.sqrt(_score_variance(margin, only_first, only_second, n))
    return Estimate(
        n,
        difference / n,
        low,
        high,
        p_value=mcnemar,
        p_non_inferiority=float(norm.sf(below_margin)),
        non_inferior=bool(high < margin),
    )


def subjects_for_share(margin: float) -> int:
    """Return the smallest number of subjects whose perfect result, nobody above the limit, excludes the margin."""
    return int(norm.isf(ALPHA / 2) ** 2 * (1 / margin - 1)) + 1


def tango_interval(only_first: int, only_second: int, n: int) -> tuple[float, float]:
    """Compute the 95 % score interval in [-1, 1] of the difference of two paired shares.

    It holds all differences that a score test does not reject (Tango, Statistics in Medicine 1998;17:891-908). Of n
    subjects, at least one, `only_first` and `only_second` have one of the two properties only.
    """
    z = float(norm.isf(ALPHA / 2))
    estimate = (only_first - only_second) / n

    def beyond(difference: float) -> float:
        """Return the squared score statistic minus its critical value, times the variance; negative in the interval."""
        distance = only_first - only_second - n * difference
        return float(distance**2 - z**2 * _score_variance(difference, only_first, only_second, n))

    def bound(end: float) -> float:
        start = estimate + np.sign(end) * 1e-9
        return float(brentq(beyond, start, end)) if abs(start) < 1 and beyond(start) < 0 else end

    return bound(-1.0), bound(1.0)


def _score_variance(difference: float, only_first: int, only_second: int, n: int) -> float:
    """Return the variance of `only_first - only_second` under the most likely shares with the given difference."""
    square, linear = 2 * n, (2 * n - only_first + only_second) * difference - only_first - only_second
    constant = -only_second * difference * (1 - difference)
    second_share = (np.sqrt(max(0.0, linear**2 - 4 * square * constant)) - linear) / (2 * square)
    return float(n * (2 * second_share + difference * (1 - difference)))


def holm(p_values: ArrayLike) -> Sample:
    """Adjust p-values (n,) for their number after Holm, Scandinavian Journal of Statistics 1979;6:65-70.

    NaN stands for a test that was not computable; it is not counted and stays NaN.

    Raises:
        NervesegError: The p-values are not one-dimensional.
    """
    values = sample(p_values)
    adjusted = np.full(values.size, nan)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    adjusted[order] = np.minimum(1, np.maximum.accumulate(values[order] * np.arange(order.size, 0, -1)))
    return adjusted
