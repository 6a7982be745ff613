"""A study on disk: which subjects there are, where their images and rater masks lie, what is known about them.

The layout is a description, not a law: paths are templates in which `{id}` stands for the participant without `sub-`.
A template without `{id}` describes a study of one subject. Participants come from `participants.tsv` where there is
one, else from the files that match the first image template.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from nerveseg.data.consensus import consensus_of
from nerveseg.data.participants import participant_rows
from nerveseg.data.study_layout import StudyLayout
from nerveseg.data.subject_files import SubjectFiles
from nerveseg.data.volumes.grids import Grid, check_same_grid
from nerveseg.data.volumes.volume import Geometry, read_image, read_image_grid, read_mask
from nerveseg.errors import NervesegError, StudyError
from nerveseg.types import Channels, Mask

NO_COHORT = "all"
_REMEDY = (
    "add the file, mend the template in study, take the subject out of participants.tsv, or, for a rater who did not"
    " draw everybody, study.missing_raters=allow"
)


@dataclass(frozen=True, slots=True)
class Subject:
    """One participant with the files that belong to it.

    Attributes:
        id: The participant without `sub-`.
        images: File of each channel.
        raters: File of each rater's mask.
        cohort: Tables are made per cohort.
        group: What must stay in one fold (a person, a family); by default the subject alone.
        side: left, right, or unknown.
        location: proximal, medial, distal, or unknown.
        repeat_of: Id of the subject that is an earlier scan of the same leg; the two stay in one fold.
        minutes: Drawing time of each rater, where it is known.
    """

    id: str
    images: Mapping[str, Path]
    raters: Mapping[str, Path]
    cohort: str = NO_COHORT
    group: str = ""
    side: str | None = None
    location: str | None = None
    repeat_of: str | None = None
    minutes: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.group:
            object.__setattr__(self, "group", self.repeat_of or self.id)

    @property
    def image(self) -> Path:
        """File of the first channel, whose grid is the reference grid."""
        return next(iter(self.images.values()))


@dataclass(frozen=True)
class RaterMasks:
    """All masks of one subject in RAS order, on the grid of its image.

    Attributes:
        raters: Each rater's mask.
        consensus: Made of them by the study's rule; the one rater's mask where there is one.
    """

    raters: dict[str, Mask]
    consensus: Mask


@dataclass(frozen=True)
class Study:
    """A study that was opened: every subject listed, every file known to exist."""

    description: StudyLayout
    subjects: tuple[Subject, ...]

    def subject(self, subject_id: str) -> Subject:
        """The subject of that id.

        Raises:
            StudyError: There is none.
        """
        for subject in self.subjects:
            if subject.id == subject_id:
                return subject
        raise StudyError(
            "the subject is in the study",
            found=subject_id,
            path=self.description.root,
            remedy="the study changed since the run: restore it, or train again",
        )

    def grid(self, subject: Subject) -> Grid:
        """Reference grid of a subject (header only, no voxels are read)."""
        return read_image_grid(subject.image, subject.id, self.description.geometry)

    def read_channels(self, subject: Subject) -> tuple[Channels, Grid]:
        """All channels of a subject in RAS order, and the reference grid.

        Raises:
            VolumeError: A file is not a readable image.
            GeometryError: The channels lie on different grids.
        """
        return read_channels(subject.images, subject.id, self.description.geometry)

    def read_masks(self, subject: Subject, like: Grid) -> RaterMasks:
        """Every rater's mask and their consensus, in RAS order.

        Raises:
            VolumeError: A file is not a readable mask.
            GeometryError: A mask does not lie on the grid `like`.
        """
        rule = self.description
        raters = {
            rater: read_mask(path, like, subject.id, rule.foreground, rule.geometry)
            for rater, path in subject.raters.items()
        }
        return RaterMasks(raters, consensus_of(list(raters.values()), rule.consensus))


def read_channels(
    images: Mapping[str, Path], subject: str | None = None, geometry: Geometry = None
) -> tuple[Channels, Grid]:
    """Image channels on one grid, in RAS order.

    Args:
        images: File of each channel; the first gives the grid.
        subject: Named in errors.
        geometry: Which of the header's transforms to trust where they differ.

    Returns:
        Array (channel, x, y, z), float32, and the first channel's grid.

    Raises:
        VolumeError: A file is not a readable image.
        GeometryError: A channel lies on another grid than the first.
    """
    volumes = [read_image(path, subject, geometry) for path in images.values()]
    for volume, path in zip(volumes[1:], list(images.values())[1:], strict=True):
        check_same_grid(volume.grid, volumes[0].grid, path, subject, what="a further channel")
    return np.stack([volume.array for volume in volumes]), volumes[0].grid


def open_study(description: StudyLayout) -> Study:
    """List a study's subjects and make sure that every file they need is there.

    Raises:
        StudyError: The first fault that `list_subjects` finds.
    """
    subjects, faults = list_subjects(description)
    if faults:
        raise faults[0]
    if says_synthetic(description.root):
        description = description.model_copy(update={"synthetic": True})
    return Study(description, subjects)


def says_synthetic(root: Path) -> bool:
    """Whether the study's BIDS `dataset_description.json` calls it synthetic, however it was configured."""
    try:
        content = json.loads((root / "dataset_description.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "SYNTHETIC" in str(content.get("Name", ""))


def list_subjects(description: StudyLayout) -> tuple[tuple[Subject, ...], list[NervesegError]]:
    """The subjects of a study whose files all exist, and every fault that keeps others out."""
    root = description.root
    if not root.is_dir():
        return (), [
            StudyError(
                "the study's folder exists", found="no such folder", path=root, remedy="study.root=/path/to/the/study"
            )
        ]
    template = next(iter(description.images.values()))
    rows, faults = participant_rows(root / description.participants, root, template, description.name)
    faults += _shared_files(description) if len(rows) > 1 else []
    subjects: list[Subject] = []
    for row in rows:
        subject = _subject(description, row)
        missing = _missing_files(subject)
        faults += missing
        if not missing:
            subjects.append(subject)
    return tuple(subjects), faults + _wrong_repeats(subjects, root / description.participants)


def list_scans(description: StudyLayout) -> tuple[tuple[Subject, ...], list[NervesegError]]:
    """As `list_subjects`, without masks of raters: what is to be segmented needs none."""
    return list_subjects(description.model_copy(update={"raters": {}}))


def _subject(description: StudyLayout, row: Mapping[str, str]) -> Subject:
    subject_id = row["participant_id"]
    raters = description.raters
    if description.missing_raters == "allow":
        files = SubjectFiles(description.root, raters, subject_id)
        raters = {rater: raters[rater] for rater, path in files.items() if path.is_file()} or raters
    return Subject(
        id=subject_id,
        images=SubjectFiles(description.root, description.images, subject_id),
        raters=SubjectFiles(description.root, raters, subject_id),
        cohort=row.get("cohort", NO_COHORT),
        group=row.get("group", ""),
        side=row.get("side"),
        location=row.get("location"),
        repeat_of=row["repeat_of"].removeprefix("sub-") if "repeat_of" in row else None,
        minutes=_minutes(row, description.raters),
    )


def _minutes(row: Mapping[str, str], raters: Iterable[str]) -> dict[str, float]:
    told = {
        rater: pd.to_numeric(row[f"minutes_{rater}"], errors="coerce") for rater in raters if f"minutes_{rater}" in row
    }
    return {rater: float(value) for rater, value in told.items() if value == value}


def _wrong_repeats(subjects: Iterable[Subject], table: Path) -> list[NervesegError]:
    """A repeated scan in another fold than the first would be trained on what it is tested with."""
    groups = {subject.id: subject.group for subject in subjects}
    return [
        StudyError(
            "repeat_of names another participant, of the same group",
            found=subject.repeat_of,
            subject=subject.id,
            path=table,
            remedy="name the first scan's participant, and give both the same group or none",
        )
        for subject in subjects
        if subject.repeat_of and (subject.repeat_of == subject.id or groups.get(subject.repeat_of) != subject.group)
    ]


def _shared_files(description: StudyLayout) -> list[NervesegError]:
    """Several subjects with one file would be trained and tested on the same voxels."""
    return [
        StudyError(
            "a template of a study of several subjects holds {id}",
            found=template,
            path=description.root / template,
            remedy="put {id} where the participant stands, or leave one row in participants.tsv",
        )
        for template in [*description.images.values(), *description.raters.values()]
        if "{id}" not in template
    ]


def _missing_files(subject: Subject) -> list[NervesegError]:
    return [
        StudyError(
            f"every subject has {what} {name}",
            found="no such file",
            subject=subject.id,
            path=path,
            remedy=_REMEDY,
        )
        for what, files in (("image", subject.images), ("the mask of rater", subject.raters))
        for name, path in files.items()
        if not path.is_file()
    ]
