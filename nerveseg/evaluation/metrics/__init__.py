"""Agreement of two masks: pure functions on arrays, and all metrics at once (`score_pair`)."""

from nerveseg.evaluation.metrics.mask_pair import AnyMask
from nerveseg.evaluation.metrics.pair_scores import (
    DEFINED_UNLESS_EMPTY,
    ONE_PIXEL_MM,
    TWO_PIXELS_MM,
    PairScores,
    dice,
    hausdorff_distance,
    score_pair,
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
    "dice",
    "hausdorff_distance",
    "score_pair",
    "volumetric_similarity",
]
