import numpy as np
import pytest
from pydantic import ValidationError

from nerveseg.biomarkers.signals import LesionRule, eroded_in_plane, find_lesion
from nerveseg.errors import GeometryError

SHAPE = (20, 20, 10)


@pytest.fixture
def nerve():
    mask = np.zeros(SHAPE, dtype=bool)
    mask[4:14, 4:14] = True
    return mask


@pytest.fixture
def bright(nerve):
    """Abnormal between slices 3 and 5."""
    return nerve & ((np.arange(10) >= 3) & (np.arange(10) <= 5))


def channel(bright, gain=2.0):
    noise = np.random.default_rng(0).normal(0.0, 5.0, SHAPE)
    return 100.0 * np.where(bright, gain, 1.0) + noise


def test_what_exceeds_the_reference_by_k_sd_is_lesion(nerve, bright):
    rule = LesionRule(channel="TIRM", k=4.0, reference_mean=100.0, reference_sd=10.0)
    found = find_lesion(nerve, channel(bright), rule)
    assert found.threshold == 140.0
    assert not found.exploratory
    np.testing.assert_array_equal(found.mask, bright)


def test_without_a_reference_nothing_is_looked_for(nerve, bright):
    found = find_lesion(nerve, channel(bright), LesionRule(channel="TIRM"))
    assert found.mask is None
    assert found.threshold is None
    assert "no reference" in found.note
    assert not found.exploratory


def test_the_automatic_threshold_is_exploratory(nerve, bright):
    found = find_lesion(nerve, channel(bright), LesionRule(channel="TIRM", automatic=True))
    assert found.exploratory
    assert "EXPLORATORY" in found.note
    assert (found.mask == bright).mean() > 0.999


def test_the_automatic_threshold_finds_something_in_health_as_well(nerve):
    healthy = channel(np.zeros(SHAPE, dtype=bool))
    found = find_lesion(nerve, healthy, LesionRule(channel="TIRM", automatic=True))
    assert 0.3 < found.mask.sum() / nerve.sum() < 0.7


def test_a_reference_goes_before_the_automatic_threshold(nerve, bright):
    rule = LesionRule(channel="TIRM", reference_mean=100.0, reference_sd=10.0, automatic=True)
    assert not find_lesion(nerve, channel(bright), rule).exploratory


def test_relative_to_muscle_the_coil_cancels(nerve, bright):
    muscle = np.zeros(SHAPE, dtype=bool)
    muscle[15:19, 4:14, :9] = True
    coil = np.linspace(0.5, 3.0, 10)
    rule = LesionRule(channel="TIRM", reference_mean=1.0, reference_sd=0.2, relative_to_muscle=True)
    found = find_lesion(nerve, channel(bright) * coil, rule, muscle)
    np.testing.assert_array_equal(found.mask, bright)
    healthy_or_not = nerve & (np.arange(10) < 9)
    np.testing.assert_array_equal(found.known, healthy_or_not, "no muscle in slice 9, no judgement")
    assert find_lesion(nerve, channel(bright), rule).mask is None


def test_unknown_voxels_are_no_lesion(nerve, bright):
    values = channel(bright)
    values[:, :, 4] = np.nan
    rule = LesionRule(channel="TIRM", reference_mean=100.0, reference_sd=10.0)
    found = find_lesion(nerve, values, rule)
    np.testing.assert_array_equal(found.mask, bright & (np.arange(10) != 4))
    np.testing.assert_array_equal(found.known, nerve & (np.arange(10) != 4))


@pytest.mark.parametrize("relative", [True, False])
def test_a_nerve_of_which_nothing_is_known_is_not_called_healthy(relative, nerve, bright):
    rule = LesionRule(channel="TIRM", reference_mean=1.0, reference_sd=0.2, relative_to_muscle=relative)
    values = channel(bright) if relative else np.full(SHAPE, np.nan)
    found = find_lesion(nerve, values, rule, np.zeros(SHAPE, dtype=bool))
    assert (found.mask, found.known, found.threshold) == (None, None, None)
    assert "TIRM is known" in found.note
    assert ("muscle" in found.note) == relative


def test_muscle_without_signal_is_no_reference(nerve):
    muscle = np.zeros(SHAPE, dtype=bool)
    muscle[15:19, 4:14] = True
    values = np.where(muscle & (np.arange(10) < 5), 0.0, 50.0)
    rule = LesionRule(channel="TIRM", reference_mean=1.0, reference_sd=0.2, relative_to_muscle=True)
    np.testing.assert_array_equal(find_lesion(nerve, values, rule, muscle).known, nerve & (np.arange(10) >= 5))


def test_each_leg_has_its_own_automatic_threshold(nerve, bright):
    """One leg twice as bright as the other: together, the whole of it would be lesion."""
    rule = LesionRule(channel="TIRM", automatic=True)
    values = np.concatenate([channel(bright), 4.0 * channel(bright)])
    none = np.zeros(SHAPE, dtype=bool)
    legs = [np.concatenate([nerve, none]), np.concatenate([none, nerve])]
    found = [find_lesion(leg, values, rule) for leg in legs]
    assert found[1].threshold == pytest.approx(4.0 * found[0].threshold, rel=0.01)
    whole = np.concatenate([bright, bright])
    assert (np.any([one.mask for one in found], axis=0) == whole).mean() > 0.999


@pytest.mark.parametrize("value", [np.nan, 7.0])
def test_a_channel_without_contrast_has_no_automatic_threshold(nerve, value):
    found = find_lesion(nerve, np.full(SHAPE, value), LesionRule(channel="TIRM", automatic=True))
    assert found.mask is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("key", ["k", "reference_mean", "reference_sd"])
def test_a_rule_is_made_of_finite_numbers(key, value):
    with pytest.raises(ValidationError, match=key):
        LesionRule(**{"channel": "TIRM", "reference_mean": 100.0, "reference_sd": 10.0, key: value})


def test_half_a_reference_is_refused():
    with pytest.raises(ValidationError, match="both"):
        LesionRule(channel="TIRM", reference_mean=100.0)


def test_another_grid_is_refused(nerve):
    with pytest.raises(GeometryError):
        find_lesion(nerve, np.ones((2, 2, 2)), LesionRule(channel="TIRM"))


def test_simulated_healthy_nerves_are_healthy_and_a_lesion_is_found(simulated):
    """Three healthy nerves as reference; T2 stands for the fat-suppressed channel. SYNTHETIC."""
    healthy = [simulated("tiny", identifier, images=True) for identifier in ("V01", "V02", "V03")]
    signals = [one.image[eroded_in_plane(one.truth)] for one in healthy]
    means = [signal.mean() for signal in signals]
    mean, sd = np.mean(means), np.sqrt(np.mean([signal.var(ddof=1) for signal in signals]) + np.var(means, ddof=1))
    rule = LesionRule(channel="T2", k=2.0, reference_mean=mean, reference_sd=sd)
    burdens = [float(find_lesion(one.truth, one.image, rule).mask.sum() / one.truth.sum()) for one in healthy]
    assert np.mean(burdens) < 0.1
    ill = healthy[0]
    half = np.arange(ill.truth.shape[2]) < 3
    doubled = np.where(half, 2.0, 1.0) * ill.image
    found = find_lesion(ill.truth, doubled, rule).mask
    assert found[ill.truth & half].mean() > 0.8
    assert found[ill.truth & ~half].mean() < 0.1
