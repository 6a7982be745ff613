"""Data of a study's page: the tables of an evaluation, and one row per subject.

A subject's scores are those of the automatic mask against the consensus; where only raters were compared, the mean over
their pairs. A subject has failed if a mask of that comparison is empty; failed subjects come first on the page.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import nan
from pathlib import PurePosixPath

import pandas as pd

from nerveseg.biomarkers.quality import Flag
from nerveseg.errors import RunError
from nerveseg.evaluation.analysis import Analysis
from nerveseg.evaluation.comparisons import AUTOMATIC_CONSENSUS, RATER_RATER, rater_pairs
from nerveseg.evaluation.metrics.pair_scores import DEFINED_UNLESS_EMPTY
from nerveseg.evaluation.rater_agreement import like_for_like
from nerveseg.reporting.thumbnail import Thumbnail


@dataclass(frozen=True)
class SubjectCard:
    """Picture, page and flags of a subject."""

    thumbnail: Thumbnail | None = None
    page: str | None = None  # path of the subject's page, relative to the study's page
    flags: Sequence[Flag] = ()
    digest: str = ""  # hash of the outlines on the page (`SubjectView.digest`); a review of other outlines is void

    def __post_init__(self) -> None:
        _check_relative(self.page)


@dataclass(frozen=True)
class SubjectRow:
    """Row of one subject."""

    id: str  # without `sub-`
    cohort: str
    location: str | None  # part of the thigh, if known
    side: str | None  # side of the leg, if known
    fold: int | None  # fold that tested the subject; None where nothing was trained
    scores: Mapping[str, float]  # by metric of scores.csv; NaN where undefined
    raters_dice: float  # mean Dice of the rater pairs in this subject; NaN without any
    failed: bool  # true if a mask of the comparison is empty
    card: SubjectCard

    def score(self, metric: str) -> float:
        """Return the score of a metric; NaN where it is undefined or absent."""
        return self.scores.get(metric, nan)


@dataclass(frozen=True)
class FigureEntry:
    """Figure beside the page: its PNG (`path`) and its PDF (`vector`), both relative to the page."""

    path: str
    caption: str
    vector: str | None = None

    def __post_init__(self) -> None:
        _check_relative(self.path)
        _check_relative(self.vector)


@dataclass(frozen=True)
class StudyView:
    """Data of a study's page, of one class where the study has several."""

    analysis: Analysis
    name: str  # of the study, under which reviews are kept
    title: str
    warning: str = ""  # "SYNTHETIC STUDY", "SYNTHETIC TRAINING DATA", or empty
    reference: pd.DataFrame | None = None  # published Table 1 to show beside the study's
    cards: Mapping[str, SubjectCard] = field(default_factory=dict)  # by subject id; subjects may be missing
    figures: Sequence[FigureEntry] = ()  # in order
    provenance: Sequence[tuple[str, str]] = ()  # names and values of versions, model and date; no paths
    classes: Mapping[str, str] = field(
        default_factory=dict
    )  # page of each class, relative to this one; of several only

    def __post_init__(self) -> None:
        for page in self.classes.values():
            _check_relative(page)

    @property
    def label(self) -> str:
        """Name of the class that the page is about, where the study has several."""
        return self.analysis.label

    @property
    def raters(self) -> Sequence[str]:
        """Names of the raters, in the study's order."""
        return self.analysis.measurements.raters

    @cached_property
    def compared(self) -> str:
        """Comparison of the subjects' scores, "Auto-GT" or "R-R"."""
        automatic = (self.analysis.measurements.scores["comparison"] == AUTOMATIC_CONSENSUS).any()
        return AUTOMATIC_CONSENSUS if automatic else RATER_RATER

    @cached_property
    def subjects(self) -> list[SubjectRow]:
        """Rows of the subjects, failures first, then by ascending Dice."""
        return sorted(self._rows(), key=_worst_first)

    def _rows(self) -> Iterator[SubjectRow]:
        scores = self.analysis.measurements.scores
        among_raters = like_for_like(scores, self.raters)[RATER_RATER]
        automatic = self.compared == AUTOMATIC_CONSENSUS
        compared = scores["comparison"].isin([AUTOMATIC_CONSENSUS] if automatic else rater_pairs(self.raters))
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
                raters_dice=float(among_raters.get((cohort, subject, "dice"), nan)),
                failed=bool(undefined),
                card=self.cards.get(str(subject), SubjectCard()),
            )


def _worst_first(row: SubjectRow) -> tuple[bool, float, str]:
    dice = row.score("dice")
    return (not row.failed, -1.0 if dice != dice else dice, row.id)


def _text(value: object) -> str | None:
    return None if pd.isna(value) else str(value)  # type: ignore[call-overload]


def _check_relative(path: str | None) -> None:
    """Check that a page refers to files below its own folder only, so that it can be moved and reveals no path."""
    if path is not None and (PurePosixPath(path).is_absolute() or ".." in path.split("/") or ":" in path):
        rule, remedy = "a path relative to the page's folder and below it", "write the file below the page's folder"
        raise RunError(rule, found=path, remedy=remedy)
