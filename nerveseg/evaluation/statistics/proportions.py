"""Paired comparison of the shares of subjects above a limit, for gross misses of the method and of the raters.

A mean of Hausdorff distances is dominated by a few distant voxels and is undefined where a mask is empty. The share of
subjects above a limit is always defined: an infinite distance is above every limit. Two shares of the same subjects are
compared through the subjects in which they differ (Tango 1998), by a score interval that keeps its level for few
subjects and for shares of zero.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.stats import norm

from nerveseg.errors import ConfigurationError
from nerveseg.evaluation.statistics.rank_tests import ALPHA
from nerveseg.evaluation.statistics.samples import Estimate, paired, why_undefined


def share_above(automatic: ArrayLike, raters: ArrayLike, margin: float | int, limit: float | int = 10.0) -> Estimate:
    """Compare the share of subjects above a limit between the method and the raters.

    Args:
        automatic: Distances of the method, one per subject (n,), in mm; +inf where a mask was empty.
        raters: Distances among the raters, one per subject (n,), in the same order and unit.
        margin: Difference of shares up to which the method counts as no worse, for instance 0.1.
        limit: Distance in mm; an equal value is not above.

    Returns:
        Difference of the two shares (method minus raters; 0.1 is ten percentage points), McNemar's p-value without
        continuity correction, which agrees with the interval, and the verdict at the margin. Interval after Tango,
        Statistics in Medicine 1998;17:891-908: all differences that a score test does not reject, so non-inferiority is
        that test at the margin (one-sided, 2.5 %). With one subject or a NaN all is NaN. No subject above the limit on
        either side is a result (difference 0, p = 1), not an obstacle; below 35 subjects even that does not exclude ten
        points.

    Raises:
        ConfigurationError: The margin is not in (0, 1).
        NervesegError: The samples differ in length.
    """
    if not 0 < margin < 1:
        raise ConfigurationError("a margin of shares in (0, 1)", found=margin, remedy="0.1 is ten points")
    first, second = paired(automatic, raters)
    n = first.size
    note = why_undefined(first, second)
    if note:
        return Estimate(n, note=note)
    above, raters_above = first > limit, second > limit
    only_first, only_second = int((above & ~raters_above).sum()), int((~above & raters_above).sum())
    low, high = tango_interval(only_first, only_second, n)
    difference, discordant = only_first - only_second, only_first + only_second
    mcnemar = float(2 * norm.sf(abs(difference) / np.sqrt(discordant))) if discordant else 1.0
    return Estimate(n, difference / n, low, high, p_value=mcnemar, non_inferior=bool(high < margin))


def tango_interval(only_first: int, only_second: int, n: int) -> tuple[float, float]:
    """Compute the 95 % score interval of the difference of two paired shares (Tango 1998).

    Args:
        only_first: Number of subjects with the first property only.
        only_second: Number of subjects with the second property only.
        n: Number of all subjects, at least one.

    Returns:
        Bounds in [-1, 1].
    """
    z = float(norm.isf(ALPHA / 2))
    estimate = (only_first - only_second) / n

    def beyond(difference: float) -> float:
        """Return the squared score statistic minus its critical value, times the variance; negative in the interval."""
        distance = only_first - only_second - n * difference
        return float(distance**2 - z**2 * _score_variance(difference, only_first, only_second, n))

    return _root(beyond, estimate, -1.0), _root(beyond, estimate, 1.0)


def _root(beyond: Callable[[float], float], estimate: float, end: float) -> float:
    """Return the bound of the interval between its estimate and -1 or 1."""
    start = estimate + np.sign(end) * 1e-9
    return float(brentq(beyond, start, end)) if abs(start) < 1 and beyond(start) < 0 else end


def _score_variance(difference: float, only_first: int, only_second: int, n: int) -> float:
    """Return the variance of `only_first - only_second` under the most likely shares with the given difference."""
    square, linear = 2 * n, (2 * n - only_first + only_second) * difference - only_first - only_second
    constant = -only_second * difference * (1 - difference)
    second_share = (np.sqrt(max(0.0, linear**2 - 4 * square * constant)) - linear) / (2 * square)
    return float(n * (2 * second_share + difference * (1 - difference)))
