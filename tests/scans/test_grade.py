"""Grade of a mask: usable, check, or not usable."""

import pytest

from nerveseg.biomarkers.quality import Flag
from nerveseg.inference.expected_dice import NOTHING, ExpectedDice
from nerveseg.scans.expectation import OTHER_SETTINGS, UNLIKE_TRAINING
from nerveseg.scans.grade import REMARKS, grade_mask

GOOD = ExpectedDice(value=0.84, low=0.78, high=0.9)
JUMP = Flag("area_jump", "the area jumps", "left", (3, 4))


def grade(*flags, expected=GOOD, limit=0.6):
    return grade_mask(flags, {} if expected is None else {"nerve": expected}, ["nerve"], limit)


def test_a_mask_without_a_sign_of_a_fault_is_usable():
    assert grade().level == grade(expected=None).level == "usable"
    assert grade(*(Flag(code, "a remark") for code in REMARKS)).level == "usable"
    assert "0.84 (0.78 to 0.90)" in grade().reason


def test_a_sign_of_a_fault_asks_for_a_look_and_is_the_reason():
    found = grade(JUMP, Flag("area_uneven", "up and down"))
    assert found.level == "check"
    assert found.reason == "left side: the area jumps, and 1 more"


def test_a_reliable_expectation_replaces_the_flag_of_an_unsure_network():
    unsure, low = Flag("low_probability", "unsure"), Flag("low_expected_dice", "0.74 is below 0.8")
    assert grade(unsure).level == "usable"
    assert grade(unsure, expected=None).level == "check"
    assert grade(Flag("low_probability", "unsure", "left")).level == "check"
    assert grade_mask([unsure], {"nerve": GOOD}, ["nerve", "muscle"], 0.6).level == "check"
    assert grade(unsure, expected=GOOD.model_copy(update={"unlike": ["brightness"]})).level == "check"
    assert grade(unsure, low, expected=ExpectedDice(value=0.74, low=0.66, high=0.8)).reason == low.message


def test_settings_of_the_users_choice_are_not_unlike_the_training():
    unlike = [OTHER_SETTINGS, "brightness"]
    flag = Flag("unlike_training", "not reliable")
    assert grade(flag, expected=GOOD.model_copy(update={"unlike": unlike})).level == "check"
    assert grade(flag, expected=GOOD.model_copy(update={"unlike": [*unlike, "pixel size"]})).level == "not usable"


def test_no_nerve_is_not_usable():
    assert grade(Flag("no_nerve", "no nerve found"), expected=NOTHING).level == "not usable"


@pytest.mark.parametrize("codes", [["not_axial"], ["spacing_unlike_training", "intensity_unlike_training"]])
def test_a_scan_unlike_the_training_in_several_respects_is_not_usable(codes):
    found = grade(*(Flag(code, code) for code in codes), expected=None)
    assert found.level == "not usable"
    assert codes == ["not_axial"] or all(UNLIKE_TRAINING[code] in found.reason for code in codes)


def test_one_unlike_property_asks_for_a_look_and_a_second_one_of_the_mask_is_too_much():
    flag = Flag("intensity_unlike_training", "brightness")
    unlike = [UNLIKE_TRAINING[flag.code]]
    assert grade(flag, expected=GOOD.model_copy(update={"unlike": unlike})).level == "check"
    assert grade(flag, expected=GOOD.model_copy(update={"unlike": [*unlike, "separate pieces"]})).level == "not usable"


@pytest.mark.parametrize(("high", "level"), [(0.59, "not usable"), (0.61, "usable")])
def test_a_mask_is_not_usable_if_even_the_best_that_is_expected_is_too_low(high, level):
    assert grade(expected=ExpectedDice(value=0.4, low=0.3, high=high)).level == level
