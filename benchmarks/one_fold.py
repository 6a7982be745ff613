"""How long one fold of the paper takes: 39 subjects of 60 slices, 100 epochs, from a real run of some steps.

`python benchmarks/one_fold.py [--device cpu|cuda] [--size paper|tiny] [--steps N] [--workers N] [--json FILE]` writes a
slice store of noise, trains through the data pipeline as `nerveseg.train` does, and projects from the median step: all
steps of all epochs, without validation, of which there is none. The share of the time that training waited for data is
told too; waiting is what passes between the end of a batch and the start of the next.

`--full [--folder DIR] [--minutes M]` trains the whole fold instead of projecting it, in parts: it stops at the end of
the epoch after so many minutes, and the same command goes on from the folder's checkpoint.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import yaml
from rows import RESULTS, Row, this_machine, write_rows
from torch.utils import deterministic

from nerveseg.data.augmentation import TensorAugmentation
from nerveseg.data.datamodule import SliceDataModule
from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.slice_store import SliceStore
from nerveseg.data.slice_store_build import StoredSubject, StoreIndex, image_file, label_file
from nerveseg.networks.fc_densenet import FCDenseNet
from nerveseg.training.compilation import wants_compiling
from nerveseg.training.devices import choose_device
from nerveseg.training.epoch_checkpoint import EpochCheckpoint
from nerveseg.training.segmenter import Segmenter

CONF = Path(__file__).parents[1] / "conf"
PAPER_S, TARGET_S = 5 * 3600.0, 600.0
SPACING_MM = (200 / 384, 200 / 384, 4.4)
MILESTONES, BATCH, SEED = [30, 80], 8, 2018
WARM_UP = 5


@dataclass(frozen=True)
class Fold:
    """How much is trained.

    Attributes:
        subjects: For training.
        slices: Of each.
        pixels: In-plane size.
        epochs: Of the whole training.
        network: What the network has that is not the paper's.
    """

    subjects: int
    slices: int
    pixels: int
    epochs: int
    network: dict[str, int]

    @property
    def steps(self) -> int:
        """Batches of the whole training, the smaller last one of each epoch counted as one."""
        return self.epochs * -(-self.subjects * self.slices // BATCH)


FOLDS = {
    "paper": Fold(39, 60, 320, 100, {}),
    "tiny": Fold(3, 8, 32, 2, {"first_filters": 6, "growth_rate": 4, "layers_per_block": 1, "transitions": 1}),
}


def main() -> None:
    """Train some steps, or all of them, and write the row as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--size", default="paper", choices=FOLDS)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--workers", type=int, default=12)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--folder", type=Path, default=RESULTS / "one_fold", help="checkpoint of --full")
    parser.add_argument("--minutes", type=float, help="with --full: stop at the end of the epoch after so many")
    parser.add_argument(
        "--json", type=Path, help="default: below outputs/bench/, for a trial below outputs/bench/tiny/"
    )
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("one_fold: --device cuda needs a GPU that PyTorch can use; found: none. Try --device cpu")
    quiet()
    fold = FOLDS[options.size]
    with tempfile.TemporaryDirectory() as folder:
        store = stored(Path(folder), fold)
        row = trained(store, fold, options) if options.full else projected(store, fold, options)
    print(row)
    machine = torch.cuda.get_device_name() if options.device == "cuda" else this_machine()
    default = (RESULTS if options.size == "paper" else RESULTS / options.size) / "one_fold_gpu.json"
    write_rows([row], options.json or default, machine)


def quiet() -> None:
    """Lightning's advice is for people who train."""
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)


def stored(folder: Path, fold: Fold) -> SliceStore:
    """A slice store of noise, with a block of nerve in every slice."""
    random = np.random.default_rng(SEED)
    label = np.zeros((fold.slices, fold.pixels, fold.pixels), np.uint8)
    label[:, fold.pixels // 2 : fold.pixels // 2 + 3, fold.pixels // 3 : fold.pixels // 3 + 3] = 1
    subjects = []
    for number in range(fold.subjects):
        name = f"{number:02d}"
        np.save(image_file(folder, name), random.standard_normal((len(label), 1, *label.shape[1:]), np.float32))
        np.save(label_file(folder, name), label)
        subjects.append(
            StoredSubject(
                id=name,
                sha256={},
                slices=len(label),
                spacing_mm=SPACING_MM,
                pixels=label.size,
                part_pixels=(int(label.sum()),),
            )
        )
    return SliceStore(
        folder, StoreIndex(study="noise", channels=["T2"], preprocessing=Preprocessing(), subjects=subjects)
    )


def projected(store: SliceStore, fold: Fold, options: argparse.Namespace) -> Row:
    """What the whole fold would take, from some steps of it."""
    clock = Clock(options.device)
    fit(store, fold, options, [clock], {"max_steps": options.steps + WARM_UP, "enable_checkpointing": False})
    seconds = [step * fold.steps for step in clock.steps_s[WARM_UP:]]
    note = f"projected from {len(seconds)} steps; waited for data {clock.waiting(WARM_UP):.0%} of the time"
    return fold_row(median(seconds), np.percentile(seconds, [5, 95]), note, options)


def trained(store: SliceStore, fold: Fold, options: argparse.Namespace) -> Row:
    """What the whole fold took, over all its parts."""
    record = options.folder / "seconds.json"
    before = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {"seconds": 0.0, "epochs": 0}
    checkpoint = options.folder / "checkpoints" / "last.ckpt"
    clock, part = Clock(options.device), Part(options.minutes)
    started_at = time.monotonic()
    fit(
        store,
        fold,
        options,
        [clock, part, EpochCheckpoint(checkpoint.parent, 1, {})],
        {"max_epochs": fold.epochs},
        checkpoint if checkpoint.is_file() else None,
    )
    seconds = before["seconds"] + time.monotonic() - started_at
    epochs = before["epochs"] + part.epochs
    options.folder.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps({"seconds": seconds, "epochs": epochs}) + "\n", encoding="utf-8")
    note = f"trained {epochs} of {fold.epochs} epochs; waited for data {clock.waiting(0):.0%} of the last part"
    whole = seconds * fold.epochs / max(epochs, 1)
    return fold_row(whole, [whole, whole], note, options)


def fold_row(seconds: float, spread: Sequence[float], note: str, options: argparse.Namespace) -> Row:
    """The row of a fold that takes so long; only the paper's size on a GPU can reach the target."""
    meant = options.size == "paper" and options.device == "cuda"
    if not meant:
        note = f"{options.size} on {options.device}, says nothing about the paper's fold on a GPU; {note}"
    return Row(
        row="one fold of the paper, GPU",
        ours=f"{seconds / 60:.3g} min",
        baseline="the paper's 5 h (TITAN Xp)",
        ratio=PAPER_S / seconds if meant else None,
        low=PAPER_S / float(spread[1]),
        high=PAPER_S / float(spread[0]),
        target="under 10 min",
        note=note,
        reached=seconds < TARGET_S if meant else None,
    )


def fit(
    store: SliceStore,
    fold: Fold,
    options: argparse.Namespace,
    callbacks: list[pl.Callback],
    extent: dict[str, Any],
    checkpoint: Path | None = None,
) -> None:
    """Train as `nerveseg.train` does, with the paper's optimizer and augmentation."""
    choice = choose_device("gpu" if options.device == "cuda" else "cpu", "auto")
    augmentation = yaml.safe_load((CONF / "augmentation" / "paper.yaml").read_text(encoding="utf-8"))
    del augmentation["_target_"]
    pl.seed_everything(SEED, workers=True, verbose=False)
    segmenter = Segmenter(
        FCDenseNet(**fold.network),
        lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
        lambda optimizer: torch.optim.lr_scheduler.MultiStepLR(optimizer, MILESTONES, gamma=0.1),
        seed=SEED,
        compiled=wants_compiling("auto", choice.accelerator),
    )
    ids = [f"{number:02d}" for number in range(fold.subjects)]
    augment = TensorAugmentation(**augmentation)
    data = SliceDataModule(store, ids, augmentation=augment, batch_size=BATCH, seed=SEED, workers=options.workers)
    trainer = pl.Trainer(
        accelerator=choice.accelerator,
        devices=1,
        precision=choice.precision,
        deterministic="warn",
        logger=False,
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=store.folder,
        **extent,
    )
    deterministic.fill_uninitialized_memory = False
    trainer.fit(segmenter, data, ckpt_path=checkpoint, weights_only=True)


class Clock(pl.Callback):
    """Seconds of each step, from the end of the one before, and how many of them were waited for data."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.steps_s: list[float] = []
        self.waits_s: list[float] = []
        self._ended_at: float | None = None

    def waiting(self, first: int) -> float:
        """Share of the time from a step on."""
        return sum(self.waits_s[first:]) / max(sum(self.steps_s[first:]), 1e-9)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """What lies between two epochs belongs to the first step of the second."""
        self._ended_at = self._ended_at or time.perf_counter()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The batch has come."""
        assert self._ended_at is not None
        self.waits_s.append(time.perf_counter() - self._ended_at)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The step is done, on the device too."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        assert self._ended_at is not None
        ended_at = time.perf_counter()
        self.steps_s.append(ended_at - self._ended_at)
        self._ended_at = ended_at


class Part(pl.Callback):
    """Stops at the end of an epoch, once so many minutes have passed."""

    def __init__(self, minutes: float | None) -> None:
        self.seconds = float("inf") if minutes is None else 60 * minutes
        self.epochs = 0
        self._started_at = time.monotonic()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on, though the checkpoint of the part before says that it was stopped."""
        trainer.should_stop = False

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count, and look at the clock."""
        self.epochs += 1
        trainer.should_stop = trainer.should_stop or time.monotonic() - self._started_at > self.seconds


if __name__ == "__main__":
    main()
