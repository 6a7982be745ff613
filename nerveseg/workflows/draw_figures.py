"""Figures of an evaluation, from its tables and the masks of the subjects that they show."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from nerveseg.evaluation.analysis import Analysis
from nerveseg.evaluation.comparisons import AUTOMATIC, CONSENSUS, automatic_dice
from nerveseg.reporting.figures import TRAINING, NamedFigure, study_figures, titled
from nerveseg.reporting.figures.cases import cases_figure, chosen_cases, distance_figure
from nerveseg.reporting.figures.profiles import profiles_figure
from nerveseg.reporting.study_view import FigureEntry
from nerveseg.reporting.style import save_figure
from nerveseg.reporting.subject_view import SubjectView

FIGURES = "figures"


def figure_subjects(analysis: Analysis) -> set[str]:
    """Return the subjects whose images and masks the figures show."""
    chosen = {case.subject for case in chosen_cases(analysis.measurements.scores)}
    return chosen | {subject for subject, _ in _median_cases(analysis)}


def write_figures(
    folder: Path,
    views: Mapping[str, SubjectView],
    analysis: Analysis,
    title: str,
    reference: pd.DataFrame | None,
    training: dict[int, pd.DataFrame],
) -> list[FigureEntry]:
    """Draw and write every figure that a class allows; return their entries on its page.

    Where there are several, the figures of each are in a folder of its name; the training is that of all. The views are
    those of the subjects in `figure_subjects`, `reference` is the published Table 1, `training` is `metrics.csv` by
    fold. The title is a warning, or empty, since a caption names the study.
    """
    entries = []
    for named in [
        *study_figures(analysis, title, reference, training),
        *_case_figures(views, analysis, titled(analysis, title)),
    ]:
        place = "/".join(filter(None, (FIGURES, "" if named.name == TRAINING else analysis.label)))
        picture, vector = save_figure(folder / place, named.name, named.figure)
        entries.append(FigureEntry(f"{place}/{picture.name}", named.caption, f"{place}/{vector.name}"))
    return entries


def _case_figures(views: Mapping[str, SubjectView], analysis: Analysis, title: str) -> Iterator[NamedFigure]:
    """Draw Figures 3 to 5 of the paper, which need an automatic mask."""
    chosen = chosen_cases(analysis.measurements.scores)
    if not chosen:
        return
    median = next(case.subject for case in chosen if case.rank == "median")
    view = views[median]
    if view.masks[CONSENSUS].any() or view.masks[AUTOMATIC].any():
        yield NamedFigure(
            "distance",
            f"Surface of the automatic mask of {median}, the median case by Dice, coloured by its distance to the"
            " consensus (Figure 3 of the paper).",
            distance_figure(view, title),
        )
    yield NamedFigure(
        "cases",
        "Best, median and worst case by Dice and by HD95 between surfaces (Figure 4 of the paper).",
        cases_figure(chosen, views, title),
    )
    examples = {
        description: views[subject]
        for subject, description in _median_cases(analysis)
        if AUTOMATIC in views[subject].profiles
    }
    if examples:
        yield NamedFigure(
            "profiles",
            "Area along the automatically segmented nerve of the median case of every cohort (as Figure 5 of the paper,"
            " without lesions).",
            profiles_figure(examples, title),
        )


def _median_cases(analysis: Analysis) -> list[tuple[str, str]]:
    """Return the median case by Dice of every cohort, for Figure 5, with its description."""
    rows = automatic_dice(analysis.measurements.scores)
    cases = []
    for cohort, group in rows.dropna(subset=["value"]).groupby("cohort", sort=False):
        ordered = group.sort_values("value", kind="stable")
        cases.append((str(ordered["subject"].iloc[len(ordered) // 2]), f"{cohort}, median case"))
    return cases
