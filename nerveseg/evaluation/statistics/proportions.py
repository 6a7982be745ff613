"""Shares of subjects above a limit, compared within subjects: is a gross miss more frequent with the method?

A mean of Hausdorff distances is ruled by a few far-off voxels and does not exist where a mask is empty. The share of
subjects beyond a limit exists always: an infinite distance is above every limit. Two shares of the same subjects are
compared through the subjects in which they differ (Tango 1998), by a score interval that holds its level for few
subjects and for shares of zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.stats import norm

from nerveseg.errors import ConfigurationError
from nerveseg.evaluation.statistics.rank_tests import ALPHA
from nerveseg.evaluation.statistics.samples import paired, why_undefined


@dataclass(frozen=True)
class ShareContrast:
    """Difference between two shares of the same subjects; all shares are in [0, 1], not percent.

    Attributes:
        n: Subjects.
        automatic: Share of subjects above the limit, automatic segmentation.
        raters: The same, raters among themselves.
        estimate: Automatic minus raters; 0.1 is ten points more misses.
        ci_low: Lower bound of the 95 % interval.
        ci_high: Upper bound.
        p_value: Two-sided, McNemar without continuity correction, which agrees with the interval.
        non_inferior: Whether the interval lies below the margin; None if not computable.
        note: Why a value is NaN, or empty.
    """

    n: int
    automatic: float
    raters: float
    estimate: float
    ci_low: float
    ci_high: float
    p_value: float
    non_inferior: bool | None
    note: str


def share_above(
    automatic: ArrayLike, raters: ArrayLike, margin: float | int, limit: float | int = 10.0
) -> ShareContrast:
    """Compare the share of subjects above a limit between the method and the raters.

    Args:
        automatic: One distance per subject (n,), in mm; +inf where a mask was empty.
        raters: One distance per subject (n,) among the raters, in the same order and unit.
        margin: The difference of shares up to which the method counts as no worse, for instance 0.1.
        limit: In the unit of the distances; a value equal to it is not above.

    Returns:
        Interval after Tango, Statistics in Medicine 1998;17:891-908: all differences that a score test does not
        reject, so non-inferiority is that test at the margin (one-sided, 2.5 %). With one subject or a NaN all is NaN.
        No subject above the limit on either side is a result (difference 0, p = 1), not an obstacle; below 35 subjects
        even that does not exclude ten points.

    Raises:
        ConfigurationError: The margin is not in (0, 1).
        NervesegError: The samples differ in length.
    """
    if not 0 < margin < 1:
        raise ConfigurationError("a margin for shares lies in (0, 1)", found=margin, remedy="0.1 is ten points")
    first, second = paired(automatic, raters)
    n = first.size
    note = why_undefined(first, second)
    if note:
        return ShareContrast(n, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, None, note)
    above, raters_above = first > limit, second > limit
    only_first, only_second = int((above & ~raters_above).sum()), int((~above & raters_above).sum())
    low, high = tango_interval(only_first, only_second, n)
    return ShareContrast(
        n=n,
        automatic=float(above.mean()),
        raters=float(raters_above.mean()),
        estimate=(only_first - only_second) / n,
        ci_low=low,
        ci_high=high,
        p_value=_mcnemar(only_first, only_second),
        non_inferior=bool(high < margin),
        note="",
    )


def tango_interval(only_first: int, only_second: int, n: int) -> tuple[float, float]:
    """95 % score interval for the difference of two paired shares (Tango 1998).

    Args:
        only_first: Subjects with the first property only.
        only_second: Subjects with the second property only.
        n: All subjects, at least one.

    Returns:
        Bounds in [-1, 1].
    """
    z = float(norm.isf(ALPHA / 2))
    estimate = (only_first - only_second) / n

    def beyond(difference: float) -> float:
        """Squared score statistic minus its critical value, times the variance: negative inside the interval."""
        distance = only_first - only_second - n * difference
        return float(distance**2 - z**2 * _score_variance(difference, only_first, only_second, n))

    return _root(beyond, estimate, -1.0), _root(beyond, estimate, 1.0)


def _root(beyond: Callable[[float], float], estimate: float, end: float) -> float:
    """Where the interval ends between its estimate and -1 or 1."""
    start = estimate + np.sign(end) * 1e-9
    return float(brentq(beyond, start, end)) if abs(start) < 1 and beyond(start) < 0 else end


def _score_variance(difference: float, only_first: int, only_second: int, n: int) -> float:
    """Variance of `only_first - only_second` under the most likely shares with the given difference."""
    square, linear = 2 * n, (2 * n - only_first + only_second) * difference - only_first - only_second
    constant = -only_second * difference * (1 - difference)
    second_share = (np.sqrt(max(0.0, linear**2 - 4 * square * constant)) - linear) / (2 * square)
    return float(n * (2 * second_share + difference * (1 - difference)))


def _mcnemar(only_first: int, only_second: int) -> float:
    discordant = only_first + only_second
    return float(2 * norm.sf(abs(only_first - only_second) / np.sqrt(discordant))) if discordant else 1.0
