"""One small picture per subject: the slice that a reader would turn to first, cropped around the nerve.

That is the slice in which the two masks differ in most voxels; of a single mask, or of equal ones, the slice with most
nerve. The crop is square and large enough to show what lies around the nerve. Pixels are enlarged only as much as the
page shows them, so that the outlines stay a visible line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from nerveseg.errors import GeometryError
from nerveseg.reporting.overlay import WINDOW_PERCENTILES, overlay
from nerveseg.reporting.page_assets import jpeg_data_uri
from nerveseg.types import Image, Mask, SpacingMm

LEAST_SIDE_MM = 32.0
MARGIN_MM = 4.0
_PICTURE_PIXELS = 116
_JPEG_QUALITY = 88


@dataclass(frozen=True)
class Thumbnail:
    """A small picture of a subject.

    Attributes:
        data_uri: JPEG as a data URI, to be the source of an `img`.
        slice_number: The input file's own number of the slice shown.
    """

    data_uri: str
    slice_number: int


def thumbnail(
    image: Image, masks: Mapping[str, Mask], slice_numbers: Sequence[int], spacing_mm: SpacingMm
) -> Thumbnail:
    """Picture the slice of largest disagreement.

    Args:
        image: (x, y, z) in RAS order, any unit.
        masks: By name, in drawing order, at least one, usually "GT" and "Auto"; the first two are compared.
        slice_numbers: The input file's number of each slice.
        spacing_mm: Distance between voxel centres.

    Raises:
        GeometryError: A mask has another shape than the image, or slice numbers are missing.
    """
    found = {name: mask.shape for name, mask in masks.items() if mask.shape != image.shape}
    if found or len(slice_numbers) != image.shape[2]:
        raise GeometryError(
            "an image, its masks and its slice numbers belong together",
            found=f"image {image.shape}, masks {found or 'of that shape'}, {len(slice_numbers)} slice numbers",
        )
    index = most_informative_slice(list(masks.values()))
    plane = image[..., index]
    outlines = {name: mask[..., index] for name, mask in masks.items()}
    box = _square(np.any(list(outlines.values()), axis=0), min(spacing_mm[:2]))
    low, high = np.percentile(plane, WINDOW_PERCENTILES)
    scale = max(1, round(_PICTURE_PIXELS / max(plane[box].shape)))
    window = (float(low), float(high))
    rgb = overlay(plane[box], {name: line[box] for name, line in outlines.items()}, window=window, scale=scale)
    return Thumbnail(jpeg_data_uri(rgb, _JPEG_QUALITY), int(slice_numbers[index]))


def most_informative_slice(masks: Sequence[Mask]) -> int:
    """Index of the slice where the first two masks differ most; else of most nerve; else the middle one."""
    nerve = np.sum([mask.sum(axis=(0, 1)) for mask in masks], axis=0)
    differing = (masks[0] ^ masks[1]).sum(axis=(0, 1)) if len(masks) > 1 else np.zeros_like(nerve)
    for voxels in (differing, nerve):
        if voxels.any():
            return int(np.argmax(voxels))
    return int(masks[0].shape[2]) // 2


def _square(nerve: Bool[np.ndarray[Any, Any], "x y"], pixel_mm: float) -> tuple[slice, slice]:
    """A square around all nerve of the slice, moved inside the image; the whole slice where there is none."""
    if not nerve.any():
        return slice(None), slice(None)
    occupied = np.argwhere(nerve)
    low, high = occupied.min(axis=0), occupied.max(axis=0)
    side = max(round(LEAST_SIDE_MM / pixel_mm), int((high - low).max()) + 1 + 2 * round(MARGIN_MM / pixel_mm))
    start = [
        max(0, min((int(a) + int(b) + 1 - side) // 2, size - side))
        for a, b, size in zip(low, high, nerve.shape, strict=True)
    ]
    return slice(start[0], start[0] + side), slice(start[1], start[1] + side)
