"""How well two masks agree: pure functions on arrays, and all of them at once (`score_pair`)."""

from nerveseg.evaluation.metrics.mask_pair import AnyMask
from nerveseg.evaluation.metrics.pair_scores import (
    DEFINED_UNLESS_EMPTY,
    ONE_PIXEL_MM,
    TWO_PIXELS_MM,
    PairScores,
    average_surface_distance,
    dice,
    hausdorff_distance,
    score_pair,
    surface_dice,
    volumetric_similarity,
)
from nerveseg.evaluation.metrics.surface import Points

__all__ = [
    "DEFINED_UNLESS_EMPTY",
    "ONE_PIXEL_MM",
    "TWO_PIXELS_MM",
    "AnyMask",
    "PairScores",
    "Points",
    "average_surface_distance",
    "dice",
    "hausdorff_distance",
    "score_pair",
    "surface_dice",
    "volumetric_similarity",
]
