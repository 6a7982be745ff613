"""Lesion: nerve that is brighter on the fat-suppressed channel than reference nerves.

A voxel is abnormal above mean + k SD of reference nerves: the mean over nerves, and the SD of a voxel drawn at random
from a nerve drawn at random (variances within and between nerves added). Intensities are in the scanner's arbitrary
units, so the reference must come from the same protocol, or the channel is divided by a non-sciatic muscle in the same
slice. Where the channel or its reference is unknown, the nerve is not judged, which differs from healthy. Without a
reference no lesion is reported. An automatic threshold from the nerve itself is optional (Otsu 1979: the two parts of
the nerve's voxels that differ most). It always marks a part, about half of a healthy nerve, and underestimates a lesion
of the whole nerve: it is exploratory. A robust outlier rule (median + 3 MAD) would mark nothing in health, but found
none of the simulated lesions, which are a large part of the nerve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from skimage.filters import threshold_otsu

from nerveseg.biomarkers.signals import eroded_in_plane, muscle_means
from nerveseg.errors import GeometryError
from nerveseg.types import Mask

EXPLORATORY = "EXPLORATORY: a threshold from this nerve itself; it marks about half of a healthy nerve as well"


class LesionRule(BaseModel):
    """Rule by which nerve is abnormal.

    Attributes:
        channel: Name of the fat-suppressed channel.
        k: Number of standard deviations above the reference.
        reference_mean: Mean of reference nerves.
        reference_sd: Standard deviation of a voxel of reference nerves.
        relative_to_muscle: Flag: true to divide the channel by its mean in the muscle of the same slice; the reference
            is relative too.
        automatic: Flag: true to take a threshold from the nerve itself if there is no reference.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    channel: str
    k: float = Field(default=3.0, gt=0)
    reference_mean: float | None = None
    reference_sd: float | None = Field(default=None, gt=0)
    relative_to_muscle: bool = False
    automatic: bool = False

    @model_validator(mode="after")
    def _mean_with_sd(self) -> LesionRule:
        if (self.reference_mean is None) != (self.reference_sd is None):
            raise ValueError("a reference has a mean and a standard deviation: give both, or neither")
        return self


@dataclass(frozen=True)
class LesionResult:
    """Lesion of a nerve.

    Attributes:
        mask: Abnormal nerve; None where it could not be judged.
        threshold: Threshold in the channel's units, or relative to muscle.
        exploratory: Flag: true if the threshold comes from the nerve itself.
        note: Method, or reason why the nerve was not judged.
        known: Nerve that could be judged, which includes the abnormal nerve; None where `mask` is.
    """

    mask: Mask | None
    threshold: float | None
    exploratory: bool
    note: str
    known: Mask | None = None


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
        raise GeometryError(
            "a channel on the grid of the nerve's mask",
            found=f"channel {channel.shape}, mask {mask.shape}",
            remedy="resample the channel onto that grid",
        )
    if rule.relative_to_muscle and muscle is None:
        note = "no lesion is looked for: the rule is relative to muscle, and none is given"
        return LesionResult(None, None, False, note)
    signal = channel
    if rule.relative_to_muscle and muscle is not None:
        signal = channel / muscle_means(channel, muscle & ~mask)
    known = mask & ~np.isnan(signal)
    if mask.any() and not known.any():
        muscle_too = ", with enough muscle," if rule.relative_to_muscle else ""
        note = f"no lesion is looked for: {rule.channel} is known{muscle_too} in no slice of the nerve"
        return LesionResult(None, None, False, note)
    threshold, note = _threshold(signal[eroded_in_plane(mask) & known], rule)
    if threshold is None:
        return LesionResult(None, None, False, note)
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
