"""Intensity of the training data, as percentiles with which a new scan is compared.

The percentiles are those of each normalised channel within the training crop. Voxels of the smallest value are the
padding of the crop, or air that was masked to one value, and are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from nerveseg.data.preprocessing import Crop, Preprocessing
from nerveseg.types import Channels, SpacingMm

PERCENTILES = (1.0, 25.0, 50.0, 75.0, 99.0)  # percentiles of the intensity, from 0 to 100


class IntensityRange(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """Smallest and largest value of each percentile over the training subjects, in one normalised channel."""

    percentiles: tuple[float, ...] = PERCENTILES  # percentiles, from 0 to 100
    low: tuple[float, ...]  # smallest value of each percentile among the subjects, normalised
    high: tuple[float, ...]  # largest value of each percentile among the subjects, normalised

    @classmethod
    def over(cls, subjects: Iterable[Sequence[float]]) -> IntensityRange:
        """Return the range of the percentiles of several subjects."""
        table = np.array(list(subjects), dtype=np.float64)
        return cls(low=tuple(table.min(axis=0).tolist()), high=tuple(table.max(axis=0).tolist()))

    @property
    def by_percentile(self) -> dict[float, tuple[float, float]]:
        """Smallest and largest value by percentile."""
        return dict(zip(self.percentiles, zip(self.low, self.high, strict=True), strict=True))


def intensity_percentiles(normalised: NDArray[Any]) -> tuple[float, ...]:
    """Return the `PERCENTILES` of finite values in any axis order, without voxels of the smallest value."""
    values = normalised[normalised > normalised.min()]
    return tuple(np.percentile(values if values.size else normalised, PERCENTILES).tolist())


def scan_intensity(
    channels: Channels, spacing_mm: SpacingMm, preprocessing: Preprocessing, training_spacing_mm: SpacingMm
) -> list[tuple[float, ...]]:
    """Return the `PERCENTILES` of each channel of a new scan, for comparison with the training data.

    The percentiles are those within the training crop in mm, since a larger field of view holds more air. Channels are
    (channel, x, y, z) in RAS order.
    """
    x, y = (
        max(1, round(size * training_mm / scan_mm))
        for size, training_mm, scan_mm in zip(preprocessing.size, training_spacing_mm, spacing_mm, strict=False)
    )
    shape = channels.shape[1], channels.shape[2]
    crop = Crop(shape=shape, size=(min(x, shape[0]), min(y, shape[1])))
    return [intensity_percentiles(crop.apply(channel)) for channel in preprocessing.normalise(channels)]
