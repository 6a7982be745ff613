import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from nerveseg.errors import NervesegError
from nerveseg.evaluation.statistics.agreement import bland_altman, icc_2_1, repeatability, smallest_detectable_change

R = json.loads((Path(__file__).parents[1] / "helpers" / "reference" / "statistics_r.json").read_text(encoding="utf-8"))

# Peak expiratory flow (l/min) of 17 subjects by the Wright meter and the mini Wright meter, first and second reading:
# Bland and Altman, Lancet 1986;327:307, table 1.
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
WRIGHT_AGAIN = [490, 397, 512, 401, 470, 611, 415, 431, 638, 429, 420, 633, 275, 492, 165, 372, 421]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]

VOLUMES = arrays(np.float64, st.integers(2, 12), elements=st.floats(1, 100).map(lambda value: round(value, 1)))


def test_bland_and_altmans_own_example():
    result = bland_altman(MINI, WRIGHT, percent=False)
    assert result.n == 17
    assert result.bias == pytest.approx(-2.1, abs=0.05)
    assert result.sd == pytest.approx(38.8, abs=0.05)
    assert result.bias_ci == pytest.approx((-22.0, 17.8), abs=0.1)
    # The paper multiplies by 2 where we multiply by 1.96, and prints -79.7 and 75.5.
    assert (result.lower, result.upper) == pytest.approx((-79.7 + 0.04 * 38.8, 75.5 - 0.04 * 38.8), abs=0.1)


def test_repeatability_of_bland_and_altmans_own_example():
    result = repeatability(WRIGHT, WRIGHT_AGAIN)
    # The paper's coefficient of repeatability is twice the standard deviation of the differences around zero: 43.2.
    assert result.estimate * math.sqrt(2) * 2 == pytest.approx(43.2, abs=0.1)
    assert smallest_detectable_change(result.estimate) == pytest.approx(1.959964 * math.sqrt(2) * result.estimate)


@pytest.mark.parametrize("case", R["bland_altman"], ids=lambda case: f"n={case['n']}")
def test_the_intervals_have_the_factors_of_r(case):
    n = case["n"]
    differences = np.random.default_rng(n).normal(1, 2, n)
    result = bland_altman(np.full(n, 10.0), 10 + differences, percent=False)
    inner, outer = np.array(case["limit"]) * result.sd
    half = case["bias"] * result.sd
    assert result.bias_ci == pytest.approx((result.bias - half, result.bias + half), rel=1e-6)
    assert result.upper_ci == pytest.approx((result.bias + inner, result.bias + outer), rel=1e-6)
    assert result.lower_ci == pytest.approx((result.bias - outer, result.bias - inner), rel=1e-6)


@pytest.mark.parametrize("n", [5, 20])
def test_the_intervals_of_the_limits_cover(n):
    rng, studies, z = np.random.default_rng(n), 2000, 1.959964
    covered = np.zeros(3)
    for differences in rng.normal(1, 2, (studies, n)):
        result = bland_altman(np.zeros(n), differences, percent=False)
        truths = ((1 - 2 * z, result.lower_ci), (1.0, result.bias_ci), (1 + 2 * z, result.upper_ci))
        covered += [low <= truth <= high for truth, (low, high) in truths]
    assert (covered >= stats.binom.ppf(0.001, studies, 0.95)).all()
    assert (covered <= stats.binom.ppf(0.999, studies, 0.95)).all()


@given(VOLUMES, st.floats(0.5, 2), st.floats(1, 1000))
def test_percent_does_not_know_the_unit(volumes, factor, unit):
    other = volumes * factor + np.arange(volumes.size)
    once, scaled = bland_altman(volumes, other), bland_altman(volumes * unit, other * unit)
    assert (once.bias, once.sd) == pytest.approx((scaled.bias, scaled.sd), abs=1e-9)


@given(VOLUMES)
def test_changing_places_changes_the_sign(volumes):
    other = volumes[::-1] + np.arange(volumes.size)
    one, two = bland_altman(volumes, other), bland_altman(other, volumes)
    assert one.bias == pytest.approx(-two.bias, abs=1e-9)
    assert (one.lower, one.upper) == pytest.approx((-two.upper, -two.lower), abs=1e-9)


def test_a_method_that_is_a_third_too_large():
    result = bland_altman([3.0, 6.0, 9.0], [4.0, 8.0, 12.0])
    assert result.bias == pytest.approx(100 / 3.5)
    assert result.sd == 0
    assert (result.lower, result.upper) == (result.bias, result.bias)
    assert "all differences are equal" in result.note
    assert np.isnan([*result.bias_ci, *result.lower_ci, *result.upper_ci]).all()


@pytest.mark.parametrize(
    ("reference", "other", "note"),
    [
        ([], [], "n=0"),
        ([5.0], [6.0], "n=1"),
        ([5.0, np.nan], [6.0, 7.0], "1 of 4 values are NaN"),
        ([5.0, np.inf], [6.0, 7.0], "1 infinite"),
        ([0.0, 4.0], [0.0, 5.0], "1 of 2 pairs have a mean of zero or below"),
    ],
)
def test_limits_say_why_they_cannot(reference, other, note):
    result = bland_altman(reference, other)
    assert note in result.note
    assert np.isnan([result.bias, result.sd, result.lower, result.upper, *result.bias_ci, *result.upper_ci]).all()


def test_an_empty_mask_has_a_difference_in_ml_but_none_in_percent_of_nothing():
    assert bland_altman([0.0, 4.0], [0.0, 5.0], percent=False).bias == 0.5
    assert bland_altman([4.0, 4.0, 5.0], [0.0, 5.0, 5.0]).bias == pytest.approx((-200 + 100 / 4.5) / 3)


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in R["icc"]])
def test_icc_is_that_of_r(case):
    result = icc_2_1(case["ratings"])
    assert (result.estimate, result.ci_low, result.ci_high) == pytest.approx(
        (case["value"], case["low"], case["high"]), rel=1e-9
    )


def test_icc_of_shrout_and_fleiss():
    result = icc_2_1([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])
    assert result.n == 6
    assert result.estimate == pytest.approx(0.290, abs=5e-4)
    assert (result.ci_low, result.ci_high) == pytest.approx((0.019, 0.761), abs=5e-4)


def test_icc_finds_the_variances_it_is_made_of():
    rng = np.random.default_rng(0)
    offsets = np.array([-0.5, 0.0, 0.5])
    ratings = rng.normal(6, 1.5, (20000, 1)) + offsets + rng.normal(0, 0.4, (20000, 3))
    between = 1.5**2
    assert icc_2_1(ratings).estimate == pytest.approx(between / (between + offsets.var(ddof=1) + 0.4**2), abs=0.01)


def test_the_interval_of_the_icc_covers():
    rng, studies = np.random.default_rng(1), 1000
    truth = 1.5**2 / (1.5**2 + 0.3**2 + 0.5**2)
    covered = 0
    for _ in range(studies):
        ratings = rng.normal(0, 1.5, (15, 1)) + rng.normal(0, 0.3, (1, 3)) + rng.normal(0, 0.5, (15, 3))
        result = icc_2_1(ratings)
        covered += result.ci_low <= truth <= result.ci_high
    assert stats.binom.ppf(0.001, studies, 0.95) <= covered <= stats.binom.ppf(0.999, studies, 0.97)


@given(
    arrays(np.float64, st.tuples(st.integers(2, 6), st.integers(2, 4)), elements=st.integers(0, 9).map(float)),
    st.floats(0.1, 10),
    st.floats(-100, 100),
)
def test_icc_knows_neither_unit_nor_zero_and_never_warns(ratings, unit, zero):
    once, moved = icc_2_1(ratings), icc_2_1(ratings * unit + zero)
    assert (once.note == "") == (not np.isnan(once.ci_low))
    assert once.note or once.ci_low <= once.estimate <= once.ci_high
    assume(once.note == moved.note == "" and abs(once.estimate) < 100)
    assert once.estimate <= 1
    assert moved.estimate == pytest.approx(once.estimate, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("ratings", "note"),
    [
        (np.zeros((0, 3)), "n=0"),
        (np.zeros((3, 0)), "0 raters"),
        ([[1.0, 2.0, 3.0]], "n=1"),
        ([[1.0], [2.0]], "1 rater"),
        ([[1.0, 2.0], [np.nan, 3.0]], "1 of 4 values are NaN"),
        (np.ones((5, 3)), "all values are equal"),
        ([[0.0, 1.0], [1.0, 0.0]], "swap"),
    ],
)
def test_icc_says_why_it_cannot(ratings, note):
    result = icc_2_1(ratings)
    assert note in result.note
    assert np.isnan([result.estimate, result.ci_low, result.ci_high]).all()


def test_raters_apart_by_a_constant_leave_no_interval():
    result = icc_2_1(np.add.outer([5.1, 6.2, 7.3], [0.0, 0.7]))
    assert result.estimate == pytest.approx(1.1**2 / (1.1**2 + 0.7**2 / 2))
    assert "constants only" in result.note
    assert math.isnan(result.ci_low)


def test_perfect_agreement_is_one():
    assert icc_2_1(np.array([[5.1], [6.2], [7.3]]) + np.zeros(3)).estimate == pytest.approx(1)


def test_the_error_of_measurement_is_that_of_one_measurement():
    rng = np.random.default_rng(0)
    truth = rng.normal(6, 1.5, 50000)
    first, second = truth + rng.normal(0, 0.3, 50000), truth + rng.normal(0, 0.3, 50000)
    result = repeatability(first, second)
    assert result.estimate == pytest.approx(0.3, rel=0.02)
    assert np.mean(np.abs(second - first) < smallest_detectable_change(result.estimate)) == pytest.approx(
        0.95, abs=0.005
    )


def test_a_shift_between_scans_is_error():
    assert repeatability([5.0, 6.0, 7.0], [6.0, 7.0, 8.0]).estimate == pytest.approx(math.sqrt(0.5))
    assert smallest_detectable_change(repeatability([5.0, 6.0], [5.0, 6.0]).estimate) == 0


@pytest.mark.parametrize(("second", "note"), [([], "n=0"), ([1.0], "n=1"), ([1.0, np.nan], "NaN")])
def test_repeatability_says_why_it_cannot(second, note):
    result = repeatability([2.0] * len(second), second)
    assert note in result.note
    assert np.isnan([result.estimate, smallest_detectable_change(result.estimate)]).all()


def test_mistakes_of_shape_are_named():
    with pytest.raises(NervesegError) as caught:
        bland_altman([1, 2], [1, 2, 3])
    assert caught.value.found == "2 and 3 values"
    with pytest.raises(NervesegError) as caught:
        icc_2_1([1, 2, 3])
    assert "(3,)" in caught.value.found
