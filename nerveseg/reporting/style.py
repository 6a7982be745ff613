"""How every figure looks, and how it is written: named colours, sizes, PNG and PDF.

Manual is blue and automatic green, as in the paper and in `overlay`. The two differ in lightness as well, so that they
stay apart in grey, and every other difference has a second cue: marker, line style, or place. Files hold no date and no
version, so that the same tables give the same bytes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure, SubFigure

from nerveseg.evaluation.comparisons import AUTOMATIC, CONSENSUS
from nerveseg.files import atomic_write
from nerveseg.reporting.overlay import COLOURS, Colour

Kind: TypeAlias = Literal["manual", "automatic"]


def _hex(colour: Colour) -> str:
    red, green, blue = (channel / 255 for channel in colour)
    return to_hex((red, green, blue))


FILL: dict[Kind, str] = {"manual": _hex(COLOURS[CONSENSUS]), "automatic": _hex(COLOURS[AUTOMATIC])}
"""For areas and outlines on dark pictures."""

LINE: dict[Kind, str] = {"manual": "#1656b0", "automatic": "#2f7d0a"}
"""For lines and points on white: the same hues, dark enough to be seen."""

MARKER: dict[Kind, str] = {"manual": "o", "automatic": "^"}
LESION = "#b3001b"
INK, PALE, NERVE = "#222222", "#8a8a8a", "#d9d2c3"
MARKERS = ("o", "s", "D", "v", "P", "X")
"""For what has no colour of its own: rater pairs, cohorts, folds."""

LINE_STYLES = ("-", "--", ":", "-.")

WIDTH_INCHES = 7.2
"""A page's two columns."""

DOTS_PER_INCH = 200
SMALL_POINTS = 6.5
_LETTERS_PER_LINE, _LINE_INCHES = 158, 0.24

RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.labelsize": 8.0,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "pdf.fonttype": 42,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06,
}

styled = rc_context(RC)
"""Decorates every function that draws."""


def new_figure(
    body_inches: float, title: str, entries: Sequence[Artist] = (), note: str = ""
) -> tuple[Figure, SubFigure]:
    """An empty figure as wide as a page, and the part of it to draw on, which lays itself out.

    Args:
        body_inches: Height of what is drawn.
        title: Stands above, on the left.
        entries: Of a legend under the title, with labels.
        note: Small print under the figure, as many lines as it needs.
    """
    small_print = textwrap.wrap(note, _LETTERS_PER_LINE)
    heights = (_LINE_INCHES * (bool(title) + bool(entries)) + 0.06, body_inches, 0.12 * len(small_print) + 0.04)
    figure = Figure(figsize=(WIDTH_INCHES, sum(heights)), dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    head, body, foot = figure.subfigures(3, 1, height_ratios=heights)
    head.text(0.01, 1 - 0.06 / heights[0], title, fontsize=9.5, fontweight="bold", va="top")
    if entries:
        head.legend(
            handles=list(entries), loc="lower left", bbox_to_anchor=(0.0, 0.0), ncols=len(entries), borderaxespad=0.2
        )
    foot.text(0.01, 0.9, "\n".join(small_print), fontsize=SMALL_POINTS, color="0.25", va="top")
    return figure, body


def grid_shape(panels: int, columns: int) -> tuple[int, int]:
    """Rows and columns for so many panels, at most so many columns, without a row of gaps."""
    columns = min(columns, panels)
    return -(-panels // columns), columns


def save_figure(folder: Path, name: str, figure: Figure) -> tuple[Path, Path]:
    """Write a figure as PNG (200 dpi) and as PDF; each appears in one piece.

    Args:
        folder: Made if it is not there.
        name: Of the files, without an ending.
        figure: From one of the functions of `figures`.

    Returns:
        Paths of the PNG and of the PDF.
    """
    png, pdf = folder / f"{name}.png", folder / f"{name}.pdf"
    with rc_context(RC):
        with atomic_write(png) as aside:
            figure.savefig(aside, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
        with atomic_write(pdf) as aside:
            figure.savefig(
                aside,
                format="pdf",
                dpi=DOTS_PER_INCH,
                metadata={"CreationDate": None, "Producer": None, "Creator": None},
            )
    return png, pdf
