"""What can be computed from a sample, and the words for what cannot.

A statistic of one subject, of constant values or of values that are partly NaN does not exist. It comes back as NaN
with a note that says why; there is no warning and no exception. NaN is never dropped in silence: whoever wants such
values left out leaves them out first, and says how many there were. Infinite values are legal where only ranks count.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from nerveseg.errors import NervesegError

Sample: TypeAlias = Float64[np.ndarray[Any, Any], " _n"]
"""One value per subject, or per comparison of two masks."""


def sample(values: ArrayLike) -> Sample:
    """One-dimensional values as float64.

    Raises:
        NervesegError: The values have another number of dimensions.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise NervesegError("a sample is a list of numbers", found=f"an array of shape {array.shape}")
    return array


def paired(first: ArrayLike, second: ArrayLike) -> tuple[Sample, Sample]:
    """Two samples with one value per subject each, in the same order of subjects.

    Raises:
        NervesegError: The samples differ in length, or one is not one-dimensional.
    """
    samples = sample(first), sample(second)
    if samples[0].size != samples[1].size:
        raise NervesegError(
            "paired samples hold one value per subject each",
            found=f"{samples[0].size} and {samples[1].size} values",
        )
    return samples


def why_undefined(*samples: Sample) -> str:
    """Why no statistic of these samples exists ("not computable, n=1"), or an empty text if nothing is in the way."""
    smallest = min(values.size for values in samples)
    if smallest < 2:
        return f"not computable, n={smallest}"
    missing = sum(int(np.isnan(values).sum()) for values in samples)
    if missing:
        return f"not computable, {missing} of {sum(values.size for values in samples)} values are NaN"
    return ""


def is_constant(values: Sample) -> bool:
    """Whether finite values are all the same but for rounding (1e-12, of the largest value or of 1)."""
    return bool(np.isfinite(values).all()) and bool(np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())))


def why_not_finite(*samples: Sample) -> str:
    """As `obstacle`, for statistics that add the values up, so that infinite ones are in the way as well."""
    infinite = sum(int(np.isinf(values).sum()) for values in samples)
    return why_undefined(*samples) or (
        f"not computable, n={samples[0].size} with {infinite} infinite" if infinite else ""
    )
