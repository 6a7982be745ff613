"""Training that begins with the weights of a model, on a study of a few voxels."""

import shutil

import nibabel as nib
import numpy as np
import pytest
import torch

from nerveseg.errors import BundleError, ConfigurationError, StudyError
from nerveseg.inference.bundle import load_bundle, read_description, save_bundle
from nerveseg.inference.ensemble import open_model
from nerveseg.launch.schema import parse_config
from nerveseg.workflows import train_fold, training_objects
from nerveseg.workflows.fold_description import describe_fold
from nerveseg.workflows.job import Job
from nerveseg.workflows.run_records import read_provenance
from nerveseg.workflows.starting_weights import check_test_subjects, load_starting_weights
from nerveseg.workflows.sweep import prepare_folds
from nerveseg.workflows.training_job import training_job
from tests.helpers.composed import plain_config

IDS = [f"V{number:02}" for number in range(4)]


@pytest.fixture
def job(tmp_path):
    """`job(*overrides)`: a fold of two training and two test subjects."""
    random = np.random.default_rng(2)
    for name in IDS:
        image = random.gamma(2, 40, (16, 16, 3)).astype(np.float32)
        for suffix, array in (("T2w", image), ("mask", (image > 100).astype(np.uint8))):
            nib.save(nib.Nifti1Image(array, np.diag([0.5, 0.5, 4.4, 1.0])), tmp_path / f"{name}_{suffix}.nii")

    def make(*further):
        overrides = [
            f"output_root={tmp_path / 'outputs'}", "name=x", "study=aorta", f"study.root={tmp_path}", "folds.count=2",
            "preprocessing.size=[16,16]", "network=tiramisu_small", "optimization.epochs=1", "logger=csv",
            "trainer.accelerator=cpu", "trainer.workers=0", *further,
        ]  # fmt: skip
        config = plain_config("train", *overrides)
        files = {"images": {"T2": "{id}_T2w.nii"}, "raters": {"OS": "{id}_mask.nii"}}
        config |= {"study": config["study"] | files}
        return training_job(Job(parse_config("train", config), config, tuple(overrides)))

    return make


@pytest.fixture
def start(job, tmp_path):
    """`start(*overrides)`: folder of a model that another seed gave its weights, trained on nobody."""

    def make(*overrides, training=None):
        other = job("seed=9", *overrides)
        loaded, network = train_fold.load_fold(other), training_objects.build_network(other.config)
        description = describe_fold(other.config, loaded, network.spec, epochs=1)
        nobody = {"subjects": {}, "voxels": {}} if training is None else training
        record = description.training.model_copy(update=nobody)
        folder = tmp_path / "start"
        save_bundle(folder, network.module, description.model_copy(update={"training": record}))
        return folder

    return make


@pytest.mark.filterwarnings("ignore")  # of Lightning, as the command ignores them
def test_a_training_begins_with_the_weights_of_the_model(job, start, capsys):
    of_another_channel = {"T1": "b" * 64, "rater-OS": "c" * 64}
    subjects = {"A": {"T2": "a" * 64}, "B": of_another_channel, "C": {}}  # B as of an earlier version, C as published
    folder = start(training={"subjects": subjects, "voxels": {"A": "f" * 64}, "synthetic": True})
    own = job(f"init={folder}", "optimization.optimizer.lr=0.0")
    train_fold.run_fold(own)
    weights = load_bundle(folder).network.state_dict()
    trained = load_bundle(own.folder.model)
    for name, tensor in trained.network.named_parameters():
        assert torch.equal(tensor, weights[name]), name  # with a rate of 0 nothing moves them
    record = trained.description.training
    assert record.init == read_description(folder).weights_sha256
    assert (record.synthetic, record.init_synthetic) == (False, True)
    assert record.voxels["init/A"] == "f" * 64
    assert set(record.voxels) == {"init/A", *record.subjects}
    assert record.init_subjects == {f"init/{name}": files for name, files in subjects.items()}
    assert record.unrecognised == ["init/C"]
    assert "warning: init" in capsys.readouterr().out
    model = open_model(own.folder.model)
    for file, voxels in (("b" * 64, None), (None, "f" * 64)):
        assert model.members_for(file, voxels)[1] is not None
    assert model.members_for("c" * 64, "d" * 64)[1] is None
    assert record.init[:12] in (own.folder.model / "README.md").read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore")  # of Lightning, as the command ignores them
@pytest.mark.parametrize("change", ["moved", "trained again"])
def test_a_fold_with_a_checkpoint_goes_on_without_the_model_that_it_began_with(change, job, start):
    folder = start(training={"subjects": {"A": {"T2": "a" * 64}}, "voxels": {"A": "f" * 64}})
    own = job(f"init={folder}", "optimization.optimizer.lr=0.0")
    train_fold.run_fold(own)
    before = read_description(own.folder.model).training
    shutil.rmtree(folder)
    prepare_folds([own])  # a finished fold needs no model
    shutil.rmtree(own.folder.model)  # as of a fold that was interrupted after its last checkpoint
    own.folder.scores.unlink()
    if change == "trained again":
        start("seed=8")
        assert read_description(folder).weights_sha256 != before.init
    prepare_folds([own])
    train_fold.run_fold(own)
    assert read_description(own.folder.model).training == before
    shutil.rmtree(own.folder.checkpoints)
    own.folder.scores.unlink()
    if change == "moved":
        with pytest.raises(BundleError):
            prepare_folds([own])
        return
    train_fold.run_fold(own)  # begins again, with the weights that are there now
    again = read_description(own.folder.model)
    assert again.training.init == read_description(folder).weights_sha256
    assert read_provenance(own.folder).init.init == again.training.init


def test_without_init_the_seed_gives_the_weights(job):
    network = training_objects.build_network(job().config)
    before = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
    assert load_starting_weights(job().config, network) is None
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.module.state_dict().items())


def test_a_model_of_other_classes_gives_the_weights_of_the_parts_that_both_know(job, start):
    folder = start("+study.classes={muscle: [3], nerve: [1], fat: [2]}")
    config = job(f"init={folder}", "+study.classes={vein: [5], nerve: [1]}").config
    network = training_objects.build_network(config)
    model = load_starting_weights(config, network).network
    images = torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        air, muscle, nerve, fat = model(images).double().exp().unbind(1)
        background, vein, found = network.module.eval()(images).double().exp().unbind(1)
    assert torch.allclose(found, nerve, rtol=1e-4)
    assert torch.allclose(background, 3 * (air * muscle * fat) ** (1 / 3), rtol=1e-4)
    assert (background <= (air + muscle + fat) * 1.0001).all()
    assert torch.allclose(vein, 0.02 * background, rtol=1e-4)


def test_the_same_classes_in_another_order_keep_their_weights(job, start):
    folder = start("+study.classes={nerve: [1], fat: [2]}")
    config = job(f"init={folder}", "+study.classes={fat: [2], nerve: [1]}").config
    network = training_objects.build_network(config)
    model = load_starting_weights(config, network).network
    images = torch.rand(1, 1, 16, 16)
    assert torch.allclose(network.module.eval()(images)[:, [0, 2, 1]], model(images))


def test_a_single_channel_may_be_of_another_contrast(job, start):
    config = job(f"init={start()}").config
    study = config.study.model_copy(update={"images": {"DIR": "{id}_T2w.nii"}})
    config = config.model_copy(update={"study": study})
    network = training_objects.build_network(config)
    model = load_starting_weights(config, network)
    assert all(torch.equal(network.module.state_dict()[name], own) for name, own in model.network.state_dict().items())
    study = study.model_copy(update={"images": {"DIR": "{id}_T2w.nii", "FS": "{id}_FS.nii"}})
    with pytest.raises(ConfigurationError) as caught:
        load_starting_weights(config.model_copy(update={"study": study}), network)
    assert "channels" in caught.value.rule


@pytest.mark.parametrize(
    ("of_model", "of_training", "rule"),
    [
        ((), ("network.growth_rate=5",), "size of the network"),
        ((), ("context=neighbours",), "context"),
        (("context=neighbours",), (), "context"),
    ],
)
def test_a_model_of_another_kind_is_refused(of_model, of_training, rule, job, start):
    config = job(f"init={start(*of_model)}", *of_training).config
    with pytest.raises(ConfigurationError) as caught:
        load_starting_weights(config, training_objects.build_network(config))
    assert rule in caught.value.rule
    assert caught.value.path == config.init


def test_a_folder_without_a_model_and_one_of_several_are_refused(job, start, tmp_path):
    folder = start()
    for fold in (0, 1):
        (tmp_path / "sweep" / f"fold-{fold}").mkdir(parents=True)
        (tmp_path / "sweep" / f"fold-{fold}" / "model").symlink_to(folder)
    for path, error in ((tmp_path / "nowhere", BundleError), (tmp_path / "sweep", ConfigurationError)):
        config = job(f"init={path}").config
        with pytest.raises(error):
            load_starting_weights(config, training_objects.build_network(config))


@pytest.mark.parametrize("known_by", ["voxels", "file", "file of the model before"])
def test_a_model_that_knows_a_test_subject_is_refused(known_by, job, start):
    loaded = train_fold.load_fold(job())
    known = loaded.fold.test[1]
    stored = loaded.store.subject(known.id)
    training = {"subjects": {}, "voxels": {"A": stored.voxels}}
    if known_by != "voxels":
        field = "subjects" if known_by == "file" else "init_subjects"
        training = {"subjects": {}, "voxels": {}} | {field: {"A": {"T2": stored.sha256["T2"]}}}
    bundle = load_bundle(start(training=training))
    with pytest.raises(StudyError) as caught:
        check_test_subjects(bundle, loaded.fold, loaded.store)
    assert caught.value.subject == known.id
    check_test_subjects(load_bundle(start()), loaded.fold, loaded.store)
