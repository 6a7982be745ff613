"""Patches of `context=volume`: read from the slice store, moved as a whole, a function of seed, epoch and number."""

import numpy as np
import pytest
import torch

from nerveseg.data.augmentation import NoAugmentation, TensorAugmentation, TorchioAugmentation
from nerveseg.data.context import Context
from nerveseg.data.context_samples import PlainSlices
from nerveseg.data.datamodule import SliceDataModule
from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.slice_store import prepare_slices
from nerveseg.data.study import open_study

SUBJECTS = ["V01", "P01", "P02"]  # of four slices each
BENT = TensorAugmentation(translation_mm=1.5, elastic_displacement_mm=1.0, elastic_control_points=5)
SHIFTED = TorchioAugmentation(translation_mm=1.0, elastic_displacement_mm=0.0, elastic_probability=0.0)
MOVING = pytest.mark.parametrize("augment", [BENT, SHIFTED], ids=["whole batches", "one by one"])


@pytest.fixture
def store(study_on_disk, tmp_path):
    disk = study_on_disk(ids=(*SUBJECTS, "X01"))
    return prepare_slices(open_study(disk.description), Preprocessing(size=(8, 8)), tmp_path / "slices")


def module(store, augment=BENT, depth=2, size=None, **options):
    options = {"batch_size": 2, "seed": 1} | options
    return SliceDataModule(store, SUBJECTS, augmentation=augment, context=Context(depth=depth, size=size), **options)


def epoch_of(data, number):
    data.sampler.set_epoch(number)
    return [data.on_after_batch_transfer(batch, 0) for batch in data.train_dataloader()]


def stack(store, subject):
    return torch.from_numpy(store.images(subject).copy()).permute(1, 2, 3, 0), torch.from_numpy(
        store.labels(subject).copy()
    ).permute(1, 2, 0)


def test_a_batch_is_what_a_network_of_three_dimensions_and_the_loss_take(store):
    batches = epoch_of(module(store), 0)
    assert [tuple(batch["image"].shape) for batch in batches] == 3 * [(2, 1, 8, 8, 2)]
    assert [tuple(batch["label"].shape) for batch in batches] == 3 * [(2, 8, 8, 2)]
    assert batches[0]["image"].dtype == torch.float32
    assert batches[0]["label"].dtype == torch.int64


@pytest.mark.parametrize("size", [None, (5, 3)])
def test_a_patch_is_a_part_of_one_stack_with_its_own_labels(store, size):
    places = set()
    for epoch in range(10):
        for batch in epoch_of(module(store, NoAugmentation(), size=size), epoch):
            for image, label in zip(batch["image"], batch["label"], strict=True):
                found = [
                    (subject, x, y, z)
                    for subject in SUBJECTS
                    for x in range(9 - image.shape[1])
                    for y in range(9 - image.shape[2])
                    for z in range(3)
                    for images, labels in [stack(store, subject)]
                    for part in [(slice(x, x + image.shape[1]), slice(y, y + image.shape[2]), slice(z, z + 2))]
                    if torch.equal(images[(slice(None), *part)], image) and torch.equal(labels[part].long(), label)
                ]
                assert len(found) == 1
                places.add(found[0])
    assert {z for _, _, _, z in places} == {0, 1, 2}, "at every height"
    corners = {(x, y) for _, x, y, _ in places}
    assert corners == {(0, 0)} if size is None else len(corners) > 8


@MOVING
def test_the_slices_of_a_patch_move_as_each_would_with_the_patchs_seed(store, augment):
    """Each slice, alone with its label and with the seed of the patch, becomes what it is in the patch."""
    data = module(store, augment)
    plain = PlainSlices(store, SUBJECTS, 1, Context(depth=2))
    data.sampler.set_epoch(3)
    for batch, number in zip(epoch_of(module(store, augment, batch_size=1), 3), list(data.sampler), strict=True):
        one = plain[number]
        for z in (0, 1):
            image, label = augment(one["image"][z : z + 1], one["label"][z], one["spacing_mm"], one["seed"])
            torch.testing.assert_close(batch["image"][0, ..., z], image)
            assert torch.equal(batch["label"][0, ..., z], label.long())


@MOVING
def test_order_and_patches_are_functions_of_seed_and_epoch(store, augment):
    def content(seed, epoch):
        torch.manual_seed(77)
        batches = epoch_of(module(store, augment, size=(6, 6), seed=seed), epoch)
        return b"".join(batch["image"].numpy().tobytes() for batch in batches)

    contents = {(seed, epoch): content(seed, epoch) for seed in (1, 2) for epoch in (0, 1)}
    assert len(set(contents.values())) == 4
    assert all(content(*key) == value for key, value in contents.items())


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("size", [None, (6, 5)])
def test_batches_augmented_whole_are_those_of_the_workers_bit_for_bit(store, workers, size):
    one_by_one = module(store, size=size)
    whole = module(store, size=size, workers=workers, augment_batches=True)
    for batch, expected in zip(epoch_of(whole, 2), epoch_of(one_by_one, 2), strict=True):
        assert batch.keys() == expected.keys()
        assert all(torch.equal(batch[name], expected[name]) for name in batch)


@pytest.mark.parametrize("depth", [2, 3, 4, 7])
def test_validation_counts_every_slice_once(store, depth):
    data = module(store, depth=depth, size=(6, 6), validation=["P02", "X01"])
    seen = {0: [], 1: []}
    for batch in data.val_dataloader():
        assert batch["image"].shape[2:] == (8, 8, depth), "the whole crop"
        for image, label, counted, subject in zip(
            batch["image"], batch["label"], batch["counted"], batch["subject"].tolist(), strict=True
        ):
            seen[subject] += [(image[..., z], label[..., z]) for z in counted.nonzero().flatten().tolist()]
    for subject, slices in seen.items():
        images, labels = stack(store, ["P02", "X01"][subject])
        assert len(slices) == images.shape[-1]
        assert torch.equal(torch.stack([image for image, _ in slices], dim=-1), images)
        assert torch.equal(torch.stack([label for _, label in slices], dim=-1), labels.long())


def test_a_deeper_patch_shows_mirrored_slices(store):
    data = module(store, depth=7, validation=["P02"])
    [batch] = data.val_dataloader()
    images, _ = stack(store, "P02")
    np.testing.assert_array_equal(batch["image"][0], images[..., [2, 1, 0, 1, 2, 3, 2]])
    assert batch["counted"].tolist() == [[False, False, True, True, True, True, False]]
