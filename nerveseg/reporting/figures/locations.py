"""Dice by location along the thigh (paper, section 3), for the cohorts in which more than one location is known."""

from __future__ import annotations

from matplotlib.figure import Figure

from nerveseg.reporting.figures.boxes import draw_groups
from nerveseg.reporting.figures.comparison_figure import kinds_of, legend_entries
from nerveseg.reporting.figures.figure_data import StudyTables
from nerveseg.reporting.figures.samples import location_groups
from nerveseg.reporting.style import new_figure, styled

METRIC, LABEL = "dice", "Dice (no unit)"


def has_locations(tables: StudyTables) -> bool:
    """Whether any cohort lies in more than one location."""
    return any(location_groups(tables, METRIC, cohort) for cohort in tables.cohorts)


@styled
def locations_figure(tables: StudyTables) -> Figure:
    """One panel per cohort, one group of boxes per location.

    Args:
        tables: Of the study; `has_locations`.
    """
    found = {cohort: location_groups(tables, METRIC, cohort) for cohort in tables.cohorts}
    found = {cohort: groups for cohort, groups in found.items() if groups}
    title = f"Dice by location, {tables.title}" if tables.title else "Dice by location"
    figure, body = new_figure(2.9, title, legend_entries(kinds_of(tables)))
    widths = [len(groups) for groups in found.values()]
    panels = body.subplots(1, len(found), squeeze=False, sharey=True, width_ratios=widths)[0]
    lowest = 1.0
    for (cohort, groups), axes in zip(found.items(), panels, strict=True):
        draw_groups(axes, groups, "share")
        lowest = min(lowest, axes.get_ylim()[0])
        axes.set_title(cohort, loc="left")
    panels[0].set_ylim(bottom=lowest)
    panels[0].set_ylabel(LABEL)
    return figure
