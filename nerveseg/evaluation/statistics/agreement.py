"""Agreement of measurements such as nerve volume (ml) or mean cross-sectional area (mm2) between raters and method.

The limits of agreement (Bland and Altman 1986) state how far two volumes of one nerve may differ, the intraclass
correlation ICC(2,1) (Shrout and Fleiss 1979) how much of the variance between measurements is variance between
subjects, and the smallest detectable change which change exceeds the error of measurement. A subject with NaN makes the
result NaN: leave such subjects out first, and report their number.
"""

from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike
from scipy.stats import f as f_distribution
from scipy.stats import nct, norm, t

from nerveseg.errors import NervesegError
from nerveseg.evaluation.statistics.rank_tests import ALPHA
from nerveseg.evaluation.statistics.samples import DECIMALS, Estimate, is_constant, paired, why_not_finite

_TAILS = (ALPHA / 2, 1 - ALPHA / 2)
_Z = float(norm.isf(ALPHA / 2))
_UNKNOWN = (nan, nan)


@dataclass(frozen=True)
class BlandAltman:
    """Limits of agreement between two measurements of the same subjects."""

    n: int  # number of subjects
    # Mean difference, other minus reference, in percent of the pair's mean or in the measurement's unit.
    bias: float = nan
    sd: float = nan  # standard deviation of the differences (n - 1), in the unit of the bias
    lower: float = nan  # lower limit, bias - 1.96 sd; 95 % of the differences are expected between the limits
    upper: float = nan  # upper limit, bias + 1.96 sd
    bias_ci: tuple[float, float] = _UNKNOWN  # bounds of the 95 % interval of the bias
    lower_ci: tuple[float, float] = _UNKNOWN  # bounds of the 95 % interval of the lower limit
    upper_ci: tuple[float, float] = _UNKNOWN  # bounds of the 95 % interval of the upper limit
    note: str = ""  # reason why a value is NaN, or empty


def bland_altman(reference: ArrayLike, other: ArrayLike, percent: bool = True) -> BlandAltman:
    """Compute bias and 95 % limits of agreement (Bland and Altman, Lancet 1986;327:307-310).

    The intervals assume normal differences. That of the bias is Student's; those of the limits are the exact ones of
    the non-central t distribution (Carkeet, Optometry and Vision Science 2015;92:e71-e80), which are not symmetric.

    Args:
        reference: Reference measurement (n,), above zero if in percent.
        other: Measurement to compare with the reference (n,), same subjects and unit.
        percent: Flag: true for differences in percent of the mean of the two measurements.

    Returns:
        Limits of agreement. All NaN for one subject, values that are not finite, or percent of a mean of zero or less.
        If all differences are equal, bias and limits are that difference and the intervals NaN.

    Raises:
        NervesegError: The samples differ in length.
    """
    first, second = paired(reference, other)
    n = first.size
    note = why_not_finite(first, second)
    means = (first + second) / 2
    if not note and percent and (means <= 0).any():
        note = f"not computable, {int((means <= 0).sum())} of {n} pairs have a mean of zero or below"
    if note:
        return BlandAltman(n, note=note)
    differences = 100 * (second - first) / means if percent else second - first
    bias, sd = float(differences.mean()), float(differences.std(ddof=1))
    if is_constant(differences):
        return BlandAltman(n, bias, 0.0, bias, bias, note="no intervals, all differences are equal")
    below, above = (float(factor) for factor in t.ppf(_TAILS, n - 1) / np.sqrt(n))
    inner, outer = (float(factor) for factor in nct.ppf(_TAILS, n - 1, _Z * np.sqrt(n)) / np.sqrt(n))
    return BlandAltman(
        n=n,
        bias=bias,
        sd=sd,
        lower=bias - _Z * sd,
        upper=bias + _Z * sd,
        bias_ci=(bias + sd * below, bias + sd * above),
        lower_ci=(bias - sd * outer, bias - sd * inner),
        upper_ci=(bias + sd * inner, bias + sd * outer),
    )


def repeatability(first: ArrayLike, second: ArrayLike) -> Estimate:
    """Compute the standard error of measurement (within-subject standard deviation) from two measurements per subject.

    The squared error is the mean of half the squared differences (Bland and Altman, BMJ 1996;313:744): a shift between
    the first and the repeated scans (n,) counts as error. It is in the measurement's unit; NaN for one subject or
    values that are not finite.

    Raises:
        NervesegError: The samples differ in length.
    """
    before, after = paired(first, second)
    if note := why_not_finite(before, after):
        return Estimate(before.size, note=note)
    return Estimate(before.size, float(np.sqrt(np.mean((after - before) ** 2) / 2)))


def smallest_detectable_change(standard_error: float) -> float:
    """Return 1.96 sqrt(2) standard errors of measurement: 95 % of repeats of an unchanged subject differ by less.

    After de Vet et al., Journal of Clinical Epidemiology 2006;59:1033-1039.
    """
    return float(_Z * np.sqrt(2) * standard_error)


def icc_2_1(ratings: ArrayLike) -> Estimate:
    """Compute ICC(2,1), the share of the variance of single ratings that is variance between subjects.

    Two-way random effects, absolute agreement, single rating (Shrout and Fleiss, Psychological Bulletin
    1979;86:420-428, case 2): a rater who measures everything larger lowers it. Interval after McGraw and Wong,
    Psychological Methods 1996;1:30-46, ICC(A,1), by Satterthwaite's degrees of freedom.

    Args:
        ratings: Measurements (subjects, raters), complete and in one unit. The method is not one of the raters.

    Returns:
        ICC(2,1), at most 1, possibly negative, with its interval. NaN for one subject, one rater, values that are not
        finite or all equal, and where two raters of two subjects swap their values. If the raters differ by constants
        only, there is no interval.

    Raises:
        NervesegError: The ratings are not a table.
    """
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2:
        raise NervesegError("ratings as a table of subjects by raters", found=f"an array of shape {table.shape}")
    n, k = table.shape
    note = why_not_finite(*table.T) if k else ""
    if not note and k < 2:
        note = f"not computable, {k} rater{'s' * (k != 1)}"
    if note or np.ptp(table) == 0:
        return Estimate(n, note=note or "not computable, all values are equal")
    subjects, raters, error = squares = _mean_squares(table)
    total = subjects + (k - 1) * error + k * (raters - error) / n
    if total <= 1e-12 * error:
        return Estimate(n, note="not computable, two raters swap the values of two subjects")
    value = (subjects - error) / total
    if error == 0:
        return Estimate(n, value, note="no interval, the raters differ by constants only")
    low, high = _icc_interval(value, squares, n, k)
    if not low <= value <= high:  # the approximation fails for tiny tables and negative values
        return Estimate(n, value, note="no interval, its degrees of freedom vanish")
    return Estimate(n, value, low, high)


def _mean_squares(table: Float64[np.ndarray[Any, Any], "_n _k"]) -> tuple[float, float, float]:
    """Return the mean squares between subjects, between raters and of error (two-way, without replication)."""
    n, k = table.shape
    rows, columns = table.mean(axis=1, keepdims=True), table.mean(axis=0, keepdims=True)
    residual = table - rows - columns + table.mean()
    error = float((residual**2).sum() / ((n - 1) * (k - 1)))
    # Values are exact to 1e-6, and to about 1e-16 of their size, where the residual is zero by construction.
    negligible = error < max(1e-12 * np.abs(table).max(), 10.0**-DECIMALS) ** 2
    return float(k * rows.var(ddof=1)), float(n * columns.var(ddof=1)), 0.0 if negligible else error


def _icc_interval(value: float, squares: tuple[float, float, float], n: int, k: int) -> tuple[float, float]:
    """Return the bounds of the ICC of n subjects and k raters, from its value and mean squares."""
    subjects, raters, error = squares
    from_raters = k * value / (n * (1 - value)) * raters
    from_error = (1 + k * value * (n - 1) / (n * (1 - value))) * error
    spread = from_raters**2 / (k - 1) + from_error**2 / ((n - 1) * (k - 1))
    freedom = (from_raters + from_error) ** 2 / spread if spread else 0.0
    below = float(f_distribution.isf(ALPHA / 2, n - 1, freedom))
    above = float(f_distribution.isf(ALPHA / 2, freedom, n - 1))
    others = k * raters + (k * n - k - n) * error
    low = n * (subjects - below * error) / (below * others + n * subjects)
    high = n * (above * subjects - error) / (others + n * above * subjects)
    return low, high
