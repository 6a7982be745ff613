"""`segment` with the model of the package, here a small one of several classes in its place."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nerveseg.inference import model_folder
from nerveseg.inference.training_record import ScanRanges
from nerveseg.notices import SYNTHETIC_START
from tests.helpers.scan_models import write_model

CLASSES = {"nerve": [2], "vein": [5], "bone": [7]}


@pytest.fixture(autouse=True)
def packaged(tmp_path, monkeypatch):
    monkeypatch.setattr(model_folder, "PACKAGED", tmp_path / "package")
    folder = tmp_path / "package" / model_folder.DEFAULT
    return write_model(folder, 21, {}, channels=("MR",), classes=CLASSES, result_classes=["nerve"])


def voxels(path):
    return np.asarray(nib.load(path).dataobj)


def test_without_model_the_one_of_the_package_marks_the_nerve_alone(run, image_of, tmp_path):
    printed = run(image_of("V01"), "output=out")
    assert f"the model {model_folder.DEFAULT} of nerveseg" in printed.out
    assert "SYNTHETIC TRAINING DATA" in printed.out.splitlines()[0]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"mask.nii.gz", "branches.nii.gz", "report.html"} <= names
    assert "labels.nii.gz" not in names
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["classes"], summary["warning"]) == ({}, "SYNTHETIC TRAINING DATA")
    mask = voxels(tmp_path / "out" / "mask.nii.gz")
    assert set(np.unique(mask)) == {0, 1}
    assert (voxels(tmp_path / "out" / "automatic.nii.gz") == mask).all()
    profile = pd.read_csv(tmp_path / "out" / "profile.csv")
    assert set(profile["warning"]) == {"SYNTHETIC TRAINING DATA"}
    assert "SYNTHETIC TRAINING DATA" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_all_classes_are_written_if_asked_for(run, image_of, tmp_path):
    run(image_of("V01"), f"model={model_folder.DEFAULT}", "output=nerve")
    run(image_of("V01"), "classes=all", "output=all", "per_class=true")
    labels = voxels(tmp_path / "all" / "labels.nii.gz")
    assert set(np.unique(labels)) <= {0, 2, 5, 7}
    assert np.unique(labels).size > 2
    np.testing.assert_array_equal(voxels(tmp_path / "nerve" / "mask.nii.gz"), labels == 2)
    assert (tmp_path / "all" / "mask-vein.nii.gz").is_file()
    assert json.loads((tmp_path / "all" / "summary.json").read_text())["classes"] == CLASSES


def test_a_model_of_scans_whose_weights_began_with_synthetic_data_says_so_in_a_note(run, image_of, tmp_path):
    write_model(tmp_path / "own", 21, {}, channels=("MR",), synthetic=False, init_synthetic=True)
    printed = run(image_of("V01"), f"model={tmp_path / 'own'}", "output=out")
    assert SYNTHETIC_START in printed.out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (SYNTHETIC_START in summary["notes"], summary["warning"]) == (True, "")
    assert SYNTHETIC_START in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_mask_of_a_model_of_made_samples_is_never_graded_usable(run, image_of, tmp_path):
    ranges = ScanRanges(pixel_mm=(0.1, 100.0), step_mm=(0.1, 100.0))
    write_model(tmp_path / "made", 21, {}, channels=("MR",), ranges=ranges)
    run(image_of("V01"), f"model={tmp_path / 'made'}", "output=out")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert "made_samples" in {flag["code"] for flag in summary["flags"]}
    assert summary["grade"]["level"] != "usable"
