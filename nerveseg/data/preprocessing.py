"""Preprocessing: zero mean and unit variance per volume, then a centred in-plane crop (paper, 2.4.1).

Before the crop, a study of mixed in-plane spacings is resampled to one. Resampling and crop are recorded, so that the
network's probability goes back onto the volume's own pixels. Volumes smaller than the crop are padded with the value of
air, the smallest of the volume.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, PositiveFloat, PositiveInt

from nerveseg.data.in_plane_resampling import InPlaneResampling
from nerveseg.data.optional_channels import is_missing
from nerveseg.types import Channels, Image, LabelMap, Size2d, SpacingMm

Normalisation: TypeAlias = Literal["volume", "percentile"]
LIMITS_PERCENT = (0.5, 99.5)  # percentiles to which `normalisation=percentile` limits the values of a volume


class Preprocessing(BaseModel, frozen=True, extra="forbid"):
    """Preprocessing of a volume for the network; stored with every trained model."""

    # Rule of normalisation; "volume" is zero mean and unit variance over all voxels of each channel (paper, 2.4.1);
    # "percentile" first limits the values to their 0.5th and 99.5th percentile, so that a few voxels of extreme
    # intensity change nothing.
    normalisation: Normalisation = "volume"
    size: tuple[PositiveInt, PositiveInt] = Field(default=(320, 320))  # in-plane size of the crop in pixels (x, y)
    # In-plane spacing (x, y) to which volumes are resampled before the crop; None leaves each volume's own pixels.
    # "study" stands for the median over the study's subjects until the slice store is built; a store and a bundle hold
    # numbers.
    spacing_mm: tuple[PositiveFloat, PositiveFloat] | Literal["study"] | None = None

    def settle(self, study_spacing_mm: Callable[[], tuple[float, float]]) -> Preprocessing:
        """Return the preprocessing with numbers in place of the spacing "study", which the function computes."""
        return self.model_copy(update={"spacing_mm": study_spacing_mm()}) if self.spacing_mm == "study" else self

    def apply(self, channels: Channels, spacing_mm: SpacingMm) -> tuple[Channels, NetworkGrid]:
        """Normalise every channel (x, y, z, in RAS order) over the whole volume, then resample and crop.

        Returns:
            Array (channel, size x, size y, z), and the grid to undo it.
        """
        grid = self.grid((channels.shape[1], channels.shape[2]), spacing_mm)
        return np.stack([grid.apply(image, float(image.min())) for image in self.normalise(channels)]), grid

    def normalise(self, channels: Channels) -> Channels:
        """Normalise every channel over its whole volume; a missing one, of NaN (`optional_channels`), becomes zeros."""
        normalised = np.zeros(channels.shape, dtype=np.float32)
        for number, channel in enumerate(channels):
            if not is_missing(channel):
                normalised[number] = normalise(channel, self.normalisation)
        return normalised

    def grid(self, shape: Size2d, spacing_mm: SpacingMm) -> NetworkGrid:
        """Return resampling and crop for a volume of this in-plane shape; the spacing "study" is settled before."""
        if self.spacing_mm == "study":
            raise ValueError('the spacing "study" is replaced by numbers first (Preprocessing.settle)')
        resampling = InPlaneResampling(shape, spacing_mm[:2], self.spacing_mm or spacing_mm[:2])
        return NetworkGrid(resampling, Crop(resampling.size, self.size))


def normalise(image: Image, rule: Normalisation) -> Image:
    """Normalise to zero mean and unit variance over all voxels (computed in double precision), as `rule` states."""
    if rule == "percentile":
        image = np.clip(image, *np.percentile(image, LIMITS_PERCENT))
    mean, sd = image.mean(dtype=np.float64), image.std(dtype=np.float64)
    normalised = np.empty(image.shape, dtype=np.float32)
    for number, plane in enumerate(image):  # since a volume in double precision takes much memory
        normalised[number] = (plane - mean) / sd
    return normalised


@dataclass(frozen=True)
class Crop:
    """Centred in-plane crop of an (x, y, ...) array, or pad if the array is smaller."""

    shape: Size2d  # in-plane shape before the crop
    size: Size2d  # in-plane shape after the crop

    def apply(self, array: NDArray[Any], fill: float = 0) -> NDArray[Any]:
        """Crop the centre; pixels outside the array become `fill`."""
        outer, inner = self._overlap
        result = np.full((*self.size, *array.shape[2:]), fill, dtype=array.dtype)
        result[inner] = array[outer]
        return result

    def undo(self, array: NDArray[Any], fill: float = 0) -> NDArray[Any]:
        """Put a cropped array back in its place; pixels that were cropped away become `fill`."""
        outer, inner = self._overlap
        result = np.full((*self.shape, *array.shape[2:]), fill, dtype=array.dtype)
        result[outer] = array[inner]
        return result

    @property
    def _overlap(self) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Common part, in indices of the uncropped and of the cropped array."""
        (outer_x, inner_x), (outer_y, inner_y) = map(_overlap, self.shape, self.size)
        return (outer_x, outer_y), (inner_x, inner_y)


@dataclass(frozen=True)
class NetworkGrid:
    """Conversion of a volume's slices to the network's input, and back."""

    resampling: InPlaneResampling  # in-plane resampling to the model's spacing
    crop: Crop  # centred crop of the resampled slices to the network's size

    def apply(self, image: Image, fill: float) -> NDArray[np.float32]:
        """Resample and crop an image (x, y, slice); pixels outside it become `fill`."""
        return self.crop.apply(self.resampling.apply(image[None])[0], fill)

    def apply_to_labels(self, labels: LabelMap) -> NDArray[np.uint8]:
        """Resample and crop a label map: a pixel is of the part that more than half of it is."""
        return self.crop.apply(self.resample_labels(labels))

    def resample_labels(self, labels: LabelMap) -> NDArray[np.uint8]:
        """Resample a label map without the crop."""
        if self.resampling.steps == (1, 1):
            return labels
        resampled = np.zeros((*self.resampling.size, labels.shape[2]), dtype=np.uint8)
        for part in range(1, int(labels.max()) + 1):
            share = self.resampling.apply((labels == part)[None].astype(np.float32))[0]
            resampled[share > 0.5] = part
        return resampled

    def undo(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Put values of cropped slices (x, y, slice) back onto the volume's pixels; 0 outside the crop."""
        uncropped: NDArray[np.float32] = self.resampling.undo(self.crop.undo(array)[None])[0]
        return uncropped


def _overlap(shape: int, size: int) -> tuple[slice, slice]:
    common = min(shape, size)
    outer, inner = (shape - common) // 2, (size - common) // 2
    return slice(outer, outer + common), slice(inner, inner + common)
