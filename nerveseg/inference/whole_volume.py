"""One scan of any size and in-plane spacing to its nerve probability, by one or several members of a model.

A network without fully connected layers takes a slice of any size, so nothing outside the training crop is cut away:
the whole slice goes in, padded to a multiple of what the transitions divide by, and to the training crop at least. The
padding is the volume's minimum, as in training. Slices go through in batches that shrink as slices grow, and only the
sum over the members is kept, so memory is bounded whatever the scan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from nerveseg.data.preprocessing import Crop, normalise
from nerveseg.errors import GeometryError
from nerveseg.inference.bundle import Bundle
from nerveseg.inference.probability import nerve_probability
from nerveseg.inference.resampling import InPlaneResampling
from nerveseg.types import Channels, Probability, Size2d, SpacingMm

FieldOfView = Literal["whole", "crop"]

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
    fills = [float(channel.min()) for channel in prepared]
    result = np.zeros(channels.shape[1:], dtype=np.float32)
    total = channels.shape[3]
    pixels = slices_per_batch * description.preprocessing.size[0] * description.preprocessing.size[1]
    at_a_time = min(slices_per_batch, max(1, pixels // (grid.crop.size[0] * grid.crop.size[1])))
    networks = [member.network.to(device) for member in members]
    if progress:
        progress(0, total)
    try:
        for part in _parts(total, at_a_time):
            slices = _network_slices(prepared[..., part], fills, grid).to(device)
            with torch.inference_mode():
                result[..., part] = _on_scan(_mean_probability(networks, slices), grid)
            if progress:
                progress(part.stop, total)
    finally:
        for network in networks:
            network.cpu()
    return result


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


def _parts(total: int, at_a_time: int) -> Iterator[slice]:
    return (slice(start, min(start + at_a_time, total)) for start in range(0, total, at_a_time))


def _network_slices(channels: Channels, fills: Sequence[float], grid: NetworkGrid) -> torch.Tensor:
    """Some slices as the network takes them, (slice, channel, x, y)."""
    resampled = grid.resampling.apply(channels)
    cropped = np.stack([grid.crop.apply(image, fill) for image, fill in zip(resampled, fills, strict=True)])
    return torch.from_numpy(np.ascontiguousarray(cropped.transpose(3, 0, 1, 2)))


def _mean_probability(networks: Sequence[nn.Module], slices: torch.Tensor) -> torch.Tensor:
    total = nerve_probability(networks[0], slices)
    for network in networks[1:]:
        total = total + nerve_probability(network, slices)
    return total / len(networks)


def _on_scan(probability: torch.Tensor, grid: NetworkGrid) -> Probability:
    """What the network says of some slices, on the scan's pixels, (x, y, slice)."""
    inside = grid.crop.undo(probability.numpy().transpose(1, 2, 0))
    mapped: Probability = grid.resampling.undo(inside[None])[0]
    return mapped
