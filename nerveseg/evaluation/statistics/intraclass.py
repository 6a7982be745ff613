"""Intraclass correlation ICC(2,1): the share of the variance between measurements that is variance between subjects.

Raters are treated as a random sample of all raters, with one rating each, and absolute agreement counts: a rater who
measures everything larger lowers the correlation (Shrout and Fleiss 1979, case 2). The correlation depends on the
variance between subjects, so it is computed per cohort.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike
from scipy.stats import f as f_distribution

from nerveseg.errors import NervesegError
from nerveseg.evaluation.statistics.rank_tests import ALPHA
from nerveseg.evaluation.statistics.samples import Estimate, why_not_finite

Ratings: TypeAlias = Float64[np.ndarray[Any, Any], "_subjects _raters"]


def icc_2_1(ratings: ArrayLike) -> Estimate:
    """Compute ICC(2,1), the share of the variance of single ratings that is variance between subjects.

    Two-way random effects, absolute agreement, single rating (Shrout and Fleiss, Psychological Bulletin
    1979;86:420-428, case 2). Interval after McGraw and Wong,
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
    n, raters = table.shape
    note = why_not_finite(*table.T) if raters else ""
    if not note and raters < 2:
        note = f"not computable, {raters} rater{'s' * (raters != 1)}"
    if not note and np.ptp(table) == 0:
        note = "not computable, all values are equal"
    if note:
        return Estimate(n, note=note)
    squares = _MeanSquares.of(table)
    value = squares.icc()
    low, high = squares.interval()
    if np.isnan(value):
        note = "not computable, two raters swap the values of two subjects"
    elif squares.error == 0:
        note = "no interval, the raters differ by constants only"
    elif np.isnan(low):
        note = "no interval, its degrees of freedom vanish"
    return Estimate(n, value, low, high, note=note)


@dataclass(frozen=True)
class _MeanSquares:
    """Mean squares between subjects, between raters, and of error (two-way analysis of variance, no replication)."""

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
        """Return the bounds of the correlation; NaN where the approximation fails (tiny tables, negative values)."""
        n, k, value = self.n, self.k, self.icc()
        if self.error == 0 or np.isnan(value):
            return float("nan"), float("nan")
        from_raters = k * value / (n * (1 - value)) * self.raters
        from_error = (1 + k * value * (n - 1) / (n * (1 - value))) * self.error
        spread = from_raters**2 / (k - 1) + from_error**2 / ((n - 1) * (k - 1))
        freedom = (from_raters + from_error) ** 2 / spread if spread else 0.0
        below = float(f_distribution.isf(ALPHA / 2, n - 1, freedom))
        above = float(f_distribution.isf(ALPHA / 2, freedom, n - 1))
        others = k * self.raters + (k * n - k - n) * self.error
        low = n * (self.subjects - below * self.error) / (below * others + n * self.subjects)
        high = n * (above * self.subjects - self.error) / (others + n * above * self.subjects)
        return (low, high) if low <= value <= high else (float("nan"), float("nan"))
