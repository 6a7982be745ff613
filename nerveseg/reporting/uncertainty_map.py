"""Where a network was unsure, for a subject's page: the entropy of the probability over each slice, and a ranking.

The entropy -p log2 p - (1 - p) log2(1 - p) is 0 bits where the network is sure and 1 bit at p = 0.5. A pixel is as
opaque as its entropy. Slices are ranked by the area that the mask is expected to get wrong by its own probability.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from scipy.special import entr

from nerveseg.inference.uncertainty import slice_uncertainty_mm2
from nerveseg.reporting.overlay import Colour, upright
from nerveseg.reporting.page_assets import data_uri
from nerveseg.reporting.subject_view import SubjectView

COLOUR: Colour = (255, 90, 170)
RANKED = 5  # largest number of slices in the ranking
_LEAST_MM2 = 0.05  # area that is shown as more than 0.0 mm2


def entropy_pictures(view: SubjectView) -> list[str]:
    """Return a transparent picture of every slice, in the order of the page; none without a probability."""
    if view.probability is None:
        return []
    return [data_uri(_coloured(view.probability[..., index]), "webp", 70) for index in view.order]


def _coloured(probability: Float[np.ndarray[Any, Any], "x y"]) -> UInt8[np.ndarray[Any, Any], "height width 4"]:
    """Return a slice as colour and opacity, in 16 steps of opacity, which make small files."""
    bits = upright(entropy_bits(probability))
    picture = np.empty((*bits.shape, 4), dtype=np.uint8)
    picture[...] = (*COLOUR, 0)
    picture[..., 3] = 17 * np.rint(15 * np.clip(bits, 0, 1)).astype(np.uint8)
    return picture


def entropy_bits(probability: Float[np.ndarray[Any, Any], "*shape"]) -> Float[np.ndarray[Any, Any], "*shape"]:
    """Return the entropy, in bits, of a probability and its complement."""
    return np.asarray((entr(probability) + entr(1 - probability)) / np.log(2))


def uncertain_slices(view: SubjectView) -> list[tuple[int, str]]:
    """Return number and area in mm2 of the slices with the largest expected errors, largest first."""
    if view.probability is None:
        return []
    areas = slice_uncertainty_mm2(view.probability, view.spacing_mm)
    first = [int(index) for index in np.argsort(-areas, kind="stable")[:RANKED] if areas[index] >= _LEAST_MM2]
    return [(int(view.slice_numbers[index]), f"{areas[index]:.1f}") for index in first]
