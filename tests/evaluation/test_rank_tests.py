import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nerveseg.evaluation.statistics.contrasts import contrast
from nerveseg.evaluation.statistics.rank_tests import hodges_lehmann, mann_whitney, rank_biserial, signed_rank
from tests.helpers.r_values import SCORES, R, named, numbers, random_sample


def test_the_reference_is_of_an_r_that_is_not_exact_with_ties():
    major, minor = R["R"].split()[2].split(".")[:2]
    assert (int(major), int(minor)) < (4, 6)


@pytest.mark.parametrize("case", named(R["mann_whitney"]))
def test_mann_whitney_is_that_of_r(case):
    result = mann_whitney(numbers(case["x"]), numbers(case["y"]))
    assert result.statistic == case["u"]
    assert result.p_value == pytest.approx(case["p_value"], rel=1e-9)
    assert result.method == ("exact" if case["exact"] else "normal approximation")


@given(st.lists(SCORES, min_size=2, max_size=12), st.lists(SCORES, min_size=2, max_size=12))
def test_u_counts_pairs(x, y):
    larger = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in itertools.product(x, y))
    result = mann_whitney(x, y)
    assert result.statistic == larger
    more = sum((a > b) - (a < b) for a, b in itertools.product(x, y))
    assert result.effect_size == pytest.approx(more / (len(x) * len(y)))


@given(st.sets(st.integers(0, 50), min_size=6, max_size=8))
def test_the_exact_p_value_is_the_share_of_all_splits(values):
    values = sorted(values, key=lambda value: value * 37 % 53)
    x, y = values[:3], values[3:]

    def distance(first):
        rest = [value for value in values if value not in first]
        return abs(2 * sum(a > b for a in first for b in rest) - len(first) * len(rest))

    splits = [distance(first) for first in itertools.combinations(values, 3)]
    share = np.mean(np.array(splits) >= distance(x))
    assert mann_whitney(x, y).p_value == pytest.approx(share)


def test_a_failure_ranks_worst_whatever_its_distance():
    failed = mann_whitney([1.0, 2.0, np.inf], [3.0, 4.0, 5.0, 6.0])
    far = mann_whitney([1.0, 2.0, 1e6], [3.0, 4.0, 5.0, 6.0])
    assert (failed.statistic, failed.p_value) == (far.statistic, far.p_value)


@pytest.mark.parametrize(
    ("x", "y", "note"),
    [
        ([0.8], [0.7, 0.9, 0.8], "not computable, n=1"),
        ([], [0.7, 0.9], "not computable, n=0"),
        ([0.5, np.nan], [0.7, 0.9], "not computable, 1 of 4 values are NaN"),
        ([0.5, 0.5], [0.5, 0.5, 0.5], "not computable, all values are equal"),
        ([np.inf, np.inf], [np.inf, np.inf], "not computable, all values are equal"),
    ],
)
def test_mann_whitney_says_why_it_cannot(x, y, note):
    result = mann_whitney(x, y)
    assert math.isnan(result.p_value)
    assert result.note == note


def test_rank_biserial_has_its_ends_at_complete_separation():
    assert rank_biserial(12.0, 3, 4) == 1
    assert rank_biserial(0.0, 3, 4) == -1
    assert rank_biserial(6.0, 3, 4) == 0
    assert math.isnan(rank_biserial(0.0, 0, 4))


@pytest.mark.parametrize("case", named(R["signed_rank"]))
def test_signed_rank_is_that_of_r(case):
    result = signed_rank(case["differences"])
    assert result.statistic == case["v"]
    expected = case["p_value"] if len(case["differences"]) >= 50 else case["conditional_p_value"]
    assert result.p_value == pytest.approx(expected, rel=1e-9)


@given(st.lists(st.integers(-4, 4), min_size=2, max_size=9).filter(any))
def test_signed_rank_is_the_share_of_all_sign_changes(differences):
    nonzero = [value for value in differences if value]
    ranks = stats.rankdata(np.abs(nonzero))
    sums = [
        sum(r for r, up in zip(ranks, ups, strict=True) if up) for ups in itertools.product((0, 1), repeat=len(ranks))
    ]
    observed = sum(r for r, value in zip(ranks, nonzero, strict=True) if value > 0)
    middle = ranks.sum() / 2
    share = Fraction(sum(abs(s - middle) >= abs(observed - middle) for s in sums), len(sums))
    result = signed_rank(differences)
    assert result.p_value == pytest.approx(float(share))
    assert result.effect_size == pytest.approx((observed - (ranks.sum() - observed)) / ranks.sum())


def test_rounding_makes_no_difference_of_equal_means():
    scores = np.array([0.1, 0.2, 0.3])
    residue = scores[[0, 1, 2]].sum() - scores[[2, 1, 0]].sum()
    assert residue != 0
    assert signed_rank([residue, 0.1, -0.2, 0.3]).p_value == signed_rank([0.0, 0.1, -0.2, 0.3]).p_value
    assert signed_rank([residue, -residue]).note == "not computable, all differences are zero"


@pytest.mark.parametrize("case", named(case for case in R["signed_rank"] if case.get("interval")))
def test_hodges_lehmann_is_that_of_r(case):
    result = hodges_lehmann(case["differences"])
    assert result.estimate == pytest.approx(case["estimate"], abs=1e-12)
    assert [result.ci_low, result.ci_high] == pytest.approx(case["interval"], abs=1e-12)


@given(st.lists(st.integers(-30, 30), min_size=6, max_size=10, unique_by=abs).filter(all))
def test_the_interval_holds_the_shifts_that_the_test_does_not_reject(differences):
    values = np.array(differences, dtype=float)
    result = hodges_lehmann(values)
    for shift in (result.ci_low + 1e-6, result.ci_high - 1e-6):
        assert signed_rank(values - shift).p_value > 0.05 or result.ci_low == result.ci_high
    for shift in (result.ci_low - 1e-6, result.ci_high + 1e-6):
        assert signed_rank(values - shift).p_value <= 0.05


def test_a_failed_subject_opens_the_interval_on_its_side_only():
    finite, failed = random_sample(12), np.append(random_sample(12)[:11], np.inf)
    assert hodges_lehmann([*finite[:5], np.inf]).ci_high == np.inf
    result = hodges_lehmann(failed)
    assert np.isfinite([result.estimate, result.ci_low]).all()
    assert "both +inf and -inf" in hodges_lehmann([*finite, np.inf, -np.inf]).note


@pytest.mark.parametrize("n", [2, 5])
def test_five_subjects_reach_no_interval(n):
    result = contrast(random_sample(n), margin=0.05)
    assert math.isnan(result.ci_low)
    assert result.non_inferior is None
    assert f"n={n}" in result.note
    assert result.estimate == hodges_lehmann(random_sample(n)).estimate
    assert not math.isnan(result.p_value)
