"""Display of a slice: its grey values within a window of intensities, and its orientation on the screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from nerveseg.errors import GeometryError
from nerveseg.evaluation.metrics import AnyMask
from nerveseg.types import Image

Window: TypeAlias = tuple[float, float]
"""Intensities shown as black and as white."""

WINDOW_PERCENTILES = (1.0, 99.5)


def window_of(image: NDArray[Any]) -> Window:
    """Return the window of an image or of a slice: its 1st and 99.5th percentile."""
    low, high = np.percentile(image, WINDOW_PERCENTILES)
    return float(low), float(high)


def to_grey(image: NDArray[Any], window: Window) -> UInt8[np.ndarray[Any, Any], "..."]:
    """Map intensities to grey values from 0 to 255; an empty window gives black."""
    low, high = window
    share = (image - low) / (high - low) if high > low else np.zeros(image.shape)
    return np.asarray(np.rint(255 * np.clip(share, 0, 1)), dtype=np.uint8)


def upright(plane: NDArray[Any]) -> NDArray[Any]:
    """Turn a slice (x, y) in RAS order: rows from anterior to posterior, columns from the patient's right to left."""
    return plane[::-1, ::-1].T


def check_one_grid(
    image: Image, masks: Mapping[str, AnyMask], slice_numbers: Sequence[int], subject: str | None = None
) -> None:
    """Check that an image, its masks and its slice numbers belong together.

    Raises:
        GeometryError: A mask has another shape than the image, or the number of slice numbers differs.
    """
    others = {name: mask.shape for name, mask in masks.items() if mask.shape != image.shape}
    if others or len(slice_numbers) != image.shape[2]:
        raise GeometryError(
            "an image, masks of its shape, and one number per slice",
            found=f"image {image.shape}, masks {others or 'of that shape'}, {len(slice_numbers)} slice numbers",
            subject=subject,
        )
