"""Measure a segmented scan: profile, lesion, summary, z-scores, quality flags."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nerveseg.biomarkers.course import NerveCourse, follow_nerves
from nerveseg.biomarkers.legs import find_legs
from nerveseg.biomarkers.norms import PatientTraits, read_norms, z_scores
from nerveseg.biomarkers.profile import nerve_profile
from nerveseg.biomarkers.quality import Flag
from nerveseg.biomarkers.signals import LesionResult, LesionRule, Signals, find_lesion
from nerveseg.biomarkers.summary import NerveSummary, summarise
from nerveseg.data.volumes.grids import has_orientation
from nerveseg.inference.bundle import ModelDescription
from nerveseg.scans.flagging import flags_of
from nerveseg.scans.reading import LoadedScan
from nerveseg.scans.request import PatientInfo, SegmentOptions
from nerveseg.types import Image, Mask, Probability


@dataclass(frozen=True)
class Measured:
    """Measurements of one scan.

    Attributes:
        courses: Nerve of each leg.
        profile: Table with one row per slice and branch.
        nerves: Summary of each leg's nerve.
        lesion: Mask of the abnormal nerve; None without a fat-suppressed channel.
        flags: Quality flags, for a person to check.
        notes: Remarks on the origin of the numbers.
    """

    courses: tuple[NerveCourse, ...]
    profile: pd.DataFrame
    nerves: tuple[NerveSummary, ...]
    lesion: Mask | None
    flags: tuple[Flag, ...]
    notes: tuple[str, ...]


def measure_scan(
    scan: LoadedScan,
    mask: Mask,
    probability: Probability,
    description: ModelDescription,
    person: PatientInfo,
    options: SegmentOptions,
) -> Measured:
    """Measure the nerves of a scan.

    Args:
        scan: Images of the scan.
        mask: Mask of the nerve, in RAS order.
        probability: Probability from which the mask was made.
        description: Description of the model, with the geometry and intensity of its training data.
        person: Facts about the person scanned.
        options: Options of segmentation and measurement.

    Raises:
        ConfigurationError: The table of norms cannot be read, or several of its rows fit.
    """
    courses = follow_nerves(
        mask, scan.grid.ras_affine, find_legs(scan.image.array, scan.grid.ras_spacing_mm, person.side)
    )
    channels = {description.channels[0]: scan.image.array} | scan.channels | scan.maps
    images = {description.channels[0]: scan.image.array} | scan.channels
    lesion = _lesion(scan, images, courses, options.lesion)
    signals = Signals(
        channels,
        fat_suppressed=options.lesion.channel if options.lesion.channel in images else None,
        muscle=scan.muscle,
        lesion=None if lesion is None else lesion.mask,
        lesion_known=None if lesion is None else lesion.known,
    )
    numbers = scan.grid.slice_numbers
    profile = nerve_profile(courses, numbers, signals)
    exploratory = None if lesion is None else lesion.exploratory
    nerves = [summarise(profile, course, channels, exploratory) for course in courses]
    if options.norms:
        norms = read_norms(options.norms)
        traits = PatientTraits(location=person.location, sex=person.sex, weight_kg=person.weight_kg)
        nerves = [nerve.model_copy(update={"z_scores": z_scores(nerve, traits, norms)}) for nerve in nerves]
    network = scan.network_channels(description.channels)
    spacing_mm = scan.grid.ras_spacing_mm
    flags = flags_of(network, spacing_mm, courses, mask, probability, description, numbers, options.quality)
    flags = (*flags, *_header_flags(scan), *_registration_flags(scan), *_ratio_flags(scan, images, options))
    notes = [note for nerve in nerves for note in nerve.notes] + _signal_notes(scan, lesion, options)
    return Measured(courses, profile, tuple(nerves), signals.lesion, flags, (*notes, *_norm_notes(nerves, options)))


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


def _header_flags(scan: LoadedScan) -> list[Flag]:
    if has_orientation(scan.grid):
        return []
    return [Flag("orientation_unknown", "the header has neither qform nor sform: left, right and axial are a guess")]


def _registration_flags(scan: LoadedScan) -> list[Flag]:
    """Return a flag for each registration that failed, so that its channel lies at the position in its header."""
    return [
        Flag("registration_refused", f"the channel {name} was not registered: {registration.note}")
        for name, registration in scan.registrations.items()
        if not registration.trusted
    ]


def _ratio_flags(scan: LoadedScan, images: Mapping[str, Image], options: SegmentOptions) -> list[Flag]:
    """Return a flag if the ratio to muscle is empty although a fat-suppressed channel was given."""
    channel = options.lesion.channel
    if channel not in images or scan.muscle is not None:
        return []
    message = f"{channel}_muscle_ratio is empty: no mask of a muscle the nerve does not supply (muscle=...)"
    return [Flag("no_muscle_ratio", message)]


def _signal_notes(scan: LoadedScan, lesion: LesionResult | None, options: SegmentOptions) -> list[str]:
    channel = options.lesion.channel
    notes = [f"{name}: {registration.note}" for name, registration in scan.registrations.items()]
    if lesion is not None:
        return [*notes, f"lesion: {lesion.note}"]
    unused = ["muscle= is not used without that channel"] if scan.muscle is not None else []
    return [*notes, f"no search for lesions: no fat-suppressed channel (images.{channel}=...)", *unused]


def _norm_notes(nerves: Sequence[NerveSummary], options: SegmentOptions) -> list[str]:
    if options.norms and not any(nerve.z_scores for nerve in nerves):
        return ["no z-scores: no row of the norms fits location, sex and weight of the person"]
    return []
