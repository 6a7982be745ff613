"""Raise quality flags of a segmented scan, compared with the training data that the model's bundle records."""

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
    """Return the flags of one scan.

    Args:
        channels: Channels in the network's order, not normalised.
        spacing_mm: Voxel spacing of the scan in mm.
        courses: Nerve of each leg.
        mask: Mask of all legs.
        probability: Probability from which the mask was made.
        description: Description of the model.
        slice_numbers: Number of each slice in the input file.
        limits: Limits beyond which a flag is raised.
    """
    training = TrainingScans(
        description.spacing_mm,
        description.preprocessing.size,
        {name: intensity.by_percentile for name, intensity in description.intensity.items()},
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
