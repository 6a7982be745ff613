"""What a fold writes into its bundle's description, from a study of a few voxels."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nerveseg.data.hashing import image_sha256
from nerveseg.data.volumes.volume import read_image
from nerveseg.evaluation.comparisons import SCORE_COLUMNS
from nerveseg.inference.bundle import Bundle
from nerveseg.inference.model_card import model_card
from nerveseg.inference.training_intensity import PERCENTILES
from nerveseg.launch.schema import parse_config
from nerveseg.runs import StartRecord
from nerveseg.workflows import test_fold, train_fold, training_objects
from nerveseg.workflows.fold_description import describe_fold
from nerveseg.workflows.job import Job
from nerveseg.workflows.starting_weights import record_of_start
from nerveseg.workflows.training_job import training_job
from tests.helpers.composed import parsed_config, plain_config

IDS = [f"V{number:02}" for number in range(4)]


@pytest.fixture
def job(tmp_path):
    """Two channels, one rater; volumes larger than the crop along x and smaller along y."""
    random = np.random.default_rng(2)
    for name in IDS:
        for suffix in ("T2w", "FS", "mask"):
            array = random.gamma(2, 40, (20, 12, 3)).astype(np.float32)
            if suffix == "mask":
                array = (array > 100).astype(np.uint8)
            nib.save(nib.Nifti1Image(array, np.diag([0.5, 0.5, 4.4, 1.0])), tmp_path / f"{name}_{suffix}.nii")
    overrides = [
        f"output_root={tmp_path / 'outputs'}", "study=aorta", f"study.root={tmp_path}", "folds.count=2",
        "preprocessing.size=[16,16]", "network=tiramisu_small", "optimization.epochs=1",
    ]  # fmt: skip
    config = plain_config("train", *overrides)
    files = {"images": {"T2": "{id}_T2w.nii", "FS": "{id}_FS.nii"}, "raters": {"OS": "{id}_mask.nii"}}
    config |= {"study": config["study"] | files}
    return training_job(Job(parse_config("train", config), config, tuple(overrides)))


def test_a_bundle_knows_the_intensities_of_its_own_training_subjects(job, tmp_path):
    loaded = train_fold.load_fold(job)
    network = training_objects.build_network(job.config)
    described = describe_fold(job.config, loaded, network.spec, epochs=3)

    assert described.training.epochs == 3
    held_out = {subject.id for subject in loaded.fold.test}
    assert len(held_out) == 2
    assert list(described.intensity) == described.channels == ["T2", "FS"]
    for channel, suffix in (("T2", "T2w"), ("FS", "FS")):
        rows = []
        for name in sorted(set(IDS) - held_out):
            array = nib.load(tmp_path / f"{name}_{suffix}.nii").get_fdata()
            inside = ((array - array.mean()) / array.std())[2:18]  # the padding along y does not count
            rows.append(np.percentile(inside, PERCENTILES))
        by_percentile = described.intensity[channel].by_percentile
        assert tuple(by_percentile) == PERCENTILES
        np.testing.assert_allclose(
            list(by_percentile.values()), np.transpose([np.min(rows, 0), np.max(rows, 0)]), atol=0.02
        )


def test_a_bundle_knows_the_voxels_of_its_own_training_subjects(job, tmp_path):
    loaded = train_fold.load_fold(job)
    network = training_objects.build_network(job.config)
    training = describe_fold(job.config, loaded, network.spec, epochs=3).training
    assert training.voxels.keys() == training.subjects.keys()
    assert training.voxels == {name: image_sha256(read_image(tmp_path / f"{name}_T2w.nii")) for name in training.voxels}
    index = loaded.store.folder / "index.json"
    written = index.read_text(encoding="utf-8")
    content = json.loads(written)
    for subject in content["subjects"]:
        del subject["voxels"]  # as earlier versions wrote it
    index.write_text(json.dumps(content), encoding="utf-8")
    assert describe_fold(job.config, train_fold.load_fold(job), network.spec, epochs=3).training == training
    assert json.loads(index.read_text(encoding="utf-8")) == json.loads(written)


def test_a_model_of_made_samples_records_what_it_has_seen_and_no_subject():
    config = parsed_config("train", "experiment=thigh", "samples.per_epoch=40")
    network = training_objects.build_network(config)
    described = describe_fold(config, None, network.spec, epochs=13)
    record = described.training
    assert (record.samples, record.subjects, record.voxels, record.synthetic) == (520, {}, {}, True)
    begun = StartRecord(init="a" * 64, init_subjects={}, voxels={}, samples=1000)
    assert describe_fold(config, None, network.spec, 13, begun).training.samples == 1520
    assert "no image of a person" in model_card(described.model_dump())
    after_people = begun.model_copy(update={"init_subjects": {"init/A": {}}})
    card = model_card(describe_fold(config, None, network.spec, 13, after_people).model_dump())
    assert "SYNTHETIC" in card
    assert "no image of a person" not in card
    assert "never seen a real nerve" not in card
    assert described.intensity == {}
    assert described.result_classes == ["nerve"]
    assert described.ranges.step_mm[0] < described.spacing_mm[2] < described.ranges.step_mm[1]
    card = model_card(described.model_dump())
    assert "520 samples" in card
    assert "SYNTHETIC TRAINING DATA" in card


def test_a_model_of_scans_goes_on_to_say_that_its_weights_began_with_made_samples(job):
    loaded, network = train_fold.load_fold(job), training_objects.build_network(job.config)
    start = StartRecord(init="a" * 64, init_subjects={}, voxels={}, samples=250_000)
    described = describe_fold(job.config, loaded, network.spec, 3, start)
    again = record_of_start(Bundle(network.module, described))
    for each in (described, describe_fold(job.config, loaded, network.spec, 3, again)):
        training = each.training
        assert (training.synthetic, training.init_synthetic, training.samples) == (False, True, 250_000)
        card = model_card(each.model_dump())
        assert "SYNTHETIC DATA" in card
        assert "250,000 samples" in card
        assert "no image of a person" not in card
    assert again.init_subjects.keys() == {f"init/{name}" for name in described.training.subjects}
    for start in (None, StartRecord(init="a" * 64, init_subjects={"init/A": {}}, voxels={})):
        own = describe_fold(job.config, loaded, network.spec, 3, start)
        assert not {"init_synthetic", "samples", "command", "changes"} & own.model_dump()["training"].keys()
        assert "SYNTHETIC" not in model_card(own.model_dump())


def test_the_line_of_a_fold_leaves_out_a_class_that_a_cohort_does_not_show():
    rows = [
        (name, name, cohort, "", "", structure, 0, "Auto-GT", "dice", dice)
        for name, cohort, structure, dice in (
            ("V01", "volunteer", "tibial", np.nan),
            ("V01", "volunteer", "nerve", 0.9),
            ("P01", "patient", "tibial", 0.5),
        )
    ]
    means = test_fold._mean_dice(pd.DataFrame(rows, columns=list(SCORE_COLUMNS)))
    assert means.to_dict() == {"nerve volunteer": 0.9, "tibial patient": 0.5}
