"""The figures of an evaluation, from its tables in memory and the masks of the subjects that they pick out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from nerveseg.evaluation.analysis import Analysis
from nerveseg.evaluation.comparisons import AUTOMATIC, CONSENSUS, automatic_dice
from nerveseg.reporting.figures import NamedFigure, study_figures, tables_of
from nerveseg.reporting.figures.case import Case
from nerveseg.reporting.figures.cases import cases_figure, chosen_cases
from nerveseg.reporting.figures.distance import distance_figure
from nerveseg.reporting.figures.profiles import ProfileExample, profiles_figure
from nerveseg.reporting.study_view import FigureEntry
from nerveseg.reporting.style import save_figure
from nerveseg.reporting.subject_view import SubjectView

FIGURES = "figures"

View = Callable[[str], SubjectView]
"""Image, masks and profiles of a subject."""


def write_figures(
    folder: Path,
    view: View,
    analysis: Analysis,
    title: str,
    reference: pd.DataFrame | None,
    training: dict[int, pd.DataFrame],
) -> list[FigureEntry]:
    """Draw and write every figure that the study gives.

    Args:
        folder: Of the evaluation.
        view: Gives the image and masks of a subject.
        analysis: The tables.
        title: Stands above every figure.
        reference: A published Table 1.
        training: By fold, rows as of `metrics.csv`.

    Returns:
        What the study's page shows of them.
    """
    tables = tables_of(analysis, title, reference, training)
    shown = []
    for named in [*study_figures(tables), *_case_figures(view, analysis, title)]:
        picture, vector = save_figure(folder / FIGURES, named.name, named.figure)
        shown.append(FigureEntry(f"{FIGURES}/{picture.name}", named.caption, f"{FIGURES}/{vector.name}"))
    return shown


def _case_figures(view: View, analysis: Analysis, title: str) -> Iterator[NamedFigure]:
    """Figures 3 to 5 of the paper; they need an automatic mask."""
    chosen = chosen_cases(analysis.measurements.scores)
    if not chosen:
        return
    median = next(case.subject for case in chosen if case.rank == "median")
    case = _case(view(median))
    if case.reference.any() or case.automatic.any():
        yield NamedFigure(
            "distance",
            f"Surface of the automatic mask of {median}, the median case by Dice, coloured by its distance to the"
            " consensus (Figure 3 of the paper).",
            distance_figure(case, title),
        )
    yield NamedFigure(
        "cases",
        "Best, median and worst case by Dice and by HD95 between surfaces (Figure 4 of the paper).",
        cases_figure(chosen, lambda subject: _case(view(subject)), title),
    )
    examples = [_example(view(subject), kind) for subject, kind in _told_apart(analysis)]
    if examples:
        yield NamedFigure(
            "profiles",
            "Area along the automatically segmented nerve of the median case of every cohort (as Figure 5 of the paper,"
            " without lesions).",
            profiles_figure(examples, title),
        )


def _case(view: SubjectView) -> Case:
    return Case(
        view.name, view.image, view.masks[CONSENSUS], view.masks[AUTOMATIC], view.spacing_mm, list(view.slice_numbers)
    )


def _example(view: SubjectView, kind: str) -> ProfileExample:
    profile = view.profiles[AUTOMATIC]
    side = profile["side"].iloc[0]
    return ProfileExample(
        view.name, kind, view.masks[AUTOMATIC], None, view.spacing_mm, profile[profile["side"] == side]
    )


def _told_apart(analysis: Analysis) -> list[tuple[str, str]]:
    """Subjects of Figure 5, and what they stand for: of every cohort the median case by Dice."""
    rows = automatic_dice(analysis.measurements.scores)
    found = []
    for cohort, group in rows.dropna(subset=["value"]).groupby("cohort", sort=False):
        ordered = group.sort_values("value", kind="stable")
        found.append((str(ordered["subject"].iloc[len(ordered) // 2]), f"{cohort}, median case"))
    return found
