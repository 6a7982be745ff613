"""Test of the expected Dice against scipy and brute force."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from nerveseg.evaluation.risk_coverage import auroc, kept_dice, measure_expectation

VALUES = st.lists(st.integers(0, 5).map(float), min_size=1, max_size=12)


@given(VALUES, VALUES)
def test_auroc_is_the_mann_whitney_statistic(failed, others):
    statistic = mannwhitneyu(others, failed, method="asymptotic").statistic
    assert auroc(np.array(failed), np.array(others)) == pytest.approx(statistic / (len(failed) * len(others)))


def test_auroc_needs_failed_and_other_scans():
    assert auroc(np.array([]), np.array([0.5])) is None
    assert auroc(np.array([0.5]), np.array([])) is None


def table_of(rows, groups="abcd", unlike=("", "", "", "")):
    table = pd.DataFrame(rows, columns=["expected", "lower", "upper", "dice"])
    return table.assign(group=list(groups), unlike=list(unlike))


def test_the_measures_of_four_scans():
    rows = [(0.5, 0.4, 0.6, 0.3), (0.7, 0.6, 0.8, 0.8), (0.8, 0.7, 0.9, 0.75), (0.0, 0.0, 0.0, 0.0)]
    found = measure_expectation(table_of(rows))
    assert (found.subjects, found.failed, found.auroc) == (4, 2, 1.0)
    assert found.mean_absolute_error == pytest.approx((0.2 + 0.1 + 0.05 + 0) / 4)
    assert found.coverage == 0.75


def test_the_scans_of_one_person_weigh_as_one():
    once = [(0.5, 0.4, 0.6, 0.3), (0.7, 0.6, 0.8, 0.8), (0.4, 0.2, 0.9, 0.75), (0.1, 0.0, 0.2, 0.1)]
    often = [once[0], once[0], once[0], once[1], once[2], once[2], once[3]]
    first, second = measure_expectation(table_of(once)), measure_expectation(table_of(often, "aaabccd", [""] * 7))
    for name in ("groups", "mean_absolute_error", "auroc", "coverage"):
        assert getattr(first, name) == pytest.approx(getattr(second, name))
    assert (first.subjects, second.subjects) == (4, 7)


def test_scans_without_a_number_are_counted_as_false_alarms_only():
    rows = [(0.5, 0.4, 0.6, 0.3), (0.7, 0.6, 0.8, 0.8), (0.8, 0.7, 0.9, 0.75), (0.9, 0.9, 1.0, 0.1)]
    found = measure_expectation(table_of(rows, unlike=("", "", "", "area of the sections")))
    assert (found.subjects, found.withheld, found.failed, found.auroc, found.coverage) == (3, 1, 1, 1.0, 2 / 3)
    assert found.mean_absolute_error == pytest.approx((0.2 + 0.1 + 0.05) / 3)
    nothing = measure_expectation(table_of(rows, unlike=["area of the sections"] * 4))
    assert (nothing.withheld, nothing.mean_absolute_error, nothing.coverage) == (4, None, None)


def test_the_best_order_keeps_the_highest_mean_at_every_share():
    generator = np.random.default_rng(0)
    dice = generator.uniform(size=9)
    best = kept_dice(dice, dice)
    for kept in range(1, 10):
        assert best[kept - 1] == pytest.approx(np.sort(dice)[-kept:].mean())
    assert np.all(kept_dice(dice, generator.uniform(size=9)) <= best + 1e-12)
