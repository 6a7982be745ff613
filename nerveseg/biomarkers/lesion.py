"""Lesion: nerve that is brighter on the fat-suppressed channel than reference nerves are.

A voxel is abnormal above mean + k SD of reference nerves. Intensities are in the scanner's arbitrary units, so the
reference has to come from the same protocol, or the channel is taken relative to a non-sciatic muscle in the same
slice. Where the channel or its reference is unknown, nothing is judged, which is not the same as healthy. Without a
reference there is no lesion to report. An automatic threshold from the nerve itself can be asked for
(Otsu 1979: the two parts of the nerve's voxels that differ most). It always finds something, about half of a healthy
nerve, and misses what a lesion of the whole nerve adds: it is exploratory. A robust outlier rule (median + 3 MAD)
would be silent in health, but found none of the simulated lesions, which are no small minority of the nerve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from skimage.filters import threshold_otsu

from nerveseg.biomarkers.signals import eroded_in_plane, muscle_means
from nerveseg.errors import ConfigurationError, GeometryError
from nerveseg.types import Mask

EXPLORATORY = "EXPLORATORY: a threshold from this nerve itself; it marks about half of a healthy nerve as well"


class LesionRule(BaseModel):
    """What counts as lesion.

    Attributes:
        channel: The fat-suppressed channel.
        k: Standard deviations above the reference.
        reference_mean: Of reference nerves, see `reference_of`.
        reference_sd: Of their voxels.
        relative_to_muscle: The channel is divided by its mean in the muscle of the same slice; so is the reference.
        automatic: Without a reference, take a threshold from the nerve itself.
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
    """What was found.

    Attributes:
        mask: Abnormal nerve; None where it could not be judged.
        threshold: In the channel's units, or relative to muscle.
        exploratory: The threshold comes from the nerve itself.
        note: How it was found, or why it was not.
        known: Nerve that could be judged, of which the abnormal is a part; None where the mask is.
    """

    mask: Mask | None
    threshold: float | None
    exploratory: bool
    note: str
    known: Mask | None = None


def find_lesion(mask: Mask, channel: NDArray[Any], rule: LesionRule, muscle: Mask | None = None) -> LesionResult:
    """Find the abnormal part of a nerve.

    Args:
        mask: The nerve of one leg: over both, an automatic threshold would part the legs.
        channel: The rule's channel on the same grid, NaN where it is unknown.
        rule: What counts as lesion.
        muscle: Non-sciatic muscle of the same leg on the same grid, for a rule relative to muscle.

    Raises:
        GeometryError: The channel has another shape than the mask.
    """
    if channel.shape != mask.shape:
        raise GeometryError(
            "a lesion is looked for on the grid of the nerve's mask",
            found=f"channel {channel.shape}, mask {mask.shape}",
            remedy="resample the channel onto that grid",
        )
    if rule.relative_to_muscle and muscle is None:
        return LesionResult(
            None, None, False, "no lesion is looked for: the rule is relative to muscle, and none is given"
        )
    signal = channel
    if rule.relative_to_muscle and muscle is not None:
        signal = channel / muscle_means(channel, muscle & ~mask)
    known = mask & ~np.isnan(signal)
    if mask.any() and not known.any():
        return LesionResult(None, None, False, f"no lesion is looked for: {_unknown(rule)} in no slice of the nerve")
    threshold, note = _threshold(signal[eroded_in_plane(mask) & known], rule)
    if threshold is None:
        return LesionResult(None, None, False, note)
    found = known & (np.where(known, signal, 0.0) > threshold)
    return LesionResult(found, threshold, rule.reference_mean is None, note, known)


def _unknown(rule: LesionRule) -> str:
    return f"{rule.channel} is known" + (", with enough muscle," if rule.relative_to_muscle else "")


def _threshold(inside: NDArray[Any], rule: LesionRule) -> tuple[float | None, str]:
    if rule.reference_mean is not None and rule.reference_sd is not None:
        return rule.reference_mean + rule.k * rule.reference_sd, f"above mean + {rule.k:g} SD of reference nerves"
    if not rule.automatic:
        return None, f"no lesion is looked for: there is no reference of healthy nerves for {rule.channel}"
    if inside.size == 0 or inside.min() == inside.max():
        return None, f"no lesion is looked for: {rule.channel} does not vary inside the nerve, or is not known there"
    return float(threshold_otsu(inside)), EXPLORATORY


def reference_of(nerves: Sequence[NDArray[Any]]) -> tuple[float, float]:
    """Mean and standard deviation of reference nerves, each nerve of the same weight however long.

    The standard deviation is that of a voxel drawn at random from a nerve drawn at random: the mean of the nerves' own
    variances plus the variance of their means. Nerves that differ widen it as they should.

    Args:
        nerves: The channel's values inside each subject's nerve (eroded by one pixel), of at least two subjects.

    Raises:
        ConfigurationError: Fewer than two subjects, or one without values.
    """
    values = [np.asarray(nerve, dtype=np.float64) for nerve in nerves]
    values = [nerve[~np.isnan(nerve)] for nerve in values]
    sizes = [nerve.size for nerve in values]
    if len(sizes) < 2 or min(sizes) < 2:
        raise ConfigurationError(
            "a reference is made from at least two nerves with two voxels each",
            found=f"voxels per nerve: {sizes}",
            remedy="give the fat-suppressed channel of more healthy subjects",
        )
    means = np.array([nerve.mean() for nerve in values])
    within = float(np.mean([nerve.var(ddof=1) for nerve in values]))
    return float(means.mean()), float(np.sqrt(within + means.var(ddof=1)))
