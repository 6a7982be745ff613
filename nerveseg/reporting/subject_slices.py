"""Slices of a subject for a browser: pictures, outlines of masks, and close-ups around the nerve.

As in `overlay`, the patient's right is on the left and anterior is up. An outline runs along the edge of the mask,
halfway between the centres of the pixels inside and outside; its points are counted in half pixels of the picture from
the upper left corner. Slices stand in the order of the input file's numbers.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image as Picture
from skimage.measure import approximate_polygon, find_contours

from nerveseg.reporting.overlay import CLOSE_UP_MARGIN_MM, CLOSE_UP_SIDE_MM, side_mm, to_grey, upright, window_of
from nerveseg.reporting.page_assets import data_uri
from nerveseg.reporting.subject_view import SubjectView
from nerveseg.types import Mask, SpacingMm

MOST_PICTURE_BYTES = 3_000_000
"""Largest size of all slices as text; with the chart library a page is then smaller than 6 MB."""

_QUALITIES = ((90, 1), (80, 1), (70, 1), (55, 1), (80, 2), (60, 2), (60, 4))
"""Qualities of WebP, and number of pixels averaged along x and y; the first that is small enough is used."""

_SAMPLE = 4


def slice_pictures(view: SubjectView) -> list[str]:
    """Encode every slice as a data URI, at the best quality for which all slices are small enough."""
    pictures = _grey(view)
    tried = pictures[:: max(1, len(pictures) // _SAMPLE)]
    for quality, block in _QUALITIES:
        size = sum(len(_encoded(picture, block, quality)) for picture in tried)
        if size * len(pictures) / max(1, len(tried)) > MOST_PICTURE_BYTES:
            continue
        encoded = [_encoded(picture, block, quality) for picture in pictures]
        if sum(map(len, encoded)) <= MOST_PICTURE_BYTES:
            return encoded
    quality, block = _QUALITIES[-1]
    return [_encoded(picture, block, quality) for picture in pictures]


def outlines(mask: Mask, order: Iterable[int]) -> list[list[list[int]]]:
    """Return the closed outlines of a mask: per slice, per part or hole, x and y in turn, in half pixels."""
    return [_outlines(upright(mask[:, :, index])) for index in order]


def close_looks(view: SubjectView) -> list[dict[str, Any]]:
    """Return squares around the nerve, one per leg: side, length in mm, and the centre in every slice in pixels."""
    nerve = np.any([*view.outlines.values(), np.zeros(view.image.shape, dtype=bool)], axis=0)
    sides = view.sides if len(view.sides) > 1 else {"": slice(None)}
    looks = []
    for side, columns in sides.items():
        leg = np.zeros_like(nerve)
        leg[columns] = nerve[columns]
        if leg.any():
            centres, extent_mm = _course(leg[:, :, view.order], view.spacing_mm)
            length_mm = side_mm(extent_mm, CLOSE_UP_SIDE_MM, CLOSE_UP_MARGIN_MM)
            looks.append({"side": side, "mm": length_mm, "centres": centres})
    return looks


def picture_uri(png: bytes, longest: int = 1400, quality: int = 80) -> str:
    """Encode a picture from a file, reduced to a page's size, as a data URI."""
    with Picture.open(io.BytesIO(png)) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((longest, longest))
    return data_uri(np.asarray(picture), "webp", quality)


def _grey(view: SubjectView) -> list[UInt8[np.ndarray[Any, Any], "height width"]]:
    """Return all slices in one window, so that they can be compared; NaN is black."""
    image = np.nan_to_num(view.image, nan=float(np.nanmin(view.image)) if np.isfinite(view.image).any() else 0.0)
    grey = to_grey(image, window_of(image))
    return [upright(grey[:, :, index]) for index in view.order]


def _encoded(picture: NDArray[Any], block: int, quality: int) -> str:
    if block > 1:
        height, width = (-(-size // block) for size in picture.shape)
        picture = np.asarray(Picture.fromarray(np.ascontiguousarray(picture)).resize((width, height)))
    return data_uri(picture, "webp", quality)


def _outlines(plane: NDArray[np.bool_]) -> list[list[int]]:
    if not plane.any():
        return []
    lines = []
    for line in find_contours(np.pad(plane, 1).astype(np.float64), 0.5):
        corners = approximate_polygon(line, tolerance=0.01)[:-1]  # the last point is the first
        points = np.rint(2 * (corners[:, ::-1] - 0.5)).astype(int)  # pad of 1; a pixel's centre is at its index + 0.5
        lines.append([int(value) for value in points.ravel()])
    return lines


def _course(leg: Mask, spacing_mm: SpacingMm) -> tuple[list[list[float]], float]:
    """Return the centre of the nerve's box in every slice in pixels, interpolated in gaps, and its size in mm."""
    found = np.flatnonzero(leg.any(axis=(0, 1)))
    boxes = []
    for number in found:
        rows, columns = np.nonzero(upright(leg[:, :, number]))
        boxes.append((columns.min(), columns.max() + 1, rows.min(), rows.max() + 1))
    left, right, top, bottom = np.array(boxes, dtype=np.float64).T
    slices = np.arange(leg.shape[2])
    x, y = (np.interp(slices, found, middle) for middle in ((left + right) / 2, (top + bottom) / 2))
    extent_mm = float(max(((right - left) * spacing_mm[0]).max(), ((bottom - top) * spacing_mm[1]).max()))
    return np.round(np.stack([x, y], axis=1), 1).tolist(), extent_mm
