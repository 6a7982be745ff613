"""Check of a study: every fault of its files and their geometry, in one pass.

Faults of the folder, the table, the templates and missing files are found by `study.list_subjects`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from nerveseg.data.classes import Classes
from nerveseg.data.consensus import consensus_of
from nerveseg.data.further_channels import place_channel
from nerveseg.data.hashing import image_sha256
from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.study import Study, Subject
from nerveseg.data.volumes.grids import Grid, Volume, check_same_grid, has_orientation
from nerveseg.data.volumes.labels import check_foreground, present_labels
from nerveseg.data.volumes.volume import read_image, read_image_grid, read_labels
from nerveseg.errors import NervesegError, errors_about
from nerveseg.evaluation.mask_measures import (
    MaskMeasures,
    agreement_measures,
    image_measures,
    shape_measures,
    swapped_classes,
    voxel_sha256,
)
from nerveseg.types import LabelMap, Mask

BRIGHT = 20.0
"""Distance from the median, in that of the 99.9th percentile, beyond which a voxel is brighter than any tissue."""


@dataclass(frozen=True)
class SubjectReport:
    """Result of the check of one subject."""

    subject: Subject  # subject that was checked
    faults: tuple[NervesegError, ...]  # errors that exclude the subject
    warnings: tuple[str, ...]  # messages about content that is allowed but probably unintended
    masks: tuple[MaskMeasures, ...] = ()  # measures of every rater's mask; empty if the subject has a fault
    voxels: str | None = None  # hash of the first image's voxels; None if the subject has a fault


def check_subject(study: Study, subject: Subject, preprocessing: Preprocessing) -> SubjectReport:
    """Read all volumes of a subject; return the faults of every file, and the measures of every mask."""
    rule, classes = study.description, study.description.class_table
    faults: list[NervesegError] = []
    grid: Grid | None = None
    volumes: list[Volume] = []
    notes = [f"no file of the optional image {name}" for name in rule.optional_channels if name not in subject.images]
    for name, path in subject.images.items():
        try:
            own = read_image_grid(path, subject.id, rule.geometry)
            grid = grid or own
            with errors_about(path, subject.id):
                if rule.channels is None:
                    check_same_grid(own, grid, what="a further channel")
            incomplete = rule.channels is not None and bool(volumes)  # a further channel, which may end early
            volumes.append(read_image(path, subject.id, rule.geometry, allow_nan=incomplete))
            with errors_about(path, subject.id):
                _, registered = place_channel(volumes[-1], volumes[0], rule.registration, path, name)
            notes += [] if registered is None or registered.trusted else [f"{name}: {registered.note}"]
        except NervesegError as error:
            faults.append(error)
    parts: dict[str, LabelMap] = {}
    labels: dict[str, list[int]] = {}
    for rater, path in subject.raters.items():
        try:
            found = read_labels(path, grid, subject.id, rule.geometry, classes.values)
            with errors_about(path, subject.id):
                parts[rater] = classes.encode(found)
                if classes.only:
                    check_foreground(parts[rater] > 0)
            labels[rater] = present_labels(found)
        except NervesegError as error:
            faults.append(error)
    if faults:
        return SubjectReport(subject, tuple(faults), ())
    first = volumes[0]
    consensus = consensus_of(list(parts.values()), rule.consensus) > 0
    what = "nerve" if classes.only else "class"
    notes += _header_and_image_warnings(first) + _consensus_warnings(consensus, first.grid, preprocessing, what)
    measures = tuple(_measures(subject, first, classes, parts, labels))
    return SubjectReport(subject, (), tuple(notes), measures, image_sha256(first))


def _measures(
    subject: Subject,
    volume: Volume,
    classes: Classes,
    parts: Mapping[str, LabelMap],
    labels: Mapping[str, list[int]],
) -> Iterator[MaskMeasures]:
    spacing_mm = volume.grid.ras_spacing_mm
    drawn = {name: {rater: classes.mask(own, name) for rater, own in parts.items()} for name in classes.names}
    swapped = swapped_classes(drawn)
    for name, masks in drawn.items():
        agreement, images = agreement_measures(masks), image_measures(masks, volume.array, spacing_mm)
        for rater, mask in masks.items():
            yield MaskMeasures(
                subject=subject.id,
                cohort=subject.cohort,
                side=subject.side,
                location=subject.location,
                structure=name,
                rater=rater,
                path=str(subject.raters[rater]),
                labels=" ".join(map(str, labels[rater])),
                sha256=voxel_sha256(mask),
                **shape_measures(mask, spacing_mm),
                **agreement.get(rater, {}),
                **swapped.get((name, rater), {}),
                **images.get(rater, {}),
            )


def _header_and_image_warnings(volume: Volume) -> tuple[str, ...]:
    warnings = []
    if not has_orientation(volume.grid):
        warnings.append("the header has neither qform nor sform: axes and orientation are a guess")
    middle, high = (float(value) for value in np.percentile(volume.array, (50.0, 99.9)))
    limit = middle + BRIGHT * (high - middle)
    if high > middle and float(volume.array.max()) > limit:
        bright = np.count_nonzero(volume.array > limit)
        counted = f"{bright} voxel{'s' if bright > 1 else ''} of up to {float(volume.array.max()):g}"
        warnings.append(
            f"{counted}, where 99.9 % are below {high:g}: normalisation leaves little contrast for the rest"
        )
    return tuple(warnings)


def _consensus_warnings(consensus: Mask, grid: Grid, preprocessing: Preprocessing, what: str) -> tuple[str, ...]:
    if not consensus.any():
        return (f"the consensus of the raters holds no {what}",)
    network_grid = preprocessing.grid((consensus.shape[0], consensus.shape[1]), grid.ras_spacing_mm)
    drawn = network_grid.resample_labels(consensus.astype(np.uint8))
    outside = np.count_nonzero(drawn) - np.count_nonzero(network_grid.crop.apply(drawn))
    x, y = preprocessing.size
    return (f"{outside} {what} voxels lie outside the centre crop of {x} x {y} and count as missed",) if outside else ()
