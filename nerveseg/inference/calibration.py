"""Fit the calibration of the expected Dice on the test subjects of a cross-validation.

Each subject was predicted by the fold that it was held out of. The fit is a ridge regression with non-negative weights,
and a quantile of its errors on folds that are left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from jaxtyping import Float64, Int
from numpy.typing import NDArray
from scipy.optimize import nnls

from nerveseg.inference.doubt import Features
from nerveseg.inference.expected_dice import LEVEL, PREDICTORS, Calibration, ExpectedDice, dice_logit, transformed

LEAST_SUBJECTS = 12  # least number of subjects of a calibration
_RIDGE = 1.0  # weight of the squared weights, each per standard deviation of its predictor


@dataclass(frozen=True)
class TestedScans:
    """Test subjects of one class whose automatic mask is not empty."""

    __test__ = False
    features: Sequence[Features]  # features of each subject
    dice: Float64[np.ndarray, " scan"]  # Dice coefficient of each against the consensus
    folds: Int[np.ndarray, " scan"]  # number of the fold that predicted each

    def part(self, chosen: NDArray[np.bool_]) -> "TestedScans":
        """Return some of the scans."""
        return TestedScans(
            [self.features[i] for i in np.flatnonzero(chosen).tolist()], self.dice[chosen], self.folds[chosen]
        )

    def splits(self) -> Iterator[tuple[NDArray[np.bool_], "TestedScans"]]:
        """Yield which scans are left out and the others, fold by fold, or scan by scan where there is one fold."""
        groups = self.folds if len(set(self.folds)) > 1 else np.arange(len(self.folds))
        for number in np.unique(groups):
            yield groups == number, self.part(groups != number)

    @property
    def suffice(self) -> bool:
        """Flag: true if there are enough scans, of different Dice coefficients."""
        return len(self.dice) >= LEAST_SUBJECTS and float(np.ptp(self.dice)) > 0


def fit_calibration(scans: TestedScans) -> Calibration:
    """Fit the calibration of one class."""
    errors = np.zeros(len(scans.dice))
    for left_out, others in scans.splits():
        intercept, weights = _regression(others)
        predicted = intercept + transformed(scans.part(left_out).features) @ weights
        errors[left_out] = np.abs(predicted - dice_logit(scans.dice[left_out]))
    rank = min(len(errors), ceil((len(errors) + 1) * LEVEL))
    intercept, weights = _regression(scans)
    found = [each.model_dump() for each in scans.features]
    ends = [Features(**{name: end(each[name] for each in found) for name in found[0]}) for end in (min, max)]
    return Calibration(
        intercept=intercept,
        weights=dict(zip(PREDICTORS, weights.tolist(), strict=True)),
        half_width=float(np.sort(errors)[rank - 1]),
        lowest=ends[0],
        highest=ends[1],
        subjects=len(scans.dice),
    )


def expect_left_out(scans: TestedScans) -> list[ExpectedDice]:
    """Return the Dice to expect of each scan by a calibration on all other folds."""
    expected: dict[int, ExpectedDice] = {}
    for left_out, others in scans.splits():
        calibration = fit_calibration(others)
        expected |= {i: calibration.expect(scans.features[i]) for i in np.flatnonzero(left_out).tolist()}
    return [expected[i] for i in range(len(scans.features))]


def _regression(scans: TestedScans) -> tuple[float, NDArray[Any]]:
    """Return intercept and weights of the logit of Dice on the predictors; a predictor without variance has none."""
    predictors, target = transformed(scans.features), dice_logit(scans.dice)
    means, deviations = predictors.mean(axis=0), predictors.std(axis=0)
    deviations[deviations < 1e-9] = np.inf
    standardised = np.vstack([(predictors - means) / deviations, np.sqrt(_RIDGE) * np.eye(len(PREDICTORS))])
    solution, _ = nnls(standardised, np.append(target - target.mean(), np.zeros(len(PREDICTORS))))
    weights = solution / deviations
    return float(target.mean() - means @ weights), weights
