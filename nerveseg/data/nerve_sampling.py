"""Samples of training that are centred on nerve, so that patches show it more often than its share of the pixels.

A share of the samples (`context.centred`) is aimed at a voxel: of a random part of the subject, each as likely, a
random voxel. The patch lies so that the voxel is anywhere in the inner half of its axes, as far as the crop reaches.
The slice is drawn among the stored labels; the pixel among those of the part in the slice after its augmentation, which
moves the nerve.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8
from torch import Tensor

STREAM = 4  # number that makes the stream of the aims another than those of augmentation and dropped channels


class Aim(NamedTuple):
    """Voxel that a sample is centred on; a tuple, which Lightning passes on with a batch."""

    part: int  # number of the part
    slice: int  # number of the slice in the stack; in a batch, among the slices of the sample
    pixel: float  # share (0 to 1) of the pixels of the part in the slice that come before the pixel
    offset: tuple[float, float, float]  # distance (x, y, z) from the voxel to the centre, in sizes of the patch


def part_counts(labels: UInt8[np.ndarray, "slice x y"]) -> Int64[np.ndarray, "slice part"]:
    """Return the number of pixels of each part in each slice of a stack."""
    counts = np.zeros((len(labels), int(labels.max(initial=0))), dtype=np.int64)
    for part in range(counts.shape[1]):
        counts[:, part] = (labels == part + 1).sum(axis=(1, 2))
    return counts


def draw_aim(counts: Int64[np.ndarray, "slice part"], probability: float, seed: int) -> Aim | None:
    """Draw the voxel that a sample is centred on; None for a sample anywhere, and in a subject without nerve."""
    chosen, part, position, pixel, *offset = np.random.default_rng([seed, STREAM]).random(7).tolist()
    present = np.flatnonzero(counts.any(axis=0))
    if chosen >= probability or not len(present):
        return None
    number = int(present[int(part * len(present))])
    ends = np.cumsum(counts[:, number])
    x, y, z = (each / 2 - 0.25 for each in offset)
    return Aim(number + 1, int(np.searchsorted(ends, position * ends[-1], side="right")), pixel, (x, y, z))


def pixel_of(aim: Aim, label: Tensor) -> tuple[int, int] | None:
    """Return the pixel (x, y) of an aim in the label of its slice, after augmentation; None if no nerve is left in it.

    Args:
        aim: Voxel that the sample is centred on. If its part was moved out of the slice, another part takes its place.
        label: Numbers of parts, uint8 (x, y), or shares of the raters who drew each part, float32 (part, x, y), of
            which pixels of more than half of the highest share count.
    """
    own, nerve = label == aim.part, label > 0
    if label.is_floating_point():
        own, nerve = (shares > shares.max() / 2 for shares in (label[aim.part - 1], label.sum(dim=0)))
    for pixels in (own, nerve):
        found = pixels.nonzero()
        if len(found):
            x, y = found[int(aim.pixel * len(found))].tolist()
            return x, y
    return None
