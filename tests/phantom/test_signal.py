import numpy as np
import pytest
from scipy import ndimage

from nerveseg.phantom.signal import MUSCLE_UNITS, acquire, draw_appearance


def look(denervation: float = 0.0, noise: float = 0.2, shading_sd: float = 0.0):
    return draw_appearance(np.random.default_rng(5), denervation, 1.0, noise, shading_sd)


def acquired(signal: float, noise: float):
    axis = np.arange(60.0)
    picture = np.full((60, 60, 4), signal, dtype=np.float32)
    return acquire(picture, look(noise=noise), (axis, axis), np.arange(4.0), np.random.default_rng(1)) / MUSCLE_UNITS


def test_noise_in_air_has_the_rayleigh_mean():
    assert acquired(0.0, 0.2).mean() == pytest.approx(0.2 * np.sqrt(np.pi / 2), rel=0.02)


def test_noise_in_tissue_has_the_second_moment_of_rice():
    values = acquired(1.0, 0.2)
    assert (values**2).mean() == pytest.approx(1.0 + 2 * 0.2**2, rel=0.01)


def test_the_nerve_is_brighter_than_muscle_and_darker_than_fat(demo_subjects):
    for subject in demo_subjects:
        inside = subject.truth & ndimage.binary_erosion(subject.truth, np.ones((3, 3, 1), bool))
        nerve = np.median(subject.image[inside]) / MUSCLE_UNITS
        assert 1.4 < nerve < 4.2, subject.participant.id


def test_the_veins_beside_the_nerve_look_like_nerve(demo_subjects):
    nerves = np.array([np.median(s.image[s.truth]) for s in demo_subjects])
    veins = np.array([np.median(s.image[s.near_veins]) for s in demo_subjects])
    assert abs(np.median(veins / nerves) - 1) < 0.25
    assert (veins > 1.5 * MUSCLE_UNITS).all()
    assert all(s.near_veins.sum() < s.truth.sum() for s in demo_subjects)


def test_denervated_muscle_is_brighter_and_only_where_the_sciatic_nerve_supplies_it():
    healthy, ill = look(0.0), look(1.0)
    assert max(healthy.oedema) == 0
    assert ill.oedema[1] == 0
    assert 0.4 < np.mean([value for value in ill.oedema if value > 0]) < 2.3


def test_shading_is_smooth_and_of_the_strength_asked_for():
    axis = np.arange(0.0, 200.0, 2.0)
    seen = []
    for seed in range(40):
        shaded = draw_appearance(np.random.default_rng(seed), 0.0, 1.0, 0.0, 0.3)
        picture = np.ones((100, 100, 1), dtype=np.float32)
        seen.append(
            np.log(acquire(picture, shaded, (axis, axis), np.zeros(1), np.random.default_rng(0)) / MUSCLE_UNITS)
        )
    assert np.std(seen) == pytest.approx(0.3, rel=0.3)
    assert np.abs(np.diff(seen, axis=1)).max() < 0.06
