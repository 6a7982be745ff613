import hashlib
import json
import math
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from monai.networks.nets import DynUNet
from safetensors.torch import load_file, save_file

from nerveseg.data.preprocessing import Preprocessing
from nerveseg.errors import BundleError
from nerveseg.inference import weights as weights_file
from nerveseg.inference.bundle import (
    Bundle,
    ModelDescription,
    TestScore,
    TrainingRecord,
    add_scores,
    load_bundle,
    read_description,
    renamed_bundle,
    save_bundle,
)
from nerveseg.inference.model_card import model_card
from nerveseg.inference.training_intensity import IntensityRange
from nerveseg.networks.fc_densenet import FCDenseNet
from nerveseg.networks.registry import NetworkSpec


def network(seed=0, **options):
    torch.manual_seed(seed)
    usual = {"in_channels": 1, "first_filters": 4, "growth_rate": 2, "layers_per_block": [1, 2, 1], "transitions": 1}
    made = FCDenseNet(**(usual | options))
    made.arguments = usual | options
    made(torch.randn(3, made.arguments["in_channels"], 8, 8))  # running statistics that are not those of a new network
    return made.eval()


def description(made, **values):
    usual = {
        "architecture": NetworkSpec("FCDenseNet", made.arguments),
        "channels": ["T2"],
        "spacing_mm": (0.52, 0.52, 4.4),
        "preprocessing": Preprocessing(size=(16, 12)),
        "classes": None,
        "training": TrainingRecord(
            study="tiny",
            synthetic=False,
            subjects={"V01": {"T2": "ab", "rater-OS": "cd"}},
            fold=2,
            epochs=3,
            seed=4,
            folds_seed=5,
        ),
        "versions": {"nerveseg": "0.1.0"},
    }
    return ModelDescription(**(usual | values))


def test_a_bundle_in_half_precision_is_half_as_large_and_loaded_in_single_precision(folder, tmp_path):
    made = network(first_filters=32)
    with torch.no_grad():
        next(layer for layer in made.modules() if isinstance(layer, torch.nn.BatchNorm2d)).running_var.fill_(1e6)
        made.classifier.weight.mul_(1e6 / made.classifier.weight.abs().max())
    for name, half in (("single", False), ("half", True)):
        save_bundle(tmp_path / name, made, description(made), half=half)
    size = {name: (tmp_path / name / "weights.safetensors").stat().st_size for name in ("single", "half")}
    assert size["half"] < 0.7 * size["single"]
    loaded, own = load_bundle(tmp_path / "half").network.state_dict(), made.state_dict()
    for name, values in own.items():
        kernel = values.ndim > 1 and not name.startswith("classifier")  # whose values half precision cannot hold
        expected = values.numpy().astype("float16").astype("float32") if kernel else values.numpy()
        assert loaded[name].dtype == values.dtype
        assert (loaded[name].numpy() == expected).all(), name


def test_the_nerve_is_among_the_classes_whose_masks_are_results():
    classes = {"nerve": [1], "vein": [2]}
    for results in (["vein"], ["nerve", "artery"]):
        with pytest.raises(ValueError, match="result_classes"):
            description(network(), classes=classes, result_classes=results)
    assert description(network(), classes={"tibial": [1], "vein": [2]}, result_classes=["vein"]).result_classes == [
        "vein"
    ]


@pytest.fixture
def folder(tmp_path):
    save_bundle(tmp_path / "model", network(), description(network()))
    return tmp_path / "model"


def edit(folder, change, rehash=False):
    """Change `model.json` as a person or a broken copy would."""
    path = folder / "model.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    if rehash:
        values["weights_sha256"] = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    change(values)
    path.write_text(json.dumps(values), encoding="utf-8")


def refused(folder, said):
    """The error of a bundle that cannot be used: one line that says where, what, and what to do."""
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    line = str(caught.value)
    assert re.fullmatch(r"[^\n]+; found: [^\n]+; path: [^\n]+; remedy: [^\n]+", line)
    assert str(folder) in line
    assert len(line) < 700
    assert re.search(said, line), line


@pytest.mark.parametrize(
    "options",
    [{}, {"in_channels": 3}, {"layers_per_block": 1}, {"dropout": 0.0, "transitions": 2, "layers_per_block": 1}],
)
def test_a_bundle_comes_back_bit_for_bit(options, tmp_path):
    made = network(**options)
    before = description(made, classes={"nerve": (1, 2)}, scores=[TestScore(cohort="patient", n=3, dice=None)])
    save_bundle(tmp_path / "model", made, before)
    loaded = load_bundle(tmp_path / "model")
    assert loaded.description.model_copy(update={"weights_sha256": ""}) == before
    assert not loaded.network.training
    weights = loaded.network.state_dict()
    assert weights.keys() == made.state_dict().keys()
    for name, tensor in made.state_dict().items():
        assert weights[name].dtype == tensor.dtype
        assert weights[name].numpy().tobytes() == tensor.numpy().tobytes(), name
    slices = torch.randn(2, made.arguments["in_channels"], 12, 16)
    with torch.no_grad():
        assert torch.equal(loaded.network(slices), made(slices))


def test_a_network_in_channels_last_is_saved_like_any_other(tmp_path):
    made = network().to(memory_format=torch.channels_last)
    save_bundle(tmp_path / "model", made, description(made))
    slices = torch.randn(2, 1, 12, 16)
    with torch.no_grad():
        torch.testing.assert_close(load_bundle(tmp_path / "model").network(slices), network()(slices))


def test_batch_normalisation_with_several_names_comes_back(tmp_path):
    """DynUNet's modules stand in its attributes and in its recursive layers, with the counters of their batches."""
    options = {
        "spatial_dims": 2, "in_channels": 1, "out_channels": 2, "kernel_size": [3, 3, 3], "strides": [1, 2, 2],
        "upsample_kernel_size": [2, 2], "filters": [4, 6, 8], "norm_name": "batch",
    }  # fmt: skip
    trained, read = DynUNet(**options), DynUNet(**options)
    trained(torch.randn(2, 1, 16, 16))
    weights_file.write_weights(tmp_path, trained, tmp_path)
    weights_file.read_weights(tmp_path, read)
    assert read.state_dict().keys() == trained.state_dict().keys()
    for name, tensor in trained.state_dict().items():
        assert torch.equal(read.state_dict()[name], tensor), name
    assert int(read.bottleneck.norm1.num_batches_tracked) == 1


def test_a_bundle_is_three_files_none_of_which_can_run_anything(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "model.json", "weights.safetensors"]
    assert sorted(path.name for path in folder.parent.iterdir()) == ["model"]
    for path in folder.iterdir():
        content = path.read_bytes()
        assert not content.startswith((b"\x80\x02", b"\x80\x04", b"PK\x03\x04"))  # pickle; zip, which torch.save makes
    header_length = int.from_bytes((folder / "weights.safetensors").read_bytes()[:8], "little")
    header = json.loads((folder / "weights.safetensors").read_bytes()[8 : 8 + header_length])
    assert set(header) - {"__metadata__"} == set(network().state_dict())


def test_loading_never_unpickles(folder, monkeypatch):
    for name in ("load", "jit.load"):
        monkeypatch.setattr(f"torch.{name}", lambda *_args, **_options: pytest.fail("unpickled"))
    monkeypatch.setattr("pickle.load", lambda *_args, **_options: pytest.fail("unpickled"))
    load_bundle(folder)


def test_the_hash_is_that_of_the_file(folder):
    expected = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    assert load_bundle(folder).description.weights_sha256 == expected


def test_a_moved_bundle_loads(folder, tmp_path):
    shutil.move(folder, tmp_path / "Größe, [1] =#")
    assert load_bundle(tmp_path / "Größe, [1] =#").description.channels == ["T2"]


def test_a_renamed_bundle_is_the_same_network_with_other_names_and_no_hashes_of_files(folder, tmp_path):
    renamed_bundle(folder, tmp_path / "shown", lambda subject: f"x{subject}"[::-1])
    one, other = load_bundle(folder), load_bundle(tmp_path / "shown")
    before, after = one.description.training.subjects, other.description.training.subjects
    assert after == {f"x{subject}"[::-1]: {} for subject in before}
    assert one.description.weights_sha256 == other.description.weights_sha256
    assert load_bundle(folder).description == one.description


def test_a_renamed_bundle_hides_the_subjects_of_the_model_that_its_training_began_with(folder, tmp_path):
    assert "init_subjects" not in json.loads((folder / "model.json").read_text(encoding="utf-8"))["training"]
    edit(folder, lambda values: values["training"].update(init_subjects={"init/V01": {"T2": "0" * 64}}))
    renamed_bundle(folder, tmp_path / "shown", lambda subject: subject[::-1])
    assert read_description(tmp_path / "shown").training.init_subjects == {"10V/tini": {}}


def test_saving_again_replaces_the_old_bundle(folder):
    (folder / "stray.txt").touch()
    other = network(seed=9)
    save_bundle(folder, other, description(other))
    assert torch.equal(load_bundle(folder).network.state_dict()["first.weight"], other.state_dict()["first.weight"])
    assert not (folder / "stray.txt").exists()


def test_a_bundle_that_cannot_be_written_leaves_the_old_one(folder, monkeypatch):
    before = (folder / "weights.safetensors").read_bytes()

    def disk_full(_network, path):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights_file, "save_model", disk_full)
    with pytest.raises(OSError, match="No space"):
        save_bundle(folder, network(seed=1), description(network()))
    assert (folder / "weights.safetensors").read_bytes() == before
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_saved(value, folder):
    before = (folder / "weights.safetensors").read_bytes()
    diverged = network()
    with torch.no_grad():
        diverged.classifier.weight[0, 0] = value
    with pytest.raises(BundleError) as caught:
        save_bundle(folder, diverged, description(diverged))
    assert caught.value.path == folder
    assert caught.value.found.startswith("1 of 24 values of classifier.weight")
    assert (folder / "weights.safetensors").read_bytes() == before
    assert list(folder.parent.iterdir()) == [folder]


def test_weights_that_are_not_finite_are_not_loaded(folder):
    path = folder / "weights.safetensors"
    tensors = load_file(path)
    tensors["classifier.bias"][:] = float("nan")
    save_file(tensors, path)
    edit(folder, lambda values: None, rehash=True)
    refused(folder, "found: 2 of 2 values of classifier.bias are not")


def test_a_bundle_from_before_settings_were_recorded_is_used_as_segment_did(folder):
    edit(folder, lambda values: (values.pop("prediction"), values.pop("computation")))
    prediction = load_bundle(folder).description.prediction
    assert (prediction.field_of_view, prediction.accuracy, prediction.in_plane_spacing) == ("whole", "auto", "model")
    assert prediction.postprocessing.remove_specks


@pytest.mark.parametrize("place", [0.2, 0.9, 0.999])
def test_a_flipped_bit_is_noticed(place, folder):
    path = folder / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 0x10
    path.write_bytes(content)
    refused(folder, r"hash that model\.json names.*remedy: copy the model again")


@pytest.mark.parametrize("keep", [0, 7, 300, -1])
@pytest.mark.parametrize("rehash", [False, True])
def test_a_truncated_file_is_noticed_even_where_the_hash_was_made_to_fit(keep, rehash, folder):
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    edit(folder, lambda values: None, rehash)
    refused(folder, "weights fit the architecture" if rehash else "hash that")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop("first.bias"), "first.bias"),
        (lambda tensors: tensors.update(more=torch.zeros(1)), "more"),
        (lambda tensors: tensors.update({"first.bias": torch.zeros(99)}), r"first.bias.*99"),
    ],
)
def test_weights_of_another_network_are_named(change, said, folder):
    tensors = load_file(folder / "weights.safetensors")
    change(tensors)
    save_file(tensors, folder / "weights.safetensors")
    edit(folder, lambda values: None, rehash=True)
    refused(folder, rf"weights fit the architecture.*found: .*{said}")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda values: values["architecture"].update(name="LaterNet"),
            "found: LaterNet; .*remedy: install the version",
        ),
        (lambda values: values["architecture"].update(name="os.system"), r"found: os\.system"),
        (lambda values: values.update(format_version=2), "format 1; found: format_version: "),
        (lambda values: values.update(colour="red"), "found: colour: .*not permitted"),
        (lambda values: values["training"].update(secret=1), r"found: training\.secret: "),
        (lambda values: values.pop("preprocessing"), "found: preprocessing: Field required"),
        (
            lambda values: values["preprocessing"].update(size=[0, 4]),
            r"found: preprocessing\.size\.0: .*greater than 0",
        ),
        (lambda values: values.update(spacing_mm=[0.5, 0.0, 4.4]), r"spacing_mm\.1: Input should be greater than 0"),
        (lambda values: values.update(spacing_mm=[0.5, 0.5, -4.4]), r"spacing_mm\.2: Input should be greater than 0"),
        (lambda values: values.update(spacing_mm=[math.nan, 0.5, 4.4]), r"spacing_mm\.0: Input should be .*finite"),
        (lambda values: values.update(spacing_mm=[0.5, math.inf, 4.4]), r"spacing_mm\.1: Input should be .*finite"),
        (lambda values: values.update(lesion_reference={"channel": "FS"}), r"lesion_reference: Input should be null"),
        (lambda values: values["architecture"]["arguments"].update(width=3), "arguments are known.*width"),
        (
            lambda values: values["architecture"]["arguments"].update(transitions=5),
            "arguments are known.*layers_per_block",
        ),
        (lambda values: values["architecture"]["arguments"].update(growth_rate=-1), "arguments are known.*growth_rate"),
        (lambda values: values["architecture"]["arguments"].update(dropout=[1]), "arguments are known"),
        (lambda values: values["architecture"]["arguments"].update(first_filters=2.5), "arguments are known"),
        (lambda values: values["architecture"]["arguments"].update(first_filters=10**15), "arguments are known"),
        (
            lambda values: values["architecture"]["arguments"].update(first_filters=10**40),
            "arguments are known|format 1",
        ),
        (lambda values: values["architecture"]["arguments"].update(first_filters=5), "weights fit the architecture"),
    ],
)
def test_a_description_that_this_version_does_not_know_is_named(change, said, folder):
    edit(folder, change)
    refused(folder, said)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe{}", b"not json"])
def test_a_damaged_description_is_named(content, folder):
    (folder / "model.json").write_bytes(content)
    refused(folder, r"description of format 1; found: .*model\.json")


@pytest.mark.parametrize(("file", "said"), [("model.json", "has a model.json"), ("weights.safetensors", "has weights")])
def test_a_missing_file_is_named(file, said, folder):
    (folder / file).unlink()
    refused(folder, said)


def test_a_missing_folder_is_named(tmp_path):
    refused(tmp_path / "nothing", "remedy: give the folder that holds model.json")


def test_scores_are_added_to_description_and_card(folder):
    weights = (folder / "weights.safetensors").read_bytes()
    scores = [TestScore(cohort="patient", n=11, dice=0.71234), TestScore(cohort="volunteer", n=2, dice=None)]
    assert "Not measured yet" in (folder / "README.md").read_text(encoding="utf-8")
    add_scores(folder, scores)
    loaded = load_bundle(folder)
    assert loaded.description.scores == scores
    assert (folder / "weights.safetensors").read_bytes() == weights
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "| patient | 11 | 0.712 |" in card
    assert "| volunteer | 2 | - |" in card
    add_scores(folder, scores[:1])
    assert load_bundle(folder).description.scores == scores[:1]


def test_intensities_are_kept_and_may_be_absent_as_may_the_null_of_older_bundles(tmp_path):
    made = network()
    measured = description(
        made,
        intensity={"T2": IntensityRange.over([(-1.0, 0.0, 0.1, 0.5, 3.0), (-1.2, 0.1, 0.1, 0.4, 3.5)])},
    )
    save_bundle(tmp_path / "model", made, measured)
    loaded = load_bundle(tmp_path / "model").description
    assert loaded.model_copy(update={"weights_sha256": ""}) == measured
    assert loaded.intensity["T2"].by_percentile[99.0] == (3.0, 3.5)
    edit(tmp_path / "model", lambda values: [values.pop(key) for key in ("intensity", "lesion_reference")])
    older = load_bundle(tmp_path / "model").description
    assert (older.intensity, older.lesion_reference) == ({}, None)


LATER = ("context", "optional", "registration")


def test_a_model_of_single_slices_has_the_hash_of_earlier_versions(folder):
    """Results of `segment` are known to be of this model by the hash, once taken of a description without these."""
    description = load_bundle(folder).description
    without = {"scores", "computation", "classes", "terms", *LATER}
    text = description.model_dump(mode="json", exclude=without) | {"foreground": None}
    canonical = json.dumps(text, sort_keys=True, separators=(",", ":"))
    assert description.sha256() == hashlib.sha256(canonical.encode()).hexdigest()
    edit(folder, lambda values: values.update(foreground=values.pop("classes")))  # as earlier versions wrote it
    assert read_description(folder) == description
    edit(folder, lambda values: values["context"].update(neighbours=1))
    assert read_description(folder).sha256() != description.sha256()
    edit(folder, lambda values: values["context"].update(neighbours=0))
    assert read_description(folder).sha256() == description.sha256()
    for change in ({"registration": "none"}, {"registration": "rigid", "channels": ["T2", "FS"]}, {"optional": ["FS"]}):
        before = read_description(folder).sha256()
        edit(folder, lambda values, change=change: values.update(change))
        assert read_description(folder).sha256() != before


def test_a_model_of_the_consensus_is_recorded_as_by_earlier_versions(folder):
    before = read_description(folder)
    assert set(json.loads((folder / "model.json").read_text())["training"]) == {
        "study", "synthetic", "subjects", "fold", "epochs", "seed", "folds_seed",
    }  # fmt: skip
    assert before.training.target == "consensus"
    edit(folder, lambda values: values["training"].update(target="raters"))
    assert read_description(folder).training.target == "raters"
    assert read_description(folder).sha256() != before.sha256()
    assert "share of its raters" in model_card(read_description(folder).model_dump())
    assert "consensus of its raters" in model_card(before.model_dump())


def test_hashes_of_voxels_leave_the_models_hash_as_it_was(folder, tmp_path):
    before = read_description(folder)
    assert before.training.voxels == {}
    edit(folder, lambda values: values["training"].update(voxels={"V01": "0" * 64}))
    assert read_description(folder).training.voxels == {"V01": "0" * 64}
    assert read_description(folder).sha256() == before.sha256()
    renamed_bundle(folder, tmp_path / "shown", str.lower)
    assert read_description(tmp_path / "shown").training.voxels == {}


def test_an_edited_description_is_another_model_and_scores_are_none(folder):
    before = load_bundle(folder).description.sha256()
    assert re.fullmatch("[0-9a-f]{64}", before)
    add_scores(folder, [TestScore(cohort="patient", n=11, dice=0.7)])
    assert load_bundle(folder).description.sha256() == before
    path = folder / "model.json"
    turned = dict(reversed(json.loads(path.read_text(encoding="utf-8")).items()))
    path.write_text(json.dumps(turned), encoding="utf-8")
    assert load_bundle(folder).description.sha256() == before
    changes = (
        lambda values: values.update(spacing_mm=[0.5, 0.5, 4.4]),
        lambda values: values.update(channels=["T1"]),
        lambda values: values["training"].update(study="another"),
        lambda values: values.update(classes={"nerve": [1]}),
    )
    hashes = {before}
    for change in changes:
        edit(folder, change)
        hashes.add(load_bundle(folder).description.sha256())
    assert len(hashes) == 1 + len(changes)
    weights = load_bundle(folder).description.model_copy(update={"weights_sha256": "0" * 64})
    assert weights.sha256() not in hashes


@pytest.mark.parametrize("transitions", [0, 1, 3])
def test_a_bundle_says_what_its_transitions_divide_by(transitions):
    made = network(transitions=transitions, layers_per_block=1)
    deepest = []
    made.bottleneck.register_forward_hook(lambda module, given, result: deepest.append(result.shape[-1]))
    made(torch.randn(1, 1, 48, 48))
    assert Bundle(made, description(made)).reduction * deepest[0] == 48


def test_scores_for_a_folder_without_a_model_are_refused(tmp_path):
    with pytest.raises(BundleError) as caught:
        add_scores(tmp_path, [])
    assert "model.json" in caught.value.rule
    assert caught.value.path == tmp_path


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_all_files_of_a_bundle_have_the_users_permissions(tmp_path, umask):
    before = os.umask(umask)
    try:
        save_bundle(tmp_path / "model", network(), description(network()))
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "model").iterdir()}
    assert modes == dict.fromkeys(("weights.safetensors", "model.json", "README.md"), 0o666 & ~umask)
