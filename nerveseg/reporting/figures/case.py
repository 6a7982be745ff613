"""A subject's image and masks, and one cut of it with both outlines, the automatic green and the reference blue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from nerveseg.errors import GeometryError
from nerveseg.evaluation.comparisons import AUTOMATIC, CONSENSUS
from nerveseg.evaluation.metrics import AnyMask
from nerveseg.reporting.canvas import show_picture
from nerveseg.reporting.overlay import WINDOW_PERCENTILES, overlay
from nerveseg.reporting.style import FILL
from nerveseg.types import Image, SpacingMm

LEAST_SIDE_MM, MARGIN_MM = 36.0, 6.0
_BAR_MM = 10.0


@dataclass(frozen=True)
class Case:
    """One subject.

    Attributes:
        name: The study's own id.
        image: (x, y, z) in RAS order.
        reference: The consensus.
        automatic: The prediction.
        spacing_mm: Distance between voxel centres; the last is the slice step.
        slice_numbers: The input file's own number of each slice.
        in_crop: What the network was shown; None where it was everything.
    """

    name: str
    image: Image
    reference: AnyMask
    automatic: AnyMask
    spacing_mm: SpacingMm
    slice_numbers: Sequence[int]
    in_crop: AnyMask | None = None

    def __post_init__(self) -> None:
        shapes = [mask.shape for mask in (self.reference, self.automatic, self.in_crop) if mask is not None]
        if any(shape != self.image.shape for shape in shapes) or len(self.slice_numbers) != self.image.shape[2]:
            raise GeometryError(
                "a case's image, masks and slice numbers belong together",
                found=f"image {self.image.shape}, masks {shapes}, {len(self.slice_numbers)} slice numbers",
                subject=self.name,
            )

    def z_mm(self, index: int) -> float:
        """Place of a slice of the RAS array on the vertical axis of `solid`."""
        return index * self.spacing_mm[2]


def show_cut(axes: Axes, case: Case, index: int) -> None:
    """A cut around the nerve, with a bar of 10 mm.

    Args:
        axes: Gets the picture.
        case: The subject.
        index: Of the slice in RAS order.
    """
    outlines = {CONSENSUS: case.reference[..., index], AUTOMATIC: case.automatic[..., index]}
    box = _square(np.any(list(outlines.values()), axis=0), case.spacing_mm)
    low, high = np.percentile(case.image[..., index], WINDOW_PERCENTILES)
    picture = overlay(case.image[..., index][box], {}, window=(float(low), float(high)), scale=1)
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
    """The edges of a mask's pixels as lines in the picture that `overlay` makes of the slice.

    Args:
        mask: In RAS order.

    Returns:
        Per edge, start and end as (column, row); pixel centres have whole numbers.
    """
    turned = np.pad(mask[::-1, ::-1].T, 1)
    rows, columns = np.nonzero(turned[:, 1:] != turned[:, :-1])
    upright = np.stack([np.stack([columns, rows], 1), np.stack([columns, rows + 1], 1)], 1)
    rows, columns = np.nonzero(turned[1:] != turned[:-1])
    level = np.stack([np.stack([columns, rows], 1), np.stack([columns + 1, rows], 1)], 1)
    shift = np.array([[-0.5, -1.5]]), np.array([[-1.5, -0.5]])
    return np.concatenate([upright + shift[0], level + shift[1]]).astype(np.float64)


LINES = {CONSENSUS: FILL["manual"], AUTOMATIC: FILL["automatic"]}


def outline_entries() -> list[Line2D]:
    """For a legend; where both run together the automatic line lies inside the wider one of the reference."""
    words = {CONSENSUS: "GT: consensus (reference)", AUTOMATIC: "Auto: automatic"}
    widths = {CONSENSUS: 3.5, AUTOMATIC: 1.6}
    return [Line2D([], [], color=LINES[name], lw=widths[name], label=words[name]) for name in words]


def _square(nerve: Any, spacing_mm: SpacingMm) -> tuple[slice, slice]:
    """A square in mm around all nerve of the slice, moved inside the image; the middle where there is none."""
    used = np.argwhere(nerve) if nerve.any() else np.array([[size // 2 for size in nerve.shape]])
    low, high = used.min(axis=0), used.max(axis=0)
    extent_mm = (high - low + 1) * np.array(spacing_mm[:2]) + 2 * MARGIN_MM
    sides = [round(max(LEAST_SIDE_MM, float(extent_mm.max())) / step) for step in spacing_mm[:2]]
    start = [
        max(0, min((int(a) + int(b) + 1 - side) // 2, size - side))
        for a, b, side, size in zip(low, high, sides, nerve.shape, strict=True)
    ]
    return slice(start[0], start[0] + sides[0]), slice(start[1], start[1] + sides[1])
