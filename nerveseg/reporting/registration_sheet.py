"""Registration sheet: the edges of the second channel drawn on the first, before and after registration.

Where the channels are aligned, the edges of bone, skin and fascia coincide.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion
from skimage.feature import canny

from nerveseg.data.registration import Registration
from nerveseg.reporting.overlay import OTHER_COLOURS, Rgb, overlay, save_png, upright
from nerveseg.reporting.style import new_page, render_pixels, show_picture
from nerveseg.types import Image

_BLUR_MM, _STRONGEST = 1.0, (0.86, 0.93)
"""Smoothing in mm, and quantiles of the gradients for the hysteresis threshold of the edges."""


def registration_sheet(path: Path, fixed: Image, registration: Registration) -> None:
    """Write the picture as a PNG file.

    Args:
        path: File to write, in one piece.
        fixed: First channel, in RAS order.
        registration: Registration of the second channel onto the first.
    """
    page, body = new_page(registration.note, None, "Edges of the second channel on the first. Not a medical device.")
    x_mm, y_mm, _ = registration.fixed_grid.ras_spacing_mm
    number = fixed.shape[2]
    indices = sorted({number // 5, number // 2, number - 1 - number // 5})
    axes = body.subplots(2, len(indices), squeeze=False)
    body.subplots_adjust(left=0.01, right=0.99, bottom=0.03, top=0.96, wspace=0.02, hspace=0.08)
    for column, index in enumerate(indices):
        for row, (when, moving) in enumerate(
            {"headers": registration.slice_by_headers(index), "used": registration.array[:, :, index]}.items()
        ):
            show_picture(axes[row, column], edges_on(fixed[:, :, index], moving, x_mm), y_mm / x_mm)
            slice_number = registration.fixed_grid.slice_number(index)
            title = "by the headers alone" if when == "headers" else "as it was used"
            axes[row, column].set_title(f"slice {slice_number}, {title}", fontsize=9, pad=2)
    save_png(path, render_pixels(page))


def edges_on(fixed: NDArray[Any], moving: NDArray[Any], pixel_mm: float) -> Rgb:
    """Draw a slice of the first channel with the edges of the second, none outside its field of view.

    Args:
        fixed: Slice (x, y) of the first channel in RAS order.
        moving: Second channel on the same pixels, NaN outside its field of view.
        pixel_mm: Width of a pixel in mm.
    """
    valid = np.isfinite(moving)
    picture = overlay(fixed.astype(np.float64), {}, scale=1)
    if not valid.any():
        return picture
    values = np.where(valid, moving, 0.0).astype(np.float64)
    low, high = _STRONGEST
    edges = canny(values, _BLUR_MM / pixel_mm, low, high, mask=valid, use_quantiles=True)
    edges &= binary_erosion(valid, iterations=3)
    picture[upright(edges)] = OTHER_COLOURS[0]
    return picture
