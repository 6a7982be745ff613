"""Publication figures of a study, drawn from its tables and masks.

Every function returns a matplotlib figure; `style.save_figure` writes it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from nerveseg.evaluation.analysis import Analysis
from nerveseg.reporting.figures.agreement_figure import agreement_figure
from nerveseg.reporting.figures.comparison_figure import comparison_figure, locations_figure
from nerveseg.reporting.figures.training_curve import has_training, read_training, training_figure

__all__ = ["NamedFigure", "read_training", "study_figures"]


@dataclass(frozen=True)
class NamedFigure:
    """Figure with the name of its files, without an extension, and its caption in one or two sentences."""

    name: str
    caption: str
    figure: Figure


def study_figures(
    analysis: Analysis,
    title: str,
    reference: pd.DataFrame | None = None,
    training: Mapping[int, pd.DataFrame] | None = None,
) -> Iterator[NamedFigure]:
    """Draw every figure that the tables of a study allow, one after the other; `training` is `metrics.csv` by fold."""
    if len(analysis.measurements.scores):
        yield NamedFigure(
            "comparison",
            "Agreement of automatic and manual masks, and time per subject (Figure 2 of the paper), with the fair"
            " contrast beside it.",
            comparison_figure(analysis, title, reference),
        )
    if analysis.agreement["analysis"].eq("bland_altman").any():
        yield NamedFigure(
            "agreement",
            "Bland-Altman plots of nerve volume and mean cross-sectional area.",
            agreement_figure(analysis, title),
        )
    if len(analysis.locations):
        yield NamedFigure("locations", "Dice by location along the thigh.", locations_figure(analysis, title))
    if training and has_training(training):
        yield NamedFigure(
            "training", "Training loss and learning rate of every fold.", training_figure(training, title)
        )
