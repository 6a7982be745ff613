"""Agreement of measurements such as nerve volume (ml) or mean cross-sectional area (mm2) between raters and method.

Dice says whether two masks overlap; a clinician uses the volume. How far two volumes of the same nerve may lie apart
is said by the limits of agreement (Bland and Altman 1986), how much of the variation between measurements is variation
between subjects by the intraclass correlation ICC(2,1) (Shrout and Fleiss 1979), and what change exceeds the error of
measurement by the smallest detectable change. All take one row per subject. A subject with NaN makes the result NaN:
leave it out first, and say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike
from scipy.stats import f as f_distribution
from scipy.stats import nct, norm, t

from nerveseg.errors import NervesegError
from nerveseg.evaluation.computable import constant, finite_obstacle, paired
from nerveseg.evaluation.rank_tests import ALPHA

Ratings: TypeAlias = Float64[np.ndarray[Any, Any], "_subjects _raters"]
_TAILS = (ALPHA / 2, 1 - ALPHA / 2)
_UNKNOWN = (float("nan"), float("nan"))


@dataclass(frozen=True)
class BlandAltman:
    """Limits of agreement between two measurements of the same subjects.

    Attributes:
        n: Subjects.
        bias: Mean difference, other minus reference, in percent of the pair's mean or in the measurement's unit.
        sd: Standard deviation of the differences (n - 1).
        lower: bias - 1.96 sd; 95 % of the differences are expected between the limits.
        upper: bias + 1.96 sd.
        bias_ci: 95 % interval of the bias.
        lower_ci: 95 % interval of the lower limit.
        upper_ci: 95 % interval of the upper limit.
        note: Why a value is NaN, or empty.
    """

    n: int
    bias: float
    sd: float
    lower: float
    upper: float
    bias_ci: tuple[float, float]
    lower_ci: tuple[float, float]
    upper_ci: tuple[float, float]
    note: str


@dataclass(frozen=True)
class Icc:
    """Intraclass correlation of single ratings, raters drawn at random, absolute agreement.

    Attributes:
        value: ICC(2,1), at most 1; can be negative.
        ci_low: Lower bound of the 95 % interval.
        ci_high: Upper bound.
        n: Subjects.
        raters: Ratings per subject.
        note: Why a value is NaN, or empty.
    """

    value: float
    ci_low: float
    ci_high: float
    n: int
    raters: int
    note: str


@dataclass(frozen=True)
class Repeatability:
    """Error of a measurement that was repeated on the same subjects, in the measurement's unit.

    Attributes:
        n: Subjects.
        sem: Standard error of measurement (within-subject standard deviation).
        sdc: Smallest detectable change, 1.96 sqrt(2) sem: 95 % of repeats of an unchanged subject differ by less.
        note: Why a value is NaN, or empty.
    """

    n: int
    sem: float
    sdc: float
    note: str


def bland_altman(reference: ArrayLike, other: ArrayLike, percent: bool = True) -> BlandAltman:
    """Bias and 95 % limits of agreement (Bland and Altman, Lancet 1986;327:307-310).

    The intervals assume normal differences. The bias has Student's; the limits, each by itself, the exact one from the
    non-central t distribution (Carkeet, Optometry and Vision Science 2015;92:e71-e80), which unlike the approximate one
    of 1986 is not symmetric: the outer bound lies further away.

    Args:
        reference: Measurement (n,), above zero if in percent.
        other: The measurement compared with it, same subjects and unit.
        percent: Differences in percent of the mean of the two measurements, which suits errors that grow with size.

    Returns:
        All NaN for one subject, for values that are not finite, or in percent of a mean that is zero or negative. If
        all differences are equal, bias and limits are that difference and the intervals NaN.

    Raises:
        NervesegError: The samples differ in length.
    """
    first, second = paired(reference, other)
    n = first.size
    note = finite_obstacle(first, second)
    means = (first + second) / 2
    if not note and percent and (means <= 0).any():
        note = f"not computable, {int((means <= 0).sum())} of {n} pairs have a mean of zero or below"
    if note:
        return BlandAltman(n, np.nan, np.nan, np.nan, np.nan, _UNKNOWN, _UNKNOWN, _UNKNOWN, note)
    differences = 100 * (second - first) / means if percent else second - first
    bias, sd = float(differences.mean()), float(differences.std(ddof=1))
    z = float(norm.isf(ALPHA / 2))
    if constant(differences):
        note = "no intervals, all differences are equal"
        return BlandAltman(n, bias, 0.0, bias, bias, _UNKNOWN, _UNKNOWN, _UNKNOWN, note)
    around_bias, outward = t.ppf(_TAILS, n - 1) / np.sqrt(n), nct.ppf(_TAILS, n - 1, z * np.sqrt(n)) / np.sqrt(n)
    return BlandAltman(
        n=n,
        bias=bias,
        sd=sd,
        lower=bias - z * sd,
        upper=bias + z * sd,
        bias_ci=(bias + sd * float(around_bias[0]), bias + sd * float(around_bias[1])),
        lower_ci=(bias - sd * float(outward[1]), bias - sd * float(outward[0])),
        upper_ci=(bias + sd * float(outward[0]), bias + sd * float(outward[1])),
        note="",
    )


def icc_2_1(ratings: ArrayLike) -> Icc:
    """ICC(2,1): share of the variance of single ratings that is variance between subjects.

    Two-way random effects, absolute agreement, single rating (Shrout and Fleiss, Psychological Bulletin
    1979;86:420-428, case 2): a rater who measures everything larger lowers it. Interval after McGraw and Wong,
    Psychological Methods 1996;1:30-46, ICC(A,1), by Satterthwaite's degrees of freedom.

    Args:
        ratings: Measurements (subjects, raters), complete and in one unit. The method is not one of the raters.

    Returns:
        All NaN for one subject, one rater, values that are not finite or that are all equal, and where two raters of
        two subjects swap their values. If the raters differ by constants only, the value stands without interval.

    Raises:
        NervesegError: The ratings are not a table.
    """
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2:
        raise NervesegError("ratings are a table of subjects by raters", found=f"an array of shape {table.shape}")
    n, raters = table.shape
    note = finite_obstacle(*table.T) if raters else ""
    if not note and raters < 2:
        note = f"not computable, {raters} rater{'s' * (raters != 1)}"
    if not note and np.ptp(table) == 0:
        note = "not computable, all values are equal"
    if note:
        return Icc(np.nan, np.nan, np.nan, n, raters, note)
    squares = _MeanSquares.of(table)
    value = squares.icc()
    if squares.error == 0 or np.isnan(value):
        note = "no interval, the raters differ by constants only" if squares.error == 0 else "not computable, n=2 raters=2"
        return Icc(value, np.nan, np.nan, n, raters, note)
    low, high = squares.interval()
    return Icc(value, low, high, n, raters, "")


def repeatability(first: ArrayLike, second: ArrayLike) -> Repeatability:
    """Standard error of measurement and smallest detectable change from two measurements of each subject.

    The squared error is the mean of half the squared differences (Bland and Altman, BMJ 1996;313:744): a shift between
    the two occasions counts as error. Smallest detectable change after de Vet et al., Journal of Clinical Epidemiology
    2006;59:1033-1039.

    Args:
        first: Measurement of the first scan (n,).
        second: Measurement of the repeated scan, same subjects and unit.

    Returns:
        NaN for one subject or values that are not finite; 0 where every repeat gave the same value.

    Raises:
        NervesegError: The samples differ in length.
    """
    before, after = paired(first, second)
    note = finite_obstacle(before, after)
    if note:
        return Repeatability(before.size, np.nan, np.nan, note)
    sem = float(np.sqrt(np.mean((after - before) ** 2) / 2))
    return Repeatability(before.size, sem, float(norm.isf(ALPHA / 2) * np.sqrt(2) * sem), "")


@dataclass(frozen=True)
class _MeanSquares:
    """Two-way analysis of variance without replication: mean squares between subjects, between raters, and of error."""

    subjects: float
    raters: float
    error: float
    n: int
    k: int

    @classmethod
    def of(cls, table: Ratings) -> _MeanSquares:
        n, k = table.shape
        rows, columns = table.mean(axis=1, keepdims=True), table.mean(axis=0, keepdims=True)
        residual = table - rows - columns + table.mean()
        error = float((residual**2).sum() / ((n - 1) * (k - 1)))
        # Rounding leaves about 1e-16 of the values where the residual is zero by construction.
        negligible = error < (1e-12 * np.abs(table).max()) ** 2
        return cls(
            subjects=float(k * rows.var(ddof=1)),
            raters=float(n * columns.var(ddof=1)),
            error=0.0 if negligible else error,
            n=n,
            k=k,
        )

    def icc(self) -> float:
        total = self.subjects + (self.k - 1) * self.error + self.k * (self.raters - self.error) / self.n
        return (self.subjects - self.error) / total if total > 1e-12 * self.error else float("nan")

    def interval(self) -> tuple[float, float]:
        n, k, value = self.n, self.k, self.icc()
        from_raters = k * value / (n * (1 - value)) * self.raters
        from_error = (1 + k * value * (n - 1) / (n * (1 - value))) * self.error
        freedom = (from_raters + from_error) ** 2 / (from_raters**2 / (k - 1) + from_error**2 / ((n - 1) * (k - 1)))
        others = k * self.raters + (k * n - k - n) * self.error
        below = float(f_distribution.isf(ALPHA / 2, n - 1, freedom))
        above = float(f_distribution.isf(ALPHA / 2, freedom, n - 1))
        return (
            n * (self.subjects - below * self.error) / (below * others + n * self.subjects),
            n * (above * self.subjects - self.error) / (others + n * above * self.subjects),
        )
