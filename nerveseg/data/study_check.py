"""Check of a study: every fault of its files and their geometry, in one pass.

Faults of the folder, the table, the templates and missing files are found by `study.list_subjects`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nerveseg.data.consensus import consensus_of
from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.study import Study, Subject
from nerveseg.data.volumes.grids import Grid, check_same_grid, has_orientation
from nerveseg.data.volumes.volume import read_image, read_image_grid, read_mask
from nerveseg.errors import NervesegError, StudyError, errors_about
from nerveseg.types import Mask


@dataclass(frozen=True)
class SubjectReport:
    """Result of the check of one subject.

    Attributes:
        subject: Subject that was checked.
        faults: Errors that exclude the subject.
        warnings: Messages about content that is allowed but probably unintended.
    """

    subject: Subject
    faults: tuple[NervesegError, ...]
    warnings: tuple[str, ...]


def check_subject(study: Study, subject: Subject, preprocessing: Preprocessing) -> SubjectReport:
    """Read all volumes of a subject and return the faults of every file."""
    rule = study.description
    faults: list[NervesegError] = []
    grid: Grid | None = None
    for path in subject.images.values():
        try:
            own = read_image_grid(path, subject.id, rule.geometry)
            grid = grid or own
            with errors_about(path, subject.id):
                check_same_grid(own, grid, what="a further channel")
            read_image(path, subject.id, rule.geometry)
        except NervesegError as error:
            faults.append(error)
    masks: list[Mask] = []
    for path in subject.raters.values():
        try:
            masks.append(read_mask(path, grid, subject.id, rule.foreground, rule.geometry))
        except NervesegError as error:
            faults.append(error)
    if faults or grid is None:
        return SubjectReport(subject, tuple(faults), ())
    consensus = consensus_of(masks, rule.consensus)
    return SubjectReport(subject, (), _geometry_warnings(grid) + _consensus_warnings(consensus, grid, preprocessing))


def copied_images(subjects: Sequence[Subject], sha256: Mapping[str, str]) -> list[NervesegError]:
    """Return a fault for every image of two subjects of different groups, which could be in training and test.

    Args:
        subjects: Subjects of the study.
        sha256: Hash of each subject's reference image, by subject id.
    """
    faults: list[NervesegError] = []
    seen: dict[str, Subject] = {}
    for subject in subjects:
        first = seen.setdefault(sha256[subject.id], subject)
        if first.group != subject.group:
            faults.append(
                StudyError(
                    "subjects of different groups have different images",
                    found=f"the same image as {first.id}",
                    subject=subject.id,
                    path=subject.image,
                    remedy="replace the copy, or give both the same group in participants.tsv",
                )
            )
    return faults


def _geometry_warnings(grid: Grid) -> tuple[str, ...]:
    message = "the header has neither qform nor sform: axes and orientation are a guess"
    return () if has_orientation(grid) else (message,)


def _consensus_warnings(consensus: Mask, grid: Grid, preprocessing: Preprocessing) -> tuple[str, ...]:
    if not consensus.any():
        return ("the consensus of the raters holds no nerve",)
    network_grid = preprocessing.grid((consensus.shape[0], consensus.shape[1]), grid.ras_spacing_mm)
    drawn = np.count_nonzero(network_grid.resample_mask(consensus))
    outside = drawn - np.count_nonzero(network_grid.apply_to_mask(consensus))
    x, y = preprocessing.size
    return (f"{outside} nerve voxels lie outside the centre crop of {x} x {y} and count as missed",) if outside else ()
