"""Parts of the plane, and samples that are centred on nerve: seen by where the nerve lies in the samples."""

import nibabel as nib
import numpy as np
import pytest
import torch

from nerveseg.data.augmentation import NoAugmentation, TensorAugmentation
from nerveseg.data.context import Context
from nerveseg.data.datamodule import SliceDataModule
from nerveseg.data.nerve_sampling import draw_aim, part_counts
from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.rater_counts import write_rater_counts
from nerveseg.data.slice_store import prepare_slices
from nerveseg.data.study import open_study

SHAPE = (40, 32, 10)
RARE = (22, 15, 6)  # voxel of the second part, which has one; the first has a block of 8 x 8 x 3
SIZE = (8, 6)
CONTEXTS = {
    "slice": Context(size=SIZE),
    "neighbours": Context(size=SIZE, neighbours=1),
    "volume": Context(size=SIZE, depth=4),
}
EVERY = pytest.mark.parametrize("kind", CONTEXTS)
FLIPPED = TensorAugmentation(flip_axes=(0, 1), flip_probability=1.0, translation_mm=0.0, elastic_displacement_mm=0.0)
BENT = TensorAugmentation(translation_mm=2.0, elastic_displacement_mm=1.0, elastic_control_points=5)


@pytest.fixture
def study(study_on_disk):
    disk = study_on_disk(ids=("V01", "V02"), shape=SHAPE, classes={"tibial": (1,), "nerve": (1, 2)})
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[7:15, 10:18, 3:6] = 1
    labels[RARE] = 2
    for rater in disk.raters:
        nib.save(nib.Nifti1Image(labels, nib.load(disk.mask("V01", rater)).affine), disk.mask("V01", rater))
        nothing = nib.Nifti1Image(0 * labels, nib.load(disk.mask("V02", rater)).affine)
        nib.save(nothing, disk.mask("V02", rater))
    return open_study(disk.description)


@pytest.fixture
def store(study, tmp_path):
    store = prepare_slices(study, Preprocessing(size=SHAPE[:2]), tmp_path / "slices")
    write_rater_counts(study, store, study.subjects, lambda done, total: None)
    return store


def module(store, kind, centred=1.0, augment=None, subjects=("V01",), **options):
    context = CONTEXTS[kind].model_copy(update={"centred": centred})
    options = {"batch_size": 4, "seed": 1} | options
    return SliceDataModule(store, list(subjects), augmentation=augment or NoAugmentation(), context=context, **options)


def batches(data, epochs=1, first=0):
    for epoch in range(first, first + epochs):
        data.sampler.set_epoch(epoch)
        for batch in data.train_dataloader():
            yield data.on_after_batch_transfer(batch, 0)


def labels_of(data, epochs):
    return [label.numpy() for batch in batches(data, epochs) for label in batch["label"]]


@EVERY
@pytest.mark.parametrize("augment", [None, FLIPPED], ids=["plain", "flipped"])
def test_every_sample_shows_nerve_and_the_rarest_part_as_often_as_the_other(store, kind, augment):
    labels = labels_of(module(store, kind, augment=augment), epochs=25)
    assert {label.shape for label in labels} == {(*SIZE, 4) if kind == "volume" else SIZE}
    assert all(label.any() for label in labels)
    rare = np.mean([(label == 2).any() for label in labels])
    most = 1.0 if kind == "volume" else 0.6  # a patch may show the slices of both
    assert 0.4 < rare < most


@EVERY
def test_the_nerve_lies_anywhere_in_the_inner_half(store, kind):
    labels = labels_of(module(store, kind), epochs=60)
    aimed = [label for label in labels if (label == 2).any() and not (label == 1).any()]
    places = np.array([np.argwhere(label == 2)[0] for label in aimed])
    for axis, size in enumerate(SIZE):
        at = places[:, axis]
        assert size / 4 - 1 <= at.min() <= size / 4 + 1
        assert 3 * size / 4 - 1 <= at.max() <= 3 * size / 4
    if kind == "volume":
        assert set(places[:, 2]) >= {1, 2, 3}


@EVERY
def test_a_share_is_centred_and_the_others_lie_as_without_it(store, kind):
    epochs = 100 if kind == "volume" else 30  # of three samples or ten
    none, all_centred, half = (labels_of(module(store, kind, centred), epochs) for centred in (None, 1.0, 0.5))
    zero = labels_of(module(store, kind, 0.0), epochs)
    assert all(map(np.array_equal, zero, none))
    as_none = np.array([np.array_equal(*pair) for pair in zip(half, none, strict=True)])
    as_centred = np.array([np.array_equal(*pair) for pair in zip(half, all_centred, strict=True)])
    assert (as_none | as_centred).all()
    shows = [np.mean([label.any() for label in each]) for each in (none, half)]
    assert shows[1] == pytest.approx((1 + shows[0]) / 2, abs=0.09)


@EVERY
def test_whole_batches_and_workers_agree_and_a_seed_fixes_them(store, kind):
    for target in ("consensus", "raters"):
        one_by_one, whole, other = (
            list(batches(module(store, kind, augment=BENT, target=target, augment_batches=flag, seed=seed), 1, 2))
            for flag, seed in ((False, 1), (True, 1), (True, 2))
        )
        for batch, expected in zip(whole, one_by_one, strict=True):
            torch.testing.assert_close(batch["image"], expected["image"], rtol=0, atol=1e-4)
            torch.testing.assert_close(batch["label"], expected["label"], rtol=0, atol=1e-4)
        assert not torch.equal(whole[0]["image"], other[0]["image"])
    assert all((batch["label"][:, 1:] > 0).any() for batch in whole)


@EVERY
def test_a_subject_without_nerve_is_shown_anywhere(store, kind):
    centred, none = (
        [batch["image"] for batch in batches(module(store, kind, share, subjects=("V02",)))] for share in (1.0, None)
    )
    assert all(map(torch.equal, centred, none))


@EVERY
def test_validation_shows_whole_crops(store, kind):
    data = module(store, kind, validation=["V01"])
    assert {tuple(batch["image"].shape[2:4]) for batch in data.val_dataloader()} == {SHAPE[:2]}


def test_parts_of_the_plane_lie_at_random_places_without_a_share(store):
    corners = []
    crop = store.images("V01")[:, 0]
    for batch in batches(module(store, "slice", None), epochs=6):
        for image in batch["image"][:, 0].numpy():
            found = np.argwhere(crop[:, : -SIZE[0] + 1, : -SIZE[1] + 1] == image[0, 0])
            ((_, x, y),) = [
                at for at in found if np.array_equal(crop[at[0], at[1] :][: SIZE[0], at[2] :][:, : SIZE[1]], image)
            ]
            corners.append((int(x), int(y)))
    xs, ys = zip(*corners, strict=True)
    for places, highest in ((xs, SHAPE[0] - SIZE[0]), (ys, SHAPE[1] - SIZE[1])):
        assert (min(places) <= 2, max(places) >= highest - 2) == (True, True)
        at_border = sum(place in (0, highest) for place in places)
        assert at_border < len(places) / 4  # 2 of over 20 places, all as likely
    assert len(set(corners)) > 40


def test_slices_are_drawn_by_the_pixels_of_a_part_and_parts_alike():
    labels = np.zeros((4, 5, 5), dtype=np.uint8)
    labels[1, :4, 0], labels[2, 0, :3], labels[3, 2, 2] = 1, 3, 3
    counts = part_counts(labels)
    assert counts.tolist() == [[0, 0, 0], [4, 0, 0], [0, 0, 3], [0, 0, 1]]
    aims = [draw_aim(counts, 1.0, seed) for seed in range(4000)]
    assert np.mean([aim.part == 1 for aim in aims]) == pytest.approx(0.5, abs=0.03)
    assert {aim.part for aim in aims} == {1, 3}
    assert {aim.slice for aim in aims if aim.part == 1} == {1}
    assert np.mean([aim.slice == 2 for aim in aims if aim.part == 3]) == pytest.approx(0.75, abs=0.03)
    offsets = np.array([aim.offset for aim in aims])
    assert (np.abs(offsets).max(axis=0) <= 0.25).all()
    assert np.abs(offsets.mean(axis=0)).max() < 0.01
    assert draw_aim(counts, 1.0, 5) == aims[5]
