"""A model of the package: its weights, its record and its files, from a fold that was stopped or has ended."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.callbacks import EMAWeightAveraging
from torch.utils.data import DataLoader

from nerveseg.errors import ConfigurationError, RunError
from nerveseg.inference.bundle import load_bundle
from nerveseg.runs import ConfigChange, FoldFolder, Provenance, StartRecord
from nerveseg.scans.segmentation import segment_scan
from nerveseg.training.checkpoint_files import VerifiedCheckpoints, sealed
from nerveseg.training.epoch_checkpoint import EpochCheckpoint
from nerveseg.training.segmenter import Segmenter
from nerveseg.workflows import package_model as packaging
from nerveseg.workflows.package_model import SOURCE, main, package_model
from nerveseg.workflows.prepare_study import open_configured_study
from nerveseg.workflows.training_objects import build_network
from tests.helpers.composed import parsed_config, plain_config

OPTIONS = ("experiment=thigh", "network.filters=[2,3]", "samples.per_epoch=6")
MADE = StartRecord(init="a" * 64, init_subjects={}, voxels={}, samples=40)


def rounded(tensor):
    return tensor.half().float() if tensor.ndim > 1 else tensor


def write_records(folder, *options, init=None, **changes):
    """The records of a fold, without weights."""
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.config.write_text(yaml.safe_dump(plain_config("train", *options)))
    record = Provenance(command=["train.py", *options], data="", config_sha256="", device="cpu", init=init, **changes)
    folder.provenance.write_text(record.model_dump_json())


def write_checkpoint(folder, *options):
    """A checkpoint of the epoch that counts as the third, with weights whose masks differ from pixel to pixel."""
    folder.checkpoints.mkdir()
    torch.manual_seed(1)
    state = build_network(parsed_config("train", *options)).module.state_dict()
    weights = {f"network.{name}": values * (50 if values.shape[:1] == (7,) else 1) for name, values in state.items()}
    (folder.checkpoints / "last.ckpt").write_bytes(sealed({"state_dict": weights, "epoch": 2}))


@pytest.fixture
def fold(tmp_path):
    """A fold with a checkpoint."""
    folder = FoldFolder(tmp_path / "outputs" / "fold-0")
    write_records(folder, *OPTIONS)
    write_checkpoint(folder, *OPTIONS)
    return folder


@pytest.fixture
def stopped(tmp_path):
    """A fold that was stopped after three epochs, with the network as Lightning left it, averaged."""
    folder = FoldFolder(tmp_path / "fold-0")
    write_records(folder, *OPTIONS, versions={"nerveseg": "0.0.1"})
    network = build_network(parsed_config("train", *OPTIONS)).module
    batch = {"image": torch.randn(5, 16, 16), "label": torch.randint(7, (16, 16))}
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=3,
        logger=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        callbacks=[EMAWeightAveraging(decay=0.5), EpochCheckpoint(folder.checkpoints, 1, {})],
        plugins=[VerifiedCheckpoints()],
    )
    trainer.fit(Segmenter(network, lambda weights: torch.optim.SGD(weights, lr=0.1)), DataLoader([batch] * 4, 2))
    return folder, network


@pytest.mark.filterwarnings("ignore")  # of Lightning, about loaders without workers
def test_a_stopped_fold_gives_the_averaged_weights_of_its_last_checkpoint(stopped, tmp_path):
    folder, averaged = stopped
    last = torch.load(folder.checkpoints / "last.ckpt", weights_only=True)["current_model_state"]
    target = tmp_path / "models" / "small"
    assert (
        main(
            [
                str(folder.path),
                str(target),
                "accuracy=fast",
                "nerve_odds=2",
                "postprocessing.follow_path=false",
                "--untested",
            ]
        )
        == 0
    )
    assert {path.name for path in target.iterdir()} == {"model.json", "weights.safetensors", "README.md", "LICENSE"}
    assert (target / "LICENSE").read_bytes() == (SOURCE / "LICENSE").read_bytes()
    bundle = load_bundle(target)
    found, expected = bundle.network.state_dict(), averaged.state_dict()
    for name, values in found.items():
        assert torch.equal(values, rounded(expected[name])), name
    assert any(not torch.equal(found[name], rounded(last[f"network.{name}"])) for name in found)
    content = json.loads((target / "model.json").read_text())
    training, settings = content["training"], bundle.description.prediction
    assert (settings.accuracy, settings.nerve_odds, settings.postprocessing.follow_path) == ("fast", 2.0, False)
    assert (training["epochs"], training["samples"], training["subjects"]) == (3, 18, {})
    assert (content["versions"], content["scores"]) == ({"nerveseg": "0.0.1"}, [])


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        (("study=phantom",), {}),
        (OPTIONS, {"init": MADE.model_copy(update={"init_subjects": {"init/A": {}}})}),
        (OPTIONS, {"init": MADE.model_copy(update={"samples": 0})}),
        ((*OPTIONS, "init=model"), {}),
        (OPTIONS, {"config_changes": [ConfigChange(differences=["samples: None -> {}"], former="", command=[])]}),
    ],
    ids=["subjects", "init of subjects", "init of unknown data", "init without a record", "subjects at first"],
)
def test_a_network_that_learnt_from_anything_but_made_samples_is_refused(options, changes, fold, tmp_path):
    write_records(fold, *options, **changes)
    with pytest.raises(ConfigurationError) as caught:
        package_model(fold.path, tmp_path / "model", tested=False)
    assert caught.value.path == fold.path
    assert not (tmp_path / "model").exists()


def test_samples_of_the_model_that_it_began_with_count(fold, tmp_path):
    write_records(fold, *OPTIONS, init=MADE)
    assert package_model(fold.path, tmp_path / "model", tested=False).training.samples == 58


@pytest.mark.parametrize(
    ("recorded", "kept"),
    [
        (("experiment=thigh", "output_root=/a", "trainer=cpu", "init=/b", "seed=2"), "experiment=thigh seed=2 fold=0"),
        (
            ("trainer.precision=bf16-mixed", "seed=1", "fold=0,1", "seed=3"),
            "trainer.precision=bf16-mixed seed=3 fold=0",
        ),
        (("context.size=[64,64]",), "'context.size=[64,64]' fold=0"),
        (("seed=1,2",), None),
        (("plugins=/home/a",), None),
    ],
)
def test_the_card_gives_the_command_and_the_changes_of_the_training(recorded, kept, fold, tmp_path):
    changes = ["inference.accuracy: auto -> exact", "optimization.epochs: 1000 -> 125"]
    forced = ConfigChange(differences=changes, former="config.before-1.yaml", command=[])
    write_records(fold, *OPTIONS, config_changes=[forced])
    record = json.loads(fold.provenance.read_text())
    fold.provenance.write_text(json.dumps(record | {"command": ["train.py", *recorded]}))
    package_model(fold.path, tmp_path / "model", tested=False)
    lines = (tmp_path / "model" / "README.md").read_text().splitlines()
    commands = [line.partition("nerveseg.train ")[2] for line in lines if "nerveseg.train" in line]
    assert commands == ([kept] if kept else [])
    assert "- optimization.epochs: 1000 -> 125" in lines
    assert not any("inference.accuracy" in line for line in lines)


@pytest.mark.parametrize("setting", ["nosuch=1", "accuracy=sometimes", "accuracy", "accuracy.x=1", "accuracy=[", "=1"])
def test_an_unknown_setting_of_the_prediction_is_refused(setting, fold, tmp_path):
    with pytest.raises(ConfigurationError):
        package_model(fold.path, tmp_path / "model", [setting], tested=False)


def test_a_fold_without_weights_or_with_those_of_another_network_is_refused(fold, tmp_path, capsys):
    write_records(fold, "experiment=thigh", "network.filters=[4,3]")
    with pytest.raises(RunError) as caught:
        package_model(fold.path, tmp_path / "model", tested=False)
    assert caught.value.path == fold.checkpoints / "last.ckpt"
    shutil.rmtree(fold.checkpoints)
    assert main([str(fold.path), str(tmp_path / "model"), "--untested"]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "model").exists()


def test_a_damaged_checkpoint_is_reported_and_stays(fold, tmp_path, capsys):
    last = fold.checkpoints / "last.ckpt"
    shutil.copyfile(last, fold.checkpoints / "previous.ckpt")
    last.write_bytes(b"damaged")
    package_model(fold.path, tmp_path / "model", tested=False)
    assert str(last) in capsys.readouterr().out
    assert last.read_bytes() == b"damaged"


@pytest.mark.parametrize("place", ["outputs/fold-0", "outputs", "outputs/fold-0/model", "outputs/fold-1/model", "file"])
def test_a_target_that_holds_other_files_is_refused_and_stays(place, fold, tmp_path):
    (tmp_path / "file").touch()
    for bundle in ("outputs/fold-0/model", "outputs/fold-1/model"):
        (tmp_path / bundle).mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigurationError) as caught:
        package_model(fold.path, tmp_path / place, tested=False)
    assert caught.value.path == tmp_path / place
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("other", ["notes.txt", "model.json/x", ".hidden"])
def test_a_folder_with_a_file_that_is_of_no_model_is_refused(other, fold, tmp_path):
    (tmp_path / "models" / other).parent.mkdir(parents=True)
    (tmp_path / "models" / other).touch()
    with pytest.raises(ConfigurationError):
        package_model(fold.path, tmp_path / "models", tested=False)
    assert (tmp_path / "models" / other).is_file()


@pytest.mark.parametrize("failure", [KeyboardInterrupt, RunError("no study")])
def test_what_fails_at_the_end_leaves_the_earlier_model(failure, fold, tmp_path, monkeypatch):
    def fail(*_):
        raise failure

    target = tmp_path / "models" / "small"
    package_model(fold.path, target, tested=False)
    before = {path: path.read_bytes() for path in target.parent.rglob("*") if path.is_file()}
    monkeypatch.setattr(packaging, "measure_packaged", fail)
    with pytest.raises((KeyboardInterrupt, RunError)):
        package_model(fold.path, target, ["accuracy=fast"])
    assert {path: path.read_bytes() for path in target.parent.rglob("*") if path.is_file()} == before
    package_model(fold.path, target, ["accuracy=fast"], tested=False)
    assert load_bundle(target).description.prediction.accuracy == "fast"
    assert [path.name for path in target.parent.iterdir()] == ["small"]


def test_without_the_licence_nothing_is_written(fold, tmp_path, monkeypatch):
    monkeypatch.setattr(packaging, "SOURCE", tmp_path)
    assert packaging.find_licence().read_bytes() == (SOURCE / "LICENSE").read_bytes()  # of the installed package
    monkeypatch.setattr(packaging.metadata, "files", lambda _: None)
    with pytest.raises(ConfigurationError):
        package_model(fold.path, tmp_path / "model", tested=False)
    assert not (tmp_path / "model").exists()


TINY = (
    "experiment=thigh", "study.simulate.volunteers=2", "study.simulate.matrix=[48,48]",
    "study.simulate.patients={distal: 1, medial: 0, proximal: 1}", "study.simulate.slices=3",
    "study.simulate.spacing_mm=[4.0,4.0,8.0]", "study.simulate.field_jitter_mm=0.0", "preprocessing.size=[48,48]",
    "preprocessing.spacing_mm=[4.0,4.0]", "context.size=[32,32]", "network.filters=[4,6]", "logger=csv",
)  # fmt: skip


def test_a_packaged_model_has_the_scores_of_all_scans_and_of_its_own_masks(tmp_path):
    options = (*TINY, f"study.root={tmp_path / 'study'}", f"output_root={tmp_path / 'outputs'}")
    folder = FoldFolder(tmp_path / "outputs" / "fold-0")
    write_records(folder, *options)
    write_checkpoint(folder, *options)
    target = tmp_path / "model"
    settings = ("mirrored_views=false", "nerve_odds=20.0", "postprocessing.follow_path=false")
    assert main([str(folder.path), str(target), *settings]) == 0
    description = load_bundle(target).description
    written = {score.cohort: score for score in description.scores}
    assert description.scored in (target / "README.md").read_text()
    study = open_configured_study(parsed_config("train", *options).study)
    dice = {}
    for subject in study.subjects:
        found = segment_scan(subject.image, target, options={"accelerator": "cpu"}).mask
        true = (
            np.asarray(nib.load(next((tmp_path / "study").rglob(f"sub-{subject.id}*structures_dseg.nii.gz"))).dataobj)
            == 1
        )
        assert 0 < found.mean() < 1
        dice.setdefault(subject.cohort, []).append(2 * (found & true).sum() / (found.sum() + true.sum()))
    assert {name: score.n for name, score in written.items()} == {name: len(values) for name, values in dice.items()}
    assert sum(map(len, dice.values())) == 4
    for name, values in dice.items():
        assert 0 < np.mean(values) == pytest.approx(written[name].dice)
