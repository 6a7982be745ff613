import numpy as np
import pytest
from scipy import ndimage

from nerveseg.phantom.nerve import Lesion, Nerve, nerve_section, peroneal_offset_mm

STEP_MM = 0.2


def nerve(**changes) -> Nerve:
    values = {
        "area_mm2": 45.0, "split_mm": 120.0, "divergence": 0.3, "flatness": 1.2, "tilt_deg": 15.0,
        "wave_phases": (0.1, 1.2, 2.3, 3.4, 4.5, 5.6), "lesion": None,
    }  # fmt: skip
    return Nerve(**(values | changes))


def distance_mm(subject: Nerve, level_mm: float):
    axis = np.arange(-25, 60, STEP_MM, dtype=np.float32)
    lateral, anterior = np.meshgrid(axis, axis, indexing="ij")
    return nerve_section(subject, level_mm, lateral, anterior).distance_mm


@pytest.mark.parametrize("level_mm", [300.0, 160.0, 120.0, 105.0, 60.0, 10.0])
@pytest.mark.parametrize("area_mm2", [28.0, 65.0])
def test_the_outline_encloses_the_area_that_was_asked_for(area_mm2, level_mm):
    subject = nerve(area_mm2=area_mm2)
    measured = (distance_mm(subject, level_mm) < 0).sum() * STEP_MM**2
    assert measured == pytest.approx(subject.area_at(level_mm), rel=0.03)


def test_a_swollen_nerve_has_its_healthy_area_times_the_swelling():
    swollen = nerve(lesion=Lesion(centre_mm=220.0, half_length_mm=20.0, swelling=2.5, signal_gain=1.4))
    assert swollen.area_at(220.0) == pytest.approx(2.5 * nerve().area_at(220.0))
    assert swollen.area_at(300.0) == pytest.approx(nerve().area_at(300.0), rel=1e-6)
    assert swollen.signal_gain_at(220.0) == pytest.approx(1.4)


def test_the_nerve_is_one_above_the_split_and_two_well_below_it():
    assert ndimage.label(distance_mm(nerve(), 300.0) < 0)[1] == 1
    assert ndimage.label(distance_mm(nerve(), 130.0) < 0)[1] == 1
    assert ndimage.label(distance_mm(nerve(), 60.0) < 0)[1] == 2


def test_the_larger_branch_is_the_tibial_one_in_the_middle():
    labels, _ = ndimage.label(distance_mm(nerve(), 40.0) < 0)
    sizes = ndimage.sum_labels(labels > 0, labels, [1, 2])
    lateral = [centre[0] for centre in ndimage.center_of_mass(labels > 0, labels, [1, 2])]
    assert np.argmax(sizes) == np.argmin(lateral)
    assert max(sizes) / sum(sizes) == pytest.approx(25.9 / (25.9 + 7.9), abs=0.06)


def test_the_branches_drift_apart_and_never_farther_than_in_a_real_mask():
    levels = np.arange(200.0, -60.0, -2.0)
    separation = np.array([nerve(divergence=0.42).separation_mm(level) for level in levels])
    below = levels < 115
    assert (np.diff(separation[below]) > 0).all()
    assert separation.max() < 51.0
    steps = np.diff([peroneal_offset_mm(nerve(), level) for level in levels], axis=0)
    assert np.rad2deg(np.arctan(np.linalg.norm(steps, axis=1).max() / 2.0)) < 30


def test_moving_the_outline_of_a_round_nerve_outward_gives_the_larger_disc():
    subject = nerve(flatness=1.0, split_mm=400.0, divergence=3.0)
    level_mm = 100.0
    radius_mm = np.sqrt(0.72 * subject.area_at(level_mm) / np.pi)
    axis = np.arange(-12, 12, STEP_MM, dtype=np.float32)
    lateral, anterior = np.meshgrid(axis, axis, indexing="ij")
    distance = nerve_section(subject, level_mm, lateral, anterior).distance_mm
    for shift_mm in (-0.5, 0.0, 0.5, 1.0):
        area = (distance < shift_mm).sum() * STEP_MM**2
        assert area == pytest.approx(np.pi * (radius_mm + shift_mm) ** 2, rel=0.03)
