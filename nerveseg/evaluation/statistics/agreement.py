"""Agreement of measurements such as nerve volume (ml) or mean cross-sectional area (mm2) between raters and method.

Clinicians use the volume rather than the overlap of two masks. The limits of agreement (Bland and Altman 1986) state
how far two volumes of one nerve may differ, the intraclass correlation ICC(2,1) (Shrout and Fleiss 1979) how much of
the variance between measurements is variance between subjects, and the smallest detectable change which change exceeds
the error of measurement. All take one row per subject. A subject with NaN makes the result NaN: leave such subjects out
first, and report their number.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import nct, norm, t

from nerveseg.evaluation.statistics.intraclass import icc_2_1
from nerveseg.evaluation.statistics.rank_tests import ALPHA
from nerveseg.evaluation.statistics.samples import Estimate, is_constant, paired, why_not_finite

__all__ = ["BlandAltman", "bland_altman", "icc_2_1", "repeatability", "smallest_detectable_change"]

_TAILS = (ALPHA / 2, 1 - ALPHA / 2)
_UNKNOWN = (nan, nan)


@dataclass(frozen=True)
class BlandAltman:
    """Limits of agreement between two measurements of the same subjects.

    Attributes:
        n: Number of subjects.
        bias: Mean difference, other minus reference, in percent of the pair's mean or in the measurement's unit.
        sd: Standard deviation of the differences (n - 1), in the unit of the bias.
        lower: Lower limit, bias - 1.96 sd; 95 % of the differences are expected between the limits.
        upper: Upper limit, bias + 1.96 sd.
        bias_ci: Bounds of the 95 % interval of the bias.
        lower_ci: Bounds of the 95 % interval of the lower limit.
        upper_ci: Bounds of the 95 % interval of the upper limit.
        note: Reason why a value is NaN, or empty.
    """

    n: int
    bias: float = nan
    sd: float = nan
    lower: float = nan
    upper: float = nan
    bias_ci: tuple[float, float] = _UNKNOWN
    lower_ci: tuple[float, float] = _UNKNOWN
    upper_ci: tuple[float, float] = _UNKNOWN
    note: str = ""


def bland_altman(reference: ArrayLike, other: ArrayLike, percent: bool = True) -> BlandAltman:
    """Compute bias and 95 % limits of agreement (Bland and Altman, Lancet 1986;327:307-310).

    The intervals assume normal differences. That of the bias is Student's; those of the limits are the exact ones of
    the non-central t distribution (Carkeet, Optometry and Vision Science 2015;92:e71-e80), which unlike the approximate
    ones of 1986 are not symmetric: the outer bound lies further away.

    Args:
        reference: Reference measurement (n,), above zero if in percent.
        other: Measurement to compare with the reference (n,), same subjects and unit.
        percent: Flag: true for differences in percent of the mean of the two measurements, for errors that grow with
            the measurement.

    Returns:
        Limits of agreement. All NaN for one subject, for values that are not finite, or in percent of a mean that is
        zero or negative. If all differences are equal, bias and limits are that difference and the intervals NaN.

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
    z = float(norm.isf(ALPHA / 2))
    if is_constant(differences):
        return BlandAltman(n, bias, 0.0, bias, bias, note="no intervals, all differences are equal")
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
    )


def repeatability(first: ArrayLike, second: ArrayLike) -> Estimate:
    """Compute the standard error of measurement (within-subject standard deviation) from two measurements per subject.

    The squared error is the mean of half the squared differences (Bland and Altman, BMJ 1996;313:744): a shift between
    the two occasions counts as error.

    Args:
        first: Measurement of the first scan (n,).
        second: Measurement of the repeated scan (n,), same subjects and unit.

    Returns:
        Standard error of measurement in the measurement's unit; NaN for one subject or values that are not finite, 0
        where every repeat gave the same value.

    Raises:
        NervesegError: The samples differ in length.
    """
    before, after = paired(first, second)
    note = why_not_finite(before, after)
    if note:
        return Estimate(before.size, note=note)
    return Estimate(before.size, float(np.sqrt(np.mean((after - before) ** 2) / 2)))


def smallest_detectable_change(standard_error: float) -> float:
    """Return 1.96 sqrt(2) standard errors of measurement: 95 % of repeats of an unchanged subject differ by less.

    After de Vet et al., Journal of Clinical Epidemiology 2006;59:1033-1039.
    """
    return float(norm.isf(ALPHA / 2) * np.sqrt(2) * standard_error)
