"""Context of a slice: what a network sees of a stack at a time.

`context=slice` shows it each slice by itself. `context=neighbours` shows it the slices on each side too, as further
channels: all channels of the lowest slice first. `context=volume` shows it patches of several slices, (x, y, z). At the
ends of a stack slices are mirrored.
"""

from typing import Annotated, Any

import numpy as np
from jaxtyping import Int
from pydantic import BaseModel, Field, PositiveInt, Strict, model_serializer, model_validator

from nerveseg.types import Size2d


class Context(BaseModel, frozen=True, extra="forbid", strict=True):
    """Part of a stack that a network sees at a time, a sample; the content of a file of `conf/context/`."""

    neighbours: int = Field(default=0, ge=0, le=32)  # number of slices on each side
    depth: int | None = Field(default=None, ge=2, le=256)  # number of slices of a patch; None is a network of slices
    # In-plane size (x, y) of a patch in pixels; None is the whole crop.
    size: Annotated[tuple[PositiveInt, PositiveInt], Strict(False)] | None = None

    @model_validator(mode="after")
    def _check_kind(self) -> "Context":
        if self.depth is None and self.size is not None:
            raise ValueError("one of patches, with a depth, where it has a size")
        if self.depth is not None and self.neighbours:
            raise ValueError("one of patches (depth) or one of slices (neighbours), not both")
        return self

    @model_serializer
    def _without_nulls(self) -> dict[str, Any]:
        """Leave out what is null, so that the bundles of slices are those of earlier versions."""
        return {name: value for name, value in self if value is not None}

    @property
    def slices(self) -> int:
        """Number of slices whose channels are the channels of the network."""
        return 2 * self.neighbours + 1

    def shape(self, crop: Size2d) -> tuple[int, ...]:
        """Return the size that a network is trained with for a crop (x, y): (x, y) or (x, y, z)."""
        return crop if self.depth is None else (*(self.size or crop), self.depth)

    def windows(self, slices: int) -> Int[np.ndarray, "slice window"]:
        """Return the numbers of the slices that the network sees for each slice of a stack, from below to above."""
        return mirrored(np.arange(slices)[:, None] + np.arange(-self.neighbours, self.neighbours + 1), slices)

    def samples(self, slices: int) -> int:
        """Return the number of samples that show every slice of a stack once."""
        return slices if self.depth is None else -(-slices // self.depth)

    def positions(self, slices: int, sample: int, share: float | None = None) -> Int[np.ndarray, " window"]:
        """Return the positions of the slices of a sample; those outside the stack are mirrored.

        The centre of a patch lies at a share (0 to 1) of its part of the stack, and the patch is moved inside the stack
        if that is as deep. Without a share patches follow one another, the last one as high as the stack, and a patch
        deeper than the stack lies in its middle.
        """
        if self.depth is None:
            return sample + np.arange(-self.neighbours, self.neighbours + 1)
        lowest, highest = sorted((0, slices - self.depth))
        if share is not None:
            start = _start((sample + share) / self.samples(slices), slices, self.depth)
        elif slices < self.depth:
            start = lowest // 2
        else:
            start = min(sample * self.depth, highest)
        return start + np.arange(self.depth)

    def in_plane(self, crop: Size2d, shares: tuple[float, float]) -> tuple[slice, slice]:
        """Return the part of a crop (x, y) that a patch shows, whose centre lies at these shares (0 to 1) of it."""
        size = self.size or crop
        x, y = (_start(share, pixels, least) for share, pixels, least in zip(shares, crop, size, strict=True))
        return slice(x, x + size[0]), slice(y, y + size[1])


def _start(share: float, length: int, size: int) -> int:
    """Return the start of a part whose centre lies at a share of a length, moved inside if the length is as large."""
    lowest, highest = sorted((0, length - size))
    return min(max(int(share * length) - size // 2, lowest), highest)


def mirrored(positions: Int[np.ndarray, "*shape"], slices: int) -> Int[np.ndarray, "*shape"]:
    """Return the slices at these positions; a mirror stands in the middle of the first and of the last slice."""
    period = max(2 * (slices - 1), 1)
    within = positions % period
    return np.minimum(within, period - within) if slices > 1 else np.zeros_like(positions)
