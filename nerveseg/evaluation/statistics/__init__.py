"""Tests, intervals and agreement of one-dimensional samples; every result says in a note why it is not computable."""

from nerveseg.evaluation.statistics.contrasts import Contrast, Williams, contrast, holm, williams_index
from nerveseg.evaluation.statistics.proportions import ShareContrast, share_above
from nerveseg.evaluation.statistics.rank_tests import (
    HodgesLehmann,
    MannWhitney,
    SignedRank,
    hodges_lehmann,
    mann_whitney,
    rank_biserial,
    signed_rank,
)

__all__ = [
    "Contrast",
    "HodgesLehmann",
    "MannWhitney",
    "ShareContrast",
    "SignedRank",
    "Williams",
    "contrast",
    "hodges_lehmann",
    "holm",
    "mann_whitney",
    "rank_biserial",
    "share_above",
    "signed_rank",
    "williams_index",
]
