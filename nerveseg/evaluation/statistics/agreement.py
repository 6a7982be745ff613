"""Agreement of measurements such as nerve volume (ml) or mean cross-sectional area (mm2) between raters and method.

Dice says whether two masks overlap; a clinician uses the volume. How far two volumes of the same nerve may lie apart
is said by the limits of agreement (Bland and Altman 1986), how much of the variation between measurements is variation
between subjects by the intraclass correlation ICC(2,1) (Shrout and Fleiss 1979), and what change exceeds the error of
measurement by the smallest detectable change. All take one row per subject. A subject with NaN makes the result NaN:
leave it out first, and say so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import nct, norm, t

from nerveseg.evaluation.statistics.intraclass import Icc, icc_2_1
from nerveseg.evaluation.statistics.rank_tests import ALPHA
from nerveseg.evaluation.statistics.samples import is_constant, paired, why_not_finite

__all__ = ["BlandAltman", "Icc", "Repeatability", "bland_altman", "icc_2_1", "repeatability"]

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
    note = why_not_finite(first, second)
    means = (first + second) / 2
    if not note and percent and (means <= 0).any():
        note = f"not computable, {int((means <= 0).sum())} of {n} pairs have a mean of zero or below"
    if note:
        return BlandAltman(n, np.nan, np.nan, np.nan, np.nan, _UNKNOWN, _UNKNOWN, _UNKNOWN, note)
    differences = 100 * (second - first) / means if percent else second - first
    bias, sd = float(differences.mean()), float(differences.std(ddof=1))
    z = float(norm.isf(ALPHA / 2))
    if is_constant(differences):
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
    note = why_not_finite(before, after)
    if note:
        return Repeatability(before.size, np.nan, np.nan, note)
    sem = float(np.sqrt(np.mean((after - before) ** 2) / 2))
    return Repeatability(before.size, sem, float(norm.isf(ALPHA / 2) * np.sqrt(2) * sem), "")
