import numpy as np
import pytest

from nerveseg.phantom.variety import draw_sequence
from nerveseg.synthesis.anatomies import AIR, FIRST_MUSCLE, MARROW, NERVOUS, SUBCUTANEOUS
from nerveseg.synthesis.contrast import draw_contrast


@pytest.fixture(scope="module")
def signals():
    return np.array([draw_contrast(np.random.default_rng(seed)).signal for seed in range(400)])


def test_signals_are_finite_and_none_is_below_air(signals):
    assert np.isfinite(signals).all()
    assert signals.min() >= 0
    assert not signals[:, AIR].any()


@pytest.mark.parametrize("other", [SUBCUTANEOUS, FIRST_MUSCLE])
def test_nerve_is_brighter_than_its_neighbours_in_some_images_and_darker_in_others(signals, other):
    brighter = (signals[:, NERVOUS] > 1.1 * signals[:, other]).mean()
    darker = (signals[:, NERVOUS] < 0.9 * signals[:, other]).mean()
    assert min(brighter, darker) > 0.15


def test_a_tissue_lies_between_water_and_fat_by_its_share():
    contrast = draw_contrast(np.random.default_rng(3))
    share = (contrast.signal[MARROW] - contrast.water[MARROW]) / (contrast.fat - contrast.water[MARROW])
    assert share == pytest.approx(contrast.fat_share[MARROW], rel=1e-4)


def test_scans_of_a_varied_cohort_have_many_contrasts():
    ratios = np.array([draw_sequence(np.random.default_rng(seed)).fat for seed in range(100)])
    assert np.percentile(ratios, 15) < 0.5
    assert np.percentile(ratios, 85) > 4
