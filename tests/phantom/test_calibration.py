"""A small sample of the paper's cohort lies where the calibration says (the whole of it: benchmarks/phantom.py)."""

import itertools

import numpy as np
import pytest

from nerveseg.evaluation.metrics.pair_scores import dice, hausdorff_distance
from nerveseg.phantom.cohort import participants, simulate_subject

pytestmark = pytest.mark.slow

PIXEL_MM = 200 / 384


@pytest.fixture(scope="module")
def sample(cohort_spec):
    spec = cohort_spec("paper").model_copy(
        update={"volunteers": 6, "patients": {"distal": 3, "proximal": 4}, "seed": 31, "raters_only": True}
    )
    pairs = {"volunteer": [], "patient": []}
    for row in participants(spec):
        masks = simulate_subject(spec, row).raters.values()
        pairs[row.cohort].append(list(itertools.combinations(masks, 2)))
    return spec, pairs


def agreement(subjects):
    """Mean over a subject's pairs, one value per subject."""
    return np.array([np.mean([dice(*pair) for pair in pairs]) for pairs in subjects])


@pytest.mark.parametrize(("cohort", "published"), [("volunteer", 0.869), ("patient", 0.786)])
def test_raters_agree_as_in_table_1_within_three_standard_errors(sample, cohort, published):
    values = agreement(sample[1][cohort])
    assert abs(values.mean() - published) < 3 * max(values.std(ddof=1), 0.025) / np.sqrt(len(values))


def test_in_most_pairs_of_volunteers_the_outlines_are_one_pixel_apart(sample):
    spec, pairs = sample
    distances = [
        hausdorff_distance(*pair, spec.spacing_mm, quantile=0.95, points="foreground")
        for subject in pairs["volunteer"]
        for pair in subject
    ]
    assert np.mean(np.isclose(distances, PIXEL_MM, atol=1e-3)) > 0.6
    assert np.median(distances) == pytest.approx(PIXEL_MM, abs=1e-3)
