"""Small picture of a scan for a list: one slice with the outlines of its masks.

Of two masks, the slice in which they differ in most voxels; of a single mask, or of equal masks, the slice with most
nerve. The crop is square in mm and shows the surroundings of the nerve. Pixels are enlarged only to the size on the
page, so that outlines remain visible lines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from nerveseg.reporting.overlay import Outlined, Plane, Rgb, check_one_grid, overlay, square_around, window_of
from nerveseg.reporting.page_assets import data_uri
from nerveseg.types import Image, Mask, SpacingMm

LEAST_SIDE_MM = 32.0
MARGIN_MM = 4.0
JPEG_QUALITY = 88
_PICTURE_PIXELS = 116


@dataclass(frozen=True)
class Thumbnail:
    """Small picture of a subject as the data URI of a JPEG, and the number of its slice in the input file."""

    data_uri: str
    slice_number: int


def thumbnail(
    image: Image, masks: Mapping[str, Mask], slice_numbers: Sequence[int], spacing_mm: SpacingMm
) -> Thumbnail:
    """Draw the slice in which the first two masks, or the only one, differ most."""
    check_one_grid(image, masks, slice_numbers)
    index = most_informative_slice(list(masks.values()))
    planes = {name: mask[..., index] for name, mask in masks.items()}
    rgb = draw_slice(image[..., index], planes, spacing_mm)
    return Thumbnail(data_uri(rgb, "jpeg", JPEG_QUALITY), int(slice_numbers[index]))


def draw_slice(
    plane: Plane, outlines: Mapping[str, Outlined], spacing_mm: SpacingMm, around: Outlined | None = None
) -> Rgb:
    """Draw the surroundings of the nerve, or of the pixels `around`, in one slice with its outlines.

    Without such pixels the whole slice is drawn.
    """
    nerve = np.any(list(outlines.values()), axis=0) if around is None else around
    box = square_around(nerve, spacing_mm, LEAST_SIDE_MM, MARGIN_MM) if nerve.any() else (slice(None), slice(None))
    scale = max(1, round(_PICTURE_PIXELS / max(plane[box].shape)))
    crops = {name: outline[box] for name, outline in outlines.items()}
    rgb = overlay(plane[box], crops, window=window_of(plane), scale=scale)
    return _in_mm(rgb, spacing_mm)


def _in_mm(rgb: NDArray[np.uint8], spacing_mm: SpacingMm) -> Rgb:
    """Enlarge the axis with the coarser pixels, so that both axes have one scale."""
    least_mm, (height, width, _) = min(spacing_mm[:2]), rgb.shape
    size = (round(width * spacing_mm[0] / least_mm), round(height * spacing_mm[1] / least_mm))
    if size == (width, height):
        return rgb
    return np.asarray(Picture.fromarray(np.ascontiguousarray(rgb)).resize(size, Picture.Resampling.NEAREST))


def most_informative_slice(masks: Sequence[Mask]) -> int:
    """Return the index of the slice where the first two masks differ most, else of most nerve, else the middle one."""
    nerve = np.sum([mask.sum(axis=(0, 1)) for mask in masks], axis=0)
    differing = (masks[0] ^ masks[1]).sum(axis=(0, 1)) if len(masks) > 1 else np.zeros_like(nerve)
    for voxels in (differing, nerve):
        if voxels.any():
            return int(np.argmax(voxels))
    return int(masks[0].shape[2]) // 2
