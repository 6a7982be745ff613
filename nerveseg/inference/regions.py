"""Rectangles of a slice that contain pieces of nerve with their surroundings.

Regions begin and end on multiples of the factor by which the network divides the size, or at the slice's border. So
pooling falls on the same pixels as in the whole slice, and probabilities differ only by the context that is cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int16
from numpy import ndarray
from scipy import ndimage

from nerveseg.types import Size2d

MERGED_COST = 1.3  # largest ratio of the joined region's pixels to those of two regions, up to which the two are joined

UNCUT = 2**15 - 1  # depth of the pixels of a whole slice


@dataclass(frozen=True)
class Region:
    """Rectangle of pixels."""

    x_start: int  # first pixel along x
    x_end: int  # pixel behind the last along x
    y_start: int  # first pixel along y
    y_end: int  # pixel behind the last along y

    @property
    def size(self) -> Size2d:
        """Size along x and y, in pixels."""
        return self.x_end - self.x_start, self.y_end - self.y_start

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.size[0] * self.size[1]

    @property
    def index(self) -> tuple[slice, slice]:
        """Index into an array (x, y)."""
        return slice(self.x_start, self.x_end), slice(self.y_start, self.y_end)

    def contains(self, other: Region) -> bool:
        """Return true if another region lies within this one."""
        return (
            self.x_start <= other.x_start
            and other.x_end <= self.x_end
            and self.y_start <= other.y_start
            and other.y_end <= self.y_end
        )

    def joined(self, other: Region) -> Region:
        """Return the smallest region that contains both."""
        return Region(
            min(self.x_start, other.x_start),
            max(self.x_end, other.x_end),
            min(self.y_start, other.y_start),
            max(self.y_end, other.y_end),
        )

    def widened(self, pixels: int, slice_size: Size2d, multiple: int = 1) -> Region:
        """Return a region with at least `pixels` more on each side, ending on multiples, within the slice."""
        (x_start, x_end), (y_start, y_end) = (
            (max(0, (start - pixels) // multiple * multiple), min(size, -(-(end + pixels) // multiple) * multiple))
            for start, end, size in zip((self.x_start, self.y_start), (self.x_end, self.y_end), slice_size, strict=True)
        )
        return Region(x_start, x_end, y_start, y_end)

    def depth(self, slice_size: Size2d) -> Int16[ndarray, "x y"]:
        """Return the distance of each pixel from the nearest side of the region that is not the slice's own border."""
        x, y = (
            np.minimum(
                np.arange(1, end - start + 1) if start > 0 else UNCUT,
                np.arange(end - start, 0, -1) if end < size else UNCUT,
            )
            * np.ones(end - start, dtype=np.int64)
            for start, end, size in zip((self.x_start, self.y_start), (self.x_end, self.y_end), slice_size, strict=True)
        )
        depth: Int16[ndarray, "x y"] = np.minimum.outer(x, y).astype(np.int16)
        return depth


def pieces(mask: Bool[ndarray, "x y"]) -> list[Region]:
    """Return the bounding boxes of the connected components, diagonal neighbours included."""
    across, along = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(across):
        return []
    x, y = int(across[0]), int(along[0])  # label the bounding box only, a small part of the slice
    labels, _ = ndimage.label(mask[x : across[-1] + 1, y : along[-1] + 1], ndimage.generate_binary_structure(2, 2))
    return [
        Region(x + rows.start, x + rows.stop, y + columns.start, y + columns.stop)
        for rows, columns in ndimage.find_objects(labels)
    ]


def merged(regions: Sequence[Region]) -> list[Region]:
    """Return the regions of one slice, with regions joined where the joined region costs less."""
    kept: list[Region] = []
    waiting = sorted(set(regions), key=lambda region: (region.x_start, region.y_start))
    while waiting:
        region = waiting.pop(0)
        partner = next((other for other in [*waiting, *kept] if _cheaper_together(region, other)), None)
        if partner is None:
            kept.append(region)
        else:
            (waiting if partner in waiting else kept).remove(partner)
            waiting.append(region.joined(partner))
    return kept


def _cheaper_together(one: Region, other: Region) -> bool:
    return one.joined(other).pixels <= MERGED_COST * (one.pixels + other.pixels)
