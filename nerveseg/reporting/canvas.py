"""Pages drawn off screen: a title, a warning, a line at the foot, and pictures in their own pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure

from nerveseg.reporting.overlay import Rgb

RED = "#b00020"
_INCHES, _DOTS_PER_INCH = (14.0, 8.2), 125


def new_page(title: str, warning: str | None, foot: str) -> tuple[Figure, SubFigure]:
    """Return an empty page in landscape, and its part to draw on.

    Args:
        title: Title above.
        warning: Warning beside the title, shown in capitals.
        foot: Line below.
    """
    page = Figure(figsize=_INCHES, dpi=_DOTS_PER_INCH)
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
