"""Dice to expect of a scan's masks by the model's calibration, and the flags that follow.

A calibration holds for scans like those of the training, and for masks made with the model's own settings. A scan whose
geometry, intensity or mask is unlike them gets no expectation that could be believed, and a flag that says so.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from nerveseg.biomarkers.quality import Flag
from nerveseg.inference.expected_dice import ExpectedDice
from nerveseg.scans.reading import LoadedScan

if TYPE_CHECKING:
    from nerveseg.inference.ensemble import Ensemble
    from nerveseg.inference.predict import Prediction

UNLIKE_TRAINING = {
    "not_axial": "orientation",
    "spacing_unlike_training": "pixel size",
    "step_unlike_training": "slice step",
    "field_unlike_training": "field of view",
    "intensity_unlike_training": "brightness",
}
"""Quality flags of scans unlike the training, and what is unlike."""

OTHER_SETTINGS = "settings of the prediction"
"""What is unlike where the mask was made with other settings than the model's own."""


def expect_dice(
    prediction: Prediction, scan: LoadedScan, model: Ensemble, flags: Sequence[Flag]
) -> dict[str, ExpectedDice]:
    """Return the Dice to expect of each class that the model is calibrated for; none without a calibration."""
    if model.calibrations is None:
        return {}
    unlike = [UNLIKE_TRAINING[flag.code] for flag in flags if flag.code in UNLIKE_TRAINING]
    own = model.description.prediction
    # The search of the nerve (accuracy) depends on the device by default, so that it is no setting of its own here.
    if prediction.settings.model_copy(update={"accuracy": own.accuracy}) != own:
        unlike.append(OTHER_SETTINGS)
    features = prediction.features(scan.grid.ras_spacing_mm)
    found = {name: each.expect(features[name]) for name, each in model.calibrations.classes.items() if name in features}
    return {name: each.model_copy(update={"unlike": [*unlike, *each.unlike]}) for name, each in found.items()}


def named_expectations(expected: dict[str, ExpectedDice], classes: Collection[str]) -> list[tuple[str, ExpectedDice]]:
    """Return the expectations with their names for readers; in a model of a single class that is "expected Dice"."""
    single = len(classes) <= 1
    return [("expected Dice" if single else f"expected Dice of {name}", each) for name, each in expected.items()]


def expectation_flags(expected: dict[str, ExpectedDice], classes: Collection[str], limit: float) -> list[Flag]:
    """Return the flags of scans unlike the training, and of a Dice that is expected to be below the limit.

    Args:
        expected: Dice to expect of each class with a calibration.
        classes: Names of all classes of the model; empty stands for a single one.
        limit: Dice below which a scan is flagged.
    """
    flags = []
    for name, each in named_expectations(expected, classes):
        if each.unlike:
            reasons = ", ".join(each.unlike)
            flags.append(Flag("unlike_training", f"unlike the training data: {name} not reliable ({reasons})"))
        elif each.value < limit:
            flags.append(Flag("low_expected_dice", f"{name} {each.in_words()} is below {limit:g}"))
    return flags
