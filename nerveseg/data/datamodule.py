"""Batches of training slices for Lightning, drawn from the slice store.

The order of an epoch is a pure function of (seed, epoch), and the augmentation of a slice one of (seed, epoch, slice).
The sampler hands out pairs (epoch, slice), so that worker processes need no state of their own.

On a CPU the loader's workers augment slice by slice. On a GPU they only read, and a batch is augmented whole once it is
there, where the augmentation can do that: a slice travels with its label in one byte a pixel, its spacing and its seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from nerveseg.data.augmentation import Augmentation, BatchAugmentation, slice_seed
from nerveseg.data.slice_store import SliceStore

EpochSlice = tuple[int, int]
Batch = dict[str, Any]
"""`image` and `label`; before it is augmented `spacing_mm` and `seed` too, lists that stay on the host."""


class EpochSampler(Sampler[EpochSlice]):
    """Every slice once per epoch, in an order that depends on seed and epoch alone.

    Several processes take turns in that order, so each batch of theirs is, taken together, a batch of one alone. What
    is left when all have had as many is left out, other slices in each epoch.

    Args:
        slices: Number of slices.
        seed: Of the training.
        rank: Of this process.
        processes: How many train together.
    """

    def __init__(self, slices: int, seed: int, rank: int = 0, processes: int = 1) -> None:
        self.slices = slices
        self.seed = seed
        self.rank = rank
        self.processes = processes
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.slices // self.processes

    def __iter__(self) -> Iterator[EpochSlice]:
        epoch = self.epoch
        order = np.random.default_rng([self.seed, epoch]).permutation(self.slices)
        own = order[: len(self) * self.processes][self.rank :: self.processes]
        return ((epoch, int(index)) for index in own)


class PlainSlices(Dataset[Batch]):
    """All slices of the training subjects as they are stored, each with what its augmentation has to know.

    Args:
        store: The study's slices.
        subjects: Ids of the training subjects.
        seed: Of the training.
    """

    def __init__(self, store: SliceStore, subjects: Sequence[str], seed: int) -> None:
        self.store = store
        self.seed = seed
        self.subjects = list(subjects)
        stored = (store.subject(subject) for subject in subjects)
        known = np.array([(one.slices, *one.spacing_mm[:2]) for one in stored]).reshape(-1, 3)
        self.ends = np.cumsum(known[:, 0].astype(int))
        self.spacing_mm = known[:, 1:]

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def __getitem__(self, key: EpochSlice) -> Batch:
        """`image` float32 (channel, x, y), `label` uint8 (x, y), `spacing_mm` (x, y) and `seed`."""
        epoch, number = key
        if not 0 <= number < len(self):
            raise IndexError(number)
        subject = int(np.searchsorted(self.ends, number, side="right"))  # a list of all would be a worker's largest
        index = number - (int(self.ends[subject - 1]) if subject else 0)
        name = self.subjects[subject]
        x, y = self.spacing_mm[subject].tolist()
        return {
            "image": torch.from_numpy(np.array(self.store.images(name)[index])),
            "label": torch.from_numpy(np.array(self.store.labels(name)[index])),
            "spacing_mm": (x, y),
            "seed": slice_seed(self.seed, epoch, number),
        }


class TrainingSlices(Dataset[Batch]):
    """All slices of the training subjects; asked for (epoch, slice), gives an augmented pair.

    Args:
        plain: The slices as they are stored.
        augmentation: Applied to every slice.
    """

    def __init__(self, plain: PlainSlices, augmentation: Augmentation) -> None:
        self.plain = plain
        self.augmentation = augmentation

    def __len__(self) -> int:
        return len(self.plain)

    def __getitem__(self, key: EpochSlice) -> Batch:
        """`image` float32 (channel, x, y) and `label` int64 (x, y)."""
        plain = self.plain[key]
        image, label = self.augmentation(plain["image"], plain["label"], plain["spacing_mm"], plain["seed"])
        return {"image": image, "label": label.long()}


class SliceDataModule(pl.LightningDataModule):
    """Training batches of one fold; testing goes through the model bundle instead.

    Args:
        store: The study's slices.
        subjects: Ids of the training subjects.
        augmentation: Applied to every slice.
        batch_size: Slices per batch (paper: 8), of all processes together.
        seed: Of order and augmentation.
        workers: Processes that read and augment; 0 does it in the main process. The batches do not depend on it.
        augment_batches: Whether batches are augmented whole where the training computes; by default on a GPU. Ignored
            where the augmentation takes single slices only.
        rank: Of this process.
        processes: How many train together; they share out each batch.
    """

    def __init__(
        self,
        store: SliceStore,
        subjects: Sequence[str],
        augmentation: Augmentation,
        batch_size: int,
        seed: int,
        workers: int = 0,
        augment_batches: bool | None = None,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        super().__init__()
        self.slices = PlainSlices(store, subjects, seed)
        self.augmentation = augmentation
        self.sampler = EpochSampler(len(self.slices), seed, rank, processes)
        self.batch_size = batch_size // processes
        self.workers = workers
        self.augment_batches = augment_batches

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled batches, the last of which may be smaller; augmented, unless that is done on the device."""
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        whole = on_gpu if self.augment_batches is None else self.augment_batches
        later = whole and isinstance(self.augmentation, BatchAugmentation)
        return DataLoader(
            self.slices if later else TrainingSlices(self.slices, self.augmentation),
            batch_size=self.batch_size,
            sampler=self.sampler,
            num_workers=self.workers,
            collate_fn=collate,
            persistent_workers=self.workers > 0,
            pin_memory=on_gpu,
        )

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment a batch that was not when it was loaded, on the device that it has come to."""
        if "seed" not in batch:
            return batch
        assert isinstance(self.augmentation, BatchAugmentation)
        with torch.no_grad():
            images, labels = self.augmentation.augment_batch(
                batch["image"], batch["label"], batch["spacing_mm"], batch["seed"]
            )
        return {"image": images, "label": labels.long()}

    def state_dict(self) -> dict[str, int]:
        """The epoch that a run goes on with from a checkpoint, which is written at the end of an epoch."""
        return {"next_epoch": self.sampler.epoch + 1}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Name the epoch to the sampler: workers fetch ahead before Lightning does."""
        self.sampler.set_epoch(state_dict["next_epoch"])


def collate(slices: Sequence[Batch]) -> Batch:
    """A batch of slices: images and labels stacked, what belongs to the host in lists that no device is sent."""
    return {
        name: default_collate([one[name] for one in slices])
        if isinstance(value, Tensor)
        else [one[name] for one in slices]
        for name, value in slices[0].items()
    }
