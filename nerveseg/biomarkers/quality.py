"""Quality flags of a segmentation without a reference: implausible masks, uncertain predictions, unusual scans.

A nerve is one continuous cord that enters and leaves through the ends of the stack, changes its area slowly, and lies
inside the leg; violations are flagged, with their slices. A scan unlike the training scans may be segmented wrongly:
geometry is compared in millimetres, intensity as percentiles of the normalised volume (zero mean, unit variance).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from nerveseg.biomarkers.course import FAR_MM, Pieces, without_strays
from nerveseg.biomarkers.division import Sections
from nerveseg.biomarkers.wording import in_words
from nerveseg.types import Mask, Probability, Size2d, SpacingMm

Percentiles: TypeAlias = Mapping[float, float]  # values of the normalised volume by percentile
PercentileRanges: TypeAlias = Mapping[float, tuple[float, float]]  # least and greatest over the training scans

Positive = Annotated[float, Field(gt=0)]
Ratio = Annotated[float, Field(gt=1)]
Share = Annotated[float, Field(ge=0, le=1)]


LEAST_CHANGES = 4  # number of pairs of neighbouring slices from which on a median is judged


@dataclass(frozen=True)
class Flag:
    """Quality flag of a scan."""

    code: str  # code for programs, such as "area_jump"
    message: str  # message for readers, a sentence without a full stop
    side: str | None = None  # side, "left" or "right", where an image shows both legs; otherwise None
    slices: tuple[int, ...] = ()  # numbers in the input file; empty where the flag concerns the whole scan
    detail: str = ""  # numbers behind the message, for those who ask


class QualityLimits(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """Limits beyond which a flag is raised; all are assumed. `far_mm` changes the numbers of a scan, too."""

    # The area's change is that of its logarithm per mm. The real mask changes by 0.069 at most, the phantom's nerves by
    # 0.079 at the shoulder of a focal swelling; oblique sections of a split are drawn together or apart.
    area_change_per_mm: Positive = 0.1  # along the nerve
    area_change_at_split: Positive = 0.15  # where the number of sections changes
    area_change_most: Positive = 0.63  # between neighbouring slices, however far apart: 88 %
    # Median change between neighbouring slices. Of the phantom's masks with a Dice above 0.85 it is 0.083 at most.
    area_unevenness: Positive = 0.085
    area_change_mm2: Positive = 8.0  # least change, since a few pixels at the outline are no jump
    # Distance of a part from the rest: more than twice a nerve's diameter. Numbers leave out a piece beyond it.
    far_mm: Positive = FAR_MM
    stray_share: Share = 0.1  # volume of the pieces left out to that of the nerve, from which on they are a fault
    mean_probability: Share = 0.7  # least mean of the network's probability inside the mask
    expected_overlap: Share = 0.7  # least Dice that the probabilities predict; in patients the authors reach 0.72
    expected_dice: Share = 0.8  # least Dice that the calibration expects; in patients the paper's raters agree at 0.79
    useless_dice: Share = 0.6  # least upper end of its interval: below it a mask is of no use
    # Ratios are either way: the larger to the smaller.
    spacing_ratio: Ratio = 1.5  # in-plane spacing to that of the training scans
    step_ratio: Ratio = 2.5  # slice step to that of the training scans
    anisotropy: Ratio = 1.5  # in-plane spacing along x to that along y: axial slices have square pixels
    field_ratio: Ratio = 3.0  # field of view to the network's training field; both thighs are 2.4 times
    intensity_margin: Annotated[float, Field(ge=0)] = 0.5  # from the training range, in widths of that range
    signal_coverage: Share = 0.9  # least share of a slice's nerve in which a channel or map is known
    side_ratio: Ratio = 2.0  # mean areas of the two sides; neuropathy enlarges 1.3 to 3 times


@dataclass(frozen=True)
class TrainingScans:
    """Known data of a model's training scans."""

    spacing_mm: SpacingMm  # in RAS order; the last is the slice step
    size: Size2d  # in-plane pixels (x, y) that the network saw
    intensity: Mapping[str, PercentileRanges] = field(default_factory=dict)  # absent channels are not compared
    # Least and greatest in-plane pixel and slice step in mm, where known; they replace the ratios to `spacing_mm`.
    pixel_mm: tuple[float, float] | None = None
    step_mm: tuple[float, float] | None = None


def find_flags(
    mask: Mask,
    probability: Probability | None,
    spacing_mm: SpacingMm,
    slice_numbers: Sequence[int],
    *,
    sides: Mapping[str, slice] | None = None,
    training: TrainingScans | None = None,
    percentiles: Mapping[str, Percentiles] | None = None,
    limits: QualityLimits | None = None,
) -> tuple[Flag, ...]:
    """Find all quality flags of a segmented scan.

    Args:
        mask: Nerve, in RAS order.
        probability: Probability of nerve, where known.
        spacing_mm: Voxel spacing in mm; the last is the slice step.
        slice_numbers: Number in the input file of each slice of the mask.
        sides: Columns (along x) of each leg, where an image shows both; each leg is checked separately.
        training: Training scans of the model, where known.
        percentiles: Percentiles of the scan's channels after normalisation.
        limits: Limits beyond which a flag is raised.
    """
    limits, sides, percentiles = limits or QualityLimits(), sides or {}, percentiles or {}
    numbers = np.asarray(slice_numbers)
    flags = _geometry(spacing_mm, mask.shape, training, limits)
    if training is not None:
        for channel in sorted(set(percentiles) & set(training.intensity)):
            flags += _intensity(channel, percentiles[channel], training.intensity[channel], limits.intensity_margin)
    if not mask.any():
        return (*flags, Flag("no_nerve", "no nerve found"))
    kept = np.zeros_like(mask)
    for side, columns in sides.items() if len(sides) > 1 else [(None, slice(None))]:
        part = mask[columns]
        if part.any():
            pieces = without_strays(part, spacing_mm, limits.far_mm)
            kept[columns] = pieces.nerve
            flags += _far(pieces, numbers, side, limits)
            flags += _gaps(pieces.nerve, numbers, side)
            flags += _jumps(pieces.nerve, spacing_mm, numbers, side, limits)
            flags += _uneven(pieces.nerve, spacing_mm, side, limits)
            flags += _unsure(part, None if probability is None else probability[columns], numbers, side, limits)
    return (*flags, *_border(kept, numbers), *_sides_differ(kept, sides, limits))


def coverage_flags(profile: pd.DataFrame, channels: Iterable[str], least: float) -> tuple[Flag, ...]:
    """Flag the slices of a profile in whose nerve a channel or map is known to a smaller share than `least`."""
    rows = profile[(profile["branch"] == "total") & (profile["csa_mm2"] > 0)]
    flags: list[Flag] = []
    for name in channels:
        short = rows[rows[f"{name}_coverage"] < least]
        for leg, part in short.groupby("side", sort=False):
            side = str(leg) if profile["side"].nunique() > 1 else None
            flags += _in_slices("signal_missing", f"{name} does not cover the nerve", part["slice"].to_numpy(), side)
    return tuple(flags)


def _in_slices(code: str, message: str, slices: NDArray[Any], side: str | None = None) -> list[Flag]:
    """Return a flag whose message ends with the numbers of its slices; none without slices."""
    numbers = tuple(sorted(slices.tolist()))
    return [Flag(code, f"{message} in {in_words(numbers)}", side, numbers)] if numbers else []


def _far(pieces: Pieces, numbers: NDArray[Any], side: str | None, limits: QualityLimits) -> list[Flag]:
    voxels, parts = np.count_nonzero(pieces.strays), pieces.stray_pieces
    of = f"of {voxels} voxel{'s' if voxels > 1 else ''}"
    which = f"a part {of} lies" if parts == 1 else f"{parts} parts {of} lie"
    message = f"{which} more than {limits.far_mm:g} mm from the nerve, counted in no number,"
    code = "far_component" if voxels >= limits.stray_share * np.count_nonzero(pieces.nerve) else "stray_pieces"
    flags = _in_slices(code, message, numbers[pieces.strays.any(axis=(0, 1))], side)
    message = f"a part that is measured as a branch lies more than {limits.far_mm:g} mm from the nerve"
    return flags + _in_slices("far_component", message, numbers[pieces.distant.any(axis=(0, 1))], side)


def _gaps(nerve: Mask, numbers: NDArray[Any], side: str | None) -> list[Flag]:
    found = np.flatnonzero(nerve.any(axis=(0, 1)))
    missed = np.setdiff1d(np.arange(found[0], found[-1]), found)
    return _in_slices("empty_slices", "the nerve is interrupted: none was found", numbers[missed], side)


def _jumps(
    nerve: Mask, spacing_mm: SpacingMm, numbers: NDArray[Any], side: str | None, limits: QualityLimits
) -> list[Flag]:
    """Flag changes of the area between neighbouring slices that exceed those of a nerve; empty slices are gaps."""
    area_mm2 = nerve.sum(axis=(0, 1)) * spacing_mm[0] * spacing_mm[1]
    sections = Sections.of(nerve, spacing_mm).per_slice
    before, after = area_mm2[:-1], area_mm2[1:]
    both = (before > 0) & (after > 0)
    change = np.abs(np.log(np.where(both, after, 1.0) / np.where(both, before, 1.0)))
    splits = sections[:-1] != sections[1:]
    allowed = spacing_mm[2] * np.where(splits, limits.area_change_at_split, limits.area_change_per_mm)
    allowed = np.minimum(allowed, limits.area_change_most)
    jumps = np.flatnonzero((change > allowed) & (np.abs(after - before) > limits.area_change_mm2))
    if not len(jumps):
        return []
    worst = jumps[np.argmax(change[jumps])]
    where = tuple(sorted(numbers[np.union1d(jumps, jumps + 1)].tolist()))
    message = (
        f"the area jumps in {in_words(where)}: from {before[worst]:.0f} to {after[worst]:.0f} mm2 between slices "
        f"{numbers[worst]} and {numbers[worst + 1]}"
    )
    return [Flag("area_jump", message, side, where)]


def _uneven(nerve: Mask, spacing_mm: SpacingMm, side: str | None, limits: QualityLimits) -> list[Flag]:
    """Flag a nerve whose area goes up and down from slice to slice; a few pixels are no change."""
    area_mm2 = nerve.sum(axis=(0, 1)) * spacing_mm[0] * spacing_mm[1]
    before, after = area_mm2[:-1], area_mm2[1:]
    both = (before > 0) & (after > 0)
    change = np.abs(np.log(after[both] / before[both]))
    change[np.abs(after - before)[both] <= limits.area_change_mm2 / 2] = 0.0
    if change.size < LEAST_CHANGES or np.median(change) <= limits.area_unevenness:
        return []
    share = np.expm1(np.median(change))
    message = f"the area goes up and down: in half of the slices by {share:.0%} or more from one slice to the next"
    return [Flag("area_uneven", message, side)]


def _unsure(
    mask: Mask, probability: Probability | None, numbers: NDArray[Any], side: str | None, limits: QualityLimits
) -> list[Flag]:
    """Flag low probability inside the mask, or high outside, with the slices whose mean is low."""
    if probability is None:
        return []
    inside = float(probability[mask].sum(dtype=np.float64))
    mean = inside / float(mask.sum())
    overlap = 2 * inside / (float(mask.sum()) + float(probability.sum(dtype=np.float64)))
    if mean >= limits.mean_probability and overlap >= limits.expected_overlap:
        return []
    sizes = mask.sum(axis=(0, 1))
    means = np.where(mask, probability, 0).sum(axis=(0, 1)) / np.maximum(sizes, 1)
    where = tuple(sorted(numbers[(sizes > 0) & (means < limits.mean_probability)].tolist()))
    message = "the network is unsure of the nerve" + (f", most of all in {in_words(where)}" if where else "")
    detail = f"mean probability {mean:.2f} in the nerve, expected overlap {overlap:.2f}"
    return [Flag("low_probability", message, side, where, detail)]


def _border(mask: Mask, numbers: NDArray[Any]) -> list[Flag]:
    """Flag a nerve that is cut by the in-plane border; it may leave through the first and last slice."""
    edges = [mask[0], mask[-1], mask[:, 0], mask[:, -1]]
    touching = np.flatnonzero(np.any([edge.any(axis=0) for edge in edges], axis=0))
    return _in_slices("touches_border", "the nerve touches the border of the image", numbers[touching])


def _sides_differ(mask: Mask, sides: Mapping[str, slice], limits: QualityLimits) -> list[Flag]:
    if len(sides) != 2:
        return []
    sizes = {side: mask[columns].sum(axis=(0, 1)) for side, columns in sides.items()}
    empty = [side for side, size in sizes.items() if not size.any()]
    if empty:
        return [Flag("sides_differ", f"no nerve found on the {empty[0]} side", empty[0])]
    means = {side: float(size[size > 0].mean()) for side, size in sizes.items()}
    larger, smaller = sorted(means, key=lambda side: means[side], reverse=True)
    if means[larger] <= limits.side_ratio * means[smaller]:
        return []
    message = f"the {larger} nerve's mean area is {means[larger] / means[smaller]:.1f} times that of the {smaller} one"
    return [Flag("sides_differ", message)]


def _geometry(
    spacing_mm: SpacingMm, size: tuple[int, ...], training: TrainingScans | None, limits: QualityLimits
) -> list[Flag]:
    """Flag pixels that are far from square, and spacing, slice step and field of view unlike the training scans'."""
    x, y, step = spacing_mm
    message = f"pixels in the axial plane measure {x:.2g} x {y:.2g} mm: the slices are not axial"
    found = [("not_axial", _ratio(x, y) > limits.anisotropy, message)]
    if training is not None:
        known_x, known_y, known_step = training.spacing_mm
        pixel, known_pixel = min(x, y), min(known_x, known_y)
        for code, quantity, own, known, span, limit in (
            ("spacing", "the pixel size", pixel, known_pixel, training.pixel_mm, limits.spacing_ratio),
            ("step", "the slice step", step, known_step, training.step_mm, limits.step_ratio),
        ):
            differs = _ratio(own, known) > limit if span is None else not _within(own, span)
            usual = f"{known:.3g} mm" if span is None else f"{span[0]:g} to {span[1]:g} mm"
            message = f"{quantity} is {own:.3g} mm; the training scans have {usual}"
            found.append((f"{code}_unlike_training", differs, message))
        field, known_field = (size[0] * x, size[1] * y), (training.size[0] * known_x, training.size[1] * known_y)
        extent, known_extent = (f"{width:.0f} x {height:.0f} mm" for width, height in (field, known_field))
        message = f"the field of view is {extent}; the training scans have {known_extent}"
        differs = max(map(_ratio, field, known_field)) > limits.field_ratio
        found.append(("field_unlike_training", differs, message))
    return [Flag(code, message) for code, differs, message in found if differs]


def _intensity(channel: str, found: Percentiles, known: PercentileRanges, margin: float) -> list[Flag]:
    outside = []
    for percentile in sorted(set(found) & set(known)):
        low, high = known[percentile]
        if not low - margin * (high - low) <= found[percentile] <= high + margin * (high - low):
            outside.append(f"percentile {percentile:g} is {found[percentile]:.2f}, not {low:.2f} to {high:.2f}")
    if not outside:
        return []
    message = f"the brightness of {channel} is unlike that of the training scans"
    detail = f"of the normalised image, {', '.join(outside)}"
    return [Flag("intensity_unlike_training", message, detail=detail)]


def _within(value: float, span: tuple[float, float]) -> bool:
    """Return true within a range; headers round, so that a hundredth beyond it counts as within."""
    return span[0] * 0.99 <= value <= span[1] * 1.01


def _ratio(first: float, second: float) -> float:
    return max(first, second) / min(first, second)
