"""Signal of a channel inside the nerve, slice by slice, and the lesion, where the nerve is brighter than references.

Pixels at the outline contain fat too, so signals are measured in the mask eroded by one pixel in its plane
(4-neighbours); a section that vanishes under erosion is measured whole. A ratio to muscle is meaningful only on a
fat-suppressed channel and only for a muscle that the sciatic nerve does not supply (vastus), in the same slice.

A voxel is abnormal above mean + k SD of reference nerves on the fat-suppressed channel: the mean over nerves, and the
SD of a voxel drawn at random from a nerve drawn at random (variances within and between nerves added). The reference
must come from the same protocol, or the channel is divided by a muscle. Where the channel or its reference is unknown,
the nerve is not judged, which differs from healthy. An automatic threshold (Otsu 1979) always marks a part, about half
of a healthy nerve, and underestimates a lesion of the whole nerve: it is exploratory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator
from scipy import ndimage
from skimage.filters import threshold_otsu

from nerveseg.errors import GeometryError
from nerveseg.types import Mask

CROSS = np.zeros((3, 3, 3), dtype=bool)
CROSS[1, :, 1] = CROSS[:, 1, 1] = True

PERCENTILES = (10, 50, 90)
STATISTICS = ("mean", "sd", *(f"p{percentile}" for percentile in PERCENTILES))
COVERAGE = "coverage"  # share of the section's voxels in which a channel is known
LEAST_MUSCLE_VOXELS = 20  # in a slice for a reference mean
EXPLORATORY = "EXPLORATORY: a threshold from this nerve itself; it marks about half of a healthy nerve as well"


@dataclass(frozen=True)
class Signals:
    """Channels and masks to measure inside the nerve, on one grid in RAS order."""

    channels: Mapping[str, NDArray[Any]]  # images or quantitative maps by name, NaN where they are unknown
    fat_suppressed: str | None = None  # name of the channel for which a ratio to muscle is meaningful
    muscle: Mask | None = None  # non-sciatic muscle (vastus); without it the ratio is empty
    lesion: Mask | None = None  # abnormal nerve; without it the fraction is empty
    lesion_known: Mask | None = None  # nerve that could be judged (`LesionResult.known`); None for all of it

    @property
    def columns(self) -> list[str]:
        """Columns of the profile: statistics and coverage per channel, then the ratio for the fat-suppressed one."""
        names = []
        for channel in self.channels:
            names += [f"{channel}_{statistic}" for statistic in (*STATISTICS, COVERAGE)]
            names += [f"{channel}_muscle_ratio"] if channel == self.fat_suppressed else []
        return names

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise `GeometryError` unless all arrays have the shape of the nerve's mask."""
        masks = {"muscle": self.muscle, "lesion": self.lesion, "known lesion": self.lesion_known}
        arrays = {**self.channels, **{f"the {name} mask": mask for name, mask in masks.items()}}
        for name, array in arrays.items():
            if array is not None and array.shape != shape:
                rule, remedy = "channels and masks on the grid of the nerve's mask", "resample it onto that grid"
                raise GeometryError(rule, found=f"{name}: {array.shape}, mask: {shape}", remedy=remedy)


class NerveInside:
    """Measurement of the inside of one leg's nerve; the leg's columns exclude the muscle of the other leg."""

    def __init__(self, mask: Mask, signals: Signals, columns: slice) -> None:
        self.core = eroded_in_plane(mask)
        self.signals = signals
        self.muscle_means = np.full(mask.shape[2], np.nan)
        channel = signals.channels.get(signals.fat_suppressed or "")
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
            found = _statistics(channel[:, :, number][core if eroded else part])
            cells |= {f"{name}_{statistic}": value for statistic, value in found.items()}
            cells[f"{name}_{COVERAGE}"] = 1.0 - float(np.isnan(channel[:, :, number][part]).mean())
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


def _statistics(values: NDArray[Any]) -> dict[str, float]:
    """Compute mean, sample standard deviation and percentiles of the values that are not NaN; NaN for too few."""
    known = np.asarray(values[~np.isnan(values)], dtype=np.float64)
    if known.size == 0:
        return dict.fromkeys(STATISTICS, float("nan"))
    found = [known.mean(), known.std(ddof=1) if known.size > 1 else np.nan, *np.percentile(known, PERCENTILES)]
    return {name: float(value) for name, value in zip(STATISTICS, found, strict=True)}


def muscle_means(channel: NDArray[Any], muscle: Mask) -> NDArray[np.float64]:
    """Compute the mean of a channel (x, y, z; NaN where it is unknown) in the muscle of every slice.

    The mean is NaN in slices with fewer than 20 voxels of known muscle, and where it is not positive.
    """
    known = muscle & ~np.isnan(channel)
    voxels = np.count_nonzero(known, axis=(0, 1))
    sums = np.where(known, channel, 0.0).sum(axis=(0, 1), dtype=np.float64)
    return np.where((voxels >= LEAST_MUSCLE_VOXELS) & (sums > 0), sums / np.maximum(voxels, 1), np.nan)


class LesionRule(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """Rule by which nerve is abnormal."""

    channel: str = "FS"  # name of the fat-suppressed channel
    k: float = Field(default=3.0, gt=0)  # number of standard deviations above the reference
    reference_mean: float | None = None  # of reference nerves
    reference_sd: float | None = Field(default=None, gt=0)  # of a voxel of reference nerves
    relative_to_muscle: bool = False  # divides channel and reference by the mean in the muscle of the same slice
    automatic: bool = False  # takes a threshold from the nerve itself if there is no reference

    @model_validator(mode="after")
    def _mean_with_sd(self) -> LesionRule:
        if (self.reference_mean is None) != (self.reference_sd is None):
            raise ValueError("a reference has a mean and a standard deviation: give both, or neither")
        return self


@dataclass(frozen=True)
class LesionResult:
    """Lesion of a nerve."""

    mask: Mask | None  # abnormal nerve; None where it could not be judged
    threshold: float | None  # in the channel's units, or relative to muscle
    exploratory: bool  # true if the threshold comes from the nerve itself
    note: str  # method, or reason why the nerve was not judged
    known: Mask | None = None  # nerve that could be judged, abnormal or not; None where `mask` is


def find_lesion(mask: Mask, channel: NDArray[Any], rule: LesionRule, muscle: Mask | None = None) -> LesionResult:
    """Find the abnormal part of a nerve.

    Args:
        mask: Nerve of one leg; over both legs, an automatic threshold would separate the legs.
        channel: Channel of the rule on the same grid, NaN where it is unknown.
        rule: Rule by which nerve is abnormal.
        muscle: Non-sciatic muscle of the same leg on the same grid, for a rule relative to muscle.

    Raises:
        GeometryError: The channel has another shape than the mask.
    """
    if channel.shape != mask.shape:
        shapes, remedy = f"channel {channel.shape}, mask {mask.shape}", "resample the channel onto that grid"
        raise GeometryError("a channel on the grid of the nerve's mask", found=shapes, remedy=remedy)
    signal, unjudged = channel, partial(LesionResult, None, None, False)
    if rule.relative_to_muscle:
        if muscle is None:
            return unjudged("no lesion is looked for: the rule is relative to muscle, and none is given")
        signal = channel / muscle_means(channel, muscle & ~mask)
    known = mask & ~np.isnan(signal)
    if mask.any() and not known.any():
        muscle_too = ", with enough muscle," if rule.relative_to_muscle else ""
        return unjudged(f"no lesion is looked for: {rule.channel} is known{muscle_too} in no slice of the nerve")
    threshold, note = _threshold(signal[eroded_in_plane(mask) & known], rule)
    if threshold is None:
        return unjudged(note)
    found = known & (np.where(known, signal, 0.0) > threshold)
    return LesionResult(found, threshold, rule.reference_mean is None, note, known)


def _threshold(inside: NDArray[Any], rule: LesionRule) -> tuple[float | None, str]:
    if rule.reference_mean is not None and rule.reference_sd is not None:
        return rule.reference_mean + rule.k * rule.reference_sd, f"above mean + {rule.k:g} SD of reference nerves"
    if not rule.automatic:
        return None, f"no lesion is looked for: there is no reference of healthy nerves for {rule.channel}"
    if inside.size == 0 or inside.min() == inside.max():
        return None, f"no lesion is looked for: {rule.channel} does not vary inside the nerve, or is not known there"
    return float(threshold_otsu(inside)), EXPLORATORY
