"""The calibration at the end of a sweep, from the tables of its folds."""

import numpy as np
import pandas as pd
import pytest

from nerveseg.errors import RunError
from nerveseg.evaluation.comparisons import SCORE_COLUMNS, write_scores
from nerveseg.inference.expected_dice import FILE, read_calibrations
from nerveseg.inference.uncertainty import Features
from nerveseg.runs import find_folds
from nerveseg.workflows.calibrate import UNCERTAINTY_COLUMNS, calibrate_folds, uncertainty_rows


def write_sweep(root, subjects=16, classes=("nerve",), empty=(), folds=4, people=None):
    """Write the tables of the folds, whose Dice is 0.9 of the agreement of slices."""
    generator = np.random.default_rng(0)
    for fold in range(folds):
        folder = root / f"fold-{fold}"
        (folder / "model").mkdir(parents=True)
        uncertainties, scores = [], []
        for number in range(fold, subjects, folds):
            subject, features = f"{number:03d}", {}
            for name in classes:
                slice_agreement = float(generator.uniform(0.4, 0.9))
                features[name] = Features(
                    soft_dice=0.9, slice_agreement=slice_agreement, largest_component_share=1.0, area_mm2=50.0
                )
                dice = 0.0 if number in empty else 0.9 * slice_agreement
                facts = (subject, f"{number % (people or subjects):03d}", "patient", None, None, name, fold, "Auto-GT")
                scores += [(*facts, "dice", dice), (*facts, "vs", 0.5)]
            uncertainties += uncertainty_rows(subject, dict.fromkeys(classes) if number in empty else features)
        pd.DataFrame(uncertainties, columns=list(UNCERTAINTY_COLUMNS)).to_csv(folder / "uncertainty.csv", index=False)
        write_scores(folder / "scores.csv", pd.DataFrame(scores, columns=list(SCORE_COLUMNS)))
    return find_folds(root)


def texts(folds):
    return [(fold.model / FILE).read_text() for fold in folds]


def test_every_model_gets_the_same_calibration_however_often(tmp_path):
    folds = write_sweep(tmp_path)
    table = calibrate_folds(folds, "study")
    first = texts(folds)
    assert len(set(first)) == 1
    assert len(table) == 16
    assert (table["expected"] - table["dice"]).abs().max() < 0.1
    calibrate_folds(folds, "study")
    assert texts(folds) == first


def test_the_file_names_its_origin_but_no_subject(tmp_path):
    folds = write_sweep(tmp_path)
    calibrate_folds(folds, "study")
    found = read_calibrations(folds[0].model)
    assert (found.study, len(found.sources)) == ("study", 8)
    assert found.classes["nerve"].subjects == 16
    assert found.tests["nerve"]["failed"] == sum(calibrate_folds(folds, "study")["dice"] < 0.6)
    assert '"003"' not in texts(folds)[0]


def test_each_class_is_calibrated_by_itself(tmp_path):
    folds = write_sweep(tmp_path, classes=("nerve", "vein"))
    table = calibrate_folds(folds, "study")
    found = read_calibrations(folds[0].model)
    assert set(found.classes) == {"nerve", "vein"}
    assert found.classes["nerve"] != found.classes["vein"]
    assert list(table["class"].value_counts()) == [16, 16]


def test_the_dice_of_an_empty_mask_is_expected_to_be_zero_and_calibrates_nothing(tmp_path):
    folds = write_sweep(tmp_path, empty=(5,))
    table = calibrate_folds(folds, "study").set_index("subject")
    assert tuple(table.loc["005", ["expected", "lower", "upper", "dice"]]) == (0, 0, 0, 0)
    assert read_calibrations(folds[0].model).classes["nerve"].subjects == 15


@pytest.mark.parametrize("fault", ["few", "no uncertainty.csv", "one fold"])
def test_without_a_calibration_a_line_says_so_and_an_old_one_goes(tmp_path, capsys, fault):
    folds = write_sweep(tmp_path, subjects=8 if fault == "few" else 16)
    if fault == "no uncertainty.csv":
        folds[2].uncertainty.unlink()
    if fault == "one fold":
        folds = write_sweep(tmp_path / "one", subjects=64)[:1]
    (folds[0].model / FILE).write_text("old")
    assert calibrate_folds(folds, "study").empty
    printed = capsys.readouterr().out
    assert "not calibrated" in printed
    assert ("delete the fold's scores.csv" in printed) == (fault == "no uncertainty.csv")
    assert not any((fold.model / FILE).exists() for fold in folds)


@pytest.mark.parametrize("text", ["", "subject,class\n", ",".join(UNCERTAINTY_COLUMNS) + "\n000,nerve,a,b,c,d\n"])
def test_a_damaged_table_is_refused(tmp_path, text):
    folds = write_sweep(tmp_path)
    folds[1].uncertainty.write_text(text)
    with pytest.raises(RunError) as caught:
        calibrate_folds(folds, "study")
    assert caught.value.path == folds[1].uncertainty


def test_a_fold_of_empty_masks_leaves_no_calibration(tmp_path, capsys):
    folds = write_sweep(tmp_path, subjects=26, folds=2, empty=range(3, 26, 2))
    assert calibrate_folds(folds, "study").empty
    assert "not calibrated" in capsys.readouterr().out


def test_the_scans_of_one_person_are_one_in_the_count(tmp_path):
    folds = write_sweep(tmp_path, subjects=32, people=16)
    table = calibrate_folds(folds, "study")
    assert table["group"].nunique() == 16
    assert read_calibrations(folds[0].model).tests["nerve"]["groups"] == 16
    assert calibrate_folds(write_sweep(tmp_path / "few", subjects=32, people=8), "study").empty
