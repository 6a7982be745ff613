"""Figure 3 of the paper: distance of the automatic mask to the consensus along the nerve, in mm.

The surface of the automatic mask is coloured by its distance to the surface of the consensus. Missed nerve is not on
that surface, so the parts of the consensus that are far from it are added in blue.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nerveseg.reporting.figures.case import Case, outline_entries, show_cut
from nerveseg.reporting.figures.solid import FRONT_DEG, SIDE_DEG, Painted, draw_solids, extent_mm, horizontal_name
from nerveseg.reporting.style import FILL, INK, new_figure, styled
from nerveseg.reporting.surfaces import Surface, surface_of

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
