import numpy as np
import pytest

from nerveseg.phantom.grid import WaveField


@pytest.fixture(scope="module")
def draws():
    return [WaveField.draw(np.random.default_rng(seed), (10.0, 20.0, 40.0)) for seed in range(3000)]


def test_a_plane_holds_the_values_of_its_points():
    field = WaveField.draw(np.random.default_rng(1), (3.0, 5.0, 30.0))
    lateral, anterior = np.linspace(-40, 30, 8), np.linspace(-20, 50, 5)
    plane = field.plane(lateral, anterior, 120.0)
    expected = [[field.at(x, y, 120.0) for y in anterior] for x in lateral]
    np.testing.assert_allclose(plane, expected, atol=1e-4)


def test_a_field_has_mean_zero_and_variance_one(draws):
    values = [field.at(7.0, -3.0, 100.0) for field in draws]
    assert np.mean(values) == pytest.approx(0.0, abs=0.06)
    assert np.var(values) == pytest.approx(1.0, abs=0.08)


@pytest.mark.parametrize("step", [(10.0, 0.0, 0.0), (0.0, 20.0, 0.0), (0.0, 0.0, 40.0)])
def test_the_correlation_at_one_length_is_that_of_a_gaussian(draws, step):
    here = np.array([field.at(0.0, 0.0, 0.0) for field in draws])
    there = np.array([field.at(*step) for field in draws])
    assert np.mean(here * there) == pytest.approx(np.exp(-0.5), abs=0.08)
