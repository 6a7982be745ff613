"""Publication figures: drawn from the tables and masks of any study, the same for a demo and for a paper.

Every function returns a matplotlib figure and writes nothing; `style.save_figure` writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from matplotlib.figure import Figure

from nerveseg.reporting.figures.agreement_figure import agreement_figure, has_agreement
from nerveseg.reporting.figures.comparison_figure import comparison_figure
from nerveseg.reporting.figures.figure_data import StudyTables, read_tables, read_training, tables_of
from nerveseg.reporting.figures.locations import has_locations, locations_figure
from nerveseg.reporting.figures.training_curve import has_training, training_figure

__all__ = ["NamedFigure", "StudyTables", "read_tables", "read_training", "study_figures", "tables_of"]


@dataclass(frozen=True)
class NamedFigure:
    """A figure with what is said of it.

    Attributes:
        name: Of its files, without an ending.
        caption: What it shows, in a sentence or two.
        figure: Drawn.
    """

    name: str
    caption: str
    figure: Figure


def study_figures(tables: StudyTables) -> Iterator[NamedFigure]:
    """Every figure that the tables of a study give, one after the other.

    Args:
        tables: From memory (`tables_of`) or from a folder (`read_tables`).
    """
    if len(tables.scores):
        yield NamedFigure(
            "comparison",
            "Agreement of automatic and manual masks, and time per subject (Figure 2 of the paper), with the fair"
            " contrast beside it.",
            comparison_figure(tables),
        )
    if has_agreement(tables):
        yield NamedFigure(
            "agreement", "Bland-Altman plots of nerve volume and mean cross-sectional area.", agreement_figure(tables)
        )
    if has_locations(tables):
        yield NamedFigure("locations", "Dice by location along the thigh.", locations_figure(tables))
    if has_training(tables):
        yield NamedFigure("training", "Training loss and learning rate of every fold.", training_figure(tables))
