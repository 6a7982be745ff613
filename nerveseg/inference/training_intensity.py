"""What the training data looked like, as numbers against which a new scan is held.

Percentiles of each normalised channel within the training crop. Voxels of the smallest value are the padding of the
crop, or air that was masked to one value; they say nothing about tissue and do not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from nerveseg.data.preprocessing import Crop, Preprocessing, normalise
from nerveseg.types import Channels, SpacingMm

PERCENTILES = (1.0, 25.0, 50.0, 75.0, 99.0)


class IntensityRange(BaseModel):
    """Smallest and largest value of each percentile over the training subjects, in one normalised channel.

    Attributes:
        percentiles: Which ones, 0 to 100.
        low: Of each, the smallest among the subjects.
        high: Of each, the largest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    percentiles: tuple[float, ...] = PERCENTILES
    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def over(cls, subjects: Iterable[Sequence[float]]) -> IntensityRange:
        """The range over the percentiles of several subjects."""
        table = np.array(list(subjects), dtype=np.float64)
        return cls(low=tuple(table.min(axis=0).tolist()), high=tuple(table.max(axis=0).tolist()))

    @property
    def by_percentile(self) -> dict[float, tuple[float, float]]:
        """Smallest and largest value by percentile."""
        return dict(zip(self.percentiles, zip(self.low, self.high, strict=True), strict=True))


class LesionReference(BaseModel):
    """Signal of healthy nerves in a fat-suppressed channel.

    Attributes:
        channel: Name of the channel.
        mean: In the channel's own units, or relative to muscle.
        sd: Over the voxels of all reference nerves.
        relative_to_muscle: The channel was divided by its mean in the muscle of the same slice, as a new one must be.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    channel: str
    mean: float
    sd: float = Field(gt=0)
    relative_to_muscle: bool = False


def intensity_percentiles(normalised: NDArray[Any]) -> tuple[float, ...]:
    """The `PERCENTILES` of a normalised channel, in any axis order; its smallest value does not count.

    Args:
        normalised: At least one value, all finite.
    """
    values = normalised[normalised > normalised.min()]
    return tuple(np.percentile(values if values.size else normalised, PERCENTILES).tolist())


def scan_intensity(
    channels: Channels, spacing_mm: SpacingMm, preprocessing: Preprocessing, training_spacing_mm: SpacingMm
) -> list[tuple[float, ...]]:
    """Percentiles of a new scan's channels, to be compared with the training data's.

    They are taken where the training crop would lie in millimetres, since a larger field of view holds more air.

    Args:
        channels: As read, (channel, x, y, z) in RAS order.
        spacing_mm: Of the scan.
        preprocessing: Of the model.
        training_spacing_mm: Of the model.

    Returns:
        `PERCENTILES` of each channel.
    """
    x, y = (
        max(1, round(size * there / here))
        for size, there, here in zip(preprocessing.size, training_spacing_mm, spacing_mm, strict=False)
    )
    shape = channels.shape[1], channels.shape[2]
    crop = Crop(shape=shape, size=(min(x, shape[0]), min(y, shape[1])))
    return [intensity_percentiles(crop.apply(normalise(channel))) for channel in channels]
