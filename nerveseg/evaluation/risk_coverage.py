"""Test of the expected Dice against the measured one, on scans that it was not calibrated on.

AUROC is the chance that a failed scan has a lower expected Dice than another one (ties count half). The risk-coverage
curve shows what is gained if the scans of the lowest expected Dice are left to a person: the mean Dice of those that
are kept, against their share.

References:
    Geifman Y, El-Yaniv R. Selective classification for deep neural networks. NeurIPS 2017.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64
from numpy.typing import NDArray

from nerveseg.evaluation.comparisons import CLASS

FAILED_BELOW = 0.6  # Dice coefficient below which a mask counts as failed
EXPECTED_COLUMNS = ("subject", "cohort", CLASS, "fold", "expected", "lower", "upper", "dice")


@dataclass(frozen=True)
class ExpectationTest:
    """Agreement of expected and measured Dice."""

    subjects: int  # number of subjects
    mean_absolute_error: float  # mean distance of the expected from the measured Dice coefficient
    limit: float  # Dice coefficient below which a mask counts as failed
    failed: int  # number of subjects whose measured Dice is below the limit
    auroc: float | None  # area under the ROC curve of failed against others; None if either are missing
    coverage: float  # share of the subjects whose Dice lies in the interval


def measure_expectation(table: pd.DataFrame, limit: float = FAILED_BELOW) -> ExpectationTest:
    """Compare expected and measured Dice of the subjects of one class, in a table with `EXPECTED_COLUMNS`."""
    expected, dice = table["expected"].to_numpy(dtype=float), table["dice"].to_numpy(dtype=float)
    failed = dice < limit
    return ExpectationTest(
        subjects=len(table),
        mean_absolute_error=float(np.abs(expected - dice).mean()),
        limit=limit,
        failed=int(failed.sum()),
        auroc=auroc(expected[failed], expected[~failed]),
        coverage=float(((table["lower"] <= dice) & (dice <= table["upper"])).mean()),
    )


def auroc(failed: Float64[np.ndarray, " _n"], others: Float64[np.ndarray, " _m"]) -> float | None:
    """Return the chance that a failed scan has a lower value than another one; None without scans of either kind."""
    if not (len(failed) and len(others)):
        return None
    lower, equal = failed[:, None] < others, failed[:, None] == others
    return float((lower + 0.5 * equal).mean())


def kept_dice(dice: NDArray[np.float64], order: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean Dice of the 1, 2, ... scans with the greatest value of `order`."""
    sorted_dice = dice[np.argsort(-order, kind="stable")]
    return np.asarray(np.cumsum(sorted_dice) / np.arange(1, len(dice) + 1))
