"""Batches of training and validation slices for Lightning, drawn from the slice store.

The order of an epoch is a function of (seed, epoch), and a sample (`context_samples`) one of (seed, epoch, number).
The sampler hands out pairs (epoch, number), so that worker processes need no state of their own. On a CPU the loader's
workers augment sample by sample; on a GPU they only read, and the GPU augments whole batches where it can.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from nerveseg.data.augmentation import Augmentation, BatchAugmentation, NoAugmentation
from nerveseg.data.consensus import Target
from nerveseg.data.context import Context
from nerveseg.data.context_samples import (
    SLICE,
    Batch,
    EpochSample,
    PlainSlices,
    TrainingSlices,
    ValidationSlices,
    as_patch,
    as_target,
)
from nerveseg.data.slice_store import SliceStore


class EpochSampler(Sampler[EpochSample]):
    """Every sample once per epoch, in an order that depends on seed and epoch alone.

    Several processes, of which this has `rank`, take turns, so that their batches together are those of one process.
    Samples that remain when each process has had the same number are left out, others in each epoch.
    """

    def __init__(self, samples: int, seed: int, rank: int = 0, processes: int = 1) -> None:
        self.samples = samples
        self.seed = seed
        self.rank = rank
        self.processes = processes
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch whose order is drawn next; Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.samples // self.processes

    def __iter__(self) -> Iterator[EpochSample]:
        epoch = self.epoch
        order = np.random.default_rng([self.seed, epoch]).permutation(self.samples)
        own = order[: len(self) * self.processes][self.rank :: self.processes]
        return ((epoch, int(index)) for index in own)


class SliceDataModule(pl.LightningDataModule):
    """Training and validation batches of one fold.

    Args:
        store: Slice store of the study; or a function that returns it and makes it where it does not exist, which
            `prepare_data` and `setup` call.
        subjects: Ids of the training subjects.
        validation: Ids of the validation subjects; without any there is no validation.
        augmentation: Augmentation of every training slice.
        context: Part of a stack that the network sees at a time; by default a slice.
        optional: Channels that some subjects lack, with the probability with which each is dropped in training.
        target: Target of the training, the consensus or the shares of the raters, whose counts the store then holds
            (`rater_counts`); validation compares with the consensus.
        batch_size: Number of slices, or patches, per batch (paper: 8), of all processes together.
        seed: Seed of order and augmentation.
        workers: Number of processes that read and augment, each for training and validation; 0 does both in the main
            process. The batches do not depend on it.
        augment_batches: Flag: true to augment whole batches on the device of the training; by default on a GPU. Ignored
            if the augmentation takes single slices only.
        rank: Rank of this process.
        processes: Number of processes that train together; they share out each batch.
        samples: Samples indexed by (epoch, number) to train with, in place of the subjects' augmented slices.
    """

    def __init__(
        self,
        store: SliceStore | Callable[[], SliceStore],
        subjects: Sequence[str],
        validation: Sequence[str] = (),
        *,
        augmentation: Augmentation | None = None,
        context: Context = SLICE,
        optional: Mapping[str, float] | None = None,
        target: Target = "consensus",
        batch_size: int = 8,
        seed: int = 0,
        workers: int = 0,
        augment_batches: bool | None = None,
        rank: int = 0,
        processes: int = 1,
        samples: Dataset[Batch] | None = None,
    ) -> None:
        super().__init__()
        self.samples = samples
        self.store = store
        self.subjects = list(subjects)
        self.validation = list(validation)
        self.augmentation = NoAugmentation() if augmentation is None else augmentation
        self.context = context
        self.optional = optional
        self.target = target
        self.batch_size = batch_size // processes
        self.seed = seed
        self.workers = workers
        self.augment_batches = augment_batches
        self.rank = rank
        self.processes = processes
        if samples is not None:
            self.sampler = EpochSampler(len(samples), seed, rank, processes)  # type: ignore[arg-type]
        if isinstance(store, SliceStore):
            self._list_slices(store)

    def prepare_data(self) -> None:
        """Make the slice store where it does not exist; Lightning calls this in one process of each machine."""
        if not isinstance(self.store, SliceStore):
            self.store()

    def setup(self, stage: str) -> None:
        """Open the slice store in every process."""
        if not isinstance(self.store, SliceStore):
            self.store = self.store()
            self._list_slices(self.store)

    def _list_slices(self, store: SliceStore) -> None:
        self.slices = PlainSlices(store, self.subjects, self.seed, self.context, True, self.optional, self.target)
        validation = PlainSlices(store, self.validation, self.seed, self.context, False, self.optional)
        self.validation_slices = ValidationSlices(validation)
        if self.samples is None:
            self.sampler = EpochSampler(len(self.slices), self.seed, self.rank, self.processes)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return shuffled batches, the last of which may be smaller; augmented, unless the device augments them."""
        if self.samples is not None:
            return self._loader(self.samples, self.sampler)
        whole = self._on_gpu if self.augment_batches is None else self.augment_batches
        later = whole and isinstance(self.augmentation, BatchAugmentation)
        return self._loader(self.slices if later else TrainingSlices(self.slices, self.augmentation), self.sampler)

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """Return the batches of the validation subjects, which several processes share out; an empty list without."""
        if not self.validation:
            return []
        own = range(self.rank, len(self.validation_slices), self.processes)
        return self._loader(self.validation_slices, own)

    @property
    def _on_gpu(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"

    def _loader(self, slices: Dataset[Batch], sampler: Any) -> DataLoader[Batch]:
        return DataLoader(
            slices,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.workers,
            collate_fn=collate,
            persistent_workers=self.workers > 0,
            pin_memory=self._on_gpu,
        )

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment a batch on its device, unless it was augmented when it was loaded."""
        if "seed" not in batch:
            return batch
        assert isinstance(self.augmentation, BatchAugmentation)
        with torch.no_grad():
            images, labels = self.augmentation.augment_batch(
                batch["image"], batch["label"], batch["spacing_mm"], batch["seed"]
            )
        if self.context.is_part:
            aims = batch.get("aim", len(images) * [None])
            patches = map(as_patch, images, labels, len(images) * [self.context], batch["seed"], aims)
            images, labels = map(torch.stack, zip(*patches, strict=True))
        return {"image": images, "label": as_target(labels, axis=1)}

    def state_dict(self) -> dict[str, int]:
        """Return the epoch that a resumed run begins with; checkpoints are written at the end of an epoch."""
        return {"next_epoch": self.sampler.epoch + 1}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Set the sampler's epoch, because workers fetch batches before Lightning sets it."""
        self.sampler.set_epoch(state_dict["next_epoch"])


def collate(slices: Sequence[Batch]) -> Batch:
    """Return a batch of samples: tensors stacked, other values in lists, which stay on the host."""
    batch = {name: [one[name] for one in slices] for name in slices[0]}
    return {
        name: default_collate(values) if isinstance(values[0], Tensor) else values for name, values in batch.items()
    }
