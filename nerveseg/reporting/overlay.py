"""One axial slice with the outlines of masks, in radiological orientation (paper, Figure 3).

The patient's right is on the left of the picture and anterior is up. Pixels are enlarged, never interpolated, and an
outline runs inside the mask along its edge, at most a quarter of a pixel wide or one screen pixel. Coinciding outlines
alternate along the line, so that none hides another. The consensus is blue and the automatic segmentation green, as in
the paper, in tones that are distinct under red-green colour blindness.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib.image import imsave
from scipy.ndimage import binary_erosion

from nerveseg.errors import GeometryError
from nerveseg.evaluation.comparisons import AUTOMATIC, CONSENSUS
from nerveseg.files import atomic_write
from nerveseg.reporting.window import Window, to_grey, upright, window_of
from nerveseg.types import Mask

Plane: TypeAlias = Float[np.ndarray[Any, Any], "x y"]
Outlined: TypeAlias = Bool[np.ndarray[Any, Any], "_x _y"]
Rgb: TypeAlias = UInt8[np.ndarray[Any, Any], "height width 3"]
Colour: TypeAlias = tuple[int, int, int]

COLOURS: dict[str, Colour] = {CONSENSUS: (64, 140, 255), AUTOMATIC: (130, 230, 60)}
OTHER_COLOURS: tuple[Colour, ...] = ((255, 170, 0), (255, 90, 170), (90, 230, 235), (250, 240, 110), (190, 140, 255))
_LEGIBLE_PIXELS = 640
_DASH_PIXELS = 4


def overlay(
    image: Plane,
    contours: Mapping[str, Outlined],
    *,
    window: Window | None = None,
    margin: int | None = None,
    scale: int | None = None,
) -> Rgb:
    """Draw the outlines of masks on a grey slice.

    Args:
        image: Slice in RAS order (x to the patient's right, y to anterior), any unit.
        contours: Masks of the slice's shape by name; "GT" and "Auto" have fixed colours (`COLOURS`), others get
            `OTHER_COLOURS` in turn. An empty mask draws nothing.
        window: Intensities shown as black and white; by default `window_of` the slice.
        margin: Margin in pixels around the masks' bounding box; by default, or without any foreground, the whole slice
            is shown.
        scale: Number of screen pixels per voxel; by default the longer side becomes about 640 pixels, at least 2.

    Raises:
        GeometryError: A mask has another shape than the slice.
    """
    for name, mask in contours.items():
        if mask.shape != image.shape:
            raise GeometryError(
                "a contour of the shape of its slice", found=f"{name} {mask.shape}, slice {image.shape}"
            )
    grey = to_grey(image, window_of(image) if window is None else window)
    box = _box(contours, image.shape, margin)
    scale = scale or max(2, _LEGIBLE_PIXELS // max(grey[box].shape))
    picture = np.repeat(_enlarged(grey[box], scale)[..., None], 3, axis=2)
    if contours:
        lines = np.stack([_outline(_enlarged(mask[box], scale), max(1, scale // 4)) for mask in contours.values()])
        for line, colour in zip(_alternating(lines), colours(list(contours)).values(), strict=True):
            picture[line] = colour
    return picture


def colours(names: list[str]) -> dict[str, Colour]:
    """Return the colour of each contour, for a legend."""
    others = [name for name in names if name not in COLOURS]
    return {name: COLOURS.get(name) or OTHER_COLOURS[others.index(name) % len(OTHER_COLOURS)] for name in names}


def best_slice(reference: Mask, prediction: Mask) -> int:
    """Return the slice where the reference is largest, else the prediction; the middle slice if both are empty."""
    for mask in (reference, prediction):
        if mask.any():
            return int(np.argmax(mask.sum(axis=(0, 1))))
    return int(reference.shape[2]) // 2


def save_png(path: Path, rgb: Rgb) -> None:
    """Write a picture as PNG, in one piece."""
    with atomic_write(path) as temporary:
        imsave(temporary, rgb, format="png")


def _box(contours: Mapping[str, Outlined], shape: tuple[int, ...], margin: int | None) -> tuple[slice, slice]:
    occupied = np.argwhere(np.any(list(contours.values()), axis=0)) if contours else np.empty((0, 2))
    if margin is None or not len(occupied):
        return slice(0, shape[0]), slice(0, shape[1])
    start = np.maximum(occupied.min(axis=0) - margin, 0)
    stop = np.minimum(occupied.max(axis=0) + margin + 1, shape)
    return slice(int(start[0]), int(stop[0])), slice(int(start[1]), int(stop[1]))


def _enlarged(pixels: np.ndarray[Any, np.dtype[Any]], scale: int) -> np.ndarray[Any, np.dtype[Any]]:
    """Turn a slice upright and repeat each pixel `scale` times."""
    return upright(pixels).repeat(scale, axis=0).repeat(scale, axis=1)


def _outline(
    mask: Bool[np.ndarray[Any, Any], "height width"], line_pixels: int
) -> Bool[np.ndarray[Any, Any], "height width"]:
    inside = binary_erosion(mask, np.ones((3, 3), dtype=np.bool_), iterations=line_pixels)
    return np.asarray(mask & ~inside, dtype=np.bool_)


def _alternating(
    lines: Bool[np.ndarray[Any, Any], "contour height width"],
) -> Bool[np.ndarray[Any, Any], "contour height width"]:
    """Assign each pixel to one contour; shared pixels alternate in dashes along the picture's diagonals."""
    shared = np.maximum(lines.sum(axis=0), 1)
    row, column = np.indices(lines.shape[1:])
    turn = (row + column) // _DASH_PIXELS % shared
    return np.asarray(lines & (np.cumsum(lines, axis=0) - 1 == turn), dtype=np.bool_)
