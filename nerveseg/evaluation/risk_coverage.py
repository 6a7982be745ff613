"""Test of the expected Dice against the measured one, on scans that it was not calibrated on.

AUROC is the chance that a failed scan has a lower expected Dice than another one (ties count half). The risk-coverage
curve shows what is gained if the scans of the lowest expected Dice are left to a person: the mean Dice of those that
are kept, against their share.

The independent unit is the group (a person): each weighs the same, whatever its number of scans. A scan that is taken
for unlike the training gets no number and has no part in the measures but in its count: these are false alarms, as the
test subjects are of the training's study.

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
EXPECTED_COLUMNS = ("subject", "group", "cohort", CLASS, "fold", "expected", "lower", "upper", "dice", "unlike")


@dataclass(frozen=True)
class ExpectationTest:
    """Agreement of expected and measured Dice."""

    subjects: int  # number of subjects that get a number
    groups: int  # number of their groups
    withheld: int  # number of further subjects, wrongly taken for unlike the training
    mean_absolute_error: float | None  # mean distance of expected and measured Dice; None without subjects
    limit: float  # Dice coefficient below which a mask counts as failed
    failed: int  # number of subjects whose measured Dice is below the limit
    auroc: float | None  # area under the ROC curve of failed against others; None if either are missing
    coverage: float | None  # share of the subjects whose Dice lies in the interval; None without subjects


def measure_expectation(table: pd.DataFrame, limit: float = FAILED_BELOW) -> ExpectationTest:
    """Compare expected and measured Dice of the subjects of one class, in a table with `EXPECTED_COLUMNS`."""
    shown = table[table["unlike"] == ""]
    expected, dice = shown["expected"].to_numpy(dtype=float), shown["dice"].to_numpy(dtype=float)
    weights = 1 / shown["group"].map(shown["group"].value_counts()).to_numpy(dtype=float)
    failed = dice < limit
    inside = ((shown["lower"] <= dice) & (dice <= shown["upper"])).to_numpy(dtype=float)
    return ExpectationTest(
        subjects=len(shown),
        groups=shown["group"].nunique(),
        withheld=len(table) - len(shown),
        mean_absolute_error=float(np.average(np.abs(expected - dice), weights=weights)) if len(shown) else None,
        limit=limit,
        failed=int(failed.sum()),
        auroc=auroc(expected[failed], expected[~failed], np.outer(weights[failed], weights[~failed])),
        coverage=float(np.average(inside, weights=weights)) if len(shown) else None,
    )


def auroc(
    failed: Float64[np.ndarray, " _n"],
    others: Float64[np.ndarray, " _m"],
    weights: Float64[np.ndarray, "_n _m"] | None = None,
) -> float | None:
    """Return the chance that a failed scan has a lower value than another one; None without scans of either kind.

    By default all pairs weigh the same.
    """
    if not (len(failed) and len(others)):
        return None
    lower, equal = failed[:, None] < others, failed[:, None] == others
    return float(np.average(lower + 0.5 * equal, weights=weights))


def kept_dice(dice: NDArray[np.float64], order: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean Dice of the 1, 2, ... scans with the greatest value of `order`."""
    sorted_dice = dice[np.argsort(-order, kind="stable")]
    return np.asarray(np.cumsum(sorted_dice) / np.arange(1, len(dice) + 1))
