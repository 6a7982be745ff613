"""The calibration against a general solver, and its interval against the share that it promises."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import lsq_linear
from scipy.special import expit, logit

from nerveseg.errors import BundleError
from nerveseg.inference.calibration import LEAST_GROUPS, TestedScans, expect_left_out, fit_calibration
from nerveseg.inference.expected_dice import (
    FILE,
    LEVEL,
    PREDICTORS,
    Calibrations,
    read_calibrations,
    write_calibrations,
)
from nerveseg.inference.uncertainty import Features


def scans(number: int, seed: int = 0, folds: int = 4, noise: float = 0.4) -> TestedScans:
    """Scans whose logit of Dice is a sum of two of three features and noise."""
    generator = np.random.default_rng(seed)
    soft, steady, share = generator.uniform([0.8, 0.4, 0.5], [0.98, 0.95, 1.0], (number, 3)).T
    dice = expit(0.4 * logit(soft) + 0.6 * logit(steady) - 0.6 + noise * generator.standard_normal(number))
    rows = zip(soft, steady, share, strict=True)
    features = [Features(soft_dice=a, slice_agreement=b, largest_component_share=c, area_mm2=50.0) for a, b, c in rows]
    return TestedScans(features, dice, np.arange(number) % folds, np.arange(number).astype(str))


CALIBRATION = fit_calibration(scans(60))


def test_the_weights_are_those_of_a_general_solver():
    sample = scans(40, seed=1)
    raw = np.array([[getattr(each, name) for name in PREDICTORS] for each in sample.features])
    table = np.column_stack([logit(raw[:, 0]), logit(raw[:, 1]), raw[:, 2]])
    z = (table - table.mean(axis=0)) / table.std(axis=0)
    y = logit(sample.dice)
    solved = lsq_linear(np.vstack([z, np.eye(3)]), np.append(y - y.mean(), np.zeros(3)), bounds=(0, np.inf), tol=1e-12)
    found = fit_calibration(sample)
    assert list(found.weights.values()) == pytest.approx(solved.x / table.std(axis=0), abs=1e-5)
    expected = expit(y.mean() + (z @ solved.x)[7])
    assert found.expect(sample.features[7]).value == pytest.approx(expected, abs=1e-5)


@given(st.sampled_from(PREDICTORS), st.floats(0, 1), st.floats(0, 1))
def test_a_better_sign_never_lowers_the_expectation(name, first, second):
    middle = Features(soft_dice=0.9, slice_agreement=0.7, largest_component_share=0.8, area_mm2=50.0)
    worse, better = (
        CALIBRATION.expect(middle.model_copy(update={name: end(first, second)})).value for end in (min, max)
    )
    assert worse <= better


def test_the_interval_holds_the_promised_share_of_scans_left_out():
    inside = []
    for seed in range(8):
        sample = scans(52, seed=seed)
        found = expect_left_out(sample)
        inside += [each.low <= dice <= each.high for each, dice in zip(found, sample.dice, strict=True)]
    assert np.mean(inside) == pytest.approx(LEVEL, abs=0.05)


def test_a_scan_has_no_influence_on_its_own_expectation():
    sample = scans(40)
    changed = replace(sample, dice=sample.dice.copy())
    changed.dice[8] = 0.05
    before, after = expect_left_out(sample), expect_left_out(changed)
    assert before[8] == after[8]
    assert before[9] != after[9]


def test_one_fold_is_left_out_group_by_group():
    sample = scans(20, folds=1)
    sample = replace(sample, groups=np.arange(20) // 2)
    for left_out, others in sample.splits():
        assert (left_out.sum(), len(others.dice)) == (2, 18)
        assert not set(sample.groups[left_out]) & set(others.groups)


def test_an_empty_mask_is_expected_to_have_no_overlap():
    found = CALIBRATION.expect(None)
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_a_feature_without_variance_has_no_weight():
    sample = scans(30)
    features = [each.model_copy(update={"largest_component_share": 1.0}) for each in sample.features]
    assert fit_calibration(replace(sample, features=features)).weights["largest_component_share"] == 0


@pytest.mark.parametrize(
    ("name", "value"), [("area_mm2", 101.0), ("area_mm2", 24.0), ("soft_dice", 0.2), ("slice_agreement", 0.05)]
)
def test_a_mask_unlike_the_calibrations_is_said_to_be(name, value):
    sample = scans(60)
    usual = sample.features[0]
    assert CALIBRATION.expect(usual).unlike == []
    assert len(CALIBRATION.expect(usual.model_copy(update={name: value})).unlike) == 1


def test_scans_suffice_if_there_are_enough_of_different_dice():
    assert scans(LEAST_GROUPS).suffice
    assert not scans(LEAST_GROUPS - 1).suffice
    assert not scans(20, folds=1).suffice
    sample = scans(20)
    assert not replace(sample, groups=np.arange(20) // 2).suffice
    assert not replace(sample, dice=np.full(20, 0.7)).suffice


def test_folds_that_leave_too_little_for_a_regression_do_not_suffice():
    for few in (1, 4):
        sample = replace(scans(13 + few), folds=np.repeat([0, 1], [13, few]))
        assert not sample.suffice
    sample = replace(scans(18), folds=np.repeat([0, 1], [13, 5]))
    assert sample.suffice
    assert len(expect_left_out(sample)) == 18


def test_a_repeated_scan_does_not_narrow_the_interval():
    sample = scans(40)
    twice = np.concatenate([np.arange(40), np.repeat(np.argmax(sample.dice), 30)])
    repeated = sample.part(np.ones(40, dtype=bool))
    repeated = TestedScans(
        [sample.features[i] for i in twice], *(each[twice] for each in (repeated.dice, repeated.folds, repeated.groups))
    )
    by_scan = replace(repeated, groups=np.arange(70).astype(str))
    found, wrong = fit_calibration(repeated).half_width, fit_calibration(by_scan).half_width
    assert found != wrong
    errors = _fold_errors(repeated)
    of_groups = sorted(max(errors[repeated.groups == group]) for group in set(repeated.groups))
    assert found == pytest.approx(of_groups[int(np.ceil(41 * LEVEL)) - 1])


def _fold_errors(sample):
    """Distances of Dice from the predictions of the other folds, on the logit scale."""
    errors = np.zeros(len(sample.dice))
    for fold in set(sample.folds):
        others = fit_calibration(sample.part(sample.folds != fold))
        for i in np.flatnonzero(sample.folds == fold):
            errors[i] = abs(logit(others.expect(sample.features[i]).value) - logit(sample.dice[i]))
    return errors


def test_a_scan_hardly_outside_a_constant_feature_is_like_the_calibrations():
    sample = scans(40)
    features = [each.model_copy(update={"largest_component_share": 1.0}) for each in sample.features]
    calibration = fit_calibration(replace(sample, features=features))
    assert calibration.expect(features[0].model_copy(update={"largest_component_share": 0.999})).unlike == []
    broken = features[0].model_copy(update={"largest_component_share": 0.3})
    assert calibration.expect(broken).unlike == ["separate pieces"]


def test_a_predictor_better_than_the_calibrations_is_no_outlier():
    narrow = {"soft_dice": 0.7, "slice_agreement": 0.5, "largest_component_share": 0.5}
    sample = scans(40)
    calibration = fit_calibration(sample).model_copy(
        update={name: Features(**narrow, area_mm2=50.0) for name in ("lowest", "highest")}
    )
    assert calibration.expect(Features(**dict.fromkeys(PREDICTORS, 1.0), area_mm2=50.0)).unlike == []


def test_a_mask_that_falls_apart_is_expected_to_be_worse_where_the_calibration_knows_by_how_much():
    usual = scans(60).features[0]
    found = CALIBRATION.model_copy(update={"weights": {**CALIBRATION.weights, "largest_component_share": 0.5}})
    broken = found.expect(usual.model_copy(update={"largest_component_share": 0.1}))
    assert broken.unlike == []
    assert broken.value < found.expect(usual).value


@pytest.mark.parametrize("dice", [0.0, 1.0])
def test_the_interval_beside_a_dice_of_zero_or_one_holds_it(dice):
    intercept = logit(0.02) if dice == 0 else logit(0.98)
    calibration = CALIBRATION.model_copy(
        update={"intercept": intercept, "weights": dict.fromkeys(PREDICTORS, 0.0), "half_width": 2.0}
    )
    found = calibration.expect(scans(60).features[0])
    assert found.low <= dice <= found.high
    assert 0 < found.value < 1


def test_calibrations_are_read_as_they_were_written(tmp_path):
    written = Calibrations(
        study="s", sources={"fold-0/uncertainty.csv": "ab"}, classes={"nerve": CALIBRATION}, tests={}
    )
    write_calibrations(tmp_path, written)
    assert read_calibrations(tmp_path) == written


def test_a_bundle_without_calibrations_has_none(tmp_path):
    assert read_calibrations(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{}", '{"format_version": 2}', "[1]", "\x00"])
def test_damaged_calibrations_are_refused(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(BundleError) as caught:
        read_calibrations(tmp_path)
    assert caught.value.path == tmp_path / FILE
    assert caught.value.remedy
