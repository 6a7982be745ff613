"""Grey pictures of the channels of a scan for a subject's page, each grey value with the intensity that it stands for.

Grey value g stands for `low + g * step` in the unit of the channel; `low` is 0 and 255 steps above it is white. The
range holds all values of the first mask and 99.96 % of all values; values beyond it have its nearest end. A page has
room for pictures without loss of small scans only, so that the error of a shown value is measured on sampled slices.
"""

import io
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image as Picture

from nerveseg.reporting.overlay import WINDOW_PERCENTILES, Window, to_grey, upright
from nerveseg.reporting.page_assets import data_uri
from nerveseg.reporting.subject_view import SubjectView
from nerveseg.types import Image, Mask

MOST_PICTURE_BYTES = 2_600_000  # of all slices as text; with the chart library a page is then smaller than 6 MB
RANGE_PERCENTILES = (0.02, 99.98)
ERROR_PERCENTILE = 95.0
# Qualities of WebP (None without loss), and number of pixels averaged along x and y; the first that fits is used.
Quality: TypeAlias = tuple[int | None, int]
QUALITIES: tuple[Quality, ...] = ((None, 1), (90, 1), (80, 1), (70, 1), (55, 1), (80, 2), (60, 2), (60, 4))
_SAMPLE = 4


@dataclass(frozen=True)
class GreyScale:
    """Intensities that the grey values of a channel stand for."""

    low: float  # intensity of grey value 0
    step: float  # intensity from one grey value to the next; 0 for a channel of one value
    window: Window  # intensities that are shown as black and white at first

    def grey(self, values: NDArray[Any]) -> UInt8[np.ndarray[Any, Any], "..."]:
        """Return the grey value of each intensity; that of NaN is 0."""
        return to_grey(np.nan_to_num(values, nan=self.low), (self.low, self.low + 255 * self.step))


def scale_of(image: Image, nerve: Mask | None = None) -> GreyScale:
    """Return the grey scale of a channel, which holds all values of the nerve; of NaN alone it is empty."""
    finite = np.isfinite(image)
    values = image[finite]
    if not values.size:
        return GreyScale(0.0, 0.0, (0.0, 0.0))
    low, black, white, high = map(
        float,
        np.percentile(values, (RANGE_PERCENTILES[0], *WINDOW_PERCENTILES, RANGE_PERCENTILES[1]), overwrite_input=True),
    )
    inside = image[finite & nerve] if nerve is not None else values[:0]
    if inside.size:
        low, high = min(low, float(inside.min())), max(high, float(inside.max()))
    return GreyScale(low, (high - low) / 255, (black, white))


def channels_of(view: SubjectView) -> Mapping[str, Image]:
    """Return the image and the further channels and maps by name, the image first."""
    return {view.channel: view.image} | dict(view.channels)


def channel_pictures(view: SubjectView) -> Iterator[tuple[Image, GreyScale, dict[str, Any]]]:
    """Yield image, grey scale and page data of every channel; the pictures share the bytes evenly."""
    nerve = next(iter(view.masks.values()), None)
    channels = channels_of(view)
    for name, image in channels.items():
        scale = scale_of(image, nerve)
        pictures, error = slice_pictures(view, image, scale, MOST_PICTURE_BYTES // len(channels))
        yield (
            image,
            scale,
            {
                "name": name,
                "low": scale.low,
                "step": scale.step,
                "window": scale.window,
                "error": error,
                "partial": bool(np.isnan(image).any()),
                "pictures": pictures,
            },
        )


def slice_pictures(
    view: SubjectView, image: Image, scale: GreyScale, most_bytes: int = MOST_PICTURE_BYTES
) -> tuple[list[str], float]:
    """Encode every slice at the best quality for which all slices are small enough.

    Returns:
        Slices as data URIs, and the error that 95 % of the values in sampled slices keep to, in the channel's unit.
    """
    planes = [upright(image[:, :, index]) for index in view.order]
    step = max(1, len(planes) // _SAMPLE)
    encoded, lossless = encode_within([scale.grey(plane) for plane in planes], most_bytes)
    return encoded, scale.step / 2 if lossless else _error(encoded[::step], planes[::step], scale)


def encode_within(
    pictures: Sequence[NDArray[np.uint8]], most_bytes: int, qualities: Sequence[Quality] = QUALITIES
) -> tuple[list[str], bool]:
    """Return grey pictures as data URIs at the best quality for which all are small enough; and if that has no loss."""
    step = max(1, len(pictures) // _SAMPLE)
    for quality, block in qualities:
        sample = [_encoded(picture, block, quality) for picture in pictures[::step]]
        size = sum(map(len, sample)) * len(pictures) / len(sample)
        if size > most_bytes and (quality, block) != qualities[-1]:
            continue
        encoded = sample if step == 1 else [_encoded(picture, block, quality) for picture in pictures]
        if sum(map(len, encoded)) <= most_bytes or (quality, block) == qualities[-1]:
            break
    return encoded, quality is None and block == 1


def _encoded(picture: NDArray[Any], block: int, quality: int | None) -> str:
    if block > 1:
        height, width = (-(-size // block) for size in picture.shape)
        picture = np.asarray(Picture.fromarray(np.ascontiguousarray(picture)).resize((width, height)))
    return data_uri(picture, "webp", quality)


def _error(encoded: list[str], planes: list[NDArray[Any]], scale: GreyScale) -> float:
    """Return the 95th percentile of the difference of what a page reads in its pictures from the intensities."""
    differences = []
    for uri, plane in zip(encoded, planes, strict=True):
        with Picture.open(io.BytesIO(b64decode(uri.partition(",")[2]))) as opened:
            grey = np.asarray(opened.convert("RGB"))[..., 0].astype(np.float64)
        rows, columns = (np.arange(size) * small // size for size, small in zip(plane.shape, grey.shape, strict=True))
        read = scale.low + scale.step * grey[np.ix_(rows, columns)]
        known = (plane >= scale.low) & (plane <= scale.low + 255 * scale.step)  # false for NaN
        differences.append(np.abs(read - plane)[known])
    joined = np.concatenate(differences)
    return float(np.percentile(joined, ERROR_PERCENTILE)) if joined.size else 0.0
