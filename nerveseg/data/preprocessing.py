"""Before the network: zero mean and unit variance per volume, then a centred in-plane crop (paper, 2.4.1).

The crop is recorded, so that what the network says about it goes back to where it was cut out. Volumes smaller than the
crop are padded with the value of air, the smallest of the volume.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from nerveseg.types import Channels, Image, Size2d


class Preprocessing(BaseModel):
    """What happens to a volume before the network sees it; stored with every trained model.

    Attributes:
        normalisation: "volume" is zero mean and unit variance over all voxels of each channel.
        size: In-plane size of the crop in pixels (x, y).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    normalisation: Literal["volume"] = "volume"
    size: tuple[PositiveInt, PositiveInt] = Field(default=(320, 320))

    def apply(self, channels: Channels) -> tuple[Channels, Crop]:
        """Normalise every channel over the whole volume, then crop.

        Args:
            channels: (channel, x, y, z) in RAS order.

        Returns:
            The array (channel, size x, size y, z), and the crop that undoes it.
        """
        crop = Crop(shape=(channels.shape[1], channels.shape[2]), size=self.size)
        cropped = [crop.apply(image, fill=float(image.min())) for image in map(normalise, channels)]
        return np.stack(cropped), crop


def normalise(image: Image) -> Image:
    """Zero mean and unit variance over all voxels (computed in double precision)."""
    mean, sd = image.mean(dtype=np.float64), image.std(dtype=np.float64)
    return np.asarray((image - mean) / sd, dtype=np.float32)


@dataclass(frozen=True)
class Crop:
    """A centred in-plane crop of an (x, y, ...) array; where the array is smaller, a pad.

    Attributes:
        shape: In-plane shape before.
        size: In-plane shape after.
    """

    shape: Size2d
    size: Size2d

    def apply(self, array: NDArray[Any], fill: float = 0) -> NDArray[Any]:
        """Cut out the centre; pixels outside the array become `fill`."""
        outer, inner = self._overlap
        result = np.full((*self.size, *array.shape[2:]), fill, dtype=array.dtype)
        result[inner] = array[outer]
        return result

    def undo(self, array: NDArray[Any], fill: float = 0) -> NDArray[Any]:
        """Put a cropped array back in its place; pixels that were cut away become `fill`."""
        outer, inner = self._overlap
        result = np.full((*self.shape, *array.shape[2:]), fill, dtype=array.dtype)
        result[outer] = array[inner]
        return result

    @property
    def _overlap(self) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """The part that both have, in indices of the uncropped and of the cropped array."""
        pairs = [_overlap(shape, size) for shape, size in zip(self.shape, self.size, strict=True)]
        return (pairs[0][0], pairs[1][0]), (pairs[0][1], pairs[1][1])


def _overlap(shape: int, size: int) -> tuple[slice, slice]:
    common = min(shape, size)
    outer, inner = (shape - common) // 2, (size - common) // 2
    return slice(outer, outer + common), slice(inner, inner + common)
