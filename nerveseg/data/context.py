"""Context of a slice: what a network sees of a stack at a time.

`context=slice` shows it each slice by itself. `context=neighbours` shows it the slices on each side too, as further
channels: all channels of the lowest slice first. `context=volume` shows it patches of several slices, (x, y, z). At the
ends of a stack slices are mirrored. With each of them training may show parts of the plane (`size`).
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
    # In-plane size (x, y) of a training sample in pixels; None is the whole crop.
    size: Annotated[tuple[PositiveInt, PositiveInt], Strict(False)] | None = None
    # Share of the training samples that are centred on nerve (`nerve_sampling`); None is 0.
    centred: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _check_kind(self) -> "Context":
        if self.centred is not None and not self.is_part:
            raise ValueError("one of parts (size or depth) where a share of them is centred on nerve")
        if self.depth is not None and self.neighbours:
            raise ValueError("one of patches (depth) or one of slices (neighbours), not both")
        return self

    @model_serializer
    def _without_nulls(self) -> dict[str, Any]:
        """Leave out what is null, so that the bundles of slices are those of earlier versions."""
        return {name: value for name, value in self if value is not None}

    @property
    def is_part(self) -> bool:
        """Flag: true if a training sample is a part of a stack's planes or several of its slices."""
        return self.size is not None or self.depth is not None

    @property
    def slices(self) -> int:
        """Number of slices whose channels are the channels of the network."""
        return 2 * self.neighbours + 1

    def shape(self, crop: Size2d) -> tuple[int, ...]:
        """Return the size that a network is trained with for a crop (x, y): (x, y) or (x, y, z)."""
        size = self.size or crop
        return size if self.depth is None else (*size, self.depth)

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
            return self.about(int((sample + share) / self.samples(slices) * slices), slices)
        start = lowest // 2 if slices < self.depth else min(sample * self.depth, highest)
        return start + np.arange(self.depth)

    def about(self, centre: int, slices: int) -> Int[np.ndarray, " window"]:
        """Return the positions of the slices of a sample about a slice; a patch is moved inside the stack if it can."""
        if self.depth is None:
            return centre + np.arange(-self.neighbours, self.neighbours + 1)
        return _start(centre, slices, self.depth) + np.arange(self.depth)

    def in_plane(self, crop: Size2d, shares: tuple[float, float]) -> tuple[slice, slice]:
        """Return the part of a crop (x, y) that a patch shows; shares (0 to 1) choose among its places, all alike."""
        size = self.size or crop
        x, y = (int(share * (pixels - own + 1)) for share, pixels, own in zip(shares, crop, size, strict=True))
        return slice(x, x + size[0]), slice(y, y + size[1])

    def in_plane_about(self, crop: Size2d, centre: Size2d) -> tuple[slice, slice]:
        """Return the part of a crop (x, y) about a pixel, moved inside the crop."""
        size = self.size or crop
        x, y = (_start(middle, pixels, own) for middle, pixels, own in zip(centre, crop, size, strict=True))
        return slice(x, x + size[0]), slice(y, y + size[1])


def _start(centre: int, length: int, size: int) -> int:
    """Return the start of a part of a length about its centre, moved inside if the length is as large."""
    lowest, highest = sorted((0, length - size))
    return min(max(centre - size // 2, lowest), highest)


def mirrored(positions: Int[np.ndarray, "*shape"], slices: int) -> Int[np.ndarray, "*shape"]:
    """Return the slices at these positions; a mirror stands in the middle of the first and of the last slice."""
    period = max(2 * (slices - 1), 1)
    within = positions % period
    return np.minimum(within, period - within) if slices > 1 else np.zeros_like(positions)
