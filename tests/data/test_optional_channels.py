"""Channels that some subjects lack: zeros, presence planes, and their dropping in training."""

import numpy as np
import pytest
from pydantic import ValidationError

from nerveseg.data.context import Context
from nerveseg.data.context_samples import SLICE
from nerveseg.data.datamodule import SliceDataModule
from nerveseg.data.optional_channels import is_missing, keep_some, missing_channel, with_presence
from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.slice_store import prepare_slices
from nerveseg.data.study import list_scans, list_subjects, open_study
from nerveseg.data.study_layout import StudyLayout
from nerveseg.errors import StudyError
from nerveseg.evaluation.study_check import check_subject

IMAGES = {"T2": "{id}_T2.nii.gz", "FS": "{id}_FS.nii.gz", "T1": "{id}_T1.nii.gz"}
CROP = Preprocessing(size=(8, 12))
IDS = ("P01", "P02", "V01")


@pytest.fixture
def disk(study_on_disk):
    """Three subjects; P02 lacks FS, V01 lacks FS and T1."""

    def write(optional=None, lacking=(("P02", "FS"), ("V01", "FS"), ("V01", "T1"))):
        written = study_on_disk(ids=IDS, images=IMAGES, optional=optional or {"T1": 0.5, "FS": 0.25})
        for subject, channel in lacking:
            written.image(subject, channel).unlink()
        return written

    return write


@pytest.fixture
def module(disk, tmp_path):
    store = prepare_slices(open_study(disk().description), CROP, tmp_path / "slices")

    def make(seed=1, context=SLICE, workers=0):
        optional = {"FS": 0.25, "T1": 0.5}
        return SliceDataModule(
            store, IDS, ["P01"], context=context, optional=optional, batch_size=4, seed=seed, workers=workers
        )

    return make


def test_subjects_have_the_channels_whose_files_exist(disk):
    subjects, faults = list_subjects(disk().description)
    assert faults == []
    assert [list(subject.images) for subject in subjects] == [["T2", "FS", "T1"], ["T2", "T1"], ["T2"]]
    assert list_scans(disk().description)[0][1].images.keys() == {"T2", "T1"}


def test_a_missing_channel_is_named_by_check(disk):
    study = open_study(disk().description)
    warnings = [check_subject(study, subject, CROP).warnings for subject in study.subjects]
    assert [sum("FS" in text for text in texts) for texts in warnings] == [0, 1, 1]
    assert [sum("T1" in text for text in texts) for texts in warnings] == [0, 0, 1]


def test_a_channel_that_nobody_has_is_a_fault_of_a_study_but_not_of_scans(disk):
    description = disk(lacking=[(subject, "FS") for subject in IDS]).description
    (fault,) = list_subjects(description)[1]
    assert isinstance(fault, StudyError)
    assert (fault.found, fault.path) == ("no file of FS", description.root / IMAGES["FS"])
    assert list_scans(description)[1] == []


@pytest.mark.parametrize("optional", [{"T2": 0.1}, {"DWI": 0.1}, {"FS": 1.0}, {"FS": -0.1}, {"FS": None}])
def test_the_first_channel_unknown_ones_and_shares_out_of_range_are_refused(optional, tmp_path):
    with pytest.raises(ValidationError):
        StudyLayout(name="x", root=tmp_path, images=IMAGES, raters={"OS": "{id}.nii"}, optional=optional)


def test_a_rule_for_further_channels_needs_one(tmp_path):
    with pytest.raises(ValidationError):
        StudyLayout(name="x", root=tmp_path, images={"T2": "{id}.nii"}, raters={"OS": "m.nii"}, channels="register")


def test_a_missing_channel_is_zero_in_the_store_and_the_others_are_as_ever(disk, tmp_path):
    written = disk()
    study = open_study(written.description)
    store = prepare_slices(study, CROP, tmp_path / "slices")
    channels, _ = study.read_channels(study.subject("V01"))
    assert [is_missing(channel) for channel in channels] == [False, True, True]
    images = store.images("V01")
    assert images.shape[1] == 3
    assert not images[:, 1:].any()
    alone = written.description.model_copy(update={"images": {"T2": IMAGES["T2"]}, "optional": None})
    single = prepare_slices(open_study(alone), CROP, tmp_path / "slices")
    for subject in IDS:
        np.testing.assert_array_equal(store.images(subject)[:, 0], single.images(subject)[:, 0])
    for channel in ("FS", "T1"):
        written.image("V01", channel).write_bytes(written.image("P01", channel).read_bytes())
    assert prepare_slices(open_study(written.description), CROP, tmp_path / "slices").key != store.key


def test_the_store_of_complete_subjects_does_not_depend_on_the_option(disk, tmp_path):
    layout = disk(lacking=()).description
    stores = [
        prepare_slices(open_study(layout.model_copy(update={"optional": optional})), CROP, tmp_path / "slices")
        for optional in (None, {"FS": 0.25})
    ]
    assert stores[0].key == stores[1].key


def test_presence_planes_stand_after_the_channels():
    channels = np.arange(48, dtype=np.float32).reshape(3, 2, 4, 2) + 1
    result = with_presence(channels, [1, 2], [True, False])
    np.testing.assert_array_equal(result[:2], channels[:2])
    assert not result[2].any()
    assert (result[3] == 1).all()
    assert not result[4].any()
    assert result.dtype == np.float32
    assert with_presence(channels, [], []) is channels
    assert is_missing(missing_channel(channels[0]))


def test_channels_are_dropped_with_their_probability_and_each_by_itself():
    kept = np.array([keep_some([True, True, False], [0.25, 0.5, 0.5], seed) for seed in range(4000)])
    np.testing.assert_allclose(kept.mean(axis=0), [0.75, 0.5, 0.0], atol=0.03)
    assert abs(np.corrcoef(kept[:, 0], kept[:, 1])[0, 1]) < 0.05
    assert [keep_some([True], [0.0], seed) for seed in range(50)] == [[True]] * 50


def of_epoch(module, epoch):
    """The images of an epoch by sample, each (channel and presence, x, y)."""
    return [module.slices[epoch, number]["image"].numpy() for number in range(len(module.slices))]


def test_a_sample_is_a_function_of_seed_epoch_and_number(module):
    first, again, later, other = (of_epoch(module(seed), epoch) for seed, epoch in ((1, 3), (1, 3), (1, 4), (2, 3)))
    presence = [np.array([image[3:, 0, 0] for image in images]) for images in (first, again, later, other)]
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(presence[0], presence[1])
    assert (presence[0] != presence[2]).any()
    assert (presence[0] != presence[3]).any()


def test_what_is_dropped_is_zero_and_what_a_subject_lacks_never_there(module):
    made = module()
    seen = {"FS": set(), "T1": set()}
    for epoch in range(20):
        for number, image in enumerate(of_epoch(made, epoch)):
            subject = IDS[made.slices.place(number)[0]]
            assert image.shape == (5, 8, 12)
            for name, channel, plane in (("FS", image[1], image[3]), ("T1", image[2], image[4])):
                assert set(np.unique(plane)) in ({0.0}, {1.0})
                assert bool(channel.any()) == bool(plane.any())
                seen[name].add((subject, bool(plane.any())))
    assert seen["FS"] == {("P01", True), ("P01", False), ("P02", False), ("V01", False)}
    assert seen["T1"] == {("P01", True), ("P01", False), ("P02", True), ("P02", False), ("V01", False)}


def test_validation_drops_nothing(module):
    made = module()
    for number in range(len(made.validation_slices)):
        assert (made.validation_slices[number]["image"][3:] == 1).all()


def test_neighbours_repeat_channels_and_presence_of_every_slice(module):
    made = module(context=Context(neighbours=1))
    image = made.slices[0, 1]["image"].numpy().reshape(3, 5, 8, 12)
    for plane in (3, 4):
        assert len(np.unique(image[:, plane])) == 1
    np.testing.assert_array_equal(image[1, 0], made.slices.store.images("P01")[1, 0])


def test_patches_have_the_presence_planes_too(module):
    made = module(context=Context(depth=3))
    batch = next(iter(made.train_dataloader()))
    assert batch["image"].shape[1] == 5
    assert batch["image"].shape[-1] == 3


def test_workers_do_not_change_the_batches(module):
    batches = [[batch["image"] for batch in module(workers=workers).train_dataloader()] for workers in (0, 1)]
    assert all((one == two).all() for one, two in zip(*batches, strict=True))
