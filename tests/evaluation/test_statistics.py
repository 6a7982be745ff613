import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import minimize_scalar

from nerveseg.errors import ConfigurationError, NervesegError
from nerveseg.evaluation.statistics.contrasts import (
    bca_interval,
    contrast,
    holm,
    share_above,
    subjects_for_share,
    tango_interval,
    williams_index,
)
from nerveseg.evaluation.statistics.rank_tests import mann_whitney, signed_rank
from nerveseg.evaluation.statistics.samples import mean_interval
from tests.helpers.r_values import R, named, numbers, random_sample


@pytest.mark.parametrize("case", named(R["bca"]))
def test_bca_is_that_of_r_but_for_the_draw(case):
    columns = np.array(case["data"]).T
    width = case["widened"][1] - case["widened"][0]
    if case["name"] == "mean":
        low, high = bca_interval(np.mean, columns[0])
    else:
        result = williams_index(*columns)
        assert result.estimate == pytest.approx(case["estimate"])
        low, high = result.ci_low, result.ci_high
    assert [low, high] == pytest.approx(case["widened"], abs=0.03 * width)
    assert high - low > 1.01 * (case["interval"][1] - case["interval"][0])


def test_of_many_normal_values_bca_is_students_interval():
    values = np.random.default_rng(0).normal(size=400)
    mean, error = values.mean(), values.std(ddof=1) / math.sqrt(values.size)
    assert bca_interval(np.mean, values) == pytest.approx(stats.t.interval(0.95, 399, mean, error), abs=0.06 * error)


def test_the_same_values_have_the_same_interval():
    assert contrast(random_sample(30), 0.05) == contrast(random_sample(30), 0.05)
    assert williams_index(0.8 + random_sample(30), 0.9 + random_sample(30, 1)) == williams_index(
        0.8 + random_sample(30), 0.9 + random_sample(30, 1)
    )


@pytest.mark.parametrize("n", [6, 19, 20, 42, 120])
def test_a_contrast_is_the_pseudomedian_at_every_number_of_subjects(n):
    values = random_sample(n)
    result = contrast(values, margin=0.05)
    assert result.estimate == np.median([(a + b) / 2 for i, a in enumerate(values) for b in values[i:]])
    assert result.method == "Hodges-Lehmann pseudomedian, signed-rank interval"
    assert result.p_value == signed_rank(values).p_value


@pytest.mark.parametrize("n", [6, 12, 42])
def test_the_p_value_of_no_loss_is_one_sided_and_exact_as_in_scipy(n):
    values = random_sample(n)
    expected = stats.wilcoxon(values + 0.05, alternative="greater", method="exact").pvalue
    result = contrast(values, margin=0.05)
    assert result.p_non_inferiority == pytest.approx(expected, rel=1e-9)
    assert (result.p_non_inferiority <= 0.025) == result.non_inferior
    assert contrast([-0.05] * 7, margin=0.05).p_non_inferiority == 1
    assert contrast([0.0] * 7, margin=0.05).p_non_inferiority == pytest.approx(0.5**7)


@pytest.mark.parametrize("noise", [1e-8, -1e-8])
def test_noise_of_the_spacing_changes_no_rank_no_limit_and_no_interval(noise):
    rng = np.random.default_rng(3)
    first, second = rng.integers(1, 5, 12) * 5.0, rng.integers(1, 5, 12) * 5.0
    noisy = first * (1 + noise * rng.uniform(0, 1, 12))
    assert (noisy != first).all()
    for test in (mann_whitney, lambda a, b: signed_rank(a - b), lambda a, b: share_above(a, b, 0.1, 10)):
        clean, found = test(first, second), test(noisy, second)
        assert (found.p_value, found.statistic) == pytest.approx((clean.p_value, clean.statistic), abs=0, nan_ok=True)
    clean, found = contrast(first - second, 5), contrast(noisy - second, 5)
    assert (found.non_inferior, found.p_non_inferiority) == (clean.non_inferior, clean.p_non_inferiority)


@pytest.mark.parametrize("n", [12, 30])
def test_non_inferiority_is_the_bound_on_the_bad_side_of_the_margin(n):
    better = contrast(random_sample(n), margin=0.05)
    assert better.non_inferior is True
    assert contrast(random_sample(n), margin=-better.ci_low * 1.0001).non_inferior is True
    assert contrast(random_sample(n), margin=-better.ci_low * 0.9999).non_inferior is False
    assert contrast(-random_sample(n), margin=0.05).effect_size == pytest.approx(-better.effect_size)


def test_an_infinite_difference_leaves_the_ranks():
    values = np.append(random_sample(30), np.inf)
    result = contrast(values, margin=0.05)
    assert np.isfinite([result.estimate, result.ci_low]).all()
    assert result.p_value == signed_rank(np.append(random_sample(30), 1e3)).p_value


@pytest.mark.parametrize(
    ("differences", "note"),
    [
        ([], "not computable, n=0"),
        ([0.1], "not computable, n=1"),
        ([0.1, np.nan, 0.2], "not computable, 1 of 3 values are NaN"),
    ],
)
def test_a_contrast_says_why_it_cannot(differences, note):
    result = contrast(differences, margin=0.05)
    assert result.note == note
    assert np.isnan([result.ci_low, result.ci_high, result.p_value, result.effect_size]).all()
    assert result.non_inferior is None


@pytest.mark.parametrize("margin", [0, -0.05, np.inf, np.nan])
def test_a_margin_is_a_loss(margin):
    with pytest.raises(ConfigurationError) as caught:
        contrast(random_sample(10), margin=margin)
    assert "margin" in caught.value.rule
    assert caught.value.found is margin


@pytest.mark.parametrize(
    ("automatic", "rater_rater", "index"),
    [((0.850, 0.830, 0.834), 0.869, 0.964), ((0.695, 0.690, 0.678), 0.786, 0.875)],
    ids=["volunteers", "patients"],
)
def test_williams_index_from_the_papers_means(automatic, rater_rater, index):
    result = williams_index([sum(automatic) / 3], [rater_rater])
    assert result.estimate == pytest.approx(index, abs=5e-4)
    assert result.note.startswith("no interval, n=1")


def test_williams_index_of_a_cohort_is_a_ratio_of_means_not_a_mean_of_ratios():
    assert williams_index([0.2, 0.8], [0.4, 0.8]).estimate == pytest.approx(1.0 / 1.2)


@pytest.mark.parametrize(
    ("automatic", "raters", "note"),
    [
        ([], [], "n=0"),
        ([0.0, 0.0], [0.0, 0.0], "do not agree at all"),
        ([0.4, np.nan], [0.5, 0.5], "NaN"),
        ([0.4, np.inf], [0.5, 0.5], "infinite"),
        ([0.4] * 8, [0.5] * 8, "same for all subjects"),
        ([0.27, 0.36] * 5, [0.3, 0.4] * 5, "same for all subjects"),
        ([0.4, 0.5] * 5, [0.5] * 10, "too narrow"),
    ],
)
def test_williams_index_says_why_it_cannot(automatic, raters, note):
    result = williams_index(automatic, raters)
    assert note in result.note
    assert math.isnan(result.ci_low) != (note == "too narrow")


@pytest.mark.parametrize("case", R["holm"], ids=lambda case: str(case["p_values"]))
def test_holm_is_that_of_r(case):
    assert holm(numbers(case["p_values"])) == pytest.approx(numbers(case["holm"]), nan_ok=True)


def test_holm_of_nothing():
    assert holm([]).size == 0


def subjects(only_first, only_second, n, both=0):
    """Distances of n subjects of which so many are above 10 mm on one side only."""
    first, second = np.full(n, 1.0), np.full(n, 10.0)
    first[:only_first] = 10.1
    second[only_first : only_first + only_second] = np.inf
    first[n - both :] = second[n - both :] = 50.0
    return first, second


@pytest.mark.parametrize("case", R["mcnemar"])
def test_shares_are_tested_as_mcnemar(case):
    counts = case["only_first"], case["only_second"], case["n"]
    result = share_above(*subjects(*counts), margin=0.1)
    exact = stats.binomtest(counts[0], counts[0] + counts[1]).pvalue if 0 < counts[0] + counts[1] < 25 else None
    assert result.p_value == pytest.approx(case["p_value"] if exact is None else exact, rel=1e-9)
    assert result.estimate == pytest.approx((counts[0] - counts[1]) / counts[2])


def test_the_share_interval_is_the_published_one():
    # Airway hyper-responsiveness of 21 children, as analysed by Fagerland et al., Statistics in Medicine 2014;33:2850.
    assert tango_interval(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)


def score(difference, only_first, only_second, n):
    """Score statistic with the nuisance share found by maximising the likelihood, not by Tango's formula."""
    low, high = max(0.0, -difference), (1 - difference) / 2

    def loss(share):
        cells = np.array([share + difference, share, 1 - 2 * share - difference])
        counts = np.array([only_first, only_second, n - only_first - only_second])
        return -np.sum(counts * np.log(np.clip(cells, 1e-300, None)))

    share = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    variance = n * (2 * share + difference * (1 - difference))
    return (only_first - only_second - n * difference) / math.sqrt(variance)


@pytest.mark.parametrize(
    ("only_first", "only_second", "n"), [(1, 7, 21), (9, 2, 42), (3, 3, 10), (5, 1, 10), (40, 20, 160)]
)
def test_at_its_bounds_the_share_interval_is_just_not_rejected(only_first, only_second, n):
    low, high = tango_interval(only_first, only_second, n)
    assert score(low, only_first, only_second, n) == pytest.approx(1.959964, abs=1e-3)
    assert score(high, only_first, only_second, n) == pytest.approx(-1.959964, abs=1e-3)


def test_six_misses_against_none_are_tested_exactly():
    assert share_above(*subjects(6, 0, 20), margin=0.1).p_value == pytest.approx(2 * 0.5**6)


@given(st.integers(2, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.data())
def test_the_share_interval_excludes_zero_where_mcnemar_rejects(total, data):
    discordant, n = total
    only_first = data.draw(st.integers(0, discordant))
    result = share_above(*subjects(only_first, discordant - only_first, n), margin=0.1)
    assert -1 <= result.ci_low <= result.estimate <= result.ci_high <= 1
    if discordant >= 25 and abs(result.p_value - 0.05) > 1e-6:
        assert (result.p_value < 0.05) == (not result.ci_low <= 0 <= result.ci_high)
    if result.p_value < 0.05:
        assert not result.ci_low <= 0 <= result.ci_high, "the exact test is the stricter one"
    assert result.non_inferior == (result.ci_high < 0.1)
    if abs(result.p_non_inferiority - 0.025) > 1e-6:
        assert (result.p_non_inferiority < 0.025) == result.non_inferior


@pytest.mark.parametrize(("only_first", "only_second", "n"), [(0, 0, 40), (1, 7, 21), (9, 2, 42), (3, 3, 10)])
def test_the_p_value_of_no_excess_is_that_of_the_score_test(only_first, only_second, n):
    result = share_above(*subjects(only_first, only_second, n), margin=0.1)
    expected = stats.norm.cdf(score(0.1, only_first, only_second, n))
    assert result.p_non_inferiority == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("margin", [0.02, 0.05, 0.1, 0.2, 0.5])
def test_the_number_of_subjects_needed_is_the_first_that_excludes_the_margin(margin):
    needed = subjects_for_share(margin)
    before, enough = (share_above(np.ones(n), np.ones(n), margin).non_inferior for n in (needed - 1, needed))
    assert (before, enough) == (False, True)
    assert subjects_for_share(0.1) == 35


@pytest.mark.parametrize(
    ("n", "shares"), [(10, (0.15, 0.05)), (10, (0.1, 0.1)), (42, (0.05, 0.05)), (42, (0.2, 0.1)), (20, (0.3, 0.1))]
)
def test_the_share_interval_covers_and_its_test_keeps_the_level(n, shares):
    counts = [(b, c) for b in range(n + 1) for c in range(n + 1 - b)]
    probability = stats.multinomial.pmf([(b, c, n - b - c) for b, c in counts], n, [*shares, 1 - sum(shares)])
    likely = [(count, p) for count, p in zip(counts, probability, strict=True) if p > 1e-7]
    covered = wrongly_non_inferior = 0.0
    for (b, c), p in likely:
        low, high = tango_interval(b, c, n)
        covered += p * (low <= shares[0] - shares[1] <= high)
        wrongly_non_inferior += p * (high < shares[0] - shares[1])
    assert covered >= 0.947
    assert wrongly_non_inferior <= 0.028


def test_shares_count_failures_and_not_the_limit_itself():
    result = share_above([10.0, 10.1, np.inf, 1.0], [0.0, 0.0, np.inf, 11.0], margin=0.1)
    assert (result.n, result.estimate) == (4, 0.0)
    assert share_above([10.0, 10.1, np.inf, 1.0], [0.0] * 4, margin=0.1).estimate == 0.5


def test_no_miss_at_all_is_a_result_with_an_interval():
    few, many = (share_above(np.ones(n), np.ones(n), margin=0.1) for n in (10, 42))
    assert (few.estimate, few.p_value, few.note) == (0.0, 1.0, "")
    assert few.ci_high == pytest.approx(1.959964**2 / (10 + 1.959964**2), abs=1e-6)
    assert few.non_inferior is False
    assert many.non_inferior is True


@pytest.mark.parametrize(("automatic", "note"), [([1.0], "n=1"), ([1.0, np.nan], "NaN"), ([], "n=0")])
def test_shares_say_why_they_cannot(automatic, note):
    result = share_above(automatic, [2.0] * len(automatic), margin=0.1)
    assert note in result.note
    assert result.non_inferior is None
    assert np.isnan([result.estimate, result.ci_low, result.p_value]).all()


def test_mistakes_of_shape_are_named():
    with pytest.raises(NervesegError) as caught:
        share_above([1, 2, 3], [1, 2], margin=0.1)
    assert caught.value.found == "3 and 2 values"
    with pytest.raises(NervesegError) as caught:
        contrast([[1.0], [2.0]], margin=0.1)
    assert "(2, 1)" in caught.value.found
    with pytest.raises(ConfigurationError) as caught:
        share_above([1, 2], [1, 2], margin=10)
    assert "margin" in caught.value.rule
    assert caught.value.found == 10


def test_the_interval_of_a_mean_is_students_over_the_units_whatever_the_number_of_their_values():
    values = random_sample(12)
    student = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert mean_interval(values, list(range(12))) == pytest.approx(student)
    assert mean_interval(np.repeat(values, 4), list(np.repeat(range(12), 4))) == pytest.approx(student)
    assert np.isnan(mean_interval(values, ["one"] * 12)).all()
    assert np.isnan(mean_interval(values[:0], [])).all()
