"""Report of a study: its page, a page per subject, and the figures, from the masks on disk and the analysis.

evaluation/report.html                the study: Table 1, tests in words, every subject
evaluation/subjects/<id>.html         one subject, slice by slice
evaluation/figures/*.png, *.pdf       for a paper
evaluation/assets/                    the chart library, once
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from nerveseg.biomarkers.course import follow_nerves
from nerveseg.biomarkers.legs import Leg, find_legs
from nerveseg.biomarkers.profile import nerve_profile
from nerveseg.biomarkers.quality import Flag, find_flags
from nerveseg.biomarkers.summary import NerveSummary, summarise
from nerveseg.console import say, track_progress
from nerveseg.data.study import Study, Subject
from nerveseg.data.volumes.grids import Volume
from nerveseg.data.volumes.volume import read_image
from nerveseg.evaluation.analysis import Analysis
from nerveseg.evaluation.comparisons import AUTOMATIC, AUTOMATIC_CONSENSUS, CONSENSUS, SubjectMasks
from nerveseg.evaluation.hypotheses import Margins
from nerveseg.notices import SYNTHETIC_STUDY
from nerveseg.reporting.figures import read_training
from nerveseg.reporting.study_page import write_study_page
from nerveseg.reporting.study_view import StudyView, SubjectCard, thumbnail
from nerveseg.reporting.subject_page import write_subject_page
from nerveseg.reporting.subject_view import SubjectView, facts_of
from nerveseg.runs import FoldFolder, package_versions
from nerveseg.types import Mask
from nerveseg.workflows.draw_figures import figure_subjects, write_figures
from nerveseg.workflows.score_subjects import PredictedMask, load_masks

REPORT = "report.html"
SUBJECTS = "subjects"


@dataclass(frozen=True)
class EvaluatedStudy:
    """A study together with the automatic masks to evaluate."""

    study: Study  # study with the subjects to compare
    # Automatic masks by subject id; subjects may be missing.
    predictions: Mapping[str, PredictedMask] = field(default_factory=dict)
    # Function that returns the stored consensus of a subject; by default it is computed.
    consensus: Callable[[str], Mask] | None = None
    folds: tuple[FoldFolder, ...] = ()  # folds of the cross-validation, for its training curves
    margins: Margins | None = None  # margins that were stored when the cross-validation began
    notes: tuple[str, ...] = ()  # sentences on masks and subjects that are left out

    @property
    def title(self) -> str:
        """Name of the study, marked if it is simulated."""
        return f"{'SYNTHETIC ' if self.study.description.synthetic else ''}study {self.study.description.name}"

    @property
    def warning(self) -> str:
        """Warning that the study is simulated, or empty."""
        return SYNTHETIC_STUDY if self.study.description.synthetic else ""


def write_report(folder: Path, evaluated: EvaluatedStudy, analysis: Analysis, reference: pd.DataFrame | None) -> Path:
    """Write the pages and the figures of a study, the study's page last; each subject is read once."""
    study = evaluated.study
    cards: dict[str, SubjectCard] = {}
    kept: dict[str, SubjectView] = {}
    in_figures = figure_subjects(analysis)
    for subject in track_progress(study.subjects, "reporting"):
        view = _read_view(evaluated, subject, analysis)
        cards[subject.id] = _write_subject(folder, view)
        if subject.id in in_figures:
            kept[subject.id] = view
    say("drawing the figures")
    training = read_training(evaluated.folds[0].path.parent) if evaluated.folds else {}
    page = StudyView(
        analysis,
        name=study.description.name,
        title=f"{study.description.name}: automatic segmentation against the raters",
        warning=evaluated.warning,
        reference=reference,
        cards=cards,
        figures=write_figures(folder, kept, analysis, evaluated.warning, reference, training),
        provenance=list(package_versions().items()),
    )
    write_study_page(folder / REPORT, page)
    return folder / REPORT


def _write_subject(folder: Path, view: SubjectView) -> SubjectCard:
    page = f"{SUBJECTS}/{view.name}.html"
    write_subject_page(folder / page, view, assets="folder", back=f"../{REPORT}")
    compared = {name: view.masks[name] for name in (CONSENSUS, AUTOMATIC) if name in view.masks}
    picture = thumbnail(view.image, compared, view.slice_numbers, view.spacing_mm)
    return SubjectCard(picture, page, view.flags, view.digest)


def _read_view(evaluated: EvaluatedStudy, subject: Subject, analysis: Analysis) -> SubjectView:
    """Read a subject's image and masks; return the data of the subject's page."""
    study = evaluated.study
    volume = read_image(subject.image, subject.id, study.description.geometry)
    consensus = evaluated.consensus(subject.id) if evaluated.consensus else None
    masks = load_masks(study, subject, consensus, evaluated.predictions.get(subject.id))
    drawn = _masks_in_order(masks)
    numbers = volume.grid.slice_numbers
    legs = find_legs(volume.array, volume.grid.ras_spacing_mm, subject.side)
    profiles, nerves = {}, {}
    for name in (AUTOMATIC, CONSENSUS):
        if name in drawn:
            profiles[name], nerves[name] = _measured(drawn[name], volume, legs, numbers)
    first = next(iter(nerves))
    sides: dict[str, slice] = {leg.side: leg.columns for leg in legs}
    flags: tuple[Flag, ...] = ()
    if masks.automatic is not None:
        flags = find_flags(masks.automatic, None, volume.grid.ras_spacing_mm, numbers, sides=sides)
    facts = [("cohort", subject.cohort), ("location", subject.location), ("side", subject.side)]
    return SubjectView(
        name=subject.id,
        title=f"{study.description.name}, {subject.id}",
        warning=evaluated.warning,
        image=volume.array,
        spacing_mm=volume.grid.ras_spacing_mm,
        slice_numbers=numbers,
        masks=drawn,
        profiles=profiles,
        facts=[(name, value) for name, value in facts if value] + facts_of(nerves[first]),
        flags=flags,
        scores=_scores(analysis, subject.id),
        notes=[note for nerve in nerves[first] for note in nerve.notes],
        sides=sides,
        study=study.description.name,
    )


def _masks_in_order(masks: SubjectMasks) -> dict[str, Mask]:
    """Return the automatic mask first, then the consensus, then the raters if there are several."""
    named = masks.named()
    raters = {name: mask for name, mask in named.items() if name not in (AUTOMATIC, CONSENSUS)}
    first = {name: named[name] for name in (AUTOMATIC, CONSENSUS) if name in named}
    return first | (raters if len(raters) > 1 else {})


def _measured(
    mask: Mask, volume: Volume, legs: tuple[Leg, ...], numbers: list[int]
) -> tuple[pd.DataFrame, list[NerveSummary]]:
    courses = follow_nerves(mask, volume.grid.ras_affine, legs)
    profile = nerve_profile(courses, numbers)
    return profile, [summarise(profile, course) for course in courses]


def _scores(analysis: Analysis, subject: str) -> dict[str, float] | None:
    """Return the scores of the automatic mask against the consensus."""
    scores = analysis.measurements.scores
    rows = scores[(scores["subject"] == subject) & (scores["comparison"] == AUTOMATIC_CONSENSUS)]
    return dict(zip(rows["metric"].astype(str), rows["value"].astype(float), strict=True)) or None
