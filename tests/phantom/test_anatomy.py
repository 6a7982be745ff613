import dataclasses

import numpy as np
import pytest

from nerveseg.phantom.anatomy import NearVein, Thigh, cut
from nerveseg.phantom.atlas import LEVELS_MM, MUSCLES, interpolate
from nerveseg.phantom.cohort import participants, simulate_subject
from nerveseg.phantom.grid import WaveField
from nerveseg.phantom.nerve import Nerve

AXIS_L, AXIS_A = np.arange(-110.0, 90.0, 1.0), np.arange(-110.0, 90.0, 1.0)


def thigh(bend_mm: float = 0.0) -> Thigh:
    rng = np.random.default_rng(3)
    fields = [WaveField.draw(rng, (22.0, 22.0, 90.0)) for _ in range(5)]
    nerve = Nerve(45.0, 100.0, 0.3, 1.2, 15.0, (0.0,) * 6, None)
    return Thigh(
        size=1.0, muscularity=1.0, fat_mm=12.0, fat_bed_mm=1.5, bend=(fields[0], fields[1]), bend_mm=bend_mm,
        wrinkle=(fields[2], fields[3]), wrinkle_mm=0.0, septa=fields[4], nerve=nerve, nerve_shift_mm=(0.0, 0.0),
        near_veins=(NearVein(3.0, 2.0, 2.0, 0.0),),
    )  # fmt: skip


def section(level_mm: float, bend_mm: float = 0.0):
    return cut(thigh(bend_mm), AXIS_L, AXIS_A, level_mm)


def neighbour(level_mm: float, lateral_mm: float, anterior_mm: float) -> str:
    """The first muscle on the way from the nerve in a direction."""
    plane, (lateral, anterior) = section(level_mm), thigh().nerve_centre_mm(level_mm)
    for way in np.arange(3.0, 30.0, 0.5):
        x, y = round(lateral + way * lateral_mm + 110), round(anterior + way * anterior_mm + 110)
        if plane.muscle[x, y] < 0 and plane.nerve[x, y] > 0:
            return MUSCLES[plane.muscle_index[x, y]].name
    return "none"


def test_mid_thigh_the_nerve_lies_on_adductor_magnus_deep_to_the_long_head_of_biceps():
    assert neighbour(220.0, -0.3, 1.0) == "adductor magnus"
    assert neighbour(220.0, 0.3, -1.0) == "biceps femoris, long head"


def test_distally_the_nerve_lies_between_biceps_and_semimembranosus():
    assert neighbour(120.0, 1.0, 0.0).startswith("biceps femoris")
    assert neighbour(120.0, -1.0, 0.0) == "semimembranosus"


def test_proximally_the_nerve_lies_under_gluteus_maximus_and_lateral_to_the_ischial_tuberosity():
    assert neighbour(395.0, 0.2, -1.0) == "gluteus maximus"
    lateral, anterior = thigh().nerve_centre_mm(400.0)
    plane = section(400.0)
    medial = [round(lateral - way + 110) for way in range(5, 40)]
    assert (plane.bone[medial, round(anterior + 110)] < 0).any()


@pytest.mark.parametrize("level_mm", [20.0, 100.0, 200.0, 300.0, 380.0])
def test_tissues_are_nested_as_in_a_leg(level_mm):
    plane = section(level_mm, bend_mm=2.0)
    assert (plane.skin[plane.fascia < 0] < 0).all()
    assert (plane.fascia[plane.muscle < 0] < 0).all()
    assert (plane.bone[plane.marrow < 0] < 0).all()
    assert (plane.fascia[plane.nerve < 0] < 0).all()
    assert not ((plane.nerve < 0) & (plane.bone < 0)).any()
    assert not ((plane.near_veins < 0) & (plane.nerve < 0)).any()


def test_about_a_dozen_muscles_are_seen_at_mid_thigh():
    plane = section(230.0)
    areas = np.bincount(plane.muscle_index[plane.muscle < 0], minlength=len(MUSCLES))
    assert 11 <= (areas > 40).sum() <= 15
    assert 6000 < areas.sum() < 14000


def test_the_thigh_tapers_towards_the_knee():
    areas = [(section(level).skin < 0).sum() for level in LEVELS_MM]
    assert (np.diff(areas) > 0).all()


def test_the_atlas_is_met_at_its_own_levels_and_constant_beyond():
    rows = ((1.0, 2.0), (3.0, 4.0), (5.0, 6.0), (7.0, 8.0), (9.0, 10.0))
    for level, row in zip(LEVELS_MM, rows, strict=True):
        assert interpolate(rows, level) == list(row)
    assert interpolate(rows, -50.0) == [1.0, 2.0]
    assert interpolate(rows, 50.0) == [2.0, 3.0]


def test_an_atlas_point_is_found_again_in_the_bent_thigh():
    bent = thigh(bend_mm=3.0)
    lateral, anterior = bent.from_atlas(-12.0, -44.0, 250.0)
    back_l, back_a = bent.to_atlas(np.array([lateral]), np.array([anterior]), 250.0)
    assert (float(back_l[0, 0]), float(back_a[0, 0])) == pytest.approx((-12.0, -44.0), abs=0.05)


def test_the_other_leg_is_the_mirror_image(tiny):
    participant = participants(tiny)[0]
    right = simulate_subject(tiny, dataclasses.replace(participant, side="right"))
    left = simulate_subject(tiny, dataclasses.replace(participant, side="left"))
    assert right.truth.any()
    np.testing.assert_array_equal(left.truth, right.truth[::-1])
    assert not np.array_equal(left.truth, right.truth)
