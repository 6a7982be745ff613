"""From volumes to masks: the bundle's preprocessing, the network slice by slice, softmax, threshold, the input's grid.

Lightning's predict loop drives it. The dataset reads and prepares one volume at a time, the module turns its slices
into probabilities in batches, so memory is bounded by one volume, and the writer puts each mask where it belongs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import Float32
from pytorch_lightning.callbacks import BasePredictionWriter
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nerveseg.data.preprocessing import Crop, Preprocessing
from nerveseg.data.study import read_channels
from nerveseg.data.volumes.grids import Grid
from nerveseg.data.volumes.volume import Geometry, write_mask
from nerveseg.inference.bundle import Bundle
from nerveseg.inference.runtimes import THRESHOLD as THRESHOLD
from nerveseg.inference.runtimes import nerve_mask as nerve_mask
from nerveseg.inference.runtimes import nerve_probability
from nerveseg.types import Mask, Probability


@dataclass(frozen=True)
class Scan:
    """A volume to segment.

    Attributes:
        subject: Names it in errors and files.
        images: File of each channel by its name.
        output: Where the mask goes.
        geometry: Which of the header's transforms to trust where they differ.
    """

    subject: str
    images: Mapping[str, Path]
    output: Path
    geometry: Geometry = None


@dataclass(frozen=True)
class PreparedScan:
    """A volume as the network takes it.

    Attributes:
        scan: Where it came from.
        slices: Preprocessed, (slice, channel, x, y).
        crop: How the slices lie in the volume.
        grid: The input's grid.
    """

    scan: Scan
    slices: Float32[Tensor, "slice channel x y"]
    crop: Crop
    grid: Grid


def prepare_scan(scan: Scan, preprocessing: Preprocessing) -> PreparedScan:
    """Read and preprocess one volume.

    Raises:
        VolumeError: A file is not a readable image.
        GeometryError: The channels lie on different grids.
    """
    channels, grid = read_channels(scan.images, scan.subject, scan.geometry)
    images, crop = preprocessing.apply(channels)
    slices = torch.from_numpy(np.ascontiguousarray(images.transpose(3, 0, 1, 2)))
    return PreparedScan(scan, slices, crop, grid)


def probability_volume(slices: Float32[Tensor, "slice crop_x crop_y"], crop: Crop) -> Probability:
    """Nerve probability in RAS order from that of the cropped slices; 0 outside the crop."""
    return crop.undo(slices.cpu().numpy().transpose(1, 2, 0))


class Predictor(pl.LightningModule):
    """Applies a bundle's network to prepared scans.

    Args:
        bundle: The model.
        slices_per_batch: Slices that go through the network at a time.
    """

    def __init__(self, bundle: Bundle, slices_per_batch: int = 8) -> None:
        super().__init__()
        self.network = bundle.network
        self.slices_per_batch = slices_per_batch

    def predict_step(self, batch: PreparedScan, batch_idx: int) -> Float32[Tensor, "slice x y"]:
        """Nerve probability of every slice of one scan."""
        parts = [
            self.nerve_probability(part.to(self.device)) for part in torch.split(batch.slices, self.slices_per_batch)
        ]
        return torch.cat(parts)

    def nerve_probability(self, slices: Float32[Tensor, "slice channel x y"]) -> Float32[Tensor, "slice x y"]:
        """Softmax over the two classes, the probability of the second."""
        return nerve_probability(self.network, slices)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave the volume where it is; its slices move a few at a time."""
        return batch


class MaskWriter(BasePredictionWriter):
    """Writes the mask of each scan in the grid of its input.

    Args:
        description: Goes into the header of the masks.
        written: Told of each scan and its mask after the file is there.

    Attributes:
        seconds: Wall-clock time of each subject, from reading its volume to writing its mask.
    """

    def __init__(self, description: str, written: Callable[[Scan, Mask], None] | None = None) -> None:
        super().__init__(write_interval="batch")
        self.description = description
        self.written = written
        self.seconds: dict[str, float] = {}
        self._clock = 0.0

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock of the first scan."""
        self._clock = time.perf_counter()

    def write_on_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Threshold the probabilities and write the mask."""
        mask = nerve_mask(probability_volume(prediction, batch.crop))
        write_mask(batch.scan.output, mask, batch.grid, self.description)
        if self.written:
            self.written(batch.scan, mask)
        now = time.perf_counter()
        self.seconds[batch.scan.subject], self._clock = now - self._clock, now


class _PreparedScans(Dataset[PreparedScan]):
    def __init__(self, scans: Sequence[Scan], preprocessing: Preprocessing) -> None:
        self.scans = scans
        self.preprocessing = preprocessing

    def __len__(self) -> int:
        return len(self.scans)

    def __getitem__(self, index: int) -> PreparedScan:
        return prepare_scan(self.scans[index], self.preprocessing)


def predict_scans(bundle: Bundle, scans: Sequence[Scan], trainer: pl.Trainer, slices_per_batch: int = 8) -> None:
    """Segment scans with Lightning's predict loop; the trainer's `MaskWriter` writes what comes out.

    Raises:
        BundleError: A scan lacks a channel that the model takes.
        VolumeError: A file is not a readable image.
        GeometryError: The channels of a scan lie on different grids.
    """
    description = bundle.description
    for scan in scans:
        description.check_channels(scan.images, scan.subject)
    ordered = [
        replace(scan, images={channel: scan.images[channel] for channel in description.channels}) for scan in scans
    ]
    loader = DataLoader(
        _PreparedScans(ordered, description.preprocessing), batch_size=1, collate_fn=itemgetter(0), num_workers=0
    )
    trainer.predict(Predictor(bundle, slices_per_batch), loader, return_predictions=False)
