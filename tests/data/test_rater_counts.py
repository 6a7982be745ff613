"""Soft targets: the counts of raters against the masks on disk, and the labels of training made of them."""

import nibabel as nib
import numpy as np
import pytest
import torch

from nerveseg.data.augmentation import NoAugmentation, TensorAugmentation, TorchioAugmentation
from nerveseg.data.context import Context
from nerveseg.data.datamodule import SliceDataModule
from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.rater_counts import write_rater_counts
from nerveseg.data.slice_store import prepare_slices
from nerveseg.data.study import open_study
from nerveseg.errors import ConfigurationError, RunError

SUBJECTS = ["V01", "P01", "P02"]  # of four slices each
SLICE = Context()
CONTEXTS = pytest.mark.parametrize(
    "context", [Context(), Context(neighbours=1), Context(depth=3), Context(depth=2, size=(5, 3))], ids=str
)
BENT = TensorAugmentation(translation_mm=1.5, elastic_displacement_mm=1.0, elastic_control_points=5)
SHIFTED = TorchioAugmentation(translation_mm=1.0, elastic_displacement_mm=0.0, elastic_probability=0.0)


def ignore(done, total):
    """Show no progress."""


@pytest.fixture
def study(study_on_disk):
    """Three raters who draw two parts at random, of whom one drew only some subjects."""
    disk = study_on_disk(ids=SUBJECTS, classes={"tibial": (1,), "nerve": (1, 2)}, missing_raters="allow")
    random = np.random.default_rng(3)
    for subject in SUBJECTS:
        for rater in disk.raters:
            old = nib.load(disk.mask(subject, rater))
            labels = random.choice(3, old.shape, p=[0.5, 0.3, 0.2]).astype(np.uint8)
            nib.save(nib.Nifti1Image(labels, old.affine), disk.mask(subject, rater))
    disk.mask("P01", "BW").unlink()
    return open_study(disk.description)


@pytest.fixture
def store(study, tmp_path):
    store = prepare_slices(study, Preprocessing(size=(8, 8)), tmp_path / "slices")
    write_rater_counts(study, store, study.subjects, ignore)
    return store


def drawn(study, subject):
    """Label maps of a subject's raters, in the crop."""
    maps = [np.asarray(nib.load(path).dataobj) for path in study.subject(subject).raters.values()]
    return np.stack(maps)[:, 1:9, 0:8]  # of 10 x 9 pixels


def module(store, augment=None, context=SLICE, **options):
    options = {"batch_size": 2, "seed": 1, "target": "raters"} | options
    return SliceDataModule(store, SUBJECTS, augmentation=augment or NoAugmentation(), context=context, **options)


def epoch_of(data, number=0):
    data.sampler.set_epoch(number)
    return [data.on_after_batch_transfer(batch, 0) for batch in data.train_dataloader()]


def test_counts_are_those_of_the_masks_on_disk(study, store):
    for subject in SUBJECTS:
        maps, counts = drawn(study, subject), store.rater_counts(subject)
        assert store.subject(subject).raters == len(maps) == (2 if subject == "P01" else 3)
        assert (counts.shape, counts.dtype) == ((4, 2, 8, 8), np.uint8)
        for part in (1, 2):
            np.testing.assert_array_equal(counts[:, part - 1], (maps == part).sum(0).transpose(2, 0, 1))


def test_resampled_counts_are_the_raters_resampled_one_by_one(study, tmp_path):
    store = prepare_slices(study, Preprocessing(size=(6, 6), spacing_mm=(1.04, 1.04)), tmp_path / "slices")
    write_rater_counts(study, store, study.subjects, ignore)
    spacing_mm = study.grid(study.subject("V01")).ras_spacing_mm  # of float32: at ties the last digit decides
    network_grid = store.index.preprocessing.grid((10, 9), spacing_mm)
    counts = store.rater_counts("V01")
    maps = [np.asarray(nib.load(path).dataobj) for path in study.subject("V01").raters.values()]
    resampled = np.stack([network_grid.apply_to_labels(labels) for labels in maps])
    np.testing.assert_array_equal(counts[:, 1], (resampled == 2).sum(0).transpose(2, 0, 1))


def test_a_store_of_before_gets_the_counts_where_they_are_asked_for(study, tmp_path):
    store = prepare_slices(study, Preprocessing(size=(8, 8)), tmp_path / "slices")
    before = {path.name: path.read_bytes() for path in store.folder.iterdir()}
    with pytest.raises(RunError):
        store.rater_counts("V01")
    steps = []
    write_rater_counts(study, store, study.subjects[:2], lambda *step: steps.append(step))
    assert steps[-1] == (2, 2)
    after = {path.name: path.read_bytes() for path in store.folder.iterdir()}
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 2
    assert prepare_slices(study, Preprocessing(size=(8, 8)), tmp_path / "slices") == store


def test_subjects_of_one_rater_each_are_refused(study_on_disk, tmp_path):
    disk = study_on_disk(ids=SUBJECTS, raters={"OS": "masks/sub-{id}.nii.gz"})
    study = open_study(disk.description)
    store = prepare_slices(study, Preprocessing(size=(8, 8)), tmp_path / "slices")
    with pytest.raises(ConfigurationError) as caught:
        write_rater_counts(study, store, study.subjects, ignore)
    assert "target" in caught.value.remedy


@CONTEXTS
def test_a_training_label_is_the_share_of_the_raters_with_background(study, store, context):
    shown = {(): 0.0}
    for subject in SUBJECTS:
        maps = drawn(study, subject)
        for part in (0, 1, 2):
            shown[subject, part] = (maps == part).mean(axis=0)
    for batch in epoch_of(module(store, context=context)):
        label = batch["label"]
        assert label.dtype == torch.float32
        assert label.shape == (len(label), 3, *batch["image"].shape[2:])
        torch.testing.assert_close(label.sum(dim=1), torch.ones_like(label[:, 0]))
        for image, each in zip(batch["image"], label, strict=True):
            middle = image[image.shape[0] // 2] if context.depth is None else image[0, ..., 0]
            plane = each if context.depth is None else each[..., 0]
            width, height = middle.shape
            places = [
                (subject, z, x, y)
                for subject in SUBJECTS
                for z in range(4)
                for x in range(9 - width)
                for y in range(9 - height)
                if np.array_equal(store.images(subject)[z, 0, x : x + width, y : y + height], middle)
            ]
            ((subject, z, x, y),) = places
            for part in (0, 1, 2):
                expected = shown[subject, part][x : x + width, y : y + height, z]
                np.testing.assert_allclose(plane[part], expected, atol=1e-6)


@CONTEXTS
@pytest.mark.parametrize("augment", [BENT, SHIFTED], ids=["tensor", "torchio"])
def test_moved_labels_are_probabilities_and_move_with_linear_interpolation(store, context, augment):
    soft, hard = (epoch_of(module(store, augment, context, target=target)) for target in ("raters", "consensus"))
    between = 0.0
    for one, other in zip(soft, hard, strict=True):
        torch.testing.assert_close(one["image"], other["image"], rtol=0, atol=0)
        torch.testing.assert_close(one["label"].sum(dim=1), torch.ones_like(one["label"][:, 0]))
        assert 0 <= one["label"].min() <= one["label"].max() <= 1
        thirds = (6 * one["label"] - (6 * one["label"]).round()).abs()
        between = max(between, float(thirds.max()))
    assert between > 0.05, "interpolated between the shares of neighbours"


@pytest.mark.parametrize("augment", [BENT, SHIFTED], ids=["tensor", "torchio"])
def test_shares_move_as_an_image_of_the_same_values_does(augment):
    shares = torch.rand(2, 24, 20, generator=torch.Generator().manual_seed(1))
    shares[:, 0, 0] = 0
    as_image, as_label = augment(shares, shares, (0.8, 1.1), 3)
    torch.testing.assert_close(as_label, as_image, rtol=0, atol=1e-6)


@CONTEXTS
def test_batches_on_the_device_are_those_of_the_workers(store, context):
    together, apart = (epoch_of(module(store, BENT, context, augment_batches=flag), 3) for flag in (True, False))
    for one, other in zip(together, apart, strict=True):
        for key in ("image", "label"):
            torch.testing.assert_close(one[key], other[key], rtol=0, atol=1e-4)


def test_validation_keeps_the_consensus(study, store):
    data = SliceDataModule(store, SUBJECTS[:2], SUBJECTS[2:], batch_size=4, target="raters")
    (batch,) = data.val_dataloader()
    np.testing.assert_array_equal(batch["label"], store.labels("P02"))
    assert batch["label"].dtype == torch.int64
