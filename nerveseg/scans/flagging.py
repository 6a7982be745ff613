"""What a human should look at in a segmented scan, held against the training data that the model's bundle records."""

from __future__ import annotations

from collections.abc import Sequence

from nerveseg.biomarkers.course import NerveCourse
from nerveseg.biomarkers.quality import Flag, QualityLimits, TrainingScans, find_flags
from nerveseg.inference.bundle import ModelDescription
from nerveseg.inference.training_intensity import PERCENTILES, scan_intensity
from nerveseg.types import Channels, Mask, Probability, SpacingMm


def flags_of(
    channels: Channels,
    spacing_mm: SpacingMm,
    courses: Sequence[NerveCourse],
    mask: Mask,
    probability: Probability,
    description: ModelDescription,
    slice_numbers: Sequence[int],
    limits: QualityLimits,
) -> tuple[Flag, ...]:
    """Flags of one scan.

    Args:
        channels: As the network takes them, not normalised.
        spacing_mm: Of the scan.
        courses: The nerve of each leg.
        mask: Of all legs.
        probability: Of which the mask was made.
        description: Of the model.
        slice_numbers: The input file's number of each slice.
        limits: Beyond which a flag is raised.
    """
    training = TrainingScans(
        description.spacing_mm,
        description.preprocessing.size,
        {name: known.by_percentile for name, known in description.intensity.items()},
    )
    measured = scan_intensity(channels, spacing_mm, description.preprocessing, description.spacing_mm)
    percentiles = {
        name: dict(zip(PERCENTILES, values, strict=True))
        for name, values in zip(description.channels, measured, strict=True)
    }
    return find_flags(
        mask,
        probability,
        spacing_mm,
        slice_numbers,
        sides={course.side: course.leg.columns for course in courses},
        training=training,
        percentiles=percentiles,
        limits=limits,
    )
