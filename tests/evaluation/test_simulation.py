"""Do the intervals cover and do the tests keep their level? On raters who draw a latent nerve with errors of their own.

A nerve is a row of segments; a drawing has both ends of every segment wrong by normal errors whose size is the
subject's difficulty; agreement is the Dice of two drawings. A method that draws as the raters do has, by symmetry,
the mean Auto-rater agreement equal to the mean R-R agreement. Differences between the two are skewed, as real ones are.
"""

import itertools
from functools import cache

import numpy as np
import pytest
from scipy.stats import binom

from nerveseg.evaluation.statistics.contrasts import contrast, williams_index
from nerveseg.evaluation.statistics.rank_tests import mann_whitney

SLICES, RATERS = 10, 3
WORSE = 1.5
"""Errors of the inferior method, in those of a rater."""


def dice(first, second):
    low, high = np.maximum(first[..., 0], second[..., 0]), np.minimum(first[..., 1], second[..., 1])
    lengths = np.ptp(first, axis=-1) + np.ptp(second, axis=-1)
    return 2 * np.clip(high - low, 0, None).sum(-1) / lengths.sum(-1)


def drawings(rng, subjects, errors):
    """Drawings (subjects, slices, 2) of the same nerves, one for each size of error."""
    half = rng.uniform(3, 6, (subjects, SLICES))
    truth = np.stack([-half, half], -1)
    difficulty = rng.lognormal(-0.2, 0.4, (subjects, 1, 1))
    return [truth + error * difficulty * rng.normal(size=truth.shape) for error in errors]


def agreements(rng, subjects, error=1.0):
    """Mean Auto-rater and mean R-R agreement of each subject."""
    automatic, *raters = drawings(rng, subjects, [error, *[1.0] * RATERS])
    return (
        np.mean([dice(automatic, rater) for rater in raters], axis=0),
        np.mean([dice(*pair) for pair in itertools.combinations(raters, 2)], axis=0),
    )


def differences(rng, subjects, error=1.0):
    automatic, raters = agreements(rng, subjects, error)
    return automatic - raters


@cache
def true_loss():
    """By how much the inferior method falls behind: the pseudomedian of a population."""
    population = differences(np.random.default_rng(1), 100_000, WORSE)
    return -np.median((population[::2] + population[1::2]) / 2)


def assert_rate(count, studies, lowest, highest):
    """A count is what binomial chance (0.1 % in each direction) makes of a rate between the two."""
    assert binom.ppf(0.001, studies, lowest) <= count <= binom.ppf(0.999, studies, highest)


def test_a_method_as_good_as_a_rater_differs_by_nothing():
    assert differences(np.random.default_rng(0), 50_000).mean() == pytest.approx(0, abs=3e-4)


@pytest.mark.parametrize(("subjects", "lowest"), [(10, 0.95), (20, 0.93), (42, 0.93)])
def test_the_interval_of_a_method_as_good_as_a_rater_covers_zero(subjects, lowest):
    rng, studies = np.random.default_rng(subjects), 400
    results = [contrast(differences(rng, subjects), margin=0.01) for _ in range(studies)]
    covered = sum(result.ci_low <= 0 <= result.ci_high for result in results)
    assert_rate(covered, studies, lowest, 0.96)


@pytest.mark.parametrize("subjects", [20, 42])
def test_a_loss_of_exactly_the_margin_is_seldom_called_non_inferior(subjects):
    # Nominally 2.5 %; the skew of the differences makes it up to about 5 % at 20 subjects.
    rng, studies = np.random.default_rng(100 + subjects), 400
    results = [contrast(differences(rng, subjects, WORSE), margin=true_loss()) for _ in range(studies)]
    assert_rate(sum(bool(result.non_inferior) for result in results), studies, 0.01, 0.05 if subjects == 20 else 0.035)


@pytest.mark.parametrize("subjects", [6, 10, 19])
def test_the_exact_interval_keeps_the_level_where_differences_are_symmetric(subjects):
    rng, studies, margin = np.random.default_rng(200 + subjects), 600, 0.05
    at_margin = rng.standard_t(3, (studies, subjects)) * 0.05 - margin
    wrong = sum(bool(contrast(values, margin).non_inferior) for values in at_margin)
    assert_rate(wrong, studies, 0.01, 0.025)


def test_the_exact_interval_of_skewed_differences_keeps_the_level_nearly():
    # The interval is one for the pseudomedian; nominally 2.5 %, with this skew about 4 %.
    rng, studies = np.random.default_rng(300), 600
    results = [contrast(differences(rng, 10, WORSE), margin=true_loss()) for _ in range(studies)]
    assert_rate(sum(bool(result.non_inferior) for result in results), studies, 0.02, 0.045)


def test_a_study_of_42_finds_a_rater_non_inferior_and_a_bad_method_not():
    rng, studies, margin = np.random.default_rng(400), 100, true_loss()
    as_good = [contrast(differences(rng, 42), margin).non_inferior for _ in range(studies)]
    much_worse = [contrast(differences(rng, 42, 2.0), margin).non_inferior for _ in range(studies)]
    assert sum(as_good) >= 0.99 * studies
    assert sum(much_worse) == 0


@pytest.mark.parametrize("subjects", [10, 42])
def test_the_williams_interval_covers_one_for_a_method_as_good_as_a_rater(subjects):
    rng, studies = np.random.default_rng(500 + subjects), 300
    results = [williams_index(*agreements(rng, subjects), resamples=1499) for _ in range(studies)]
    assert_rate(sum(result.ci_low <= 1 <= result.ci_high for result in results), studies, 0.92, 0.96)


def test_the_papers_contrast_favours_the_method():
    rng, studies = np.random.default_rng(600), 200
    favoured = 0
    for _ in range(studies):
        automatic, *raters = drawings(rng, 42, [1.0] * (RATERS + 1))
        consensus = np.median(raters, axis=0)
        rater_rater = np.concatenate([dice(*pair) for pair in itertools.combinations(raters, 2)])
        result = mann_whitney(dice(automatic, consensus), rater_rater)
        favoured += result.p_value < 0.05 and result.effect_size > 0
    # A test that were fair to a method as good as a rater would call it better in 2.5 % of studies.
    assert favoured > 10 * 0.025 * studies
