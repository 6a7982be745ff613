"""Rank tests with the p-values of R's `wilcox.test` (below R 4.6), and their effect sizes.

The paper compares Auto-GT with R-R by the unpaired Mann-Whitney U test in R 3.5 (section 2.5). Only ranks count, so a
failed segmentation may rank worst as +inf. Values that agree in six decimals tie: noise of the spacing must not change
a rank.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike
from scipy.stats import mannwhitneyu, norm, rankdata

from nerveseg.evaluation.statistics.samples import DECIMALS, Estimate, Sample, sample, why_undefined

ALPHA = 0.05  # level of tests and intervals, as in the paper

METHODS = ("normal approximation", "exact")
_EXACT_BELOW = 50


def mann_whitney(x: ArrayLike, y: ArrayLike) -> Estimate:
    """Compute the unpaired two-sided Mann-Whitney U test as `wilcox.test(x, y)` of R below 4.6.

    The p-value is exact if both samples hold fewer than 50 values and no value occurs twice, else the normal
    approximation with corrections for ties and continuity (Hollander and Wolfe 1973, section 4.1).

    Args:
        x: Values (n,), for instance Auto-GT; +inf ranks last, and two of them tie.
        y: Values (n_pairs,), for instance R-R, in the same unit.

    Returns:
        Record whose `statistic` is the number of pairs in which the value of `x` is larger, ties counted half (R's W).
        With fewer than two values in a sample, or a NaN, everything but the sizes is NaN; if all values are equal the
        p-value is NaN.

    Raises:
        NervesegError: A sample is not one-dimensional.
    """
    first, second = np.round(sample(x), DECIMALS), np.round(sample(y), DECIMALS)
    n_x, n_y = first.size, second.size
    if note := why_undefined(first, second):
        return Estimate(n_x, n_pairs=n_y, note=note)
    distinct = np.unique(np.concatenate([first, second])).size
    exact = max(n_x, n_y) < _EXACT_BELOW and distinct == n_x + n_y
    result = mannwhitneyu(first, second, method="exact" if exact else "asymptotic")
    u = float(result.statistic)
    known = Estimate(n_x, n_pairs=n_y, statistic=u, effect_size=rank_biserial(u, n_x, n_y))
    if distinct == 1:
        return replace(known, note="not computable, all values are equal")
    return replace(known, p_value=float(result.pvalue), method=METHODS[exact])


def rank_biserial(u: float, n_x: int, n_y: int) -> float:
    """Return the rank-biserial correlation 2 u / (n_x n_y) - 1 (Wendt 1972; Cliff's delta), NaN for an empty sample."""
    return 2 * u / (n_x * n_y) - 1 if n_x and n_y else float("nan")


def signed_rank(differences: ArrayLike) -> Estimate:
    """Compute Wilcoxon's two-sided signed-rank test, with zeros left out as Wilcoxon and R do.

    With fewer than 50 differences other than zero the p-value is exact, given the ranks that occur: ties take mid-ranks
    and the distribution is that of all sign changes (Streitberg and Roehmel 1986). R is exact without ties and zeros
    only. Otherwise the normal approximation with corrections for ties and continuity, as in R. The effect size is the
    ranks' sum of positive minus negative differences over the sum of all (Kerby 2014).

    Args:
        differences: Values, one per subject (n,); infinite ones rank last.

    Returns:
        Record whose `statistic` is the sum of the ranks of the positive differences (R's V).

    Raises:
        NervesegError: The differences are not one-dimensional.
    """
    values = sample(differences)
    ranks, positive = _signed_ranks(values)
    if note := why_undefined(values) or ("" if ranks.size else "not computable, all differences are zero"):
        return Estimate(values.size, note=note)
    total = float(ranks.sum())
    return Estimate(
        values.size,
        p_value=min(1.0, 2 * _upper_tail(ranks, max(positive, total - positive))),
        effect_size=2 * positive / total - 1,
        statistic=positive,
        method=METHODS[ranks.size < _EXACT_BELOW],
    )


def above_zero_p_value(values: Sample) -> float:
    """Compute the one-sided p-value of the signed-rank test, of values that are not above zero."""
    ranks, positive = _signed_ranks(values)
    return _upper_tail(ranks, positive) if ranks.size else 1.0


def _signed_ranks(values: Sample) -> tuple[Sample, float]:
    """Return the ranks of the absolute values other than zero, and the sum of those of positive values."""
    rounded = np.round(values, DECIMALS)
    nonzero = rounded[rounded != 0]
    ranks: Sample = np.asarray(rankdata(np.abs(nonzero)), dtype=np.float64)
    return ranks, float(ranks[nonzero > 0].sum())


def hodges_lehmann(differences: ArrayLike) -> Estimate:
    """Compute the Hodges-Lehmann estimate with the 95 % interval that inverts the exact signed-rank test.

    The estimate is the median of the n (n + 1) / 2 means of two differences (each with itself included); the interval
    runs between two of these means, chosen by the test's distribution without ties (Hollander and Wolfe 1973,
    section 3.4; `wilcox.test(conf.int = TRUE)` of R). It assumes that the differences are symmetric. Below 6 subjects
    no such interval reaches 95 %, so the bounds are NaN and the note says so.

    Args:
        differences: Values, one per subject (n,), finite, or infinite in one direction only.

    Raises:
        NervesegError: The differences are not one-dimensional.
    """
    values = sample(differences)
    both = np.isposinf(values).any() and np.isneginf(values).any()
    if note := why_undefined(values) or ("not computable, differences of both +inf and -inf" if both else ""):
        return Estimate(values.size, note=note)
    means = np.sort((values[:, np.newaxis] + values)[np.triu_indices(values.size)] / 2)
    rank = _interval_rank(values.size)
    found = Estimate(values.size, float(np.median(means)))
    if rank == 0:
        reached = 100 * (1 - 2 * 0.5**values.size)
        note = f"no interval, n={values.size}: from smallest to largest difference would cover {reached:g} %, not 95 %"
        return replace(found, note=note)
    return replace(found, ci_low=float(means[rank - 1]), ci_high=float(means[-rank]))


def _upper_tail(ranks: Sample, positive: float) -> float:
    """Return the share of all sign changes whose sum of positive ranks is as large, or its normal approximation."""
    if ranks.size < _EXACT_BELOW:
        doubled = np.rint(2 * ranks).astype(np.int64)
        return min(1.0, float(_sign_change_distribution(doubled)[round(2 * positive) :].sum()))
    n = ranks.size
    ties = np.unique(ranks, return_counts=True)[1].astype(np.float64)
    variance = n * (n + 1) * (2 * n + 1) / 24 - (ties**3 - ties).sum() / 48
    return float(norm.sf((positive - n * (n + 1) / 4 - 0.5) / np.sqrt(variance)))


def _sign_change_distribution(ranks: Any) -> Float64[np.ndarray[Any, Any], " _sums"]:
    """Return the probability of each sum of the drawn ranks (integers), each drawn with probability one half."""
    distribution = np.zeros(int(ranks.sum()) + 1)
    distribution[0] = 1
    for rank in ranks:
        shifted = np.concatenate([np.zeros(rank), distribution[: distribution.size - rank]])
        distribution = (distribution + shifted) / 2
    return distribution


def _interval_rank(n: int) -> int:
    """Return the rank, from both ends, of the mean that bounds the interval (alpha/2 quantile of the statistic)."""
    cumulative = np.cumsum(_sign_change_distribution(np.arange(1, n + 1)))
    return int(np.searchsorted(cumulative, ALPHA / 2))
