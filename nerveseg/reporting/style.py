"""Style of the figures (named colours, sizes) and their files (PNG and PDF).

Manual is blue and automatic green, as in the paper and in `overlay`. The two differ in lightness too, so that they are
distinct in grey, and every other difference has a second cue: marker, line style, or position. Files hold no date and
no version, so that equal tables give equal bytes. Pages drawn off screen have a title, a warning, a line at the foot,
and pictures in their own pixels.
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure

from nerveseg.evaluation.comparisons import AUTOMATIC, CONSENSUS
from nerveseg.files import atomic_write
from nerveseg.reporting.overlay import COLOURS, Rgb

Kind: TypeAlias = Literal["manual", "automatic"]

_HEX = "#{:02x}{:02x}{:02x}"
# Colours of areas, and of outlines on dark pictures.
FILL: dict[Kind, str] = {"manual": _HEX.format(*COLOURS[CONSENSUS]), "automatic": _HEX.format(*COLOURS[AUTOMATIC])}
LINE: dict[Kind, str] = {"manual": "#1656b0", "automatic": "#2f7d0a"}  # on white: the same hues, darker
MARKER: dict[Kind, str] = {"manual": "o", "automatic": "^"}
LESION, RED = "#b3001b", "#b00020"
INK, PALE, NERVE = "#222222", "#8a8a8a", "#d9d2c3"
MARKERS = ("o", "s", "D", "v", "P", "X")  # of series without their own colour: rater pairs, cohorts, folds
LINE_STYLES = ("-", "--", ":", "-.")

WIDTH_INCHES = 7.2  # of a page's two columns
DOTS_PER_INCH = 300
SMALL_POINTS = 6.5
_LETTERS_PER_LINE, _LINE_INCHES = 150, 0.24
_SHEET_INCHES, _SHEET_DOTS_PER_INCH = (14.0, 8.2), 125  # of pages drawn off screen

PLAIN_TEXT: Any = {"text.parse_math": False}  # everywhere: texts hold names, in which $ is no sign of mathematics
RC: Any = PLAIN_TEXT | {
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

styled = rc_context(RC)  # decorator of every function that draws


def new_figure(
    body_inches: float, title: str, entries: Sequence[Artist] = (), note: str = ""
) -> tuple[Figure, SubFigure]:
    """Return an empty figure as wide as a page, and its part to draw on, with constrained layout.

    The title, if there is one, is above, on the left; the legend's `entries` are below it; `note` is small print at the
    foot.
    """
    small_print = textwrap.wrap(note, _LETTERS_PER_LINE)
    heights = (_LINE_INCHES * (bool(title) + bool(entries)) + 0.06, body_inches, 0.12 * len(small_print) + 0.04)
    figure = Figure(figsize=(WIDTH_INCHES, sum(heights)), dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    head, body, foot = figure.subfigures(3, 1, height_ratios=heights)
    head.text(0.01, 1 - 0.06 / heights[0], title, fontsize=9.5, fontweight="bold", va="top")
    if entries:
        place: Any = {"loc": "lower left", "bbox_to_anchor": (0.0, 0.0), "borderaxespad": 0.2}
        head.legend(handles=list(entries), ncols=len(entries), **place)
    foot.text(0.01, 0.9, "\n".join(small_print), fontsize=SMALL_POINTS, color="0.25", va="top")
    return figure, body


def format_p(p_value: float) -> str:
    """Format a p-value: "p < 0.001", "p = 0.028", or nothing for NaN."""
    if p_value != p_value:
        return ""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def save_figure(folder: Path, name: str, figure: Figure) -> tuple[Path, Path]:
    """Write a figure as NAME.png (300 dpi) and NAME.pdf, each in one piece, and return both paths."""
    png, pdf = folder / f"{name}.png", folder / f"{name}.pdf"
    for path, undated in ((png, ("Software",)), (pdf, ("CreationDate", "Producer", "Creator"))):
        with rc_context(RC), atomic_write(path) as temporary:
            metadata = dict.fromkeys(undated)
            figure.savefig(temporary, format=path.suffix[1:], dpi=DOTS_PER_INCH, metadata=metadata)
        _settle_layout(figure)
    return png, pdf


def _settle_layout(figure: Figure) -> None:
    """Keep the layout with rounded positions: the last bits of its solver depend on the process, and a PDF has them."""
    figure.set_layout_engine("none")
    for part in figure.findobj(SubFigure):
        part.bbox_relative.set_points(np.round(part.bbox_relative.get_points(), 9) + 0.0)  # no minus zero
    for axes in figure.findobj(Axes):
        axes.set_position(tuple(np.round(axes.get_position(original=True).bounds, 9)))


def new_page(title: str, warning: str | None, foot: str) -> tuple[Figure, SubFigure]:
    """Return an empty page in landscape with title, warning in capitals and foot line, and its part to draw on."""
    page = Figure(figsize=_SHEET_INCHES, dpi=_SHEET_DOTS_PER_INCH)
    FigureCanvasAgg(page)
    page.text(0.012, 0.985, title, fontsize=14, fontweight="bold", va="top")
    if warning:
        page.text(0.988, 0.985, warning.upper(), fontsize=14, fontweight="bold", va="top", ha="right", color=RED)
    page.text(0.988, 0.012, foot, fontsize=9, va="bottom", ha="right", color="0.3")
    rows = page.add_gridspec(3, 1, height_ratios=(0.045, 0.93, 0.025), hspace=0.0, left=0, right=1, top=1, bottom=0)
    return page, page.add_subfigure(rows[1])


def render_pixels(page: Figure) -> Rgb:
    """Return the page's pixels."""
    canvas: Any = page.canvas
    canvas.draw()
    return np.array(canvas.buffer_rgba())[:, :, :3]


def show_picture(axis: Axes, picture: Rgb, aspect: float = 1.0) -> None:
    """Draw a picture without ticks; `aspect` is the height of its pixels relative to their width."""
    axis.imshow(picture, aspect=aspect, interpolation="antialiased")
    axis.set_xticks([])
    axis.set_yticks([])
