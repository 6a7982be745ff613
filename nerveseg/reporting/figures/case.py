"""Case of a figure: a subject's image and masks, and one slice with both outlines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from nerveseg.evaluation.comparisons import AUTOMATIC, CONSENSUS
from nerveseg.evaluation.metrics.mask_pair import AnyMask
from nerveseg.reporting.overlay import check_one_grid, overlay, square_around, upright, window_of
from nerveseg.reporting.style import FILL, show_picture
from nerveseg.types import Image, SpacingMm

LEAST_SIDE_MM, MARGIN_MM = 36.0, 6.0
_BAR_MM = 10.0
LINES = {CONSENSUS: FILL["manual"], AUTOMATIC: FILL["automatic"]}


@dataclass(frozen=True)
class Case:
    """One subject of a figure.

    Attributes:
        name: Subject id.
        image: Image (x, y, z) in RAS order.
        reference: Consensus of the raters.
        automatic: Automatic mask.
        spacing_mm: Distance between voxel centres in mm; the last is the slice step.
        slice_numbers: Number of each slice in the input file.
        in_crop: Voxels that the network saw; None if it saw all.
    """

    name: str
    image: Image
    reference: AnyMask
    automatic: AnyMask
    spacing_mm: SpacingMm
    slice_numbers: Sequence[int]
    in_crop: AnyMask | None = None

    def __post_init__(self) -> None:
        masks = {CONSENSUS: self.reference, AUTOMATIC: self.automatic}
        masks |= {} if self.in_crop is None else {"crop": self.in_crop}
        check_one_grid(self.image, masks, self.slice_numbers, self.name)

    def z_mm(self, index: int) -> float:
        """Return the position in mm of a slice of the RAS array on the vertical axis of `solid`."""
        return index * self.spacing_mm[2]


def show_cut(axes: Axes, case: Case, index: int) -> None:
    """Draw one slice around the nerve with both outlines and a bar of 10 mm.

    Args:
        axes: Panel of the picture.
        case: Subject of the figure.
        index: Index of the slice in RAS order.
    """
    outlines = {CONSENSUS: case.reference[..., index], AUTOMATIC: case.automatic[..., index]}
    box = square_around(np.any(list(outlines.values()), axis=0), case.spacing_mm, LEAST_SIDE_MM, MARGIN_MM)
    plane = case.image[..., index]
    picture = overlay(plane[box], {}, window=window_of(plane), scale=1)
    show_picture(axes, picture, case.spacing_mm[1] / case.spacing_mm[0])
    for name, width in ((CONSENSUS, 1.8), (AUTOMATIC, 0.8)):
        lines = outline(outlines[name][box])
        axes.add_collection(LineCollection(list(lines), colors=LINES[name], linewidths=width, capstyle="round"))
    height, width = picture.shape[:2]
    left, bar = 0.05 * width, _BAR_MM / case.spacing_mm[0]
    edge = [withStroke(linewidth=1.6, foreground="black")]
    axes.plot([left, left + bar], [0.94 * height] * 2, color="white", lw=2, path_effects=edge)
    axes.text(left, 0.92 * height, "10 mm", color="white", va="bottom", fontsize=6.5, path_effects=edge)
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    for spine in axes.spines.values():
        spine.set_visible(False)


def outline(mask: Bool[np.ndarray[Any, Any], "_x _y"]) -> Float[np.ndarray[Any, Any], "edge 2 2"]:
    """Return the edges of a mask's pixels as lines in the picture that `overlay` draws of the slice.

    Args:
        mask: Mask of the slice in RAS order.

    Returns:
        Start and end of each edge as (column, row); pixel centres are integers.
    """
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
