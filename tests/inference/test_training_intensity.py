import numpy as np
import pytest

from nerveseg.data.preprocessing import Preprocessing
from nerveseg.inference.training_intensity import (
    PERCENTILES,
    IntensityRange,
    intensity_percentiles,
    scan_intensity,
)


def test_percentiles_are_those_of_the_sorted_values_above_the_smallest():
    values = np.concatenate([np.full(500, -1.0), np.arange(101.0)])
    np.random.default_rng(0).shuffle(values)
    assert intensity_percentiles(values.reshape(1, 601, 1)) == (1.0, 25.0, 50.0, 75.0, 99.0) == PERCENTILES


def test_one_value_everywhere_is_its_own_percentile():
    assert intensity_percentiles(np.full((2, 2, 2), 3.0)) == (3.0,) * 5


def test_a_range_is_the_smallest_and_the_largest_of_each_percentile():
    found = IntensityRange.over([(0.0, 1.0, 2.0, 3.0, 4.0), (-1.0, 1.5, 1.9, 3.0, 9.0)])
    assert found.by_percentile == {
        1.0: (-1.0, 0.0), 25.0: (1.0, 1.5), 50.0: (1.9, 2.0), 75.0: (3.0, 3.0), 99.0: (4.0, 9.0),
    }  # fmt: skip
    assert IntensityRange.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize("rule", ["volume", "percentile"])
@pytest.mark.parametrize("shape", [(30, 24, 4), (14, 16, 4), (40, 10, 4)])
def test_a_training_subject_compares_equal_to_itself(shape, rule):
    """What the slice store holds, padding included, and what is measured in a new scan are the same numbers."""
    channels = np.random.default_rng(0).gamma(2, 50, (2, *shape)).astype(np.float32)
    preprocessing = Preprocessing(size=(20, 18), normalisation=rule)
    stored, _ = preprocessing.apply(channels, (0.5, 0.5, 4.4))
    found = scan_intensity(channels, (0.5, 0.5, 4.4), preprocessing, (0.5, 0.5, 4.4))
    expected = [intensity_percentiles(np.ascontiguousarray(channel.transpose(2, 0, 1))) for channel in stored]
    np.testing.assert_allclose(found, expected, atol=0.02)


@pytest.mark.parametrize("factor", [0.5, 2])
def test_another_spacing_is_measured_over_the_same_millimetres(factor):
    """A bright body in the middle of air: were the crop counted in pixels, the share of air would change."""

    def picture(pixels):
        x, y = np.ogrid[:pixels, :pixels]
        middle = (pixels - 1) / 2
        body = np.hypot(x - middle, y - middle) < 0.2 * pixels
        noise = np.random.default_rng(1).random((pixels, pixels, 3))
        return (100 * body[..., None] + noise).astype(np.float32)[None]

    preprocessing = Preprocessing(size=(100, 100))
    same = scan_intensity(picture(200), (0.5, 0.5, 4.4), preprocessing, (0.5, 0.5, 4.4))
    spacing = (0.5 * factor, 0.5 * factor, 4.4)
    other = scan_intensity(picture(int(200 / factor)), spacing, preprocessing, (0.5, 0.5, 4.4))
    np.testing.assert_allclose(other, same, atol=0.05)
