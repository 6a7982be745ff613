import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from nerveseg.phantom.acquisition import MUSCLE_UNITS, acquire, draw_acquisition
from nerveseg.phantom.cohort import participants
from nerveseg.phantom.grid import ScanGrid
from nerveseg.phantom.tissues import draw_appearance

AXIS = np.arange(0.0, 200.0, 2.0)


def scan(spec, subject: int = 0, **changes):
    changes = {"noise": 0.0, "shading_sd": 0.0} | changes
    drawn = draw_acquisition(spec, participants(spec)[subject])
    return dataclasses.replace(drawn, **changes)


def acquired(spec, picture, subject: int = 0, **changes):
    slices = picture.shape[2]
    grid = ScanGrid(np.tile(AXIS, (slices, 1)), np.tile(AXIS, (slices, 1)), np.arange(float(slices)), (2.0, 2.0, 1.0),
                    1.0, 1)  # fmt: skip
    return acquire(picture, scan(spec, subject, **changes), grid, np.random.default_rng(1)) / MUSCLE_UNITS


def uniform(signal: float, slices: int = 4):
    return np.full((len(AXIS), len(AXIS), slices), signal, dtype=np.float32)


def test_noise_in_air_has_the_rayleigh_mean(tiny):
    assert acquired(tiny, uniform(0.0), noise=0.2).mean() == pytest.approx(0.2 * np.sqrt(np.pi / 2), rel=0.02)


def test_noise_in_tissue_has_the_second_moment_of_rice(tiny):
    values = acquired(tiny, uniform(1.0), noise=0.2)
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


def test_denervated_muscle_is_brighter_and_fatter_and_only_where_the_sciatic_nerve_supplies_it(tiny):
    healthy, ill = (draw_appearance(np.random.default_rng(5), tiny, patient) for patient in (False, True))
    assert max(healthy.oedema) == max(healthy.infiltration) == 0
    vastus_lateralis = 1
    assert ill.oedema[vastus_lateralis] == ill.infiltration[vastus_lateralis] == 0
    assert 0.2 < np.mean([value for value in ill.oedema if value > 0]) < 2.3
    assert 0 < max(ill.infiltration) < 0.7


def test_shading_is_smooth_and_of_the_strength_asked_for(tiny):
    many = tiny.model_copy(update={"volunteers": 40})
    seen = [np.log(acquired(many, uniform(1.0, 1), subject, shading_sd=0.3)) for subject in range(40)]
    assert np.std(seen) == pytest.approx(0.3, rel=0.3)
    assert np.abs(np.diff(seen, axis=1)).max() < 0.06


def test_a_surface_coil_fades_with_depth_and_a_knee_coil_towards_its_ends(tiny):
    surface = acquired(tiny, uniform(1.0, 1), knee_coil=False, coil=1.0)[:, :, 0]
    assert (np.diff(surface, axis=1) < 0).all()
    knee = [
        acquired(tiny, uniform(1.0, 1), knee_coil=True, coil=1.0, middle_mm=apart)[3, 3, 0] for apart in (0.0, 60.0)
    ]
    assert knee[1] < 0.9 * knee[0]


def test_motion_ghosts_are_shifted_copies_of_the_strength_asked_for(tiny):
    picture = uniform(0.0, 1)
    picture[40:60, 40:60] = 1.0
    ghosts = acquired(tiny, picture.copy(), ghost=0.1, ghost_mm=60.0, ghost_phase=np.pi / 2)[:, :, 0]
    assert ghosts[50, 50] == pytest.approx(1.0, abs=1e-3)
    assert ghosts[50, 80] == pytest.approx(0.1, abs=1e-3)
    assert ghosts[50, 20] == pytest.approx(0.1, abs=1e-3)
    assert ghosts[20, 50] == pytest.approx(0.0, abs=1e-3)
    assert ghosts[50, 95] == pytest.approx(0.0, abs=1e-3)


def test_a_slice_during_which_a_patient_moves_shows_the_leg_twice(tiny):
    picture = uniform(0.0, 2)
    picture[40:60, 40:44] = 1.0
    moved = acquired(tiny, picture.copy(), moved_mm=(40.0, 0.0), moved_share=(0.3, 0.3))
    assert moved[50, 41, 0] == pytest.approx(0.7, abs=0.02)
    assert moved[50, 61, 0] == pytest.approx(0.3, abs=0.02)
    assert moved[..., 0].sum() == pytest.approx(moved[..., 1].sum(), rel=1e-3)
    assert moved[50, 61, 1] == pytest.approx(0.0, abs=1e-3)


def test_patients_move_as_far_as_asked_and_volunteers_lie_still(tiny):
    spec = tiny.model_copy(update={"patients": {"distal": 300}, "slices": 20, "patient_movement_mm": 1.5})
    scans = {row.id: draw_acquisition(spec, row) for row in participants(spec)}
    assert all(one.moved_mm == () for name, one in scans.items() if name.startswith("V"))
    spread_mm = [np.std(one.moved_mm) for name, one in scans.items() if name.startswith("P")]
    assert np.median(spread_mm) == pytest.approx(1.5, rel=0.1)
