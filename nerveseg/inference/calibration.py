"""Fit the calibration of the expected Dice on the test subjects of a cross-validation.

Each subject was predicted by the fold that it was held out of. The fit is a ridge regression with non-negative weights,
and a quantile of its errors on folds that are left out. The independent unit is the group (a person): the quantile is
of one error per group, the largest of its scans.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from jaxtyping import Float64, Int
from numpy.typing import NDArray
from scipy.optimize import nnls

from nerveseg.inference.expected_dice import LEVEL, PREDICTORS, Calibration, ExpectedDice, dice_logit, transformed
from nerveseg.inference.uncertainty import Features

LEAST_GROUPS = 12  # least number of groups (people) of a calibration
_LEAST_FITTED = 4  # least number of groups of any regression, also of those of the test (two folds are left out)
_RIDGE = 1.0  # weight of the squared weights, each per standard deviation of its predictor


@dataclass(frozen=True)
class TestedScans:
    """Test subjects of one class whose automatic mask is not empty."""

    __test__ = False
    features: Sequence[Features]  # features of each subject
    dice: Float64[np.ndarray, " scan"]  # Dice coefficient of each against the consensus
    folds: Int[np.ndarray, " scan"]  # number of the fold that predicted each
    groups: NDArray[Any]  # name of the group of each, which is in one fold

    def part(self, chosen: NDArray[np.bool_]) -> "TestedScans":
        """Return some of the scans."""
        return TestedScans(
            [self.features[i] for i in np.flatnonzero(chosen).tolist()],
            self.dice[chosen],
            self.folds[chosen],
            self.groups[chosen],
        )

    def splits(self) -> Iterator[tuple[NDArray[np.bool_], "TestedScans"]]:
        """Yield which scans are left out and the others, fold by fold, or group by group where one fold is left."""
        units = self.folds if len(set(self.folds)) > 1 else self.groups
        for unit in np.unique(units):
            yield units == unit, self.part(units != unit)

    @property
    def suffice(self) -> bool:
        """Flag: true if there are enough groups, of two folds or more and different Dice, whatever is left out."""
        if len(set(self.groups)) < LEAST_GROUPS or len(set(self.folds)) < 2 or np.ptp(self.dice) == 0:
            return False
        fitted = (fewer for _, others in self.splits() for _, fewer in others.splits())
        return min(len(set(scans.groups)) for scans in fitted) >= _LEAST_FITTED


def fit_calibration(scans: TestedScans) -> Calibration:
    """Fit the calibration of one class."""
    errors = np.zeros(len(scans.dice))
    for left_out, others in scans.splits():
        intercept, weights = _regression(others)
        predicted = intercept + transformed(scans.part(left_out).features) @ weights
        errors[left_out] = np.abs(predicted - dice_logit(scans.dice[left_out]))
    of_groups = np.sort([errors[scans.groups == group].max() for group in np.unique(scans.groups)])
    rank = min(len(of_groups), ceil((len(of_groups) + 1) * LEVEL))
    intercept, weights = _regression(scans)
    found = [each.model_dump() for each in scans.features]
    ends = [Features(**{name: end(each[name] for each in found) for name in found[0]}) for end in (min, max)]
    return Calibration(
        intercept=intercept,
        weights=dict(zip(PREDICTORS, weights.tolist(), strict=True)),
        half_width=float(of_groups[rank - 1]),
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
