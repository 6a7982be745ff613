"""What the page of a study shows, as plain data: the tables of an evaluation, and one row per subject.

A subject's scores are those of the automatic mask against the consensus; where only raters were compared, the mean over
their pairs. A subject has failed if a mask of that comparison is empty: it then stands first on the page.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import pandas as pd
from rich.console import Console

from nerveseg.biomarkers.flags import Flag
from nerveseg.errors import RunError
from nerveseg.evaluation.analysis import Analysis
from nerveseg.evaluation.comparisons import AUTOMATIC_CONSENSUS, RATER_RATER, rater_pairs
from nerveseg.evaluation.metrics import DEFINED_UNLESS_EMPTY
from nerveseg.evaluation.rater_agreement import like_for_like
from nerveseg.evaluation.tables.summaries import summaries
from nerveseg.evaluation.tables.table1 import notes
from nerveseg.reporting.conclusions import Question, questions
from nerveseg.reporting.thumbnails import Thumbnail

_SUMMARY_WIDTH = 100


@dataclass(frozen=True)
class SubjectCard:
    """What the page shows of a subject beside its scores.

    Attributes:
        thumbnail: Small picture, if there is one.
        page: The subject's own page, relative to the study's.
        flags: What a human should look at.
        digest: Of the outlines that the page shows (`SubjectView.digest`): a review of others counts no more.
    """

    thumbnail: Thumbnail | None = None
    page: str | None = None
    flags: Sequence[Flag] = ()
    digest: str = ""

    def __post_init__(self) -> None:
        _check_relative(self.page)


@dataclass(frozen=True)
class SubjectRow:
    """One subject.

    Attributes:
        id: The participant, without `sub-`.
        cohort: For instance "patient".
        location: Part of the thigh, if known.
        side: Which leg, if known.
        fold: The fold that tested the subject; None where nothing was trained.
        scores: By metric, as of scores.csv; NaN where undefined.
        raters_dice: Mean Dice of the rater pairs in this subject; NaN without any.
        failed: Whether a mask of the comparison is empty.
        exhibit: Picture, page and flags.
    """

    id: str
    cohort: str
    location: str | None
    side: str | None
    fold: int | None
    scores: Mapping[str, float]
    raters_dice: float
    failed: bool
    exhibit: SubjectCard


@dataclass(frozen=True)
class FigureEntry:
    """A picture in a file beside the page.

    Attributes:
        path: Of a PNG, relative to the page.
        caption: What it shows.
        vector: The same as PDF, relative to the page, for a paper.
    """

    path: str
    caption: str
    vector: str | None = None

    def __post_init__(self) -> None:
        _check_relative(self.path)
        _check_relative(self.vector)


@dataclass(frozen=True)
class StudyView:
    """Everything on the page of a study.

    Attributes:
        name: Of the study; reviews are kept under it.
        title: Heads the page.
        warning: "SYNTHETIC STUDY", "SYNTHETIC TRAINING DATA", or empty.
        raters: In the study's order.
        compared: Whose scores the subjects' rows hold: "Auto-GT" or "R-R".
        table1: As `tables.table1`.
        reference: A published Table 1 to stand beside it.
        notes: How Table 1 is read.
        remarks: Sentences of the analysis: empty masks, absent raters.
        questions: The tests in words.
        numbers: Every other table as text, as `summary.txt` has them.
        scores: Rows as of `scores.csv`.
        subjects: Failures first, then by Dice from the lowest.
        figures: In order.
        provenance: Names and values: versions, model, date; no paths.
    """

    name: str
    title: str
    warning: str
    raters: Sequence[str]
    compared: str
    table1: pd.DataFrame
    reference: pd.DataFrame | None
    notes: str
    remarks: Sequence[str]
    questions: Sequence[Question]
    numbers: str
    scores: pd.DataFrame
    subjects: Sequence[SubjectRow]
    figures: Sequence[FigureEntry] = ()
    provenance: Sequence[tuple[str, str]] = field(default_factory=tuple)


def study_view(
    analysis: Analysis,
    *,
    name: str,
    title: str,
    warning: str = "",
    reference: pd.DataFrame | None = None,
    exhibits: Mapping[str, SubjectCard] | None = None,
    figures: Sequence[FigureEntry] = (),
    provenance: Sequence[tuple[str, str]] = (),
) -> StudyView:
    """Gather what an evaluation gave.

    Args:
        analysis: Of the study.
        name: Of the study.
        title: Heads the page.
        warning: In capitals, where data or training data are synthetic.
        reference: A published Table 1.
        exhibits: Picture, page and flags by subject id; may lack some.
        figures: Beside the page.
        provenance: Names and values.
    """
    measured = analysis.measurements
    automatic = (measured.scores["comparison"] == AUTOMATIC_CONSENSUS).any()
    return StudyView(
        name=name,
        title=title,
        warning=warning,
        raters=tuple(measured.raters),
        compared=AUTOMATIC_CONSENSUS if automatic else RATER_RATER,
        table1=analysis.table1,
        reference=reference,
        notes=notes(analysis.table1),
        remarks=tuple(analysis.remarks),
        questions=tuple(questions(analysis.tests)),
        numbers=_as_text(analysis),
        scores=measured.scores,
        subjects=tuple(sorted(_rows(analysis, bool(automatic), exhibits or {}), key=_worst_first)),
        figures=tuple(figures),
        provenance=tuple(provenance),
    )


def _rows(analysis: Analysis, automatic: bool, exhibits: Mapping[str, SubjectCard]) -> Iterator[SubjectRow]:
    scores, raters = analysis.measurements.scores, analysis.measurements.raters
    among_raters = like_for_like(scores, raters)[RATER_RATER]
    compared = scores["comparison"].isin([AUTOMATIC_CONSENSUS] if automatic else rater_pairs(raters))
    for (cohort, subject), rows in scores[compared].groupby(["cohort", "subject"], sort=False):
        undefined = rows[rows["metric"].isin(DEFINED_UNLESS_EMPTY)]["value"].isna().any()
        first = rows.iloc[0]
        yield SubjectRow(
            id=str(subject),
            cohort=str(cohort),
            location=_text(first["location"]),
            side=_text(first["side"]),
            fold=None if pd.isna(first["fold"]) else int(first["fold"]),
            scores={str(metric): float(value) for metric, value in rows.groupby("metric")["value"].mean().items()},
            raters_dice=float(among_raters.get((cohort, subject, "dice"), float("nan"))),
            failed=bool(undefined),
            exhibit=exhibits.get(str(subject), SubjectCard()),
        )


def _worst_first(row: SubjectRow) -> tuple[bool, float, str]:
    dice = row.scores.get("dice", float("nan"))
    return (not row.failed, -1.0 if dice != dice else dice, row.id)


def _text(value: object) -> str | None:
    return None if pd.isna(value) else str(value)  # type: ignore[call-overload]


def _as_text(analysis: Analysis) -> str:
    page = io.StringIO()
    console = Console(file=page, width=_SUMMARY_WIDTH)
    for summary in summaries(analysis):
        console.print(summary)
    return "\n".join(line.rstrip() for line in page.getvalue().strip("\n").splitlines())


def _check_relative(path: str | None) -> None:
    """A page that can be moved, and tells nobody where it was made, names nothing outside its folder."""
    if path is not None and (PurePosixPath(path).is_absolute() or ".." in path.split("/") or ":" in path):
        raise RunError(
            "a page names its pictures and other pages relative to its own folder",
            found=path,
            remedy="write them below the page's folder",
        )
