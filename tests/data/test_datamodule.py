import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from nerveseg.data.augmentation import (
    BatchAugmentation,
    NoAugmentation,
    TensorAugmentation,
    TorchioAugmentation,
    slice_seed,
)
from nerveseg.data.context import Context
from nerveseg.data.context_samples import PlainSlices, TrainingSlices
from nerveseg.data.datamodule import EpochSampler, SliceDataModule
from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.slice_store import prepare_slices
from nerveseg.data.study import open_study

SUBJECTS = ["V01", "P01", "P02"]
SLICES = 4 * len(SUBJECTS)


@pytest.fixture
def store(study_on_disk, tmp_path):
    disk = study_on_disk(ids=(*SUBJECTS, "X01"))
    return prepare_slices(open_study(disk.description), Preprocessing(size=(8, 8)), tmp_path / "slices")


def augmentation():
    return TorchioAugmentation(translation_mm=1.0, elastic_displacement_mm=0.0, elastic_probability=0.0)


def module(store, augment=None, batch_size=5, seed=1, workers=0, augment_batches=None):
    return SliceDataModule(
        store, SUBJECTS, augmentation=augment or augmentation(), batch_size=batch_size, seed=seed, workers=workers,
        augment_batches=augment_batches,
    )  # fmt: skip


def bending(**options):
    """Moves everything, and some slices more than others, so that a batch holds all cases."""
    options = {"translation_mm": 1.5, "elastic_displacement_mm": 1.0, "elastic_control_points": 5} | options
    return TensorAugmentation(**options)


def epoch_of(data, number):
    data.sampler.set_epoch(number)
    return list(data.train_dataloader())


def every_slice(store):
    return {store.images(subject)[index].tobytes() for subject in SUBJECTS for index in range(4)}


def images_of(batches):
    return [image.numpy().tobytes() for batch in batches for image in batch["image"]]


def test_a_batch_is_what_the_network_and_the_loss_take(store):
    batches = epoch_of(module(store), 0)
    assert [len(batch["image"]) for batch in batches] == [5, 5, 2]
    assert batches[0]["image"].shape == (5, 1, 8, 8)
    assert batches[0]["image"].dtype == torch.float32
    assert batches[0]["label"].shape == (5, 8, 8)
    assert batches[0]["label"].dtype == torch.int64
    assert set(torch.cat([batch["label"] for batch in batches]).unique().tolist()) == {0, 1}


@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_every_training_slice_is_seen_once_per_epoch(epoch, store):
    images = images_of(epoch_of(module(store, NoAugmentation()), epoch))
    assert len(images) == SLICES
    assert set(images) == every_slice(store)


def test_labels_stay_with_their_images(store):
    label_of = {
        store.images(subject)[index].tobytes(): store.labels(subject)[index]
        for subject in SUBJECTS
        for index in range(4)
    }
    for batch in epoch_of(module(store, NoAugmentation()), 2):
        for image, label in zip(batch["image"], batch["label"], strict=True):
            np.testing.assert_array_equal(label.numpy(), label_of[image.numpy().tobytes()])


def test_workers_do_not_change_the_batches(store):
    alone, helped = module(store), module(store, workers=2)
    loader = helped.train_dataloader()
    for epoch in (0, 1, 2):  # the same loader: its workers live on
        helped.sampler.set_epoch(epoch)
        torch.manual_seed(epoch)
        for ours, theirs in zip(epoch_of(alone, epoch), loader, strict=True):
            assert torch.equal(ours["image"], theirs["image"])
            assert torch.equal(ours["label"], theirs["label"])


def test_order_and_augmentation_are_functions_of_seed_and_epoch(store):
    epochs = {
        (seed, epoch): b"".join(images_of(epoch_of(module(store, seed=seed), epoch)))
        for seed in (1, 2)
        for epoch in (0, 1, 2)
    }
    assert len(set(epochs.values())) == 6
    np.random.seed(0)
    torch.manual_seed(77)
    for (seed, epoch), expected in epochs.items():
        assert b"".join(images_of(epoch_of(module(store, seed=seed), epoch))) == expected


def test_a_slice_is_augmented_differently_in_every_epoch(store):
    slices = TrainingSlices(PlainSlices(store, SUBJECTS, seed=1), augmentation())
    versions = [slices[epoch, 3]["image"].numpy().tobytes() for epoch in range(8)]
    assert len(set(versions)) == 8
    assert slices[4, 3]["image"].numpy().tobytes() == versions[4]


def test_the_augmentation_is_told_the_spacing_of_the_subject(store):
    told = []

    def augment(image, label, spacing_mm, seed):
        told.append(spacing_mm)
        return image, label

    TrainingSlices(PlainSlices(store, SUBJECTS, seed=1), augment)[0, 0]
    assert told == [(0.52, 0.52)]


def test_every_number_is_one_slice_and_the_next_is_none(store):
    slices = PlainSlices(store, ["P02", "V01"], seed=1)
    assert len(slices) == 8
    for number, (subject, index) in enumerate((subject, index) for subject in ("P02", "V01") for index in range(4)):
        one = slices[3, number]
        np.testing.assert_array_equal(one["image"], store.images(subject)[index])
        np.testing.assert_array_equal(one["label"], store.labels(subject)[index])
        assert (one["spacing_mm"], one["seed"]) == ((0.52, 0.52), slice_seed(1, 3, number))
    for number in (-1, 8):
        with pytest.raises(IndexError):
            slices[0, number]
    assert len(PlainSlices(store, [], seed=1)) == 0


def test_with_a_context_the_channels_are_those_of_the_slices_around(store):
    slices = PlainSlices(store, ["P02", "V01"], seed=1, context=Context(neighbours=2))
    for number, window in {0: (2, 1, 0, 1, 2), 2: (0, 1, 2, 3, 2), 7: (1, 2, 3, 2, 1)}.items():
        subject = "P02" if number < 4 else "V01"
        expected = np.concatenate([store.images(subject)[index] for index in window])
        np.testing.assert_array_equal(slices[0, number]["image"], expected)
        np.testing.assert_array_equal(slices[0, number]["label"], store.labels(subject)[number % 4])


@pytest.mark.parametrize("augment", [bending(), augmentation()], ids=["whole batches", "slice by slice"])
def test_the_slices_of_a_context_move_together(augment, store):
    """Were each slice moved by itself, the middle of the window would not be what the slice alone becomes."""
    alone = module(store, augment)
    data = SliceDataModule(store, SUBJECTS, augmentation=augment, context=Context(neighbours=1), batch_size=5, seed=1)
    channels = len(store.images("V01")[0])
    for batch, expected in zip(epoch_of(data, 1), epoch_of(alone, 1), strict=True):
        assert batch["image"].shape[1] == 3 * channels
        torch.testing.assert_close(batch["image"][:, channels : 2 * channels], expected["image"])
        torch.testing.assert_close(batch["label"], expected["label"])


def test_a_subject_without_slices_takes_no_number(store):
    slices = PlainSlices(store, ["V01", "X01", "P01"], seed=1)
    slices.ends = np.array([4, 4, 8])
    np.testing.assert_array_equal(slices[0, 3]["label"], store.labels("V01")[3])
    np.testing.assert_array_equal(slices[0, 4]["label"], store.labels("P01")[0])


def test_only_what_takes_batches_is_asked_to(store):
    assert isinstance(bending(), BatchAugmentation)
    assert isinstance(NoAugmentation(), BatchAugmentation)
    assert not isinstance(augmentation(), BatchAugmentation)
    alone, together = module(store), module(store, augment_batches=True)
    for ours, theirs in zip(epoch_of(alone, 1), epoch_of(together, 1), strict=True):
        assert list(theirs) == ["image", "label"]
        assert torch.equal(ours["image"], theirs["image"])


def test_a_batch_that_waits_for_its_augmentation_is_small_and_sends_no_numbers(store):
    """Seeds and spacings are used on the host: from a device they would have to be fetched."""
    batch = epoch_of(module(store, bending(), augment_batches=True), 0)[0]
    assert {name for name, value in batch.items() if isinstance(value, torch.Tensor)} == {"image", "label"}
    assert batch["label"].dtype == torch.uint8
    assert len(batch["seed"]) == len(batch["spacing_mm"]) == 5


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("options", [{}, {"translation_probability": 0.5, "elastic_probability": 0.02}])
def test_batches_augmented_whole_are_those_of_the_workers_bit_for_bit(workers, options, store):
    slice_by_slice = module(store, bending(**options))
    whole = module(store, bending(**options), workers=workers, augment_batches=True)
    for epoch in (0, 3):
        for loaded, expected in zip(epoch_of(whole, epoch), epoch_of(slice_by_slice, epoch), strict=True):
            batch = whole.on_after_batch_transfer(loaded, 0)
            assert batch.keys() == expected.keys()
            for name in batch:
                assert batch[name].dtype == expected[name].dtype
                assert torch.equal(batch[name], expected[name])


def test_a_batch_that_is_ready_is_left_alone(store):
    data = module(store)
    [batch, *_] = epoch_of(data, 0)
    assert data.on_after_batch_transfer(batch, 0) is batch


def test_batches_are_no_windows_on_the_store(store):
    batch = epoch_of(module(store, NoAugmentation()), 0)[0]
    before = every_slice(store)
    batch["image"].fill_(0)
    assert every_slice(store) == before


@pytest.mark.parametrize("slices", [1, 2, 7, 50])
def test_the_sampler_is_a_permutation(slices):
    sampler = EpochSampler(slices, seed=3)
    sampler.set_epoch(4)
    assert len(sampler) == slices
    assert sorted(index for _, index in sampler) == list(range(slices))
    assert {epoch for epoch, _ in sampler} == {4}
    assert list(sampler) == list(sampler)


@pytest.mark.parametrize(("slices", "processes"), [(40, 2), (41, 2), (43, 4), (3, 4)])
def test_the_batches_of_several_processes_are_together_those_of_one(slices, processes):
    batch = 2 * processes
    alone = list(EpochSampler(slices, seed=3))
    shares = [list(EpochSampler(slices, 3, rank, processes)) for rank in range(processes)]
    assert {len(share) for share in shares} == {slices // processes}, "as many steps for each"
    for start in range(0, slices - slices % processes, batch):
        together = [one for share in shares for one in share[start // processes : (start + batch) // processes]]
        assert sorted(together) == sorted(alone[start : min(start + batch, slices - slices % processes)])


def test_what_several_processes_leave_out_differs_by_epoch():
    left_out = []
    for epoch in range(20):
        seen = set()
        for rank in (0, 1):
            sampler = EpochSampler(9, 3, rank, 2)
            sampler.set_epoch(epoch)
            seen |= {index for _, index in sampler}
        left_out += set(range(9)) - seen
    assert len(left_out) == 20
    assert len(set(left_out)) > 5


def test_an_epoch_that_was_begun_stays_that_epoch():
    sampler = EpochSampler(10, seed=3)
    begun = iter(sampler)
    next(begun)
    sampler.set_epoch(1)
    assert {epoch for epoch, _ in begun} == {0}


def test_all_orders_differ():
    orders = set()
    for seed in range(10):
        for epoch in range(10):
            sampler = EpochSampler(30, seed)
            sampler.set_epoch(epoch)
            orders.add(tuple(index for _, index in sampler))
    assert len(orders) == 100


class Listener(pl.LightningModule):
    """Keeps the batches it is given, by epoch."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.heard = {}

    def training_step(self, batch, batch_idx):
        self.heard.setdefault(self.current_epoch, []).append(batch["image"].clone())
        return self.weight * batch["image"].mean()

    def validation_step(self, batch, batch_idx):
        raise AssertionError("there are no validation subjects")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec.*:FutureWarning")
@pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero")
@pytest.mark.parametrize("augment_batches", [None, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_lightning_sets_the_epoch_and_hands_over_augmented_batches(workers, augment_batches, store, tmp_path):
    listener = Listener()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=3,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(listener, module(store, bending(), workers=workers, augment_batches=augment_batches))
    assert sorted(listener.heard) == [0, 1, 2]
    for epoch, heard in listener.heard.items():
        expected = epoch_of(module(store, bending()), epoch)
        assert len(heard) == len(expected)
        for one, other in zip(heard, expected, strict=True):
            assert torch.equal(one, other["image"])


def test_validation_slices_come_in_order_as_stored_with_their_subject(store):
    data = SliceDataModule(store, ["V01"], ["P02", "P01"], augmentation=bending(), batch_size=5)
    batches = list(data.val_dataloader())
    assert [len(batch["image"]) for batch in batches] == [5, 3]
    assert batches[0]["label"].dtype == torch.int64
    assert all(data.on_after_batch_transfer(batch, 0) is batch for batch in batches)
    images, labels, subjects = (torch.cat([batch[name] for batch in batches]) for name in ("image", "label", "subject"))
    np.testing.assert_array_equal(images, np.concatenate([store.images("P02"), store.images("P01")]))
    np.testing.assert_array_equal(labels, np.concatenate([store.labels("P02"), store.labels("P01")]))
    assert subjects.tolist() == [0] * 4 + [1] * 4
    assert len(epoch_of(data, 0)) == 1, "the training subject alone"


def test_several_processes_share_out_the_validation_slices(store):
    shares = [
        SliceDataModule(store, ["V01"], ["P02", "P01"], batch_size=6, rank=rank, processes=3) for rank in range(3)
    ]
    images = [image for data in shares for image in images_of(data.val_dataloader())]
    whole = SliceDataModule(store, ["V01"], ["P02", "P01"])
    assert sorted(images) == sorted(images_of(whole.val_dataloader()))


def test_without_validation_subjects_there_is_no_validation(store):
    assert SliceDataModule(store, SUBJECTS).val_dataloader() == []


def test_a_store_that_has_to_be_made_is_made_by_prepare_data_and_opened_by_setup(store):
    calls = []
    data = SliceDataModule(lambda: calls.append(1) or store, SUBJECTS, augmentation=augmentation(), seed=1)
    assert calls == []
    data.prepare_data()
    assert data.store is not store, "prepare_data runs in one process alone, and leaves no state"
    data.setup("fit")
    assert calls == [1, 1]
    ready = SliceDataModule(store, SUBJECTS, augmentation=augmentation(), seed=1)
    assert images_of(epoch_of(data, 2)) == images_of(epoch_of(ready, 2))


def test_the_loader_survives_being_made_twice(store):
    data = module(store, NoAugmentation())
    first, second = data.train_dataloader(), data.train_dataloader()
    assert isinstance(first, DataLoader)
    assert images_of(first) == images_of(second)
