"""Figure 5 of the paper: nerve with lesion, area and lesion burden along the nerve, on one vertical axis.

A lesion shows as an increase of the area and as a share of abnormal nerve. The shares are those of `nerve_profile`; a
slice without a value leaves a gap in the curve.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from nerveseg.biomarkers.profile import TOTAL
from nerveseg.errors import GeometryError
from nerveseg.evaluation.metrics.mask_pair import AnyMask
from nerveseg.reporting.figures.solid import Painted, draw_solids, extent_mm, horizontal_name
from nerveseg.reporting.style import INK, LESION, LINE, NERVE, PALE, WIDTH_INCHES, new_figure, styled
from nerveseg.reporting.surfaces import surface_of
from nerveseg.types import SpacingMm

AREA, SHARE = "csa_mm2", "lesion_fraction"
BRANCH_STYLES = {"tibial": "--", "peroneal": ":"}
_ROW_INCHES = 2.6
_SEEN_THROUGH = 0.35
_SHARE_OF_ROW, _LABELS_INCHES = 0.9, 0.9
_WIDEST = 0.8
"""Largest width of the view from the front, relative to its height; for wider views the vertical axis is longer."""

_NOTE = (
    "The nerve from the front, in true proportions, and its area in each slice, on the same vertical axis; up is"
    " superior."
)
_NOTE_WITH_LESION = (
    "The nerve from the front, in true proportions, the lesion seen through its surface; area of the nerve in each"
    " slice; share of that area that is abnormal. All three on the same vertical axis, up is superior."
)


@dataclass(frozen=True)
class ProfileExample:
    """Nerve in one row of the figure.

    Attributes:
        name: Subject id.
        kind: Description, such as "healthy" or "focal lesion".
        mask: Nerve, in RAS order.
        lesion: Abnormal part of the nerve; None where it could not be judged.
        spacing_mm: Distance between voxel centres in mm; the last is the slice step.
        profile: Rows of `nerve_profile`, of one side.
    """

    name: str
    kind: str
    mask: AnyMask
    lesion: AnyMask | None
    spacing_mm: SpacingMm
    profile: pd.DataFrame

    def __post_init__(self) -> None:
        if self.lesion is not None and self.lesion.shape != self.mask.shape:
            found = f"lesion {self.lesion.shape}, nerve {self.mask.shape}"
            raise GeometryError("a lesion on the grid of its nerve", found=found, subject=self.name)
        if (sides := self.profile["side"].nunique()) > 1:
            found = f"a profile of {sides} sides"
            raise GeometryError("a profile of the nerve of one leg", found=found, subject=self.name)


@styled
def profiles_figure(examples: Sequence[ProfileExample], title: str = "") -> Figure:
    """Draw a row per nerve: view from the front, area and, if a lesion was searched in any nerve, lesion burden.

    Args:
        examples: Nerves to draw, at least one.
        title: Title above, after "Along the nerve".
    """
    judged = any(example.lesion is not None for example in examples)
    entries = [
        Patch(facecolor=NERVE, edgecolor=PALE, label="nerve"),
        *([Patch(facecolor=LESION, label="lesion")] if judged else []),
        Line2D([], [], color=LINE["manual"], label="whole nerve"),
        *(Line2D([], [], color=PALE, ls=style, label=name) for name, style in BRANCH_STYLES.items()),
    ]
    named = f"Along the nerve{', ' if title else ''}{title}"
    figure, body = new_figure(_ROW_INCHES * len(examples), named, entries, _NOTE_WITH_LESION if judged else _NOTE)
    solids = [_painted(example) for example in examples]
    limits = [_limits(shown, example.profile) for shown, example in zip(solids, examples, strict=True)]
    width = max(float(np.ptp(across) / np.ptp(along)) for across, along in limits) * _ROW_INCHES * _SHARE_OF_ROW
    curves = 2 if judged else 1
    rest = (WIDTH_INCHES - width - _LABELS_INCHES) / curves
    rows = body.subplots(len(examples), 1 + curves, squeeze=False, width_ratios=[width, *[rest] * curves])
    largest = max(example.profile[AREA].max() for example in examples)
    for (front, area, *shares), example, shown, (across, along) in zip(rows, examples, solids, limits, strict=True):
        draw_solids(front, shown)
        front.set_xlim(across)
        front.set_ylim(along)
        front.set_anchor("C")
        front.set_title(f"{example.name}, {example.kind}", loc="left", fontweight="bold")
        front.set_ylabel("along the stack (mm)")
        for axes in (area, *shares):
            axes.set_ylim(along)
            axes.tick_params(labelleft=False)
        for axes in (area, *shares) if example is not examples[-1] else ():
            axes.tick_params(labelbottom=False)
        _draw_area(area, example.profile, float(largest))
        for share in shares:
            _draw_share(share, example.profile)
    labels = (horizontal_name(0.0), "cross-sectional area (mm²)", "lesion (% of the area)")
    for axes, label in zip(rows[-1], labels, strict=False):
        axes.set_xlabel(label)
    return figure


def _limits(shown: Sequence[Painted], profile: pd.DataFrame) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the limits in mm of a view that fills its row; slices may be far from an empty or a partial mask."""
    across, (low, high) = extent_mm(shown)
    low, high = min(low, float(profile["z_mm"].min())), max(high, float(profile["z_mm"].max()))
    more = max(0.0, (across[1] - across[0]) / _WIDEST - (high - low)) / 2
    return across, (low - more, high + more)


def _painted(example: ProfileExample) -> list[Painted]:
    """Return the lesion inside a translucent nerve; a nerve without lesion is opaque."""
    nerve = surface_of(example.mask, example.spacing_mm)
    if example.lesion is None or not example.lesion.any():
        return [Painted(nerve, NERVE)]
    lesion = surface_of(example.lesion, example.spacing_mm)
    triangles = np.tile(to_rgba(NERVE, _SEEN_THROUGH), (len(nerve.triangles), 1))
    return [Painted(nerve, NERVE), Painted(lesion, LESION), Painted(nerve, triangles, front_only=True)]


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


def _draw_share(axes: Axes, profile: pd.DataFrame) -> None:
    whole = _sorted(profile, TOTAL)
    percent = 100 * whole[SHARE].to_numpy(dtype=np.float64)
    axes.set_xlim(0, 100)
    if not np.isfinite(percent).any():
        axes.text(0.5, 0.5, "not judged", transform=axes.transAxes, ha="center", va="center", color=PALE)
        return
    axes.fill_betweenx(whole["z_mm"], 0, percent, color=LESION, alpha=0.3, lw=0)
    axes.plot(percent, whole["z_mm"], color=LESION, marker="s", ms=2.5, clip_on=False)


def _sorted(profile: pd.DataFrame, branch: str) -> pd.DataFrame:
    rows: pd.DataFrame = profile[profile["branch"] == branch].set_index("slice").sort_values("z_mm")
    return rows
