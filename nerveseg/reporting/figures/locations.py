"""Dice by location along the thigh (paper, section 3), for the cohorts in which more than one location is known."""

from __future__ import annotations

from matplotlib.figure import Figure

from nerveseg.evaluation.analysis import Analysis
from nerveseg.evaluation.metric_catalog import BY_KEY
from nerveseg.reporting.figures.boxes import draw_groups
from nerveseg.reporting.figures.comparison_figure import kinds_of, legend_entries
from nerveseg.reporting.figures.score_groups import location_groups
from nerveseg.reporting.style import new_figure, styled

METRIC = "dice"


def has_locations(analysis: Analysis) -> bool:
    """Tell if any cohort has more than one location."""
    return bool(len(analysis.locations))


@styled
def locations_figure(analysis: Analysis, title: str = "") -> Figure:
    """Draw one panel per cohort, one group of boxes per location.

    Args:
        analysis: Tables of the study, for which `has_locations` is true.
        title: Title above, after "Dice by location".
    """
    measured = analysis.measurements
    found = {cohort: location_groups(measured, METRIC, cohort) for cohort in measured.cohorts}
    found = {cohort: groups for cohort, groups in found.items() if groups}
    named = f"Dice by location, {title}" if title else "Dice by location"
    figure, body = new_figure(2.9, named, legend_entries(kinds_of(measured)))
    widths = [len(groups) for groups in found.values()]
    panels = body.subplots(1, len(found), squeeze=False, sharey=True, width_ratios=widths)[0]
    lowest = 1.0
    for (cohort, groups), axes in zip(found.items(), panels, strict=True):
        draw_groups(axes, groups, "share")
        lowest = min(lowest, axes.get_ylim()[0])
        axes.set_title(cohort, loc="left")
    panels[0].set_ylim(bottom=lowest)
    panels[0].set_ylabel(BY_KEY[METRIC].axis_label)
    return figure
