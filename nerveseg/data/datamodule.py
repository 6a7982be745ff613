"""Batches of training and validation slices for Lightning, drawn from the slice store.

The order of an epoch is a pure function of (seed, epoch), and the augmentation of a slice one of (seed, epoch, slice).
The sampler hands out pairs (epoch, slice), so that worker processes need no state of their own. On a CPU the loader's
workers augment slice by slice; on a GPU they only read, and the GPU augments whole batches where it can.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from nerveseg.data.augmentation import Augmentation, BatchAugmentation, NoAugmentation, slice_seed
from nerveseg.data.context import Context
from nerveseg.data.slice_store import SliceStore

EpochSlice = tuple[int, int]
SLICE = Context()  # each slice by itself
Batch = dict[str, Any]
"""`image` and `label`; before augmentation `spacing_mm` and `seed` too, lists that stay on the host; in validation
`subject` too."""


class EpochSampler(Sampler[EpochSlice]):
    """Every slice once per epoch, in an order that depends on seed and epoch alone.

    Several processes, of which this has `rank`, take turns, so that their batches together are those of one process.
    Slices that remain when each process has had the same number are left out, other slices in each epoch.
    """

    def __init__(self, slices: int, seed: int, rank: int = 0, processes: int = 1) -> None:
        self.slices = slices
        self.seed = seed
        self.rank = rank
        self.processes = processes
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch whose order is drawn next; Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.slices // self.processes

    def __iter__(self) -> Iterator[EpochSlice]:
        epoch = self.epoch
        order = np.random.default_rng([self.seed, epoch]).permutation(self.slices)
        own = order[: len(self) * self.processes][self.rank :: self.processes]
        return ((epoch, int(index)) for index in own)


class PlainSlices(Dataset[Batch]):
    """All slices of some subjects as they are stored, each with the spacing and seed that its augmentation needs."""

    def __init__(self, store: SliceStore, subjects: Sequence[str], seed: int, context: Context = SLICE) -> None:
        self.store = store
        self.seed = seed
        self.context = context
        self.subjects = list(subjects)
        stored = (store.subject(subject) for subject in subjects)
        table = np.array([(one.slices, *one.spacing_mm[:2]) for one in stored]).reshape(-1, 3)
        self.ends = np.cumsum(table[:, 0].astype(int))
        self.spacing_mm = table[:, 1:]

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def __getitem__(self, key: EpochSlice) -> Batch:
        """Return `image` float32 (channel, x, y), `label` uint8 (x, y), `spacing_mm` (x, y) and `seed`.

        The channels are those of every slice of the context.
        """
        epoch, number = key
        subject = self.subject_of(number)
        index = number - (int(self.ends[subject - 1]) if subject else 0)
        name = self.subjects[subject]
        x, y = self.spacing_mm[subject].tolist()
        images = self.store.images(name)
        seen = images[self.context.windows(len(images))[index]]
        return {
            "image": torch.from_numpy(seen.reshape(-1, *seen.shape[2:])),
            "label": torch.from_numpy(np.array(self.store.labels(name)[index])),
            "spacing_mm": (x, y),
            "seed": slice_seed(self.seed, epoch, number),
        }

    def subject_of(self, number: int) -> int:
        """Return the position in `subjects` of a slice's subject; raise `IndexError` if there is no such slice."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        return int(np.searchsorted(self.ends, number, side="right"))  # a list of all would be a worker's largest


class TrainingSlices(Dataset[Batch]):
    """Augmented slices of the training subjects, indexed by (epoch, slice)."""

    def __init__(self, plain: PlainSlices, augmentation: Augmentation) -> None:
        self.plain = plain
        self.augmentation = augmentation

    def __len__(self) -> int:
        return len(self.plain)

    def __getitem__(self, key: EpochSlice) -> Batch:
        """Return `image` float32 (channel, x, y) and `label` int64 (x, y)."""
        plain = self.plain[key]
        image, label = self.augmentation(plain["image"], plain["label"], plain["spacing_mm"], plain["seed"])
        return {"image": image, "label": label.long()}


class ValidationSlices(Dataset[Batch]):
    """Slices of the validation subjects in order, not augmented."""

    def __init__(self, plain: PlainSlices) -> None:
        self.plain = plain

    def __len__(self) -> int:
        return len(self.plain)

    def __getitem__(self, number: int) -> Batch:
        """Return `image` float32 (channel, x, y), `label` int64 (x, y) and `subject` int64, the subject's position."""
        plain = self.plain[0, number]
        subject = torch.tensor(self.plain.subject_of(number))
        return {"image": plain["image"], "label": plain["label"].long(), "subject": subject}


class SliceDataModule(pl.LightningDataModule):
    """Training and validation batches of one fold.

    Args:
        store: Slice store of the study; or a function that returns it and makes it where it does not exist, which
            `prepare_data` and `setup` call.
        subjects: Ids of the training subjects.
        validation: Ids of the validation subjects; without any there is no validation.
        augmentation: Augmentation of every training slice.
        context: Neighbouring slices that the network sees; by default none.
        batch_size: Number of slices per batch (paper: 8), of all processes together.
        seed: Seed of order and augmentation.
        workers: Number of processes that read and augment, each for training and validation; 0 does both in the main
            process. The batches do not depend on it.
        augment_batches: Flag: true to augment whole batches on the device of the training; by default on a GPU. Ignored
            if the augmentation takes single slices only.
        rank: Rank of this process.
        processes: Number of processes that train together; they share out each batch.
    """

    def __init__(
        self,
        store: SliceStore | Callable[[], SliceStore],
        subjects: Sequence[str],
        validation: Sequence[str] = (),
        *,
        augmentation: Augmentation | None = None,
        context: Context = SLICE,
        batch_size: int = 8,
        seed: int = 0,
        workers: int = 0,
        augment_batches: bool | None = None,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        super().__init__()
        self.store = store
        self.subjects = list(subjects)
        self.validation = list(validation)
        self.augmentation = NoAugmentation() if augmentation is None else augmentation
        self.context = context
        self.batch_size = batch_size // processes
        self.seed = seed
        self.workers = workers
        self.augment_batches = augment_batches
        self.rank = rank
        self.processes = processes
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
        self.slices = PlainSlices(store, self.subjects, self.seed, self.context)
        self.validation_slices = ValidationSlices(PlainSlices(store, self.validation, self.seed, self.context))
        self.sampler = EpochSampler(len(self.slices), self.seed, self.rank, self.processes)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return shuffled batches, the last of which may be smaller; augmented, unless the device augments them."""
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
        return {"image": images, "label": labels.long()}

    def state_dict(self) -> dict[str, int]:
        """Return the epoch that a resumed run begins with; checkpoints are written at the end of an epoch."""
        return {"next_epoch": self.sampler.epoch + 1}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Set the sampler's epoch, because workers fetch batches before Lightning sets it."""
        self.sampler.set_epoch(state_dict["next_epoch"])


def collate(slices: Sequence[Batch]) -> Batch:
    """Return a batch of slices: tensors stacked, other values in lists, which stay on the host."""
    batch = {name: [one[name] for one in slices] for name in slices[0]}
    return {
        name: default_collate(values) if isinstance(values[0], Tensor) else values for name, values in batch.items()
    }
