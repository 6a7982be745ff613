"""Small picture of a scan for the page of many scans: the slice that its network doubts most, with the mask's outline.

Without a probability, as of a mask that a person drew, the slice with the largest area of nerve. Of both legs, the leg
of that slice.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from PIL import Image as Picture
from pydantic import BaseModel

from nerveseg.files import atomic_write
from nerveseg.inference.uncertainty import slice_uncertainty_mm2
from nerveseg.reporting.overlay import Rgb
from nerveseg.reporting.page_assets import encoded, uri_of_file
from nerveseg.reporting.thumbnail import JPEG_QUALITY, draw_slice
from nerveseg.scans.measuring import MeasuredScan
from nerveseg.types import Mask, Probability, SpacingMm

Choice: TypeAlias = Literal["most doubt", "largest area", "middle"]

FILE = "thumbnail.jpg"
MOST_BYTES = 15_000  # largest file that a page shows, since it holds one of each scan
MOST_PIXELS = 192  # largest side; the page shows about 116 pixels, of which a fine display has several for each
_QUALITIES = (JPEG_QUALITY, 70, 50, 30, 10)  # the last is enough for pure noise
_SEEN = 0.25  # probability from which on a pixel is in the picture of a slice without a mask
_MAGIC = b"\xff\xd8\xff"  # first bytes of a JPEG file


class ListPicture(BaseModel, frozen=True, extra="forbid"):
    """Record of the picture in `thumbnail.jpg`."""

    slice: int  # number of its slice in the input file
    chosen: Choice  # reason for which the slice was chosen


def write_list_picture(
    folder: Path, measured: MeasuredScan, masks: Mapping[str, Mask], probability: Probability | None
) -> ListPicture:
    """Draw and write the picture of a scan; `masks` are the outlines by name, the first that of the nerve."""
    nerve, scan = next(iter(masks.values())), measured.scan
    legs = [course.leg.columns for course in measured.courses]
    columns, index, chosen = choose_slice(nerve, legs, probability, scan.grid.ras_spacing_mm)
    planes = {name: mask[columns, :, index] for name, mask in masks.items()}
    outlined = np.any(list(planes.values()), axis=0)
    if probability is not None and not outlined.any():  # of a slice without a mask, what the network saw there
        outlined = probability[columns, :, index] > _SEEN
    rgb = draw_slice(scan.image.array[columns, :, index], planes, scan.grid.ras_spacing_mm, outlined)
    with atomic_write(folder / FILE) as temporary:
        temporary.write_bytes(small_jpeg(rgb))
    return ListPicture(slice=scan.grid.slice_number(index), chosen=chosen)


def small_jpeg(rgb: Rgb) -> bytes:
    """Encode a picture as JPEG of at most `MOST_BYTES`, reduced to at most `MOST_PIXELS` along each side."""
    picture = Picture.fromarray(np.ascontiguousarray(rgb))
    picture.thumbnail((MOST_PIXELS, MOST_PIXELS))
    files = (encoded(np.asarray(picture), "jpeg", quality) for quality in _QUALITIES)
    return next(file for file in files if len(file) <= MOST_BYTES)


def choose_slice(
    nerve: Mask, legs: Sequence[slice], probability: Probability | None, spacing_mm: SpacingMm
) -> tuple[slice, int, Choice]:
    """Return columns (along x) of the leg, index of the slice, and the reason; `legs` are the columns of each leg."""
    if probability is not None:
        doubts = [slice_uncertainty_mm2(probability[leg], spacing_mm) for leg in legs]
        leg, index = divmod(int(np.argmax(doubts)), nerve.shape[2])
        return legs[leg], index, "most doubt"
    leg, index = divmod(int(np.argmax([nerve[leg].sum(axis=(0, 1)) for leg in legs])), nerve.shape[2])
    if nerve.any():
        return legs[leg], index, "largest area"
    return slice(None), nerve.shape[2] // 2, "middle"


def read_list_picture(folder: Path) -> str | None:
    """Return the picture of a result as a data URI; None without one, or if a file of that name is something else."""
    try:
        content = (folder / FILE).read_bytes() if (folder / FILE).stat().st_size <= MOST_BYTES else b""
    except OSError:
        return None
    return uri_of_file(content, "jpeg") if content.startswith(_MAGIC) else None
