"""One-page pictures to check a scan by eye: its segmentation, and the registration of its channels.

The segmentation: up to twelve slices, evenly spread from one end of the nerve to the other, all at one scale; the
first, the middle and the last with the whole slice in a corner, to see which structure is outlined. Below, the area
along the nerve, where a missed slice or a lost branch is a step, and the quality flags as text. As in `overlay`, the
patient's right is on the left and anterior is up.

The registration: the edges of the second channel drawn on the first, before and after. Where the channels are aligned,
the edges of bone, skin and fascia coincide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion
from skimage.feature import canny

from nerveseg.data.registration import Registration
from nerveseg.evaluation.comparisons import AUTOMATIC
from nerveseg.reporting.overlay import (
    OTHER_COLOURS,
    Crop,
    Rgb,
    Window,
    close_up_side_mm,
    crop_of_size,
    extent_mm,
    overlay,
    save_png,
    upright,
)
from nerveseg.reporting.style import PLAIN_TEXT, RED, new_page, render_pixels, show_picture
from nerveseg.reporting.subject_view import STRAY
from nerveseg.types import Image, Mask, SpacingMm

TILES = 12
_COLUMNS, _WHOLE_SLICES = 6, 3
_TILE_PIXELS = 280  # approximate size of a tile on the page
_BLUR_MM, _STRONGEST = 1.0, (0.86, 0.93)  # of edges: smoothing, and quantiles of the gradients for hysteresis


@rc_context(PLAIN_TEXT)
def check_sheet(
    image: Image,
    mask: Mask,
    profile_rows: pd.DataFrame | None,
    *,
    title: str,
    warning: str | None,
    slice_numbers: Sequence[int],
    flags: Sequence[str],
    spacing_mm: SpacingMm | None = None,
    sides: Mapping[str, slice] | None = None,
    strays: Mask | None = None,
) -> Rgb:
    """Draw the sheet of a segmentation.

    Args:
        image: First channel, in RAS order.
        mask: Nerve on the same grid.
        profile_rows: Table with columns side, branch, slice (the file's number), csa_mm2 and csa_perpendicular_mm2;
            None for a page without a curve.
        title: Name of the scan.
        warning: Warning at the top, shown in capitals.
        slice_numbers: Number of each slice in the input file.
        flags: Quality flags, one sentence each.
        spacing_mm: Voxel spacing in mm; without it pixels are drawn square and tiles are sized in pixels.
        sides: Columns (along x) of each leg by side, where the image shows both; each leg gets a row of tiles.
        strays: Pieces of the mask away from the nerve, outlined in another colour.
    """
    pixel_mm = (1.0, 1.0) if spacing_mm is None else spacing_mm[:2]
    picture = _Pictures(image, mask, np.zeros_like(mask) if strays is None else strays, pixel_mm, slice_numbers)
    page, body = new_page(title, warning, "Not a medical device.")
    above, below = body.subfigures(2, 1, height_ratios=(1.8, 1.0))
    if not mask.any():
        picture.whole_slices(above)
    else:
        both = dict(sides or {}) if len(sides or {}) > 1 else {"": slice(None)}
        for row, (side, columns) in zip(above.subfigures(len(both), 1, squeeze=False)[:, 0], both.items(), strict=True):
            picture.tiles(row, side, columns, TILES // len(both))
    left, right = below.subfigures(1, 2, width_ratios=(1.7, 1.0))
    _draw_profile(left, profile_rows if mask.any() else None)
    _write_flags(right, flags, bool(mask.any()))
    return render_pixels(page)


@dataclass(frozen=True)
class _Pictures:
    """Slices with the outline of the nerve, whole or cropped."""

    image: Image
    mask: Mask
    strays: Mask
    pixel_mm: tuple[float, ...]
    slice_numbers: Sequence[int]

    def whole_slices(self, figure: SubFigure) -> None:
        """Draw slices about the middle of a stack without nerve."""
        middle, number = self.mask.shape[2] // 2, min(_WHOLE_SLICES, self.mask.shape[2])
        indices = range(middle - number // 2, middle - number // 2 + number)
        for axis, index in zip(_axes(figure, 1, number), indices, strict=True):
            self._draw(axis, index)
            axis.set_title(f"slice {self.slice_numbers[index]}", fontsize=9, pad=2)

    def tiles(self, figure: SubFigure, side: str, columns: slice, number: int) -> None:
        """Draw the nerve of one leg, from end to end."""
        leg = np.zeros_like(self.mask)
        leg[columns] = self.mask[columns]
        if not leg.any():
            figure.text(0.5, 0.5, f"no nerve found on the {side} side", fontsize=12, ha="center", color=RED)
            return
        indices = _evenly_spread(leg, number)
        axes = _axes(figure, -(-number // _COLUMNS), _COLUMNS)
        size = _tile_size(leg[:, :, indices], self.pixel_mm)
        with_whole = {indices[0], indices[len(indices) // 2], indices[-1]}
        for axis in axes[len(indices) :]:
            axis.set_axis_off()
        for axis, index in zip(axes, indices, strict=False):
            box = crop_of_size(leg[:, :, nearest_section(leg, index)], size)
            self._draw(axis, index, box)
            found = bool(leg[:, :, index].any())
            name = f"{side} slice {self.slice_numbers[index]}{'' if found else ', no nerve'}".strip()
            axis.set_title(name, fontsize=9, pad=2, color="black" if found else RED)
            if index in with_whole:
                self._inset(axis, index, box)

    def _draw(self, axis: Axes, index: int, box: Crop | None = None) -> None:
        image, mask, strays = (
            self.image[:, :, index].astype(np.float64),
            self.mask[:, :, index],
            self.strays[:, :, index],
        )
        window = None
        if box is not None:
            window = _window(image[box], image[mask])
            image, mask, strays = image[box], mask[box], strays[box]
        scale = max(2, round(_TILE_PIXELS / max(image.shape)))
        show_picture(axis, overlay(image, {AUTOMATIC: mask, STRAY: strays}, window=window, scale=scale), self._aspect)

    def _inset(self, axis: Axes, index: int, box: Crop) -> None:
        image = self.image[:, :, index].astype(np.float64)
        scale = max(1, round(_TILE_PIXELS / 2 / max(image.shape)))
        corner = axis.inset_axes((0.6, 0.6, 0.4, 0.4), anchor="NE")
        show_picture(corner, overlay(image, {}, scale=scale), self._aspect)
        # The picture's first column is the last along x, its first row the last along y.
        left, top = (scale * (full - side.stop) for full, side in zip(image.shape, box, strict=True))
        width, height = (scale * (side.stop - side.start) for side in box)
        corner.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor="orange", linewidth=1))
        corner.text(0.02, 0.5, "R", color="white", fontsize=6, transform=corner.transAxes, va="center")
        corner.text(0.5, 0.98, "A", color="white", fontsize=6, transform=corner.transAxes, va="top", ha="center")

    @property
    def _aspect(self) -> float:
        return self.pixel_mm[1] / self.pixel_mm[0]


def _axes(figure: SubFigure, height: int, width: int) -> list[Axes]:
    axes = figure.subplots(height, width, squeeze=False)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=0.95, wspace=0.04, hspace=0.12)
    return list(axes.ravel())


def nearest_section(nerve: Mask, index: int) -> int:
    """Return the index of the slice with nerve that is nearest to a slice: where a missing nerve is looked for."""
    found = np.flatnonzero(nerve.any(axis=(0, 1)))
    return int(found[np.abs(found - index).argmin()])


def _evenly_spread(nerve: Mask, number: int) -> list[int]:
    found = np.flatnonzero(nerve.any(axis=(0, 1)))
    return [int(index) for index in np.unique(np.linspace(found[0], found[-1], number).round())]


def _tile_size(nerve: Mask, pixel_mm: tuple[float, ...]) -> tuple[int, int]:
    """Return the size in pixels (x, y) of all tiles: a square in mm that holds the widest slice with its margin."""
    widest_mm = max(extent_mm(nerve[:, :, index], pixel_mm) for index in range(nerve.shape[2]))
    side = close_up_side_mm(widest_mm)
    return round(side / pixel_mm[0]), round(side / pixel_mm[1])


def _window(pixels: NDArray[Any], nerve: NDArray[Any]) -> Window:
    """Return a window in which fat may be saturated, but neither muscle nor nerve."""
    low, middle, high = (float(value) for value in np.percentile(pixels, (1.0, 50.0, 99.0)))
    bright = max(middle + 2.5 * (middle - low), float(np.percentile(nerve, 95.0)) * 1.2 if len(nerve) else low)
    return low, min(high, bright)


def _draw_profile(figure: SubFigure, rows: pd.DataFrame | None) -> None:
    """Draw the area along the nerve, each leg on axes of its own with one scale."""
    if rows is None or rows.empty:
        return
    drawn = rows[(rows["branch"] == "total") | (rows["csa_mm2"] > 0)]
    slices = range(int(drawn["slice"].min()), int(drawn["slice"].max()) + 1)
    legs = {str(side): leg for side, leg in drawn.groupby("side", sort=False)}
    axes = figure.subplots(1, len(legs), sharey=True, squeeze=False)[0]
    figure.subplots_adjust(left=0.09, right=0.98, bottom=0.19, top=0.88, wspace=0.06)
    axes[0].set_ylim(0, 1.08 * max(1.0, float(drawn["csa_mm2"].max())))
    axes[0].set_ylabel("area (mm²)", fontsize=9)
    for axis, (side, leg) in zip(axes, legs.items(), strict=True):
        for branch, part in leg.groupby("branch", sort=False):
            line_of = part.set_index("slice").reindex(slices)  # a missing slice leaves a gap in the line
            is_total = branch == "total"
            name, width = (f"{side} total" if is_total and len(legs) > 1 else str(branch)), 1.8 if is_total else 1.0
            (line,) = axis.plot(slices, line_of["csa_mm2"], label=name, marker=".", markersize=4, linewidth=width)
            axis.plot(slices, line_of["csa_perpendicular_mm2"], color=line.get_color(), linewidth=1, linestyle="--")
        axis.plot([], [], color="black", linewidth=1, linestyle="--", label="across the nerve")
        axis.set_xlabel("slice", fontsize=9)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
        axis.legend(
            fontsize=8, ncols=4, frameon=False, loc="lower left", bbox_to_anchor=(0.0, 0.99), borderaxespad=0.0,
            columnspacing=1.0, handlelength=1.5,
        )  # fmt: skip


def _write_flags(figure: SubFigure, flags: Sequence[str], found: bool) -> None:
    lines = [line for flag in flags for line in wrap(f"– {flag}", 56, subsequent_indent="   ")]
    if not found and not any("no nerve found" in flag for flag in flags):
        lines.insert(0, "– no nerve found")
    head = "Look at this" if lines else "Nothing odd was found. Look at the lines all the same."
    figure.text(0.02, 0.93, head, fontsize=11, fontweight="bold", va="top", color=RED if lines else "black")
    room = 13
    kept = lines if len(lines) <= room else [*lines[: room - 1], f"… and {len(lines) - room + 1} more lines"]
    figure.text(0.02, 0.83, "\n".join(kept), fontsize=9, va="top", linespacing=1.35)


@rc_context(PLAIN_TEXT)
def registration_sheet(path: Path, fixed: Image, registration: Registration) -> None:
    """Write a PNG file of a registration onto the first channel (`fixed`, in RAS order)."""
    page, body = new_page(registration.note, None, "Edges of the second channel on the first. Not a medical device.")
    x_mm, y_mm, _ = registration.fixed_grid.ras_spacing_mm
    number = fixed.shape[2]
    indices = sorted({number // 5, number // 2, number - 1 - number // 5})
    axes = body.subplots(2, len(indices), squeeze=False)
    body.subplots_adjust(left=0.01, right=0.99, bottom=0.03, top=0.96, wspace=0.02, hspace=0.08)
    for index, (above, below) in zip(indices, axes.T, strict=True):
        name = f"slice {registration.fixed_grid.slice_number(index)}"
        for axis, title, moving in (
            (above, f"{name}, by the headers alone", registration.slice_by_headers(index)),
            (below, f"{name}, as it was used", registration.array[:, :, index]),
        ):
            show_picture(axis, edges_on(fixed[:, :, index], moving, x_mm), y_mm / x_mm)
            axis.set_title(title, fontsize=9, pad=2)
    save_png(path, render_pixels(page))


def edges_on(fixed: NDArray[Any], moving: NDArray[Any], pixel_mm: float) -> Rgb:
    """Draw a slice (x, y) of the first channel with the edges of the second, which is NaN outside its field of view."""
    valid = np.isfinite(moving)
    picture = overlay(fixed.astype(np.float64), {}, scale=1)
    if not valid.any():
        return picture
    values = np.where(valid, moving, 0.0).astype(np.float64)
    edges = canny(values, _BLUR_MM / pixel_mm, *_STRONGEST, mask=valid, use_quantiles=True)
    edges &= binary_erosion(valid, iterations=3)
    picture[upright(edges)] = OTHER_COLOURS[0]
    return picture
