"""Thumbnails: one small picture per subject of its most informative slice, cropped around the nerve.

This is the slice in which the two masks differ in most voxels; of a single mask, or of equal masks, the slice with most
nerve. The crop is square and shows the surroundings of the nerve. Pixels are enlarged only to the size on the page, so
that outlines remain visible lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nerveseg.reporting.overlay import check_one_grid, overlay, square_around, window_of
from nerveseg.reporting.page_assets import data_uri
from nerveseg.types import Image, Mask, SpacingMm

LEAST_SIDE_MM = 32.0
MARGIN_MM = 4.0
_PICTURE_PIXELS = 116
_JPEG_QUALITY = 88


@dataclass(frozen=True)
class Thumbnail:
    """Small picture of a subject.

    Attributes:
        data_uri: JPEG as a data URI, the source of an `img`.
        slice_number: Number of the slice in the input file.
    """

    data_uri: str
    slice_number: int


def thumbnail(
    image: Image, masks: Mapping[str, Mask], slice_numbers: Sequence[int], spacing_mm: SpacingMm
) -> Thumbnail:
    """Draw the slice of largest disagreement.

    Args:
        image: Image (x, y, z) in RAS order, any unit.
        masks: Masks by name, in drawing order, at least one, usually "GT" and "Auto"; the first two are compared.
        slice_numbers: Number of each slice in the input file.
        spacing_mm: Distance between voxel centres in mm.

    Raises:
        GeometryError: A mask has another shape than the image, or slice numbers are missing.
    """
    check_one_grid(image, masks, slice_numbers)
    index = most_informative_slice(list(masks.values()))
    plane = image[..., index]
    outlines = {name: mask[..., index] for name, mask in masks.items()}
    nerve = np.any(list(outlines.values()), axis=0)
    box = square_around(nerve, spacing_mm, LEAST_SIDE_MM, MARGIN_MM) if nerve.any() else (slice(None), slice(None))
    scale = max(1, round(_PICTURE_PIXELS / max(plane[box].shape)))
    crops = {name: outline[box] for name, outline in outlines.items()}
    rgb = overlay(plane[box], crops, window=window_of(plane), scale=scale)
    return Thumbnail(data_uri(rgb, "jpeg", _JPEG_QUALITY), int(slice_numbers[index]))


def most_informative_slice(masks: Sequence[Mask]) -> int:
    """Return the index of the slice where the first two masks differ most, else of most nerve, else the middle one."""
    nerve = np.sum([mask.sum(axis=(0, 1)) for mask in masks], axis=0)
    differing = (masks[0] ^ masks[1]).sum(axis=(0, 1)) if len(masks) > 1 else np.zeros_like(nerve)
    for voxels in (differing, nerve):
        if voxels.any():
            return int(np.argmax(voxels))
    return int(masks[0].shape[2]) // 2
