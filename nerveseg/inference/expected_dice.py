"""Dice coefficient to expect of a mask without a reference, by a calibration on scans that no network had learned from.

The logit of the Dice coefficient is a weighted sum of features (`uncertainty`) whose weights are not negative, so that
a better sign never lowers the expectation. The interval holds approximately `LEVEL` of the scans like those of the
calibration: its half-width is a quantile of the distances, on the logit scale, between Dice and the predictions of each
fold by all other folds, as in cross-conformal prediction (Vovk) and CV+ (Barber et al.). Here the interval is
laid around the prediction of one regression on all folds, so that the guarantees of those methods do not hold.

`expected_dice.json` in a model bundle holds the calibration of every class.

References:
    Vovk V. Cross-conformal predictors. Ann Math Artif Intell 2015; 74:9-28.
    Barber RF, Candes EJ, Ramdas A, Tibshirani RJ. Predictive inference with the jackknife+. Ann Stat 2021; 49:486-507.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float64
from pydantic import BaseModel, Field, ValidationError
from scipy.special import expit, logit

from nerveseg.errors import BundleError
from nerveseg.files import write_text
from nerveseg.inference.uncertainty import Features

FILE = "expected_dice.json"
LEVEL = 0.8  # share of the scans whose Dice lies in the interval
PREDICTORS = ("soft_dice", "slice_agreement", "largest_component_share")  # features from which Dice is predicted
_UNLIKE = {
    "soft_dice": "probability of the mask",
    "slice_agreement": "change between slices",
    "largest_component_share": "separate pieces",
    "area_mm2": "area of the sections",
}  # what is unlike the calibration if a feature lies outside its range
_CLOSEST = 0.01  # least distance of a Dice from 0 and 1, where its logit is infinite
_RANGE_MARGIN = 0.25  # distance outside the range of the calibration, in widths of that range, that is no outlier
_LEAST_MARGIN = {"soft_dice": 0.05, "slice_agreement": 0.1, "largest_component_share": 0.1}
"""Least distance outside the range that is an outlier: a feature can be the same in all scans of a calibration."""
_AREA_RATIO = 2.0  # area to the largest, or of the smallest, that is no outlier: neuropathy enlarges 1.3 to 3 times


class ExpectedDice(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """Dice coefficient to expect of the mask of one class."""

    value: float  # Dice coefficient to expect
    low: float  # lower end of the interval
    high: float  # upper end of the interval
    level: float = LEVEL  # approximate share of the scans whose Dice lies in the interval
    unlike: list[str] = Field(default_factory=list)  # properties of the scan unlike the training data; empty if none

    def in_words(self) -> str:
        """Return the expectation for the screen and the page."""
        return "not reliable" if self.unlike else f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


NOTHING = ExpectedDice(value=0.0, low=0.0, high=0.0)
"""Dice of an empty mask, against any reference that is not empty."""


class Calibration(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """Calibration of one class."""

    intercept: float  # logit of the Dice coefficient where all terms are 0
    weights: dict[str, float]  # weight of each predictor, none negative
    half_width: float  # half-width of the interval on the logit scale
    lowest: Features  # smallest value of each feature in the calibration
    highest: Features  # largest value of each feature in the calibration
    subjects: int  # number of subjects

    def expect(self, features: Features | None) -> ExpectedDice:
        """Return the Dice to expect of a mask with these features, of an empty mask (None) 0."""
        if features is None:
            return NOTHING
        terms = dict(zip(PREDICTORS, transformed([features])[0], strict=True))
        middle = self.intercept + sum(self.weights[name] * value for name, value in terms.items())
        low, value, high = (float(expit(middle + side * self.half_width)) for side in (-1, 0, 1))
        return ExpectedDice(
            value=value,
            low=0.0 if low <= _CLOSEST else low,  # nearer to 0 and 1 the logit does not tell Dice coefficients apart
            high=1.0 if high >= 1 - _CLOSEST else high,
            unlike=self._outlying(features),
        )

    def _outlying(self, features: Features) -> list[str]:
        """Return what of the features lies far outside the range of the calibration; no predictor is too good."""
        outlying = []
        for name in PREDICTORS:
            lowest, highest = getattr(self.lowest, name), getattr(self.highest, name)
            margin = max(_LEAST_MARGIN[name], _RANGE_MARGIN * (highest - lowest))
            # A mask in pieces is expected to have a low Dice, if the calibration has masks in pieces.
            falls_apart = name == "largest_component_share" and self.weights[name] > 0
            if getattr(features, name) < lowest - margin and not falls_apart:
                outlying.append(_UNLIKE[name])
        if not self.lowest.area_mm2 / _AREA_RATIO <= features.area_mm2 <= self.highest.area_mm2 * _AREA_RATIO:
            outlying.append(_UNLIKE["area_mm2"])
        return outlying


class Calibrations(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """Content of `expected_dice.json`."""

    format_version: Literal[1] = 1  # version of the file's format
    study: str  # name of the study
    level: float = LEVEL  # approximate share of the scans whose Dice lies in the interval
    sources: dict[str, str]  # hash of the tables of every fold, by the name of fold and file; empty if none are kept
    classes: dict[str, Calibration]  # calibration of each class
    # Agreement of expected and measured Dice of each class, every fold by a calibration on the others
    # (`evaluation.risk_coverage.ExpectationTest`).
    tests: dict[str, dict[str, int | float | None]]

    def sha256(self) -> str:
        """Return the hash of the calibrations."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def transformed(features: Sequence[Features]) -> Float64[np.ndarray, "scan predictor"]:
    """Return the predictors of scans as the regression takes them: Dice coefficients as logits, shares as they are."""
    table = np.array([[getattr(each, name) for name in PREDICTORS] for each in features], dtype=np.float64)
    are_dice = [name != "largest_component_share" for name in PREDICTORS]
    table[:, are_dice] = dice_logit(table[:, are_dice])
    return table


def dice_logit(dice: Float64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
    """Return the logits of Dice coefficients, those of 0 and 1 as finite numbers."""
    found: Float64[np.ndarray, "..."] = logit(np.clip(dice, _CLOSEST, 1 - _CLOSEST))
    return found


def write_calibrations(folder: Path, calibrations: Calibrations) -> None:
    """Write the calibrations into a bundle."""
    write_text(folder / FILE, calibrations.model_dump_json(indent=1) + "\n")


def read_calibrations(folder: Path) -> Calibrations | None:
    """Read the calibrations of a bundle; None if it has none; raise `BundleError` if they are damaged."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        return Calibrations.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError, OSError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        raise BundleError(
            f"{FILE} holds calibrations of format 1",
            found=f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}",
            path=path,
            remedy="copy the model again from its source, or delete this file: no Dice is then expected of a scan",
        ) from error
