"""Expected Dice of a scan, from the calibration in the model to the screen and the summary."""

import json
import shutil
from dataclasses import replace

import pytest
from scipy.special import expit, logit

import nerveseg
from nerveseg.biomarkers.quality import Flag
from nerveseg.inference.ensemble import open_model
from nerveseg.inference.expected_dice import PREDICTORS, Calibration, Calibrations, ExpectedDice, write_calibrations
from nerveseg.inference.uncertainty import Features, measure_features
from nerveseg.scans.expectation import UNLIKE_TRAINING, expect_dice, expectation_flags, named_expectations
from nerveseg.scans.request import SegmentOptions
from tests.helpers.scan_models import write_model


@pytest.fixture(scope="module")
def features(image_of, sweep):
    """Features of V01 by the fold that held it out."""
    found = nerveseg.segment_scan(image_of("V01"), sweep)
    return measure_features(found.ras_mask, found.prediction.probability, found.scan.grid.ras_spacing_mm)


@pytest.fixture
def calibrated(sweep, features, tmp_path):
    """A function that copies the sweep with a calibration of one Dice, for scans like V01 or for others."""

    def copy(dice=0.7, like=True, folds=(0, 1, 2, 3)):
        root = shutil.copytree(sweep, tmp_path / f"calibrated-{dice}-{like}-{len(folds)}")
        ends = features if like else features.model_copy(update={"area_mm2": 10 * features.area_mm2})
        weights = {"soft_dice": 0.0, "slice_agreement": 0.0, "largest_component_share": 0.0}
        calibration = Calibration(
            intercept=logit(dice), weights=weights, half_width=0.5, lowest=ends, highest=ends, subjects=20
        )
        record = Calibrations(study="tiny", sources={}, classes={"nerve": calibration}, tests={})
        for fold in folds:
            write_calibrations(root / f"fold-{fold}" / "model", record)
        return root

    return copy


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text())


def codes(folder):
    return {flag["code"] for flag in summary_of(folder)["flags"]}


# The tiny scan is what the random networks were described with, so it has no flag of a scan unlike the training.
def test_the_expected_dice_is_printed_and_in_the_summary(run, image_of, calibrated, tmp_path):
    printed = run(image_of("V01"), f"model={calibrated(0.85)}", f"output={tmp_path / 'out'}").out
    low, high = expit(logit(0.85) - 0.5), expit(logit(0.85) + 0.5)
    assert f"expected Dice 0.85 ({low:.2f} to {high:.2f})" in printed
    found = summary_of(tmp_path / "out")["expected_dice"]["nerve"]
    assert (found["value"], found["low"], found["high"]) == pytest.approx((0.85, low, high))
    assert found["unlike"] == []
    assert not {"low_expected_dice", "unlike_training"} & codes(tmp_path / "out")


def test_a_low_expectation_is_flagged_by_its_limit(image_of, calibrated):
    model = open_model(calibrated(0.5))
    strict, mild = (
        nerveseg.segment_scan(image_of("V01"), model, options=SegmentOptions(quality={"expected_dice": limit}))
        for limit in (0.6, 0.4)
    )
    assert "low_expected_dice" in {flag.code for flag in strict.flags}
    assert "low_expected_dice" not in {flag.code for flag in mild.flags}


def test_a_mask_unlike_the_calibrations_has_no_reliable_expectation(run, image_of, calibrated, tmp_path):
    printed = run(image_of("V01"), f"model={calibrated(0.7, like=False)}", f"output={tmp_path / 'out'}").out
    assert "unlike the training data: expected Dice not reliable" in printed
    assert "0.70 (" not in printed
    assert "unlike_training" in codes(tmp_path / "out")


@pytest.mark.parametrize("code", UNLIKE_TRAINING)
def test_flags_of_a_scan_unlike_the_training_spoil_the_expectation(code, features, image_of, calibrated):
    model = open_model(calibrated(0.5))
    found = nerveseg.segment_scan(image_of("V01"), model)
    usual = expect_dice(found.prediction, found.scan, model, [])
    unlike = expect_dice(found.prediction, found.scan, model, [Flag(code, "")])
    assert [flag.code for flag in expectation_flags(usual, ["nerve"], 0.6)] == ["low_expected_dice"]
    assert [flag.code for flag in expectation_flags(unlike, ["nerve"], 0.6)] == ["unlike_training"]


@pytest.fixture(scope="module")
def phantom_model(tmp_path_factory):
    """A model described as one of `experiment=half`, whose calibration takes any mask for usual."""
    folder = write_model(tmp_path_factory.mktemp("phantom") / "model", 3, {})
    description = json.loads((folder / "model.json").read_text())
    description["spacing_mm"], description["preprocessing"]["size"] = (1.0417, 1.0417, 8.8), (104, 104)
    low, high = (-0.86, -0.60, -0.43, 0.18, 2.07), (-0.59, -0.16, 0.91, 1.92, 3.47)
    description["intensity"] = {"T2": {"percentiles": (1, 25, 50, 75, 99), "low": low, "high": high}}
    (folder / "model.json").write_text(json.dumps(description))
    ends = [Features(**dict.fromkeys(Features.model_fields, end)) for end in (0, 1e9)]
    weights = dict.fromkeys(PREDICTORS, 0.0)
    calibration = Calibration(
        intercept=1.0, weights=weights, half_width=0.5, lowest=ends[0], highest=ends[1], subjects=20
    )
    write_calibrations(folder, Calibrations(study="half", sources={}, classes={"nerve": calibration}, tests={}))
    return open_model(folder)


@pytest.mark.parametrize(
    "place",
    [
        "hippocampus/images/hippocampus_001.nii.gz",
        "aorta_multirater/image_aligned_by_us.nii.gz",
        "dicom_t2_axial",
        "thigh_dixon/Thigh_001_0000.nii.gz",
        "thigh_stations/station_5.nii.gz",
    ],
)
def test_a_scan_of_another_body_part_or_contrast_is_told_whatever_its_mask(place, shared_data, phantom_model):
    options = SegmentOptions(field_of_view="crop", accuracy="exact")
    found = nerveseg.segment_scan(shared_data(place), phantom_model, options=options)
    assert set(found.expected_dice["nerve"].unlike) & set(UNLIKE_TRAINING.values())  # not the crop alone
    assert "unlike_training" in {flag.code for flag in found.flags}


@pytest.mark.parametrize(
    "options", [{"field_of_view": "crop"}, {"mirrored_views": True}, {"postprocessing": {"follow_path": True}}]
)
def test_a_mask_of_other_settings_has_no_reliable_expectation(options, image_of, calibrated):
    found = nerveseg.segment_scan(image_of("V01"), calibrated(0.7), options=SegmentOptions(**options))
    assert "settings of the prediction" in found.expected_dice["nerve"].unlike
    assert "unlike_training" in {flag.code for flag in found.flags}


def test_a_calibration_of_an_unknown_class_is_not_used(image_of, calibrated):
    model = open_model(calibrated(0.7))
    found = nerveseg.segment_scan(image_of("V01"), model)
    both = {"nerve": model.calibrations.classes["nerve"], "vein": model.calibrations.classes["nerve"]}
    changed = model.calibrations.model_copy(update={"classes": both})
    model = replace(model, bundles=tuple(replace(bundle, calibrations=changed) for bundle in model.bundles))
    assert set(expect_dice(found.prediction, found.scan, model, [])) == {"nerve"}


def test_the_one_calibrated_class_of_several_is_named():
    expected = {"tibial": ExpectedDice(value=0.7, low=0.6, high=0.8)}
    assert [name for name, _ in named_expectations(expected, ["tibial", "peroneal"])] == ["expected Dice of tibial"]
    assert [name for name, _ in named_expectations(expected, ["tibial"])] == ["expected Dice"]


def test_a_model_without_a_calibration_expects_nothing(image_of, sweep):
    found = nerveseg.segment_scan(image_of("V01"), sweep)
    assert found.expected_dice == {}
    assert not {"low_expected_dice", "unlike_training"} & {flag.code for flag in found.flags}


def test_members_that_differ_in_calibration_have_none_and_a_line(calibrated):
    model = open_model(calibrated(folds=(0, 1)))
    assert model.calibrations is None
    assert len(model.lines) == 1
    assert open_model(calibrated()).lines == ()


def test_another_calibration_is_another_result(run, image_of, calibrated, tmp_path):
    for dice in (0.7, 0.8):
        run(image_of("V01"), f"model={calibrated(dice)}", f"output={tmp_path / 'out'}")
        assert summary_of(tmp_path / "out")["expected_dice"]["nerve"]["value"] == pytest.approx(dice)


def test_an_empty_mask_is_expected_to_have_no_overlap():
    usual = Features(soft_dice=0.9, slice_agreement=0.7, largest_component_share=1.0, area_mm2=50.0)
    weights = dict.fromkeys(("soft_dice", "slice_agreement", "largest_component_share"), 0.0)
    calibration = Calibration(intercept=1.0, weights=weights, half_width=0.5, lowest=usual, highest=usual, subjects=20)
    (flag,) = expectation_flags({"nerve": calibration.expect(None)}, ["nerve"], 0.6)
    assert flag.code == "low_expected_dice"
