"""Signal of a channel inside the nerve, slice by slice.

Pixels at the outline contain fat too, so signals are measured in the mask eroded by one pixel in its plane
(4-neighbours); a section that vanishes under erosion is measured whole, which the column `eroded` records. A ratio to
muscle is meaningful only on a fat-suppressed channel and only for a muscle that the sciatic nerve does not supply
(vastus), in the same slice, where the coil's sensitivity is similar for both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nerveseg.errors import GeometryError
from nerveseg.types import Mask

CROSS = np.zeros((3, 3, 3), dtype=bool)
CROSS[1, :, 1] = CROSS[:, 1, 1] = True

PERCENTILES = (10, 50, 90)
STATISTICS = ("mean", "sd", *(f"p{percentile}" for percentile in PERCENTILES))

LEAST_MUSCLE_VOXELS = 20
"""Least number of muscle voxels in a slice for a reference mean."""


@dataclass(frozen=True)
class Signals:
    """Channels and masks to measure inside the nerve, on one grid in RAS order.

    Attributes:
        channels: Images or quantitative maps by name, NaN where they are unknown.
        fat_suppressed: Name of the channel for which a ratio to muscle is meaningful.
        muscle: Non-sciatic muscle (vastus); without it the ratio is empty.
        lesion: Abnormal nerve; without it the fraction is empty.
        lesion_known: Nerve that could be judged (`LesionResult.known`); None for all of it.
    """

    channels: Mapping[str, NDArray[Any]]
    fat_suppressed: str | None = None
    muscle: Mask | None = None
    lesion: Mask | None = None
    lesion_known: Mask | None = None

    @property
    def columns(self) -> list[str]:
        """Columns of the profile: statistics per channel, followed by the ratio for the fat-suppressed one."""
        names = []
        for channel in self.channels:
            names += [f"{channel}_{statistic}" for statistic in STATISTICS]
            names += [f"{channel}_muscle_ratio"] if channel == self.fat_suppressed else []
        return names

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise `GeometryError` unless all arrays have the shape of the nerve's mask."""
        masks = {"muscle": self.muscle, "lesion": self.lesion, "known lesion": self.lesion_known}
        arrays = {**self.channels, **{f"the {name} mask": mask for name, mask in masks.items()}}
        for name, array in arrays.items():
            if array is not None and array.shape != shape:
                raise GeometryError(
                    "channels and masks on the grid of the nerve's mask",
                    found=f"{name}: {array.shape}, mask: {shape}",
                    remedy="resample it onto that grid",
                )


class NerveInside:
    """Measurement of a nerve's inside, slice by slice.

    Args:
        mask: Nerve of one leg.
        signals: Channels and masks to measure.
        columns: Columns of the leg, which exclude the muscle of the other leg.
    """

    def __init__(self, mask: Mask, signals: Signals, columns: slice) -> None:
        self.core = eroded_in_plane(mask)
        self.signals = signals
        self.muscle_means = np.full(mask.shape[2], np.nan)
        channel = signals.channels.get(signals.fat_suppressed) if signals.fat_suppressed is not None else None
        if signals.muscle is not None and channel is not None:
            self.muscle_means = muscle_means(channel[columns], (signals.muscle & ~mask)[columns])

    def measure(self, part: NDArray[np.bool_], number: int) -> dict[str, Any]:
        """Return the profile's cells for a part of the nerve's section in one slice; none for an empty part."""
        if not part.any():
            return {}
        core = part & self.core[:, :, number]
        eroded = bool(core.any())
        cells: dict[str, Any] = {"eroded": eroded}
        for name, channel in self.signals.channels.items():
            found = statistics_of(channel[:, :, number][core if eroded else part])
            cells |= {f"{name}_{statistic}": value for statistic, value in found.items()}
            if name == self.signals.fat_suppressed:
                cells[f"{name}_muscle_ratio"] = found["mean"] / self.muscle_means[number]
        return cells | self._lesion(part, number)

    def _lesion(self, part: NDArray[np.bool_], number: int) -> dict[str, float]:
        """Return the abnormal share of the judged voxels, and the judged share; nothing without a lesion mask."""
        lesion, judged = self.signals.lesion, self.signals.lesion_known
        if lesion is None:
            return {}
        known = part if judged is None else part & judged[:, :, number]
        shares = {"lesion_known_fraction": np.count_nonzero(known) / np.count_nonzero(part)}
        return shares | ({"lesion_fraction": float(lesion[:, :, number][known].mean())} if known.any() else {})


def eroded_in_plane(mask: Mask) -> Mask:
    """Erode the mask by one pixel in its plane; the border of the image is no outline."""
    return np.asarray(ndimage.binary_erosion(mask, CROSS, border_value=1))


def statistics_of(values: NDArray[Any]) -> dict[str, float]:
    """Compute mean, sample standard deviation and percentiles of the values that are not NaN; NaN for too few."""
    known = np.asarray(values[~np.isnan(values)], dtype=np.float64)
    if known.size == 0:
        return dict.fromkeys(STATISTICS, float("nan"))
    found = [known.mean(), known.std(ddof=1) if known.size > 1 else np.nan, *np.percentile(known, PERCENTILES)]
    return {name: float(value) for name, value in zip(STATISTICS, found, strict=True)}


def muscle_means(channel: NDArray[Any], muscle: Mask) -> NDArray[np.float64]:
    """Compute the mean of a channel in the muscle of every slice.

    The mean is NaN in slices with fewer than 20 voxels of known muscle, and where it is not positive.

    Args:
        channel: Channel (x, y, z) in RAS order, NaN where it is unknown.
        muscle: Non-sciatic muscle on the same grid.
    """
    known = muscle & ~np.isnan(channel)
    voxels = np.count_nonzero(known, axis=(0, 1))
    sums = np.where(known, channel, 0.0).sum(axis=(0, 1), dtype=np.float64)
    return np.where((voxels >= LEAST_MUSCLE_VOXELS) & (sums > 0), sums / np.maximum(voxels, 1), np.nan)
