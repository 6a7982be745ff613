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
from nerveseg.reporting.figures.expected_dice_figure import expected_dice_figure
from nerveseg.reporting.figures.training_curve import has_training, read_training, training_figure

__all__ = ["TRAINING", "NamedFigure", "read_training", "study_figures", "titled"]

TRAINING = "training"  # name of the one figure that is of no class


@dataclass(frozen=True)
class NamedFigure:
    """Figure with the name of its files, without an extension, and its caption in one or two sentences."""

    name: str
    caption: str
    figure: Figure


def titled(analysis: Analysis, title: str) -> str:
    """Return a figure's title with the class after it, where the study has several."""
    return ", ".join(filter(None, (title, analysis.label)))


def study_figures(
    analysis: Analysis,
    title: str,
    reference: pd.DataFrame | None = None,
    training: Mapping[int, pd.DataFrame] | None = None,
) -> Iterator[NamedFigure]:
    """Draw every figure that the tables of a class allow, one after the other; `training` is `metrics.csv` by fold."""
    shown = titled(analysis, title)
    if len(analysis.measurements.scores):
        yield NamedFigure(
            "comparison",
            "Agreement of automatic and manual masks, and time per subject (Figure 2 of the paper), with the fair"
            " contrast beside it.",
            comparison_figure(analysis, shown, reference),
        )
    if analysis.agreement["analysis"].eq("bland_altman").any():
        yield NamedFigure(
            "agreement",
            "Bland-Altman plots of volume and mean cross-sectional area.",
            agreement_figure(analysis, shown),
        )
    if len(analysis.locations):
        yield NamedFigure("locations", "Dice by location along the thigh.", locations_figure(analysis, shown))
    if len(analysis.measurements.expected):
        yield NamedFigure(
            "expected_dice",
            "Dice to expect without a reference, against the measured one, and mean Dice of the scans that are kept if"
            " those of the lowest expected Dice are left to a person.",
            expected_dice_figure(analysis, shown),
        )
    if training and has_training(training):
        yield NamedFigure(TRAINING, "Training loss and learning rate of every fold.", training_figure(training, title))
