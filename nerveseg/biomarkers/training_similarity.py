"""Similarity of a scan to the training scans of the network; others may be segmented wrongly.

Geometry is compared in millimetres, intensity as percentiles of the normalised volume (zero mean, unit variance).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from nerveseg.biomarkers.flags import Flag, QualityLimits
from nerveseg.types import Size2d, SpacingMm

Percentiles: TypeAlias = Mapping[float, float]
"""Values of the normalised volume by percentile."""

PercentileRanges: TypeAlias = Mapping[float, tuple[float, float]]
"""Least and greatest value over the training scans, by percentile."""


@dataclass(frozen=True)
class TrainingScans:
    """Known data of a model's training scans.

    Attributes:
        spacing_mm: Voxel spacing in mm in RAS order; the last is the slice step.
        size: Number of in-plane pixels (x, y) that the network saw.
        intensity: Ranges of the percentiles per channel; absent channels are not compared.
    """

    spacing_mm: SpacingMm
    size: Size2d
    intensity: Mapping[str, PercentileRanges] = field(default_factory=dict)


def unlike_training(
    spacing_mm: SpacingMm,
    size: Size2d,
    percentiles: Mapping[str, Percentiles],
    training: TrainingScans,
    limits: QualityLimits,
) -> list[Flag]:
    """Flag geometry and intensity that differ from the training scans.

    Args:
        spacing_mm: Voxel spacing of the scan in mm, in RAS order.
        size: Number of in-plane pixels (x, y) of the scan.
        percentiles: Percentiles of the scan's channels after normalisation.
        training: Training scans.
        limits: Limits of the differences.
    """
    flags = _geometry(spacing_mm, size, training, limits)
    for channel in sorted(set(percentiles) & set(training.intensity)):
        flags += _intensity(channel, percentiles[channel], training.intensity[channel], limits.intensity_margin)
    return flags


def not_axial(spacing_mm: SpacingMm, limits: QualityLimits) -> list[Flag]:
    """Flag pixels that are far from square: the slices are not axial."""
    if _ratio(spacing_mm[0], spacing_mm[1]) <= limits.anisotropy:
        return []
    x, y, _ = spacing_mm
    return [Flag("not_axial", f"pixels in the axial plane measure {x:.2g} x {y:.2g} mm: the slices are not axial")]


def _geometry(spacing_mm: SpacingMm, size: Size2d, training: TrainingScans, limits: QualityLimits) -> list[Flag]:
    flags = []
    fine, known = min(spacing_mm[:2]), min(training.spacing_mm[:2])
    if _ratio(fine, known) > limits.spacing_ratio:
        message = f"the pixels measure {fine:.2f} mm, those of the training scans {known:.2f} mm"
        flags.append(Flag("spacing_unlike_training", message))
    step, known = spacing_mm[2], training.spacing_mm[2]
    if _ratio(step, known) > limits.step_ratio:
        message = f"the slices lie {step:.1f} mm apart, those of the training scans {known:.1f} mm"
        flags.append(Flag("step_unlike_training", message))
    field_mm, known_mm = (
        tuple(pixels * pixel_mm for pixels, pixel_mm in zip(sides, spacing, strict=False))
        for sides, spacing in ((size, spacing_mm), (training.size, training.spacing_mm))
    )
    if any(_ratio(*pair) > limits.field_ratio for pair in zip(field_mm, known_mm, strict=True)):
        sizes = [f"{x:.0f} x {y:.0f} mm" for x, y in (field_mm, known_mm)]
        message = f"the field of view is {sizes[0]}, that of the training scans {sizes[1]}"
        flags.append(Flag("field_unlike_training", message))
    return flags


def _intensity(channel: str, found: Percentiles, known: PercentileRanges, margin: float) -> list[Flag]:
    outside = []
    for percentile in sorted(set(found) & set(known)):
        low, high = known[percentile]
        if not low - margin * (high - low) <= found[percentile] <= high + margin * (high - low):
            outside.append(f"percentile {percentile:g} is {found[percentile]:.2f}, not {low:.2f} to {high:.2f}")
    if not outside:
        return []
    message = f"the brightness of {channel} is unlike that of the training scans: {', '.join(outside)}"
    return [Flag("intensity_unlike_training", message)]


def _ratio(first: float, second: float) -> float:
    return max(first, second) / min(first, second)
