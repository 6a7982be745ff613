import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nerveseg.networks.dropping import Dropping


def drawn(probability, count, seed=0):
    torch.manual_seed(seed)
    return Dropping.of(torch.empty(count), probability)


@pytest.mark.parametrize("probability", [0.01, 0.2, 0.5, 0.93])
def test_as_many_values_fall_as_the_probability_says(probability):
    kept = drawn(probability, 200_003).kept
    assert stats.binomtest(int((~kept).sum()), len(kept), probability).pvalue > 1e-3


@pytest.mark.parametrize("distance", [1, 2, 3, 4, 8])
def test_neighbours_fall_independently(distance):
    """Four values share one draw of 64 bits."""
    kept = drawn(0.2, 400_000).kept
    both = int((~kept[:-distance] & ~kept[distance:]).sum())
    assert stats.binomtest(both, len(kept) - distance, 0.04).pvalue > 1e-3


@given(st.floats(0, 0.999), st.integers(1, 50))
def test_what_remains_keeps_the_mean_of_many_draws(probability, count):
    dropping = drawn(probability, count)
    assert dropping.factor == pytest.approx(1 / (1 - probability), rel=0.01)
    values = torch.ones(count, dtype=torch.float64)
    dropping.apply(values)
    assert set(values.tolist()) <= {0.0, dropping.factor}


def test_nothing_falls_without_probability():
    values = torch.randn(7)
    before = values.clone()
    drawn(0.0, 7).apply(values)
    assert torch.equal(values, before)


def test_draws_follow_the_generator():
    assert torch.equal(drawn(0.4, 101, seed=3).kept, drawn(0.4, 101, seed=3).kept)
    assert not torch.equal(drawn(0.4, 101, seed=3).kept, drawn(0.4, 101, seed=4).kept)
