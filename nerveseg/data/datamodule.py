"""Batches of training slices for Lightning, drawn from the slice store.

The order of an epoch is a pure function of (seed, epoch), and the augmentation of a slice one of (seed, epoch, slice).
The sampler hands out pairs (epoch, slice), so that worker processes need no state of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from nerveseg.data.augmentation import Augmentation, slice_seed
from nerveseg.data.slices import SliceStore

EpochSlice = tuple[int, int]


class EpochSampler(Sampler[EpochSlice]):
    """Every slice once per epoch, in an order that depends on seed and epoch alone.

    Args:
        slices: Number of slices.
        seed: Of the training.
    """

    def __init__(self, slices: int, seed: int) -> None:
        self.slices = slices
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.slices

    def __iter__(self) -> Iterator[EpochSlice]:
        epoch = self.epoch
        order = np.random.default_rng([self.seed, epoch]).permutation(self.slices)
        return ((epoch, int(index)) for index in order)


class TrainingSlices(Dataset[dict[str, Tensor]]):
    """All slices of the training subjects; asked for (epoch, slice), gives an augmented pair.

    Args:
        store: The study's slices.
        subjects: Ids of the training subjects.
        augmentation: Applied to every slice.
        seed: Of the training.
    """

    def __init__(self, store: SliceStore, subjects: Sequence[str], augmentation: Augmentation, seed: int) -> None:
        self.store = store
        self.augmentation = augmentation
        self.seed = seed
        self.places = [(subject, index) for subject in subjects for index in range(store.subject(subject).slices)]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, key: EpochSlice) -> dict[str, Tensor]:
        """A dict of `image` float32 (channel, x, y) and `label` int64 (x, y)."""
        epoch, place = key
        subject, index = self.places[place]
        image = torch.from_numpy(np.array(self.store.images(subject)[index]))
        label = torch.from_numpy(np.array(self.store.labels(subject)[index]))
        x, y, _ = self.store.subject(subject).spacing_mm
        image, label = self.augmentation(image, label, (x, y), slice_seed(self.seed, epoch, place))
        return {"image": image, "label": label.long()}


class SliceDataModule(pl.LightningDataModule):
    """Training batches of one fold; testing goes through the model bundle instead.

    Args:
        store: The study's slices.
        subjects: Ids of the training subjects.
        augmentation: Applied to every slice.
        batch_size: Slices per batch (paper: 8).
        seed: Of order and augmentation.
        workers: Processes that augment; 0 does it in the main process. The batches do not depend on it.
    """

    def __init__(
        self,
        store: SliceStore,
        subjects: Sequence[str],
        augmentation: Augmentation,
        batch_size: int,
        seed: int,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.slices = TrainingSlices(store, subjects, augmentation, seed)
        self.sampler = EpochSampler(len(self.slices), seed)
        self.batch_size = batch_size
        self.workers = workers

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Shuffled, augmented batches; the last one may be smaller."""
        return DataLoader(
            self.slices,
            batch_size=self.batch_size,
            sampler=self.sampler,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def state_dict(self) -> dict[str, int]:
        """The epoch that a run goes on with from a checkpoint, which is written at the end of an epoch."""
        return {"next_epoch": self.sampler.epoch + 1}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Name the epoch to the sampler: workers fetch ahead before Lightning does."""
        self.sampler.set_epoch(state_dict["next_epoch"])
