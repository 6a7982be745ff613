"""Samples and the record of a statistic: input validation, and the reason why a statistic is undefined.

A statistic of one subject, of constant values or of values that are partly NaN is undefined. It is returned as NaN with
a note that states the reason; nothing is raised or warned. NaN is never dropped here: callers leave such values out
first, and report how many there were. Infinite values are valid where only ranks count.
"""

from dataclasses import dataclass
from math import nan
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike
from scipy.stats import t

from nerveseg.errors import NervesegError

DECIMALS = 6
"""Number of decimals to which values are compared: the spacing of an oblique scan is exact to about 1e-8 mm only."""

Sample: TypeAlias = Float64[np.ndarray[Any, Any], " _n"]  # one value per subject, or per comparison of two masks


@dataclass(frozen=True)
class Estimate:
    """A statistic of a sample with its interval and test; the names are columns of `tests.csv`."""

    n: int  # number of subjects (values of the first sample, where two samples are unpaired)
    estimate: float = nan  # value of the statistic, in the unit that the function states
    ci_low: float = nan  # lower bound of the 95 % interval
    ci_high: float = nan  # upper bound of the 95 % interval
    p_value: float = nan  # two-sided p-value
    effect_size: float = nan  # rank-biserial correlation in [-1, 1]
    statistic: float = nan  # test statistic
    p_non_inferiority: float = nan  # one-sided p-value of a loss of the margin or more
    non_inferior: bool | None = None  # verdict at the margin; None if not computable or not asked
    n_pairs: int | None = None  # number of values of the second sample, where two samples are unpaired
    method: str = ""  # name of the method that was used
    note: str = ""  # reason why a value is NaN, or empty


def sample(values: ArrayLike) -> Sample:
    """Return one-dimensional values as float64.

    Raises:
        NervesegError: The values have another number of dimensions.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise NervesegError("a one-dimensional list of numbers", found=f"an array of shape {array.shape}")
    return array


def paired(first: ArrayLike, second: ArrayLike) -> tuple[Sample, Sample]:
    """Return two samples with one value per subject each, in the same order of subjects.

    Raises:
        NervesegError: The samples differ in length, or one is not one-dimensional.
    """
    samples = sample(first), sample(second)
    if samples[0].size != samples[1].size:
        found = f"{samples[0].size} and {samples[1].size} values"
        raise NervesegError("paired samples with one value per subject each", found=found)
    return samples


def why_undefined(*samples: Sample) -> str:
    """Return why no statistic of these samples exists ("not computable, n=1"), or an empty text if one does."""
    smallest = min(values.size for values in samples)
    if smallest < 2:
        return f"not computable, n={smallest}"
    missing = sum(int(np.isnan(values).sum()) for values in samples)
    if missing:
        return f"not computable, {missing} of {sum(values.size for values in samples)} values are NaN"
    return ""


def why_not_finite(*samples: Sample) -> str:
    """Extend `why_undefined` to statistics that sum the values, which are undefined for infinite values too."""
    infinite = sum(int(np.isinf(values).sum()) for values in samples)
    return why_undefined(*samples) or (
        f"not computable, n={samples[0].size} with {infinite} infinite" if infinite else ""
    )


def is_constant(values: Sample) -> bool:
    """Tell if finite values are all equal to `DECIMALS`."""
    return bool(np.isfinite(values).all()) and bool(np.ptp(values) <= 10.0**-DECIMALS)


def mean_interval(values: Sample, units: Any) -> tuple[float, float]:
    """Compute the 95 % interval of a mean of values that are dependent within units, by Student's t over the units.

    The variance is that of the units' sums of residuals (Liang and Zeger 1986), so with one value per unit the interval
    is Student's. NaN with one unit or none.
    """
    _, unit = np.unique(units, return_inverse=True)
    number = unit.max(initial=-1) + 1
    if number < 2:
        return nan, nan
    mean = float(values.mean())
    residuals = np.bincount(unit, values - mean)
    error = float(np.sqrt(number / (number - 1) * np.sum(residuals**2)) / values.size)
    half = float(t.ppf(0.975, number - 1)) * error
    return mean - half, mean + half


def join_notes(*notes: str) -> str:
    """Join the notes that are not empty."""
    return "; ".join(note for note in notes if note)
