"""Figure 5 of the paper, without lesions: the nerve and its area along the stack, on one vertical axis."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from nerveseg.biomarkers.profile import TOTAL
from nerveseg.evaluation.comparisons import AUTOMATIC
from nerveseg.reporting.figures.solid import Painted, draw_solids, extent_mm, horizontal_name
from nerveseg.reporting.style import INK, LINE, NERVE, PALE, WIDTH_INCHES, new_figure, styled
from nerveseg.reporting.subject_view import SubjectView
from nerveseg.reporting.surfaces import surface_of

AREA = "csa_mm2"
BRANCH_STYLES = {"tibial": "--", "peroneal": ":"}
_ROW_INCHES = 2.6
_SHARE_OF_ROW, _LABELS_INCHES = 0.9, 0.9
_WIDEST = 0.8  # width of the view from the front, relative to its height; for wider views the vertical axis is longer
_NOTE = (
    "The nerve from the front, in true proportions, and its area in each slice, on the same vertical axis; up is"
    " superior."
)


@styled
def profiles_figure(views: Mapping[str, SubjectView], title: str = "") -> Figure:
    """Draw a row per automatic mask: the view from the front, and the area of the nerve of its first side."""
    profiles = [_first_side(view.profiles[AUTOMATIC]) for view in views.values()]
    branches = set().union(*(profile.loc[profile[AREA] > 0, "branch"] for profile in profiles))
    entries = [
        Patch(facecolor=NERVE, edgecolor=PALE, label="nerve"),
        Line2D([], [], color=LINE["manual"], label="whole nerve"),
        *(
            Line2D([], [], color=PALE, ls=style, label=name)
            for name, style in BRANCH_STYLES.items()
            if name in branches
        ),
    ]
    figure, body = new_figure(_ROW_INCHES * len(views), title, entries, _NOTE)
    solids = [[Painted(surface_of(view.masks[AUTOMATIC], view.spacing_mm), NERVE)] for view in views.values()]
    limits = [_limits(shown, profile) for shown, profile in zip(solids, profiles, strict=True)]
    width = max(float(np.ptp(across) / np.ptp(along)) for across, along in limits) * _ROW_INCHES * _SHARE_OF_ROW
    widths = [width, WIDTH_INCHES - width - _LABELS_INCHES]
    rows = body.subplots(len(views), 2, squeeze=False, width_ratios=widths)
    largest = max(float(profile[AREA].max()) for profile in profiles)
    drawn = zip(rows, views.items(), solids, profiles, limits, strict=True)
    for (front, area), (description, view), shown, profile, (across, along) in drawn:
        draw_solids(front, shown)
        front.set_xlim(across)
        front.set_ylim(along)
        front.set_anchor("C")
        front.set_title(f"{view.name}, {description}", loc="left", fontweight="bold")
        front.set_ylabel("along the stack (mm)")
        area.set_ylim(along)
        area.tick_params(labelleft=False, labelbottom=area is rows[-1, 1])
        _draw_area(area, profile, largest)
    rows[-1, 0].set_xlabel(horizontal_name(0.0))
    rows[-1, 1].set_xlabel("cross-sectional area (mm²)")
    return figure


def _limits(shown: Sequence[Painted], profile: pd.DataFrame) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the limits in mm of a view that fills its row; slices may be far from an empty or a partial mask."""
    across, (low, high) = extent_mm(shown)
    low, high = min(low, float(profile["z_mm"].min())), max(high, float(profile["z_mm"].max()))
    more = max(0.0, (across[1] - across[0]) / _WIDEST - (high - low)) / 2
    return across, (low - more, high + more)


def _draw_area(axes: Axes, profile: pd.DataFrame, largest: float) -> None:
    whole = _sorted(profile, TOTAL)
    axes.plot(whole[AREA], whole["z_mm"], color=LINE["manual"], marker="o", ms=2.5, clip_on=False)
    for branch, style in BRANCH_STYLES.items():
        part = _sorted(profile, branch).reindex(whole.index)
        axes.plot(part[AREA], whole["z_mm"], color=PALE, ls=style)
    split = whole[whole["distance_from_split_mm"] == 0]
    if len(split):
        split_mm, beside = float(split["z_mm"].iloc[0]), axes.get_yaxis_transform()
        axes.axhline(split_mm, color=INK, lw=0.6, ls="-.")
        axes.text(1.0, split_mm, "split", transform=beside, ha="right", va="bottom", fontsize=6.5)
    axes.set_xlim(0, max(1.08 * largest, 1.0))


def _first_side(profile: pd.DataFrame) -> pd.DataFrame:
    rows: pd.DataFrame = profile[profile["side"] == profile["side"].iloc[0]]
    return rows


def _sorted(profile: pd.DataFrame, branch: str) -> pd.DataFrame:
    rows: pd.DataFrame = profile[profile["branch"] == branch].set_index("slice").sort_values("z_mm")
    return rows
