"""One scan of any size and in-plane spacing to its nerve probability, by one or several members of a model.

A network without fully connected layers takes a slice of any size, so nothing outside the training crop is cut away:
the whole slice goes in, padded to a multiple of what the transitions divide by, and to the training crop at least. The
padding is the volume's minimum, as in training. Slices go through in batches that shrink as slices grow, and only the
sum over the members is kept, so memory is bounded whatever the scan.

`accuracy="exact"` does so with every slice. `accuracy="fast"` follows the nerve through the stack (`tracking`) and
looks around it only, which takes a tenth of the time; what is lost are isolated pieces (docs/speed.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32

from nerveseg.data.preprocessing import Crop, normalise
from nerveseg.errors import GeometryError
from nerveseg.inference.bundle import Bundle
from nerveseg.inference.in_plane_resampling import InPlaneResampling
from nerveseg.inference.nerve_following import SliceStack, tracked_probability
from nerveseg.inference.runtimes import Runner, Runtime, make_runner
from nerveseg.types import Channels, Probability, Size2d, SpacingMm

FieldOfView = Literal["whole", "crop"]

Accuracy = Literal["auto", "fast", "exact"]
"""auto: fast on a CPU; exact on a GPU, which has the whole slices done before the search would be over."""

LARGEST_SLICE = 2048 * 2048
"""Pixels of a slice on the model's grid: over a metre at 0.52 mm, which no scanner sees; the network would need some
four gigabytes for it."""


@dataclass(frozen=True)
class NetworkGrid:
    """How the pixels of a scan and those that the network sees belong together.

    Attributes:
        resampling: To the model's spacing.
        crop: To the size that goes in.
    """

    resampling: InPlaneResampling
    crop: Crop


def segment_volume(
    members: Sequence[Bundle],
    channels: Channels,
    spacing_mm: SpacingMm,
    *,
    field_of_view: FieldOfView = "whole",
    accuracy: Accuracy = "exact",
    runtime: Runtime = "auto",
    slices_per_batch: int = 8,
    progress: Callable[[int, int], None] | None = None,
    device: str = "cpu",
) -> Probability:
    """Nerve probability of every voxel, the mean over the members.

    Args:
        members: Models that agree in channels, preprocessing and spacing.
        channels: As read, (channel, x, y, z) in RAS order, in the order the members take them.
        spacing_mm: Of the scan.
        field_of_view: The whole slice, or only the centre crop of the training; 0 outside it.
        accuracy: Every slice whole, or the nerve followed.
        runtime: What runs the networks.
        slices_per_batch: Slices of the training crop's size that go through a network at a time.
        progress: Told how many slices are done, of how many.
        device: What to compute on, in torch's words.

    Returns:
        On the scan's voxels, in RAS order.

    Raises:
        BundleError: The channels are not as many as the members take.
        GeometryError: A slice is absurdly large on the model's grid.
    """
    description = members[0].description
    description.check_channel_count(len(channels))
    grid = network_grid(members[0], (channels.shape[1], channels.shape[2]), spacing_mm, field_of_view)
    prepared = np.stack([normalise(channel) for channel in channels])
    scan = _ScanSlices(prepared, [float(channel.min()) for channel in prepared], grid)
    engine = make_runner(members, runtime, device)
    pixels = slices_per_batch * description.preprocessing.size[0] * description.preprocessing.size[1]
    if accuracy == "fast" or (accuracy == "auto" and device == "cpu"):
        return _followed(scan, engine, members[0].reduction, pixels, progress)
    at_a_time = min(slices_per_batch, max(1, pixels // (grid.crop.size[0] * grid.crop.size[1])))
    return _slice_by_slice(scan, engine, at_a_time, progress)


def network_grid(member: Bundle, shape: Size2d, spacing_mm: SpacingMm, field_of_view: FieldOfView) -> NetworkGrid:
    """Resampling and crop for a scan of this in-plane shape.

    Raises:
        GeometryError: A slice is absurdly large on the model's grid.
    """
    description = member.description
    resampling = InPlaneResampling(shape, spacing_mm[:2], description.spacing_mm[:2])
    crop = description.preprocessing.size
    if field_of_view == "crop":
        return NetworkGrid(resampling, Crop(resampling.size, crop))
    x, y = (
        least if pixels <= least else -(-pixels // member.reduction) * member.reduction
        for pixels, least in zip(resampling.size, crop, strict=True)
    )
    if x * y > max(LARGEST_SLICE, crop[0] * crop[1]):
        raise GeometryError(
            f"at the model's spacing a slice has at most {LARGEST_SLICE} pixels",
            found=f"{x} x {y} pixels from {shape[0]} x {shape[1]} of "
            f"{spacing_mm[0]:.3g} x {spacing_mm[1]:.3g} mm; the model's are "
            f"{description.spacing_mm[0]:.3g} x {description.spacing_mm[1]:.3g} mm",
            remedy="see that the file's spacing is in millimetres and its slices are axial, or field_of_view=crop",
        )
    return NetworkGrid(resampling, Crop(resampling.size, (x, y)))


@dataclass(frozen=True)
class _ScanSlices:
    """A scan's slices as the network takes them, prepared when they are asked for."""

    channels: Channels
    fills: Sequence[float]
    grid: NetworkGrid

    def __len__(self) -> int:
        return int(self.channels.shape[3])

    def slices(self, part: slice) -> torch.Tensor:
        """(slice, channel, x, y)."""
        resampled = self.grid.resampling.apply(self.channels[..., part])
        cropped = np.stack(
            [self.grid.crop.apply(image, fill) for image, fill in zip(resampled, self.fills, strict=True)]
        )
        return torch.from_numpy(np.ascontiguousarray(cropped.transpose(3, 0, 1, 2)))

    def on_scan(self, probability: Float32[np.ndarray, "slice net_x net_y"]) -> Probability:
        """What the network says of some slices, on the scan's pixels, (x, y, slice)."""
        inside = self.grid.crop.undo(probability.transpose(1, 2, 0))
        mapped: Probability = self.grid.resampling.undo(inside[None])[0]
        return mapped


def _slice_by_slice(
    scan: _ScanSlices, engine: Runner, at_a_time: int, progress: Callable[[int, int], None] | None
) -> Probability:
    result = np.zeros(scan.channels.shape[1:], dtype=np.float32)
    if progress:
        progress(0, len(scan))
    for part in _parts(len(scan), at_a_time):
        result[..., part] = scan.on_scan(engine(scan.slices(part)).numpy())
        if progress:
            progress(part.stop, len(scan))
    return result


def _followed(
    scan: _ScanSlices, engine: Runner, reduction: int, pixels: int, progress: Callable[[int, int], None] | None
) -> Probability:
    found = tracked_probability(
        SliceStack(
            slice_at=lambda number: scan.slices(slice(number, number + 1))[0],
            slices=len(scan), size=scan.grid.crop.size, multiple=reduction, engine=engine, pixels_at_a_time=pixels,
        ), progress,
    )  # fmt: skip
    result = np.zeros(scan.channels.shape[1:], dtype=np.float32)
    for part in _parts(len(scan), 1):
        result[..., part] = scan.on_scan(found[part])
    return result


def _parts(total: int, at_a_time: int) -> Iterator[slice]:
    return (slice(start, min(start + at_a_time, total)) for start in range(0, total, at_a_time))
