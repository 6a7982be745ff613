"""One axial slice with the outlines of masks, in radiological orientation (paper, Figure 3).

The patient's right is on the left of the picture and anterior is up. Pixels are enlarged, never interpolated, and an
outline runs inside the mask along its edge, at most a quarter of a pixel wide or one screen pixel. Coinciding outlines
alternate along the line, so that none hides another. The consensus is blue and the automatic segmentation green, as in
the paper, in tones that are distinct under red-green colour blindness.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from nerveseg.errors import GeometryError
from nerveseg.evaluation.comparisons import AUTOMATIC, CONSENSUS
from nerveseg.files import atomic_write
from nerveseg.types import Image, Mask

Window: TypeAlias = tuple[float, float]  # intensities shown as black and as white
Plane: TypeAlias = Float[np.ndarray[Any, Any], "x y"]
Outlined: TypeAlias = Bool[np.ndarray[Any, Any], "_x _y"]
Drawn: TypeAlias = Bool[np.ndarray[Any, Any], "*contour height width"]
Rgb: TypeAlias = UInt8[np.ndarray[Any, Any], "height width 3"]
Colour: TypeAlias = tuple[int, int, int]
Crop: TypeAlias = tuple[slice, slice]  # pixels along x and y

WINDOW_PERCENTILES = (1.0, 99.5)
COLOURS: dict[str, Colour] = {CONSENSUS: (64, 140, 255), AUTOMATIC: (130, 230, 60)}
OTHER_COLOURS: tuple[Colour, ...] = ((255, 170, 0), (255, 90, 170), (90, 230, 235), (250, 240, 110), (190, 140, 255))
_LEGIBLE_PIXELS = 640
_DASH_PIXELS = 4
_CLOSE_UP_MARGIN_MM, _CLOSE_UP_SIDE_MM = 12.0, 50.0  # around the nerve, and at least: muscles and vessels are visible


def window_of(image: NDArray[Any]) -> Window:
    """Return the window of an image or of a slice: its 1st and 99.5th percentile."""
    low, high = np.percentile(image, WINDOW_PERCENTILES)
    return float(low), float(high)


def to_grey(image: NDArray[Any], window: Window) -> UInt8[np.ndarray[Any, Any], "..."]:
    """Map intensities to grey values from 0 to 255; an empty window gives black."""
    low, high = window
    share = (np.clip(image, low, high) - low) / np.float64(high - low) if high > low else np.zeros(image.shape)
    return np.asarray(np.rint(255 * np.clip(share, 0, 1)), dtype=np.uint8)


def upright(plane: NDArray[Any]) -> NDArray[Any]:
    """Turn a slice (x, y) in RAS order: rows from anterior to posterior, columns from the patient's right to left."""
    return plane[::-1, ::-1].T


def check_one_grid(
    image: Image, masks: Mapping[str, NDArray[Any]], slice_numbers: Sequence[int], subject: str | None = None
) -> None:
    """Raise `GeometryError` unless masks and channels have the shape of the image and each slice has a number."""
    others = {name: mask.shape for name, mask in masks.items() if mask.shape != image.shape}
    if others or len(slice_numbers) != image.shape[2]:
        raise GeometryError(
            "an image, masks of its shape, and one number per slice",
            found=f"image {image.shape}, masks {others or 'of that shape'}, {len(slice_numbers)} slice numbers",
            subject=subject,
        )


def overlay(
    image: Plane,
    contours: Mapping[str, Outlined],
    *,
    window: Window | None = None,
    scale: int | None = None,
) -> Rgb:
    """Draw the outlines of masks on a grey slice.

    Args:
        image: Slice in RAS order (x to the patient's right, y to anterior), any unit.
        contours: Masks of the slice's shape by name; "GT" and "Auto" have fixed colours (`COLOURS`), others get
            `OTHER_COLOURS` in turn. An empty mask draws nothing.
        window: Intensities shown as black and white; by default `window_of` the slice.
        scale: Number of screen pixels per voxel; by default the longer side becomes about 640 pixels, at least 2.

    Raises:
        GeometryError: A mask has another shape than the slice.
    """
    for name, mask in contours.items():
        if mask.shape != image.shape:
            found = f"{name} {mask.shape}, slice {image.shape}"
            raise GeometryError("a contour of the shape of its slice", found=found)
    grey = to_grey(image, window_of(image) if window is None else window)
    scale = scale or max(2, _LEGIBLE_PIXELS // max(grey.shape))
    picture = np.repeat(_enlarged(grey, scale)[..., None], 3, axis=2)
    if contours:
        lines = np.stack([_outline(_enlarged(mask, scale), max(1, scale // 4)) for mask in contours.values()])
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
    from matplotlib.image import imsave  # takes a quarter of a second to import

    with atomic_write(path) as temporary:
        imsave(temporary, rgb, format="png")


def _enlarged(pixels: NDArray[Any], scale: int) -> NDArray[Any]:
    return upright(pixels).repeat(scale, axis=0).repeat(scale, axis=1)


def _outline(mask: Drawn, line_pixels: int) -> Drawn:
    inside = binary_erosion(mask, np.ones((3, 3), dtype=np.bool_), iterations=line_pixels)
    return np.asarray(mask & ~inside, dtype=np.bool_)


def _alternating(lines: Drawn) -> Drawn:
    """Assign each pixel to one contour; shared pixels alternate in dashes along the picture's diagonals."""
    shared = np.maximum(lines.sum(axis=0), 1)
    row, column = np.indices(lines.shape[1:])
    turn = (row + column) // _DASH_PIXELS % shared
    return np.asarray(lines & (np.cumsum(lines, axis=0) - 1 == turn), dtype=np.bool_)


def close_up_side_mm(extent_mm: float) -> float:
    """Return the side in mm of a close-up of a nerve of a given extent."""
    return max(_CLOSE_UP_SIDE_MM, extent_mm + 2 * _CLOSE_UP_MARGIN_MM)


def extent_mm(nerve: NDArray[Any], pixel_mm: tuple[float, ...]) -> float:
    """Return the larger extent in mm of the nerve in a slice (x, y); 0 without nerve."""
    occupied = np.argwhere(nerve)
    return float(((np.ptp(occupied, axis=0) + 1) * pixel_mm[:2]).max()) if len(occupied) else 0.0


def square_around(nerve: NDArray[Any], pixel_mm: tuple[float, ...], least_mm: float, margin_mm: float) -> Crop:
    """Return a square of at least `least_mm` around all nerve of a slice (x, y), inside the image where it fits."""
    side = max(least_mm, extent_mm(nerve, pixel_mm) + 2 * margin_mm)
    return crop_of_size(nerve, (round(side / pixel_mm[0]), round(side / pixel_mm[1])))


def crop_of_size(nerve: NDArray[Any], size: tuple[int, int]) -> Crop:
    """Return a crop of a given size in pixels about the nerve's box, or about the middle without nerve."""
    occupied = np.argwhere(nerve if nerve.any() else np.ones_like(nerve))
    sides = []
    for low, high, length, full in zip(occupied.min(axis=0), occupied.max(axis=0), size, nerve.shape, strict=True):
        start = max(0, min((int(low) + int(high) + 1 - length) // 2, full - length))
        sides.append(slice(start, min(start + length, full)))
    return sides[0], sides[1]
