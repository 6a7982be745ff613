"""A study on disk: its subjects, the files of their images and rater masks, and the columns of `participants.tsv`.

Paths are templates in which `{id}` stands for the participant without `sub-`; a template without it describes a study
of one subject. With further fields, as `{ses}`, a subject is one scan of a participant (`template_fields`), and scans
of a participant are one group. Without `participants.tsv`, the subjects are the files that match the first image
template.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median_low

import numpy as np

from nerveseg.data.classes import Classes
from nerveseg.data.consensus import consensus_of
from nerveseg.data.further_channels import fill_outside, place_channel
from nerveseg.data.optional_channels import missing_channel
from nerveseg.data.participants import fault_of_id, minutes_of, participant_rows, row_id, wrong_values
from nerveseg.data.study_layout import NO_FIELDS, StudyLayout, SubjectFiles, bids_layout, with_synthetic
from nerveseg.data.template_fields import PARTICIPANT, REPETITIONS, template_fields
from nerveseg.data.volumes.grids import Grid, check_same_grid
from nerveseg.data.volumes.labels import check_foreground
from nerveseg.data.volumes.volume import read_image, read_image_grid, read_labels
from nerveseg.errors import NervesegError, StudyError, errors_about
from nerveseg.types import Channels, LabelMap

NO_COHORT = "all"
_REMEDY = (
    "add the file, correct the template in study, remove the subject from participants.tsv, or, for a rater who did not"
    " draw all subjects, study.missing_raters=allow"
)


@dataclass(frozen=True, slots=True)
class Subject:
    """Participant of a study, or one scan of a participant, with its files."""

    id: str  # id of the participant, without `sub-`, or of the scan (`P01_ses-1`)
    images: Mapping[str, Path]  # file of each channel, by name, without optional channels that are missing
    raters: Mapping[str, Path]  # file of each rater's mask, by rater
    cohort: str = NO_COHORT  # name of the cohort; tables have one part per cohort
    group: str = ""  # name of the group that stays in one fold (a person, a family); by default the subject alone
    side: str | None = None  # side of the leg, left or right, or both; None if unknown
    location: str | None = None  # part of the thigh, proximal, medial or distal; None if unknown
    repeat_of: str | None = None  # id of the subject that is an earlier scan of the same leg; both stay in one fold
    # Drawing time of each rater in minutes, where it is known.
    minutes: Mapping[str, float] = field(default_factory=dict)
    participant: str = ""  # id of the participant; by default the id
    fields: Mapping[str, str] = field(default_factory=lambda: NO_FIELDS)  # values of the templates' further fields

    def __post_init__(self) -> None:
        if not self.participant:
            object.__setattr__(self, "participant", self.id)
        if not self.group:
            object.__setattr__(self, "group", self.repeat_of or self.id)

    @property
    def image(self) -> Path:
        """File of the first channel, whose grid is the reference grid."""
        return next(iter(self.images.values()))


@dataclass(frozen=True)
class RaterMasks:
    """Label maps of one subject in RAS order, on the grid of its image; they hold the numbers of the parts."""

    raters: dict[str, LabelMap]  # label map of each rater
    consensus: LabelMap  # consensus of the raters by the study's rule; with one rater, that rater's label map


@dataclass(frozen=True)
class Study:
    """Opened study: every subject is listed, and every file was found."""

    description: StudyLayout
    subjects: tuple[Subject, ...]

    def __repr__(self) -> str:
        """Return name, folder and numbers in one line; `subjects` holds the subjects themselves."""
        layout = self.description
        names = f"images {', '.join(layout.images)}; raters {', '.join(layout.raters)}"
        return f"<Study {layout.name}: {len(self.subjects)} subjects in {layout.root}; {names}>"

    def subject(self, subject_id: str) -> Subject:
        """Return the subject of that id; raise `StudyError` if the study has no such subject."""
        for subject in self.subjects:
            if subject.id == subject_id:
                return subject
        remedy = "the study changed since the run: restore the subject, or train again"
        raise StudyError("the subject is in the study", found=subject_id, path=self.description.root, remedy=remedy)

    def grid(self, subject: Subject) -> Grid:
        """Read the reference grid of a subject from the header alone."""
        return read_image_grid(subject.image, subject.id, self.description.geometry)

    def median_spacing_mm(self) -> tuple[float, float]:
        """Return the median in-plane spacing (x, y) of the reference images, to a nanometre.

        Test subjects count too: no voxel is read, and the folds share one slice store. Of an even number of subjects it
        is the lower one of the middle two, so that the subjects of that spacing are not resampled.

        Raises:
            StudyError: The study has no subjects.
            VolumeError: The header of an image cannot be read.
            GeometryError: A header contradicts itself.
        """
        if not self.subjects:
            rule = "a study with subjects"
            raise StudyError(rule, found="none", path=self.description.root, remedy="check the study's path templates")
        spacings = [self.grid(subject).ras_spacing_mm for subject in self.subjects]
        return median_low(round(each[0], 6) for each in spacings), median_low(round(each[1], 6) for each in spacings)

    def read_channels(self, subject: Subject) -> tuple[Channels, Grid]:
        """Read all channels of a subject, float32 (channel, x, y, z) in RAS order, and the grid of the first.

        A channel on another grid is placed on the first's by the rule of the study, `channels`; an optional channel
        that is missing is NaN (`optional_channels`).

        Raises:
            VolumeError: A file is not a readable image.
            GeometryError: A channel has another grid than the first, or does not overlap with it.
        """
        rule = self.description
        first = read_image(subject.image, subject.id, rule.geometry)
        arrays = [first.array]
        for name in list(rule.images)[1:]:
            if name not in subject.images:
                arrays.append(missing_channel(first.array))
                continue
            path = subject.images[name]
            volume = read_image(path, subject.id, rule.geometry, allow_nan=rule.channels is not None)
            with errors_about(path, subject.id):
                if rule.channels is None:
                    check_same_grid(volume.grid, first.grid, what="a further channel")
                arrays.append(fill_outside(place_channel(volume, first, rule.registration, path, name)[0]))
        return np.stack(arrays), first.grid

    def read_masks(self, subject: Subject, like: Grid) -> RaterMasks:
        """Read every rater's label map and compute their consensus, in RAS order.

        Raises:
            VolumeError: A file is not a readable label map, or its one class is too large for a nerve.
            GeometryError: A mask has another grid than `like`.
        """
        classes = self.description.class_table
        raters = {rater: self.read_labels(path, subject.id, like, classes) for rater, path in subject.raters.items()}
        return RaterMasks(raters, consensus_of(list(raters.values()), self.description.consensus))

    def read_labels(
        self, path: Path, subject_id: str, like: Grid, classes: Classes, *, check_size: bool = True
    ) -> LabelMap:
        """Read a label map of some classes, as `read_masks` does; `check_size` is for a single class."""
        labels = read_labels(path, like, subject_id, self.description.geometry, classes.values)
        with errors_about(path, subject_id):
            parts = classes.encode(labels)
            if check_size and classes.only:
                check_foreground(parts > 0)
        return parts


def open_study(description: StudyLayout | str | Path) -> Study:
    """List a study's subjects.

    Args:
        description: Layout of the study, or its folder, if that has the layout of `bids_layout`.

    Raises:
        StudyError: A file, a folder or the table of participants is not as the layout says.
    """
    layout = description if isinstance(description, StudyLayout) else bids_layout(Path(description))
    subjects, faults = list_subjects(layout)
    if faults:
        raise faults[0]
    return Study(with_synthetic(layout), subjects)


def list_subjects(description: StudyLayout) -> tuple[tuple[Subject, ...], list[NervesegError]]:
    """Return the subjects whose files all exist, and every fault of the other subjects and of the study."""
    root = description.root
    if not os.access(root, os.R_OK | os.X_OK) or not root.is_dir():
        found = "a folder that may not be read" if root.is_dir() else "no such folder"
        rule, remedy = "the study's folder exists", "study.root=/path/to/the/study"
        return (), [StudyError(rule, found=found, path=root, remedy=remedy)]
    template = next(iter(description.images.values()))
    rows, faults = participant_rows(root / description.participants, root, template, description.name)
    fields = description.fields
    faults += _shared_files(description, rows)
    faults += wrong_values(rows, root / description.participants, tuple(description.raters), fields)
    subjects: list[Subject] = []
    for row in (row for row in rows if not fault_of_id(row, fields)):
        subject = _subject(description, row)
        missing = _missing_files(subject)
        faults += missing
        if not missing:
            subjects.append(subject)
    faults += _unknown_channels(description, subjects)
    subjects = subjects if any("repeat_of" in row for row in rows) else _with_repeats(subjects)
    return tuple(subjects), faults + _wrong_repeats(subjects, root / description.participants)


def list_scans(description: StudyLayout) -> tuple[tuple[Subject, ...], list[NervesegError]]:
    """List subjects as `list_subjects` does, without the raters' masks, which segmentation does not need."""
    return list_subjects(description.model_copy(update={"raters": {}}))


def _subject(description: StudyLayout, row: Mapping[str, str]) -> Subject:
    root, participant, raters = description.root, row["participant_id"], description.raters
    fields = {name: row[name] for name in description.fields} or NO_FIELDS
    images = description.images
    for name in description.optional_channels:
        if not SubjectFiles(root, description.images, participant, fields)[name].is_file():
            images = {other: template for other, template in images.items() if other != name}
    drawing = {rater: minutes_of(row[f"minutes_{rater}"]) for rater in raters if f"minutes_{rater}" in row}
    if description.missing_raters == "allow":
        files = SubjectFiles(root, raters, participant, fields)
        raters = {rater: raters[rater] for rater, path in files.items() if path.is_file()} or raters
    return Subject(
        id=row_id(row, description.fields),
        images=SubjectFiles(root, images, participant, fields),
        raters=SubjectFiles(root, raters, participant, fields),
        cohort=row.get("cohort", NO_COHORT),
        group=row.get("group", participant if fields else ""),
        side=row.get("side"),
        location=row.get("location"),
        repeat_of=row["repeat_of"].removeprefix("sub-") if "repeat_of" in row else None,
        minutes={rater: minutes for rater, minutes in drawing.items() if minutes is not None},
        participant=participant,
        fields=fields,
    )


def _with_repeats(subjects: Sequence[Subject]) -> list[Subject]:
    """Return the subjects, with the first scan of a leg in `repeat_of` of those that differ in `REPETITIONS` only."""
    first: dict[tuple[object, ...], Subject] = {}
    found = []
    for subject in subjects:
        others = tuple(item for item in subject.fields.items() if item[0] not in REPETITIONS)
        leg = (subject.participant, subject.group, subject.side, subject.location, others)
        earlier = first.setdefault(leg, subject)
        found.append(subject if earlier is subject else replace(subject, repeat_of=earlier.id))
    return found


def _wrong_repeats(subjects: Iterable[Subject], table: Path) -> list[NervesegError]:
    """Return a fault for each repeated scan of another group, which could be in training while the first is in test."""
    groups = {subject.id: subject.group for subject in subjects}
    rule = "repeat_of names another participant, of the same group"
    remedy = "name the first scan's participant, and give both the same group or none"
    return [
        StudyError(rule, found=subject.repeat_of, subject=subject.id, path=table, remedy=remedy)
        for subject in subjects
        if subject.repeat_of and (subject.repeat_of == subject.id or groups.get(subject.repeat_of) != subject.group)
    ]


def _shared_files(description: StudyLayout, rows: Sequence[Mapping[str, str]]) -> list[NervesegError]:
    """Return a fault for each template that has unknown fields, or gives several subjects one file."""
    templates = [*description.images.values(), *description.raters.values()]
    listed = ", ".join(f"{{{name}}}" for name in (PARTICIPANT, *description.fields))
    faults: list[NervesegError] = []
    for template in templates:
        own = template_fields([template])
        unknown = [f"{{{name}}}" for name in own if name not in description.fields]
        columns = ("participant_id", *own) if f"{{{PARTICIPANT}}}" in template else own
        several = len({tuple(row.get(name) for name in columns) for row in rows}) < len(rows)
        if unknown:
            rule, remedy = "the first image's template holds every field", f"the fields are {listed}"
            found = f"{', '.join(unknown)} in {template}"
            faults.append(StudyError(rule, found=found, path=description.root / template, remedy=remedy))
        elif several:
            rule = f"a template of a study of several subjects holds {listed}"
            remedy = f"put {listed} in place of the participant, or leave one row in participants.tsv"
            faults.append(StudyError(rule, found=template, path=description.root / template, remedy=remedy))
    return faults


def _unknown_channels(description: StudyLayout, subjects: Sequence[Subject]) -> list[NervesegError]:
    """Return a fault for each optional channel that no subject of a study with raters has."""
    rule, remedy = "some subjects have each optional channel", "correct study.images, or leave the channel out"
    return [
        StudyError(rule, found=f"no file of {name}", path=description.root / description.images[name], remedy=remedy)
        for name in description.optional_channels
        if description.raters and subjects and not any(name in subject.images for subject in subjects)
    ]


def _missing_files(subject: Subject) -> list[NervesegError]:
    files = {f"image {name}": path for name, path in subject.images.items()}
    files |= {f"the mask of rater {name}": path for name, path in subject.raters.items()}
    return [
        StudyError(f"every subject has {what}", found="no such file", subject=subject.id, path=path, remedy=_REMEDY)
        for what, path in files.items()
        if not path.is_file()
    ]
