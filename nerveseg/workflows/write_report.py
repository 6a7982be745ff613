"""Report of a study: its page, a page per subject, and the figures, from the masks on disk and the analysis.

evaluation/report.html                the study: Table 1, tests in words, every subject
evaluation/subjects/<id>.html         one subject, slice by slice
evaluation/figures/*.png, *.pdf       for a paper
evaluation/assets/                    the chart library, once

Of several classes each has its pages and figures: `report.html` is the first class's, `report-<class>.html` that of
every further one, and subjects and figures are in `subjects/<class>/` and `figures/<class>/`. A list on every page
leads to the other classes' pages.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from nerveseg.biomarkers.course import NerveCourse, follow_nerves
from nerveseg.biomarkers.plausibility import anatomy_flags
from nerveseg.biomarkers.profile import nerve_profile
from nerveseg.biomarkers.quality import Flag, find_flags
from nerveseg.biomarkers.summary import NerveSummary, summarise
from nerveseg.console import say, track_progress
from nerveseg.data.legs import Leg, find_legs
from nerveseg.data.study import Study, Subject
from nerveseg.data.volumes.grids import Volume
from nerveseg.data.volumes.volume import read_image
from nerveseg.evaluation.analysis import Analysis
from nerveseg.evaluation.comparisons import (
    AUTOMATIC,
    AUTOMATIC_CONSENSUS,
    CONSENSUS,
    SubjectMasks,
    nerve_volume_mm3,
)
from nerveseg.evaluation.margins import Margins
from nerveseg.files import file_sha256
from nerveseg.notices import SYNTHETIC_STUDY
from nerveseg.reporting.figures import read_training
from nerveseg.reporting.study_page import write_study_page
from nerveseg.reporting.study_view import StudyView, SubjectCard
from nerveseg.reporting.subject_page import write_subject_page
from nerveseg.reporting.subject_view import SubjectView, facts_of
from nerveseg.reporting.thumbnail import thumbnail
from nerveseg.runs import FoldFolder, package_versions
from nerveseg.types import LabelMap, Mask
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
    consensus: Callable[[str], LabelMap] | None = None
    folds: tuple[FoldFolder, ...] = ()  # folds of the cross-validation, for its training curves
    margins: Margins | None = None  # margins that were stored when the cross-validation began
    notes: tuple[str, ...] = ()  # sentences on masks and subjects that are left out
    expected: pd.DataFrame | None = None  # rows of `expected_dice.csv`, of a sweep

    @property
    def title(self) -> str:
        """Name of the study, marked if it is simulated."""
        return f"{'SYNTHETIC ' if self.study.description.synthetic else ''}study {self.study.description.name}"

    @property
    def warning(self) -> str:
        """Warning that the study is simulated, or empty."""
        return SYNTHETIC_STUDY if self.study.description.synthetic else ""


def write_report(
    folder: Path, evaluated: EvaluatedStudy, analyses: Sequence[Analysis], reference: pd.DataFrame | None
) -> Path:
    """Write the pages and the figures of a study, the study's pages last; each subject is read once."""
    study, name = evaluated.study, evaluated.study.description.name
    cards: list[dict[str, SubjectCard]] = [{} for _ in analyses]
    kept: list[dict[str, SubjectView]] = [{} for _ in analyses]
    in_figures = [figure_subjects(part) for part in analyses]
    pages = report_pages(analyses)
    for subject in track_progress(study.subjects, "reporting"):
        for number, view in enumerate(_read_views(evaluated, subject, analyses)):
            cards[number][subject.id] = _write_subject(folder, view, pages[analyses[number].structure])
            if subject.id in in_figures[number]:
                kept[number][subject.id] = view
    say("drawing the figures")
    training = read_training(evaluated.folds[0].path.parent) if evaluated.folds else {}
    for number, part in reversed([*enumerate(analyses)]):
        page = StudyView(
            part,
            name=_named(name, part.label),
            title=f"{_named(name, part.label)}: automatic segmentation against the raters",
            warning=evaluated.warning,
            reference=reference,
            cards=cards[number],
            figures=write_figures(folder, kept[number], part, evaluated.warning, reference, training),
            provenance=list(package_versions().items()),
            classes=pages if part.label else {},
        )
        write_study_page(folder / pages[part.structure], page)
    return folder / REPORT


def report_pages(analyses: Sequence[Analysis]) -> dict[str, str]:
    """Return the name of the study's page by class: `report.html` for the first class."""
    names = [part.structure for part in analyses]
    return {name: f"report-{name}.html" if number else REPORT for number, name in enumerate(names)}


def _named(name: str, label: str) -> str:
    """Return the name of a study or subject, with the class after it where there are several."""
    return ", ".join(filter(None, (name, label)))


def _write_subject(folder: Path, view: SubjectView, study_page: str) -> SubjectCard:
    page = "/".join(filter(None, (SUBJECTS, view.label, f"{view.name}.html")))
    above = "../.." if view.label else ".."
    write_subject_page(folder / page, view, assets="folder", back=quote(f"{above}/{study_page}"), above=above)
    compared = {name: view.masks[name] for name in (CONSENSUS, AUTOMATIC) if name in view.masks}
    picture = thumbnail(view.image, compared, view.slice_numbers, view.spacing_mm)
    return SubjectCard(picture, page, view.flags, view.digest)


def _read_views(evaluated: EvaluatedStudy, subject: Subject, analyses: Sequence[Analysis]) -> Iterator[SubjectView]:
    """Read a subject's image and masks; yield the data of the subject's page of every class."""
    study = evaluated.study
    volume = read_image(subject.image, subject.id, study.description.geometry)
    consensus = evaluated.consensus(subject.id) if evaluated.consensus else None
    legs = find_legs(volume.array, volume.grid.ras_spacing_mm, subject.side)
    classes = load_masks(study, subject, consensus, evaluated.predictions.get(subject.id))
    for masks, part in zip(classes, analyses, strict=True):
        yield _view(evaluated, subject, volume, legs, masks, part)


def _view(
    evaluated: EvaluatedStudy,
    subject: Subject,
    volume: Volume,
    legs: tuple[Leg, ...],
    masks: SubjectMasks,
    analysis: Analysis,
) -> SubjectView:
    drawn, numbers, label = _masks_in_order(masks), volume.grid.slice_numbers, analysis.label
    is_nerve = evaluated.study.description.class_table.is_nerve(masks.structure)
    profiles, nerves = {}, {}
    followed: dict[str, tuple[NerveCourse, ...]] = {}
    flags: tuple[Flag, ...] = ()
    for name in (AUTOMATIC, CONSENSUS):
        if name in drawn and is_nerve:
            followed[name] = courses = follow_nerves(drawn[name], volume.grid.ras_affine, legs)
            profiles[name], nerves[name] = _measured(courses, numbers)
            flags = anatomy_flags(courses, numbers) if name == AUTOMATIC else flags
    first = next(iter(nerves.values()), [])
    sides: dict[str, slice] = {leg.side: leg.columns for leg in legs}
    if masks.automatic is not None and is_nerve:
        flags = *flags, *find_flags(masks.automatic, None, volume.grid.ras_spacing_mm, numbers, sides=sides)
    volume_mm3 = nerve_volume_mm3(next(iter(drawn.values())), volume.grid.ras_spacing_mm)
    measured = facts_of(first) if is_nerve else [("volume", f"{volume_mm3:,.0f} mm³")]
    facts = [("cohort", subject.cohort), ("location", subject.location), ("side", subject.side)]
    study = evaluated.study.description.name
    classes = analysis.classes if label else ()
    versions = package_versions()
    return SubjectView(
        name=subject.id,
        title=_named(f"{study}, {subject.id}", label),
        warning=evaluated.warning,
        image=volume.array,
        spacing_mm=volume.grid.ras_spacing_mm,
        slice_numbers=numbers,
        masks=drawn,
        profiles=profiles,
        facts=[(name, value) for name, value in facts if value] + measured,
        flags=flags,
        scores=_scores(analysis, subject.id),
        notes=[note for nerve in first for note in nerve.notes],
        sides=sides,
        study=_named(study, label),
        mask_sha256=_mask_sha256(evaluated.predictions.get(subject.id)),
        classes={name: f"../{name}/{subject.id}.html" for name in classes},
        label=label,
        noun="nerve" if is_nerve else label,
        courses=next(iter(followed.values()), ()),
        affine=volume.grid.ras_affine,
        provenance=[
            ("study", study),
            ("image", subject.image.name),
            *((name, versions[name]) for name in ("nerveseg", "torch")),
        ],
    )


def _mask_sha256(prediction: PredictedMask | None) -> str:
    """Return the hash of the automatic mask's file; empty without one, or for a folder of DICOM."""
    return file_sha256(prediction.path) if prediction is not None and prediction.path.is_file() else ""


def _masks_in_order(masks: SubjectMasks) -> dict[str, Mask]:
    """Return the automatic mask first, then the consensus, then the raters if there are several."""
    named = masks.named()
    raters = {name: mask for name, mask in named.items() if name not in (AUTOMATIC, CONSENSUS)}
    first = {name: named[name] for name in (AUTOMATIC, CONSENSUS) if name in named}
    return first | (raters if len(raters) > 1 else {})


def _measured(courses: Sequence[NerveCourse], numbers: list[int]) -> tuple[pd.DataFrame, list[NerveSummary]]:
    profile = nerve_profile(courses, numbers)
    return profile, [summarise(profile, course) for course in courses]


def _scores(analysis: Analysis, subject: str) -> dict[str, float] | None:
    """Return the scores of the automatic mask against the consensus."""
    scores = analysis.measurements.scores
    rows = scores[(scores["subject"] == subject) & (scores["comparison"] == AUTOMATIC_CONSENSUS)]
    return dict(zip(rows["metric"].astype(str), rows["value"].astype(float), strict=True)) or None
