import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from nerveseg.errors import BundleError
from nerveseg.inference.bundle import load_bundle, save_bundle
from nerveseg.inference.ensemble import open_model
from nerveseg.inference.model_folder import known_models, no_model_error
from nerveseg.inference.predict import predict_volume
from nerveseg.inference.prediction_settings import PredictionSettings

IDS = ("V01", "V02", "P01")


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def sweep(random_bundle, tmp_path):
    """Three folds as training leaves them: fold k holds out subject k."""

    def make(folder="outputs/demo", folds=(0, 1, 2), **options):
        for fold in folds:
            subjects = {
                name: {"T2": sha(f"{name} T2"), "rater-OS": sha(f"{name} OS")}
                for number, name in enumerate(IDS)
                if number != fold
            }
            bundle = random_bundle(seed=fold, fold=fold, subjects=subjects, **options)
            save_bundle(tmp_path / folder / f"fold-{fold}" / "model", bundle.network, bundle.description)
        return tmp_path / folder

    return make


def edit(bundle, **values):
    path = bundle / "model.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | values), encoding="utf-8")


def refused(path, *said):
    with pytest.raises(BundleError) as caught:
        open_model(path)
    line = str(caught.value)
    assert "\n" not in line
    assert "remedy: " in line
    for words in said:
        assert words in line, line
    return line


def test_a_sweep_is_all_its_folds(sweep):
    folder = sweep()
    model = open_model(folder)
    assert model.name == "demo"
    assert model.lines == ()
    assert [bundle.description.training.fold for bundle in model.bundles] == [0, 1, 2]
    files = [folder / f"fold-{fold}" / "model" / "weights.safetensors" for fold in range(3)]
    hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    assert model.sha256 == hashlib.sha256("".join(sorted(hashes)).encode()).hexdigest()
    assert model.description.training.fold == 0


def test_the_ensembles_probability_is_the_mean_of_its_folds(sweep):
    folder = sweep()
    channels = np.random.default_rng(0).normal(100, 30, (1, 12, 10, 3)).astype(np.float32)
    spacing = (1.0, 1.0, 4.4)
    exact = PredictionSettings(accuracy="exact")
    alone = [
        predict_volume([load_bundle(folder / f"fold-{fold}/model")], channels, spacing, exact).probability
        for fold in range(3)
    ]
    found = predict_volume(open_model(folder).bundles, channels, spacing, exact).probability
    np.testing.assert_allclose(found, (alone[0] + alone[1] + alone[2]) / 3, atol=1e-6)


@pytest.mark.parametrize("inside", ["fold-1", "fold-1/model"])
def test_one_fold_is_a_model_of_its_own(inside, sweep):
    folder = sweep()
    model = open_model(folder / inside)
    assert model.name == "demo/fold-1"
    assert len(model.bundles) == 1
    assert model.sha256 == load_bundle(folder / "fold-1/model").description.weights_sha256


def test_a_bundle_that_was_copied_away_keeps_its_name(sweep, tmp_path):
    shutil.copytree(sweep() / "fold-0" / "model", tmp_path / "sciatic nerve, 3 T")
    assert open_model(tmp_path / "sciatic nerve, 3 T").name == "sciatic nerve, 3 T"


def test_a_path_without_a_name_has_one(sweep, monkeypatch):
    monkeypatch.chdir(sweep())
    assert open_model(Path()).name == "demo"


@pytest.mark.parametrize("synthetic", [[False, False], [True, False], [False, True], [True, True]])
def test_one_member_of_synthetic_training_makes_the_whole_synthetic(synthetic, sweep):
    for fold, value in enumerate(synthetic):
        folder = sweep(folds=(fold,), synthetic=value)
    assert open_model(folder).synthetic == any(synthetic)


def test_a_fold_without_a_model_is_left_out_with_a_line(sweep):
    folder = sweep()
    shutil.rmtree(folder / "fold-1" / "model")
    model = open_model(folder)
    assert [bundle.description.training.fold for bundle in model.bundles] == [0, 2]
    assert model.lines == ("demo: fold 1 is not trained yet and left out",)


def test_a_sweep_one_level_down_is_found_and_several_are_named(sweep, tmp_path):
    sweep("outputs/demo/seed=1")
    assert open_model(tmp_path / "outputs/demo").name == "seed=1"
    sweep("outputs/demo/seed=2")
    refused(tmp_path / "outputs/demo", "names one sweep", "found: 2: seed=1, seed=2", "remedy: for example model=")


def test_what_is_no_model_is_refused(sweep, tmp_path):
    refused(tmp_path / "none", "found: no such folder", "make demo")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "found: no trained model in it")
    folder = sweep()
    line = refused(folder / "fold-0/model/model.json", "found: a file")
    assert line.endswith(f"model={folder / 'fold-0/model'}")
    shutil.rmtree(folder / "fold-0" / "model")
    (folder / "fold-0").mkdir(exist_ok=True)
    refused(folder / "fold-0", "not trained yet")
    for fold in (1, 2):
        shutil.rmtree(folder / f"fold-{fold}" / "model")
    refused(folder, "at least one trained fold; found: no model in fold 0, 1, 2")


def test_one_altered_fold_spoils_the_sweep(sweep):
    folder = sweep()
    weights = folder / "fold-1" / "model" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    refused(folder, "have the hash that model.json names", "fold-1")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"format_version": 2}, "is a description of format 1"),
        ({"architecture": {"name": "LaterNet", "arguments": {}}}, "found: LaterNet"),
        ({"classes": {"nerve": [1]}}, "agree in classes"),
        ({"classes": {"tibial": [1], "peroneal": [2]}}, "apart; found: 2 outputs, and 2 parts in model.json"),
        ({"terms": {"nerve": {"value": "1", "meaning": "x"}}}, "agree in terms"),
        ({"channels": ["T2", "FS"]}, "takes as many channels as model.json names; found: 1 and 2"),
        ({"channels": ["T1"]}, "agree in channels; found: fold 0: ['T2']; fold 1: ['T1']"),
        ({"preprocessing": {"normalisation": "volume", "size": [9, 9]}}, "agree in preprocessing"),
        ({"prediction": {"accuracy": "exact"}}, "agree in prediction"),
        ({"spacing_mm": [1.02, 1.0, 4.4]}, "agree in spacing_mm; found: fold 0: (1.0, 1.0, 4.4)"),
    ],
)
def test_a_fold_that_does_not_fit_is_named(values, said, sweep):
    folder = sweep()
    edit(folder / "fold-1" / "model", **values)
    refused(folder, said)


def test_folds_of_the_same_classes_in_another_order_are_refused(sweep):
    for fold, names in enumerate([("tibial", "peroneal"), ("peroneal", "tibial")]):
        folder = sweep(folds=(fold,), classes=3)
        label_values = {"tibial": [1], "peroneal": [2]}
        edit(folder / f"fold-{fold}" / "model", classes={name: label_values[name] for name in names})
    refused(folder, "agree in classes", "remedy: give one fold")


def test_folds_of_another_architecture_are_refused(sweep):
    sweep(folds=(0,))
    refused(sweep(folds=(1,), growth_rate=4), "agree in architecture", "remedy: give one fold")


def test_medians_over_other_subjects_may_differ_a_little(sweep):
    folder = sweep()
    edit(folder / "fold-1" / "model", spacing_mm=[1.005, 1.0, 5.0])
    assert len(open_model(folder).bundles) == 3


def folds_for(model, sha256):
    members, line = model.members_for(sha256)
    return [bundle.description.training.fold for bundle in members], line


def test_a_scan_of_the_training_is_left_to_the_fold_that_held_it_out(sweep):
    model = open_model(sweep())
    for number, name in enumerate(IDS):
        folds, line = folds_for(model, sha(f"{name} T2"))
        assert folds == [number]
        assert line == (f"this scan is in the model's training data: segmented by fold {number}, which held it out")


@pytest.mark.parametrize("sha256", [None, sha("a new scan"), sha("V01 OS"), ""])
def test_a_new_scan_is_for_all_folds_and_a_raters_mask_is_no_scan(sha256, sweep):
    assert folds_for(open_model(sweep()), sha256) == ([0, 1, 2], None)


def test_a_scan_of_the_training_is_known_by_its_voxels(sweep):
    folder = sweep()
    for fold in range(3):
        path = folder / f"fold-{fold}" / "model" / "model.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        training = content["training"]
        training["voxels"] = {name: sha(f"{name} voxels") for name in training["subjects"]}
        edit(path.parent, training=training)
    model = open_model(folder)
    for number, name in enumerate(IDS):
        for file in (None, sha("saved again"), sha(f"{name} T2")):
            members, line = model.members_for(file, sha(f"{name} voxels"))
            assert [bundle.description.training.fold for bundle in members] == [number]
            assert line is not None
    assert model.members_for(sha("new"), sha("new voxels")) == (model.bundles, None)


def test_a_scan_that_every_fold_learned_is_segmented_with_a_warning(sweep):
    folder = sweep()
    model = open_model(folder / "fold-0")
    assert folds_for(model, sha("V01 T2")) == ([0], None)
    folds, line = folds_for(model, sha("V02 T2"))
    assert folds == [0]
    assert line.startswith("this scan is in the training data of this model")
    shutil.rmtree(folder / "fold-2")
    folds, line = folds_for(open_model(folder), sha("P01 T2"))
    assert folds == [0, 1]
    assert line.startswith("this scan is in the training data of all folds")


def test_only_channels_of_the_model_count_as_images(random_bundle, tmp_path):
    subjects = {"V01": {"T2": sha("t2"), "FS": sha("fs"), "T1": sha("t1"), "rater-T2": sha("mask")}}
    bundle = random_bundle(channels=("T2", "FS"), subjects=subjects)
    save_bundle(tmp_path / "m", bundle.network, bundle.description)
    model = open_model(tmp_path / "m")
    assert [model.members_for(sha(what))[1] is not None for what in ("t2", "fs", "t1", "mask")] == [
        True, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "missing"), [(["T2"], ["FS"]), ([], ["T2", "FS"]), (["FS", "T1"], ["T2"]), (["T2", "fs"], ["FS"])]
)
def test_a_missing_channel_is_named(given, missing, random_bundle, tmp_path):
    bundle = random_bundle(channels=("T2", "FS"))
    save_bundle(tmp_path / "m", bundle.network, bundle.description)
    model = open_model(tmp_path / "m")
    with pytest.raises(BundleError) as caught:
        model.description.check_channels(given)
    assert "T2, FS" in caught.value.rule
    for name in ("T2", "FS"):
        assert (f"images.{name}=<file>" in caught.value.remedy) == (name in missing)
    model.description.check_channels(["FS", "T1", "T2"])


def test_known_models_are_what_open_model_takes(sweep, tmp_path):
    expected = [sweep("outputs/a/seed=1"), sweep("outputs/a/seed=2", folds=(1,)), sweep("outputs/demo")]
    shutil.copytree(tmp_path / "outputs/demo/fold-0/model", tmp_path / "outputs/shared")
    shutil.copytree(tmp_path / "outputs/demo/fold-0/model", tmp_path / "outputs/.cache/model")
    shutil.copytree(tmp_path / "outputs/demo/fold-0/model", tmp_path / "outputs/demo/fold-1/.model.123")
    (tmp_path / "outputs/unfinished/fold-0").mkdir(parents=True)
    found = known_models(tmp_path / "outputs")
    assert found == [*expected, tmp_path / "outputs/shared"]
    for path in found:
        open_model(path)
    assert known_models(tmp_path / "none") == []


def test_without_a_model_the_error_names_what_there_is_and_how_to_get_one(sweep, tmp_path):
    line = str(no_model_error(tmp_path / "outputs"))
    assert "trained models here: none" in line
    assert "remedy: make demo" in line
    assert "model=outputs/demo" in line
    sweeps = [sweep(f"outputs/run{number:02}", folds=(0,)) for number in range(10)]
    line = str(no_model_error(tmp_path / "outputs"))
    assert f"remedy: model={sweeps[0]}" in line
    assert str(sweeps[7]) in line
    assert "and 2 more" in line
    assert "make demo" in line
