"""Measure a scan whose nerve a model or a person marked: profile, lesion, summary, z-scores, quality flags."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nerveseg.biomarkers.course import NerveCourse, follow_nerves
from nerveseg.biomarkers.norms import Norm, PatientTraits, norms_for, read_norms, z_scores
from nerveseg.biomarkers.plausibility import anatomy_flags
from nerveseg.biomarkers.profile import nerve_profile
from nerveseg.biomarkers.quality import Flag, QualityLimits, TrainingScans, coverage_flags, find_flags
from nerveseg.biomarkers.signals import LesionResult, LesionRule, Signals, find_lesion
from nerveseg.biomarkers.summary import NerveSummary, summarise
from nerveseg.data.classes import Classes
from nerveseg.data.legs import Leg, with_side
from nerveseg.data.volumes.grids import has_orientation
from nerveseg.inference.expected_dice import ExpectedDice
from nerveseg.inference.training_intensity import PERCENTILES, scan_intensity
from nerveseg.notices import SYNTHETIC
from nerveseg.scans.grade import Grade, grade_mask
from nerveseg.scans.reading import LoadedScan
from nerveseg.scans.request import PatientInfo, ScanFiles, SegmentOptions
from nerveseg.types import Image, LabelMap, Mask, Probability

if TYPE_CHECKING:
    from nerveseg.inference.bundle import ModelDescription


@dataclass(frozen=True)
class Measured:
    """Measurements of one scan."""

    courses: tuple[NerveCourse, ...]  # nerve of each leg, its branches and their course, and its strays
    profile: pd.DataFrame  # Table with one row per slice and branch (`biomarkers.profile`)
    nerves: tuple[NerveSummary, ...]  # summary of each nerve; two if the image shows both legs
    lesion: Mask | None  # mask of the abnormal nerve, in RAS order; None without a fat-suppressed channel
    flags: tuple[Flag, ...]  # quality flags, for a person to check
    notes: tuple[str, ...]  # remarks on the origin of the numbers
    # Norms of the person by quantity, from the table of norms; empty without one.
    norms: Mapping[str, Norm] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class MeasuredScan(Measured):
    """Scan whose nerve is marked, with its measurements."""

    files: ScanFiles  # files of the scan
    options: SegmentOptions  # options of the measurement
    channel: str  # name of the image
    scan: LoadedScan  # images of the scan
    labels: LabelMap  # number of each voxel's part, in RAS order
    classes: Classes  # classes of the label map
    synthetic: bool  # flag: true if a model that was trained on simulated data marked the nerve
    # Dice to expect of each class that the model is calibrated for; empty of a mask that a person drew.
    expected_dice: dict[str, ExpectedDice] = dataclasses.field(default_factory=dict)

    @cached_property
    def ras_mask(self) -> Mask:
        """Mask of the nerve, in RAS order."""
        return self.classes.nerve(self.labels)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Mask in the input's own array order."""
        return np.asarray(self.scan.grid.from_ras(self.ras_mask), dtype=np.bool_)

    @property
    def affine(self) -> NDArray[np.float64]:
        """Matrix from voxel indices of `mask` to mm (RAS+)."""
        return self.scan.grid.affine

    @property
    def grade(self) -> Grade:
        """Grade of the mask: usable, check, or not usable."""
        return grade_mask(self.flags, self.expected_dice, self.classes.names, self.options.quality.useless_dice)

    @property
    def warning(self) -> str:
        """Warning "SYNTHETIC TRAINING DATA", or empty."""
        return SYNTHETIC if self.synthetic else ""


def measure_scan(
    scan: LoadedScan,
    mask: Mask,
    legs: tuple[Leg, ...],
    channel: str,
    person: PatientInfo,
    options: SegmentOptions,
    model: tuple[ModelDescription, Probability] | None = None,
) -> Measured:
    """Measure a scan's nerves.

    Args:
        scan: Images of the scan.
        mask: Mask of the nerve in RAS order.
        legs: Legs that the image shows.
        channel: Name of the image.
        person: Facts about the person scanned.
        options: Options of the measurement.
        model: Model that made the mask, and its probability of nerve. Geometry and intensity are compared with the
            model's training data, the probability is judged; both are left out of a mask that a person drew.

    Raises:
        ConfigurationError: The table of norms cannot be read, or several of its rows fit.
    """
    images = {channel: scan.image.array} | scan.channels
    courses = follow_nerves(mask, scan.grid.ras_affine, with_side(legs, person.side), options.quality.far_mm)
    lesion = _lesion(scan, images, courses, options.lesion)
    signals = Signals(
        images | scan.maps,
        fat_suppressed=options.lesion.channel if options.lesion.channel in images else None,
        muscle=scan.muscle,
        lesion=None if lesion is None else lesion.mask,
        lesion_known=None if lesion is None else lesion.known,
    )
    profile = nerve_profile(courses, scan.grid.slice_numbers, signals)
    exploratory = None if lesion is None else lesion.exploratory
    nerves = [summarise(profile, course, signals.channels, exploratory) for course in courses]
    traits = PatientTraits(location=person.location, sex=person.sex, weight_kg=person.weight_kg)
    norms = norms_for(traits, read_norms(options.norms)) if options.norms else {}
    nerves = [nerve.model_copy(update={"z_scores": z_scores(nerve, norms)}) for nerve in nerves]
    flags = (
        *anatomy_flags(courses, scan.grid.slice_numbers),
        *_mask_flags(scan, courses, mask, model, options.quality),
        *_input_flags(scan, images, options.lesion.channel),
        *coverage_flags(profile, signals.channels, options.quality.signal_coverage),
    )
    notes = (*(note for nerve in nerves for note in nerve.notes), *_notes(scan, lesion, nerves, options))
    return Measured(courses, profile, tuple(nerves), signals.lesion, flags, notes, norms)


def _lesion(
    scan: LoadedScan, images: Mapping[str, Image], courses: Sequence[NerveCourse], rule: LesionRule
) -> LesionResult | None:
    """Return the lesions of all legs' nerves together; None without the fat-suppressed channel."""
    if rule.channel not in images:
        return None
    found = [find_lesion(course.mask, images[rule.channel], rule, _muscle(scan, course)) for course in courses]
    masks = [result.mask for result in found if result.mask is not None]
    judged = [result.known for result in found if result.known is not None]
    if not (masks and judged):
        return found[0]
    first = next(result for result in found if result.mask is not None)
    return dataclasses.replace(first, mask=np.any(masks, axis=0), known=np.any(judged, axis=0))


def _muscle(scan: LoadedScan, course: NerveCourse) -> Mask | None:
    """Return the mask of the muscle in the nerve's own leg."""
    if scan.muscle is None:
        return None
    own = np.zeros_like(scan.muscle)
    own[course.leg.columns] = scan.muscle[course.leg.columns]
    return own


def _mask_flags(
    scan: LoadedScan,
    courses: Sequence[NerveCourse],
    mask: Mask,
    model: tuple[ModelDescription, Probability] | None,
    limits: QualityLimits,
) -> tuple[Flag, ...]:
    """Return the flags of the mask; with a model, compared with the training data that its bundle records."""
    spacing_mm, numbers = scan.grid.ras_spacing_mm, scan.grid.slice_numbers
    sides: dict[str, slice] = {course.side: course.leg.columns for course in courses}
    if model is None:
        return find_flags(mask, None, spacing_mm, numbers, sides=sides, limits=limits)
    description, probability = model
    training = TrainingScans(
        description.spacing_mm,
        description.preprocessing.size,
        {name: intensity.by_percentile for name, intensity in description.intensity.items()},
        **({} if description.ranges is None else description.ranges.model_dump()),
    )
    names = [name for name in description.channels if name == description.channels[0] or name in scan.channels]
    network = scan.network_channels(names)
    measured = scan_intensity(network, spacing_mm, description.preprocessing, description.spacing_mm)
    return find_flags(
        mask,
        probability,
        spacing_mm,
        numbers,
        sides=sides,
        training=training,
        percentiles={
            name: dict(zip(PERCENTILES, values, strict=True)) for name, values in zip(names, measured, strict=True)
        },
        limits=limits,
    )


def _input_flags(scan: LoadedScan, images: Mapping[str, Image], fat_suppressed: str) -> list[Flag]:
    """Return the flags of the header, of registrations that failed, and of a missing mask of a muscle."""
    flags = []
    if not has_orientation(scan.grid):
        message = "the header has neither qform nor sform: left, right and axial are a guess"
        flags.append(Flag("orientation_unknown", message))
    for name, registration in scan.registrations.items():
        if not registration.trusted:
            message = f"{_kind(scan, name)} was not registered: {registration.note}"
            flags.append(Flag("registration_refused", message))
    if fat_suppressed in images and scan.muscle is None:
        message = f"{fat_suppressed}_muscle_ratio is empty: no mask of a muscle the nerve does not supply (muscle=...)"
        flags.append(Flag("no_muscle_ratio", message))
    return flags


def _kind(scan: LoadedScan, name: str) -> str:
    return f"the map {name}" if name in scan.maps else f"the channel {name}"


def _notes(
    scan: LoadedScan, lesion: LesionResult | None, nerves: Sequence[NerveSummary], options: SegmentOptions
) -> list[str]:
    notes = [f"{name}: {registration.note}" for name, registration in scan.registrations.items()]
    if lesion is not None:
        notes.append(f"lesion: {lesion.note}")
    else:
        notes.append(f"no search for lesions: no fat-suppressed channel (images.{options.lesion.channel}=...)")
        if scan.muscle is not None:
            notes.append("muscle= is not used without that channel")
    if options.norms and not any(nerve.z_scores for nerve in nerves):
        notes.append("no z-scores: no row of the norms fits location, sex and weight of the person")
    return notes
