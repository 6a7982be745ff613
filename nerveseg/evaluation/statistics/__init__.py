"""Tests, intervals and agreement of one-dimensional samples, as `Estimate` records."""

from nerveseg.evaluation.statistics.contrasts import contrast, holm, williams_index
from nerveseg.evaluation.statistics.proportions import share_above
from nerveseg.evaluation.statistics.rank_tests import hodges_lehmann, mann_whitney, rank_biserial, signed_rank
from nerveseg.evaluation.statistics.samples import Estimate

__all__ = [
    "Estimate",
    "contrast",
    "hodges_lehmann",
    "holm",
    "mann_whitney",
    "rank_biserial",
    "share_above",
    "signed_rank",
    "williams_index",
]
