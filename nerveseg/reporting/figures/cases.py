"""Figures 3 and 4 of the paper: where and why the automatic mask differs from the consensus, in single cases.

Figure 3: the surface of the automatic mask is coloured by its distance in mm to the surface of the consensus. Missed
nerve is not on that surface, so the parts of the consensus that are far from it are added in blue.

Figure 4: the best, the median and the worst case, chosen by rule. Of all subjects with an automatic mask or a
reference, by Dice and by surface HD95: the best value, the lower median (the better of the two middle values) and the
worst value; an empty mask is the worst. Of equal values the first in the study's order is taken. The slice in which the
masks differ most is shown, with the causes (`causes`).
"""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nerveseg.evaluation.comparisons import AUTOMATIC_CONSENSUS
from nerveseg.evaluation.metric_catalog import label_of
from nerveseg.evaluation.rater_agreement import with_failures
from nerveseg.reporting.figures.case import Case, outline_entries, show_cut
from nerveseg.reporting.figures.causes import explain
from nerveseg.reporting.figures.solid import FRONT_DEG, SIDE_DEG, Painted, draw_solids, extent_mm, horizontal_name
from nerveseg.reporting.style import FILL, INK, LESION, NERVE, SMALL_POINTS, new_figure, styled
from nerveseg.reporting.surfaces import Surface, surface_of

RANKS = ("best", "median", "worst")
METRICS = ("dice", "hd95_mm")
_WRONG_MM = 3.0
"""Distance to the other mask from which on a surface is coloured in the view from the front."""

NOTE = (
    "Chosen by rule over all subjects: best, lower median and worst value of the metric; a missing mask is the worst."
    " Shown: the slice in which the masks differ most (voxels for Dice, voxels times distance for HD95), and beside it"
    " the nerve from the front, with that slice as a line: blue was missed, red is false (by more than 3 mm)."
)
_FEW_TRIANGLES = 5_000
_DIGITS = 6
"""Decimals in which equal values agree, because spacings in files are rounded."""

FAR_MM = 4.0
"""End of the colour scale, and distance from which on nerve counts as missed."""

CUTS = 3
_TRIANGLES = 16_000
_COLOURS = colormaps["YlOrRd"]


@styled
def distance_figure(case: Case, title: str = "") -> Figure:
    """Draw the coloured surface from the front and from the side, and three slices with both outlines.

    Args:
        case: Subject with nerve in the automatic mask or the reference.
        title: Title above, after "Distance to the consensus".
    """
    entries = outline_entries()
    entries.append(Line2D([], [], ls="", marker="s", ms=7, color=FILL["manual"], label=f"missed by > {FAR_MM:g} mm"))
    note = (
        "Surface of the automatic mask, in true proportions, coloured by the distance to the surface of the consensus;"
        " the letters mark the cuts beside it. In the cuts the patient's right is on the left."
    )
    named = f"Distance to the consensus, {case.name}{', ' if title else ''}{title}"
    figure, body = new_figure(5.6, named, entries, note)
    views, cuts = body.subfigures(1, 2, width_ratios=(1.75, 1))
    solids = painted(case)
    widths = [float(np.ptp(extent_mm(solids, azimuth_deg)[0])) for azimuth_deg in (FRONT_DEG, SIDE_DEG)]
    front, side = views.subplots(1, 2, sharey=True, width_ratios=widths)
    chosen = cuts_of(case)
    for axes, azimuth_deg in ((front, FRONT_DEG), (side, SIDE_DEG)):
        draw_solids(axes, solids, azimuth_deg)
        axes.set_xlabel(horizontal_name(azimuth_deg))
        for letter, index in zip("ABC", chosen, strict=False):
            axes.axhline(case.z_mm(index), color=INK, lw=0.7, ls=(0, (4, 3)), zorder=1)
            axes.annotate(
                letter, (1.02, case.z_mm(index)), xycoords=("axes fraction", "data"), fontweight="bold", va="center",
                ha="left",
            )  # fmt: skip
    front.set_ylabel("position along the stack, up is superior (mm)")
    scale = ScalarMappable(Normalize(0, FAR_MM), _COLOURS)
    bar = views.colorbar(scale, ax=[front, side], location="bottom", extend="max", aspect=40, shrink=0.8)
    bar.set_label("distance to the surface of the consensus (mm)")
    for letter, index, axes in zip("ABC", chosen, np.ravel(cuts.subplots(CUTS, 1)), strict=False):
        show_cut(axes, case, index)
        axes.set_title(f"{letter}  slice {case.slice_numbers[index]}", loc="left", pad=2)
    return figure


def painted(case: Case) -> list[Painted]:
    """Return the automatic surface coloured by distance, and the missed part of the reference's surface."""
    automatic, reference = (surface_of(mask, case.spacing_mm, _TRIANGLES) for mask in (case.automatic, case.reference))
    off_mm = reference.distances_mm(automatic.corners_mm.mean(axis=1))
    missed = automatic.distances_mm(reference.corners_mm.mean(axis=1)) > FAR_MM
    colours = _COLOURS(np.clip(off_mm / FAR_MM, 0, 1))
    missed_surface = Surface(reference.vertices_mm, reference.triangles[missed])
    return [Painted(missed_surface, FILL["manual"]), Painted(automatic, colours)]


def cuts_of(case: Case) -> Sequence[int]:
    """Return three slices with nerve, from superior to inferior: at five sixths, half and one sixth."""
    used = np.flatnonzero((case.reference | case.automatic).any(axis=(0, 1)))
    return [int(used[round(share * (len(used) - 1))]) for share in (5 / 6, 1 / 2, 1 / 6)]


@dataclass(frozen=True)
class ChosenCase:
    """Case in one cell of the figure.

    Attributes:
        metric: Name of the metric by which it was chosen.
        rank: Rank, "best", "median" or "worst".
        subject: Subject id.
        cohort: Cohort of the subject.
        dice: Dice of Auto-GT.
        hd95_mm: Surface HD95 of Auto-GT in mm; infinite where a mask is empty.
    """

    metric: str
    rank: str
    subject: str
    cohort: str
    dice: float
    hd95_mm: float


def chosen_cases(scores: pd.DataFrame) -> list[ChosenCase]:
    """Choose the cases of the figure, first by Dice, then by HD95; none without an automatic mask.

    Args:
        scores: Rows of `scores.csv`.
    """
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
def cases_figure(chosen: list[ChosenCase], load: Callable[[str], Case], title: str = "") -> Figure:
    """Draw a row per metric; each cell has the slice, the nerve from the front, the scores, and the causes.

    Args:
        chosen: Cases from `chosen_cases`; not empty.
        load: Function that returns the image and masks of a subject.
        title: Title above, after "Best, median and worst case".
    """
    metrics = list(dict.fromkeys(case.metric for case in chosen))
    named = f"Best, median and worst case{', ' if title else ''}{title}"
    figure, body = new_figure(2.5 * len(metrics), named, outline_entries(), NOTE)
    loaded = {subject: load(subject) for subject in dict.fromkeys(case.subject for case in chosen)}
    surfaces = {subject: _solids(case) for subject, case in loaded.items()}
    grid = body.add_gridspec(len(metrics), 2 * len(RANKS), width_ratios=[2.6, 1.0] * len(RANKS))
    for case in chosen:
        row, column = metrics.index(case.metric), 2 * RANKS.index(case.rank)
        cut, front = body.add_subplot(grid[row, column]), body.add_subplot(grid[row, column + 1])
        _draw(cut, front, case, loaded[case.subject], surfaces[case.subject])
    return figure


def _chosen(metric: str, rank: str, rows: pd.DataFrame, position: int) -> ChosenCase:
    subject, cohort = rows.index[position]
    scores = rows.iloc[position]
    return ChosenCase(metric, rank, str(subject), str(cohort), float(scores["dice"]), float(scores["hd95_mm"]))


def _draw(cut: Axes, front: Axes, chosen: ChosenCase, case: Case, solids: list[Painted]) -> None:
    why = explain(case, by_distance=chosen.metric == "hd95_mm")
    show_cut(cut, case, why.slice_index)
    cut.set_title(f"{chosen.rank} by {label_of(chosen.metric)}", loc="left", fontweight="bold", pad=4)
    far = "no mask" if np.isinf(chosen.hd95_mm) else f"HD95 {chosen.hd95_mm:.1f} mm"
    lines = [
        f"{chosen.subject} ({chosen.cohort}), slice {case.slice_numbers[why.slice_index]}",
        f"Dice {chosen.dice:.3f}, {far}",
        *textwrap.wrap(why.words, 31),
    ]
    cut.set_xlabel("\n".join(lines), fontsize=SMALL_POINTS + 0.3, loc="left")
    cut.set_anchor("NW")
    draw_solids(front, solids)
    front.axhline(case.z_mm(why.slice_index), color=INK, lw=0.7, ls=(0, (4, 3)))
    front.tick_params(labelsize=SMALL_POINTS - 1, length=2, pad=1)
    front.set_ylabel("mm", fontsize=SMALL_POINTS - 0.5, labelpad=1)
    front.set_xlabel("mm", fontsize=SMALL_POINTS - 0.5, labelpad=1)


def _solids(case: Case) -> list[Painted]:
    automatic, reference = (
        surface_of(mask, case.spacing_mm, _FEW_TRIANGLES) for mask in (case.automatic, case.reference)
    )
    false = reference.distances_mm(automatic.corners_mm.mean(axis=1)) > _WRONG_MM
    missed = automatic.distances_mm(reference.corners_mm.mean(axis=1)) > _WRONG_MM
    parts = ((automatic, ~false, NERVE), (automatic, false, LESION), (reference, missed, FILL["manual"]))
    return [Painted(Surface(s.vertices_mm, s.triangles[visible]), colour) for s, visible, colour in parts]
