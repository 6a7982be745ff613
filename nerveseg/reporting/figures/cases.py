"""Figures 3 and 4 of the paper: where and why the automatic mask differs from the consensus, in single cases.

Figure 3: the surface of the automatic mask is coloured by its distance in mm to the surface of the consensus. Missed
nerve is not on that surface, so the parts of the consensus that are far from it are added in blue.

Figure 4: the best, the median and the worst case, chosen by rule. Of all subjects with an automatic mask or a
reference, by Dice and by surface HD95: the best value, the lower median (the better of the two middle values) and the
worst value; an empty mask is the worst. Of equal values the first in the study's order is taken. The slice in which the
masks differ most is shown, with the causes (`causes`).
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from nerveseg.evaluation.comparisons import AUTOMATIC, AUTOMATIC_CONSENSUS, CONSENSUS
from nerveseg.evaluation.metric_catalog import label_of
from nerveseg.evaluation.rater_agreement import with_failures
from nerveseg.reporting.figures.causes import explain
from nerveseg.reporting.figures.solid import FRONT_DEG, SIDE_DEG, Painted, draw_solids, extent_mm, horizontal_name
from nerveseg.reporting.overlay import overlay, square_around, upright, window_of
from nerveseg.reporting.style import FILL, INK, LESION, NERVE, SMALL_POINTS, new_figure, show_picture, styled
from nerveseg.reporting.subject_view import SubjectView
from nerveseg.reporting.surfaces import Surface, surface_of

RANKS = ("best", "median", "worst")
METRICS = ("dice", "hd95_mm")
_WRONG_MM = 3.0  # distance to the other mask from which on a surface is coloured in the view from the front

NOTE = (
    "Chosen by rule over all subjects: best, lower median and worst value of the metric; a missing mask is the worst."
    " Shown: the slice in which the masks differ most (voxels for Dice, voxels times distance for HD95), and beside it"
    " the nerve from the front, with that slice as a line: blue was missed, red is false (by more than 3 mm)."
)
_FEW_TRIANGLES = 5_000
_DIGITS = 6  # decimals in which equal values agree, because spacings in files are rounded
FAR_MM = 4.0  # end of the colour scale, and distance from which on nerve counts as missed
CUTS = 3
LINES = {CONSENSUS: FILL["manual"], AUTOMATIC: FILL["automatic"]}
_LEAST_SIDE_MM, _MARGIN_MM = 36.0, 6.0
_TRIANGLES = 16_000
_COLOURS = colormaps["YlOrRd"]


@styled
def distance_figure(view: SubjectView, title: str = "") -> Figure:
    """Draw the coloured surface of a subject with nerve from the front and from the side, and three slices."""
    entries, solids = outline_entries(), painted(view)
    if len(solids[0].surface.triangles):
        entries.append(
            Line2D([], [], ls="", marker="s", ms=7, color=FILL["manual"], label=f"missed by > {FAR_MM:g} mm")
        )
    note = (
        "Surface of the automatic mask, in true proportions, coloured by the distance to the surface of the consensus;"
        " the letters mark the cuts beside it. In the cuts the patient's right is on the left."
    )
    figure, body = new_figure(5.6, title, entries, note)
    views, cuts = body.subfigures(1, 2, width_ratios=(1.75, 1))
    widths = [float(np.ptp(extent_mm(solids, azimuth_deg)[0])) for azimuth_deg in (FRONT_DEG, SIDE_DEG)]
    front, side = views.subplots(1, 2, sharey=True, width_ratios=widths)
    chosen = cuts_of(view)
    for axes, azimuth_deg in ((front, FRONT_DEG), (side, SIDE_DEG)):
        draw_solids(axes, solids, azimuth_deg)
        axes.set_xlabel(horizontal_name(azimuth_deg))
        for letter, index in zip("ABC", chosen, strict=False):
            z_mm, beside = index * view.spacing_mm[2], axes.get_yaxis_transform()
            axes.axhline(z_mm, color=INK, lw=0.7, ls=(0, (4, 3)), zorder=1)
            axes.text(1.02, z_mm, letter, transform=beside, fontweight="bold", va="center")
    front.set_ylabel("position along the stack, up is superior (mm)")
    scale = ScalarMappable(Normalize(0, FAR_MM), _COLOURS)
    bar = views.colorbar(scale, ax=[front, side], location="bottom", extend="max", aspect=40, shrink=0.8)
    bar.set_label("distance to the surface of the consensus (mm)")
    for letter, index, axes in zip("ABC", chosen, np.ravel(cuts.subplots(CUTS, 1)), strict=False):
        show_cut(axes, view, index)
        axes.set_title(f"{letter}  slice {view.slice_numbers[index]}", loc="left", pad=2)
    return figure


def painted(view: SubjectView) -> list[Painted]:
    """Return the automatic surface coloured by distance, and the missed part of the reference's surface."""
    automatic, off_mm, reference, missed_mm = _apart(view, _TRIANGLES)
    colours = _COLOURS(np.clip(off_mm / FAR_MM, 0, 1))
    return [Painted(_part(reference, missed_mm > FAR_MM), FILL["manual"]), Painted(automatic, colours)]


def _apart(view: SubjectView, most_triangles: int) -> tuple[Surface, NDArray[Any], Surface, NDArray[Any]]:
    """Return the automatic surface and the reference's, each with its triangles' distances in mm to the other."""
    automatic, reference = (
        surface_of(view.masks[name], view.spacing_mm, most_triangles) for name in (AUTOMATIC, CONSENSUS)
    )
    off_mm = reference.distances_mm(automatic.corners_mm.mean(axis=1))
    missed_mm = automatic.distances_mm(reference.corners_mm.mean(axis=1))
    return automatic, off_mm, reference, missed_mm


def _part(surface: Surface, visible: NDArray[Any]) -> Surface:
    return Surface(surface.vertices_mm, surface.triangles[visible])


def cuts_of(view: SubjectView) -> Sequence[int]:
    """Return three slices with nerve, from superior to inferior: at five sixths, half and one sixth."""
    used = np.flatnonzero((view.masks[CONSENSUS] | view.masks[AUTOMATIC]).any(axis=(0, 1)))
    return [int(used[round(share * (len(used) - 1))]) for share in (5 / 6, 1 / 2, 1 / 6)]


@dataclass(frozen=True)
class ChosenCase:
    """Case in one cell of the figure, with its scores of Auto-GT; HD95 is infinite where a mask is empty."""

    metric: str
    rank: str
    subject: str
    cohort: str
    dice: float
    hd95_mm: float


def chosen_cases(scores: pd.DataFrame) -> list[ChosenCase]:
    """Choose the cases by the rows of `scores.csv`, first by Dice, then by HD95; none without an automatic mask."""
    rows = with_failures(scores[scores["comparison"] == AUTOMATIC_CONSENSUS])
    wide = rows.pivot(index=["subject", "cohort"], columns="metric", values="value")
    wide = wide.reindex(rows.set_index(["subject", "cohort"]).index.unique())
    chosen = []
    for metric in METRICS:
        known = wide[wide[metric].notna()] if metric in wide else wide.iloc[:0]
        if len(known):
            worth = known[metric].to_numpy(dtype=np.float64).round(_DIGITS) * (-1.0 if metric == "dice" else 1.0)
            order = np.argsort(worth, kind="stable")
            positions = dict(zip(RANKS, (order[0], order[(len(order) - 1) // 2], order[-1]), strict=True))
            chosen += [_chosen(metric, rank, known, int(position)) for rank, position in positions.items()]
    return chosen


@styled
def cases_figure(chosen: list[ChosenCase], views: Mapping[str, SubjectView], title: str = "") -> Figure:
    """Draw a row per metric; each cell has the slice, the nerve from the front, the scores, and the causes."""
    metrics = list(dict.fromkeys(case.metric for case in chosen))
    figure, body = new_figure(2.5 * len(metrics), title, outline_entries(), NOTE)
    surfaces = {subject: _solids(views[subject]) for subject in dict.fromkeys(case.subject for case in chosen)}
    grid = body.add_gridspec(len(metrics), 2 * len(RANKS), width_ratios=[2.6, 1.0] * len(RANKS))
    for case in chosen:
        row, column = metrics.index(case.metric), 2 * RANKS.index(case.rank)
        cut, front = body.add_subplot(grid[row, column]), body.add_subplot(grid[row, column + 1])
        _draw(cut, front, case, views[case.subject], surfaces[case.subject])
    return figure


def _chosen(metric: str, rank: str, rows: pd.DataFrame, position: int) -> ChosenCase:
    subject, cohort = rows.index[position]
    scores = rows.iloc[position]
    return ChosenCase(metric, rank, str(subject), str(cohort), float(scores["dice"]), float(scores["hd95_mm"]))


def _draw(cut: Axes, front: Axes, chosen: ChosenCase, view: SubjectView, solids: list[Painted]) -> None:
    why = explain(view, by_distance=chosen.metric == "hd95_mm")
    show_cut(cut, view, why.slice_index)
    cut.set_title(f"{chosen.rank} by {label_of(chosen.metric)}", loc="left", fontweight="bold", pad=4)
    far = "no mask" if np.isinf(chosen.hd95_mm) else f"HD95 {chosen.hd95_mm:.1f} mm"
    lines = [
        f"{chosen.subject} ({chosen.cohort}), slice {view.slice_numbers[why.slice_index]}",
        f"Dice {chosen.dice:.3f}, {far}",
        *textwrap.wrap(why.words, 31),
    ]
    cut.set_xlabel("\n".join(lines), fontsize=SMALL_POINTS + 0.3, loc="left")
    cut.set_anchor("NW")
    draw_solids(front, solids)
    front.axhline(why.slice_index * view.spacing_mm[2], color=INK, lw=0.7, ls=(0, (4, 3)))
    front.tick_params(labelsize=SMALL_POINTS - 1, length=2, pad=1)
    front.set_ylabel("mm", fontsize=SMALL_POINTS - 0.5, labelpad=1)
    front.set_xlabel("mm", fontsize=SMALL_POINTS - 0.5, labelpad=1)


def _solids(view: SubjectView) -> list[Painted]:
    automatic, off_mm, reference, missed_mm = _apart(view, _FEW_TRIANGLES)
    false, missed = off_mm > _WRONG_MM, missed_mm > _WRONG_MM
    parts = ((automatic, ~false, NERVE), (automatic, false, LESION), (reference, missed, FILL["manual"]))
    return [Painted(_part(surface, visible), colour) for surface, visible, colour in parts]


def show_cut(axes: Axes, view: SubjectView, index: int) -> None:
    """Draw one slice (index in RAS order) around the nerve with both outlines and a bar of 10 mm."""
    outlines = {name: view.masks[name][..., index] for name in LINES}
    box = square_around(np.any(list(outlines.values()), axis=0), view.spacing_mm, _LEAST_SIDE_MM, _MARGIN_MM)
    plane = view.image[..., index]
    picture = overlay(plane[box], {}, window=window_of(plane), scale=1)
    show_picture(axes, picture, view.spacing_mm[1] / view.spacing_mm[0])
    for name, width in ((CONSENSUS, 1.8), (AUTOMATIC, 0.8)):
        lines = outline(outlines[name][box])
        axes.add_collection(LineCollection(list(lines), colors=LINES[name], linewidths=width, capstyle="round"))
    height, width = picture.shape[:2]
    left, bar = 0.05 * width, 10.0 / view.spacing_mm[0]
    edge = [withStroke(linewidth=1.6, foreground="black")]
    axes.plot([left, left + bar], [0.94 * height] * 2, color="white", lw=2, path_effects=edge)
    axes.text(left, 0.92 * height, "10 mm", color="white", va="bottom", fontsize=6.5, path_effects=edge)
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    for spine in axes.spines.values():
        spine.set_visible(False)


def outline(mask: Bool[np.ndarray[Any, Any], "_x _y"]) -> Float[np.ndarray[Any, Any], "edge 2 2"]:
    """Return start and end (column, row) of the edges of a mask's pixels in the picture that `overlay` draws."""
    turned = np.pad(upright(mask), 1)
    rows, columns = np.nonzero(turned[:, 1:] != turned[:, :-1])
    vertical = np.stack([np.stack([columns, rows], 1), np.stack([columns, rows + 1], 1)], 1)
    rows, columns = np.nonzero(turned[1:] != turned[:-1])
    horizontal = np.stack([np.stack([columns, rows], 1), np.stack([columns + 1, rows], 1)], 1)
    shift = np.array([[-0.5, -1.5]]), np.array([[-1.5, -0.5]])
    return np.concatenate([vertical + shift[0], horizontal + shift[1]]).astype(np.float64)


def outline_entries() -> list[Line2D]:
    """Return legend entries; coinciding outlines show the automatic line inside the wider reference line."""
    labels = {CONSENSUS: "GT: consensus (reference)", AUTOMATIC: "Auto: automatic"}
    widths = {CONSENSUS: 3.5, AUTOMATIC: 1.6}
    return [Line2D([], [], color=LINES[name], lw=widths[name], label=labels[name]) for name in labels]
