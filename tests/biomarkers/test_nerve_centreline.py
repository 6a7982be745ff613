import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nerveseg.biomarkers.branches import trace_branches
from nerveseg.biomarkers.course import (
    centrelines,
    follow_nerves,
    length_mm,
    pixel_area_mm2,
    slice_normal,
    slice_step_mm,
)
from nerveseg.biomarkers.profile import nerve_profile
from nerveseg.data.legs import Leg
from tests.helpers.tubes import PAPER_MM, grid, rotation, tilted, tube

SLICES = 22


def room_for(tilt, azimuth):
    """A grid's size around a tilted cylinder."""
    reach = (SLICES - 1) * PAPER_MM[2] * np.tan(np.radians(tilt)) / PAPER_MM[0]
    return (*(int(abs(share) * reach) + 36 for share in (np.cos(azimuth), np.sin(azimuth))), SLICES)


def profile_of(mask, affine, side="unknown"):
    courses = follow_nerves(mask, affine, [Leg(side, slice(0, mask.shape[0]))])
    return nerve_profile(courses, range(mask.shape[2])), courses[0]


@pytest.mark.parametrize("oblique", [False, True])
@pytest.mark.parametrize("tilt", [4.0, 13.0, 22.0, 31.0, 40.0])
@pytest.mark.parametrize("area_mm2", [10.0, 60.0])
def test_the_perpendicular_area_of_a_tilted_cylinder(oblique, tilt, area_mm2):
    """Not upright: that shows the same pixels in every slice, whose counting error never averages out."""
    rng = np.random.default_rng([oblique, int(tilt), int(area_mm2)])
    azimuth = rng.uniform(0, 2 * np.pi)
    shape = room_for(tilt, azimuth)
    affine = grid(shape, PAPER_MM, rotation(*rng.uniform(-35, 35, 3)) if oblique else None)
    direction = tilted(affine, tilt, np.degrees(azimuth))
    mask = tube(shape, affine, direction, area_mm2, rng.uniform(1.0, 2.0), roll_deg=rng.uniform(0, 180))
    profile, _ = profile_of(mask, affine)
    middle = profile[profile["slice"].between(2, SLICES - 3)]
    assert middle["csa_perpendicular_mm2"].mean() == pytest.approx(area_mm2, rel=0.02)
    assert middle["csa_mm2"].mean() == pytest.approx(area_mm2 / np.cos(np.radians(tilt)), rel=0.02)
    np.testing.assert_allclose(middle["angle_deg"], tilt, atol=1.0)


@pytest.mark.parametrize("oblique", [False, True])
@pytest.mark.parametrize("tilt", [12.0, 25.0, 40.0])
@pytest.mark.parametrize("areas_mm2", [(45.0, 18.0), (24.0, 10.0)])
def test_the_perpendicular_area_of_a_cylinder_that_branches(oblique, tilt, areas_mm2):
    shape = (200, 110, 22)
    affine = grid(shape, PAPER_MM, rotation(25.0, -15.0, 30.0) if oblique else None)
    nerve = tube(shape, affine, tilted(affine, 6.0, 100.0), sum(areas_mm2), 1.3) & (np.arange(22) < 11)
    tibial = tube(shape, affine, tilted(affine, tilt, 20.0), areas_mm2[0], 1.2, from_point=True)
    peroneal = tube(shape, affine, tilted(affine, tilt, 200.0), areas_mm2[1], 1.5, from_point=True)
    profile, course = profile_of(nerve | tibial | peroneal, affine)
    assert course.branches.distal == 1
    for branch, area_mm2 in (("tibial", areas_mm2[0]), ("peroneal", areas_mm2[1]), ("total", sum(areas_mm2))):
        apart = profile[(profile["branch"] == branch) & (profile["distance_from_split_mm"] >= 0)]
        away = apart.iloc[1:-1]
        assert len(away) >= 4
        assert away["csa_perpendicular_mm2"].mean() == pytest.approx(area_mm2, rel=0.02)
    above = profile[profile["slice"].between(2, 9)]
    assert above["csa_perpendicular_mm2"].mean() == pytest.approx(sum(areas_mm2), rel=0.02)


@settings(max_examples=20)
@given(*[st.floats(-60.0, 60.0)] * 3)
def test_a_turn_of_the_patient_changes_no_number(about_x, about_y, about_z):
    shape = (40, 40, 8)
    straight = grid(shape)
    mask = tube(shape, straight, tilted(straight, 12.0, 30.0), 40.0)
    turned = np.eye(4)
    turned[:3, :3] = rotation(about_x, about_y, about_z)
    turned[:3, 3] = about_x, about_y, about_z
    pd.testing.assert_frame_equal(profile_of(mask, turned @ straight)[0], profile_of(mask, straight)[0], atol=1e-6)


def test_a_curved_branch_is_followed_and_jitter_is_smoothed():
    """A circle of 80 mm radius, whose angle and length are known, with outlines that jitter by half a pixel."""
    spacing, slices, radius = (0.52, 0.52, 4.4), 25, 80.0
    heights = np.arange(slices) * spacing[2]
    angle = np.degrees(np.arcsin((heights - 30.0) / radius))
    centres = 20.0 + radius - np.sqrt(radius**2 - (heights - 30.0) ** 2)
    rng = np.random.default_rng(0)
    x = np.arange(220)[:, None, None] * spacing[0]
    y = np.arange(40)[None, :, None] * spacing[1]
    moved = centres + rng.normal(0.0, 0.26, slices)
    mask = (x - moved) ** 2 + (y - 10.0) ** 2 <= 9.0
    affine = np.diag([*spacing, 1.0])
    (line,) = centrelines(trace_branches(mask, spacing), affine)
    inner = np.abs(angle) < 45
    np.testing.assert_allclose(line.angle_deg[inner][2:-2], np.abs(angle)[inner][2:-2], atol=4.0)
    expected = radius * np.radians(angle[inner][-1] - angle[inner][0])
    assert length_mm(line.points_mm[inner]) == pytest.approx(expected, rel=0.01)


def test_the_length_is_along_the_tilt():
    shape = room_for(30.0, np.pi / 4)
    affine = grid(shape)
    _, course = profile_of(tube(shape, affine, tilted(affine, 30.0, 45.0), 30.0), affine)
    (line,) = course.centrelines
    steps = int(line.slices[-1] - line.slices[0])
    assert course.length_mm == pytest.approx(steps * 4.4 / np.cos(np.radians(30.0)), rel=0.01)


def test_of_a_sheared_grid_step_and_area_are_those_of_its_planes():
    """A tilted gantry: slices are stacked along another direction than their normal."""
    affine = np.array([[0.5, 0, 1.0, 0], [0, 0.5, 0, 0], [0, 0, 4.0, 0], [0, 0, 0, 1]])
    assert slice_step_mm(affine) == pytest.approx(4.0)
    assert pixel_area_mm2(affine) == pytest.approx(0.25)
    np.testing.assert_allclose(slice_normal(affine), [0, 0, 1])
    assert slice_step_mm(affine) * pixel_area_mm2(affine) == pytest.approx(np.linalg.det(affine))


def test_a_left_handed_grid_has_a_normal_along_its_slices():
    assert slice_normal(np.diag([-0.5, 0.5, 4.0, 1.0]))[2] == pytest.approx(1.0)


def test_one_slice_has_no_direction_and_an_empty_mask_no_line():
    affine = grid((20, 20, 3))
    mask = np.zeros((20, 20, 3), dtype=bool)
    assert centrelines(trace_branches(mask, PAPER_MM), affine) == ()
    mask[8:12, 8:12, 1] = True
    (line,) = centrelines(trace_branches(mask, PAPER_MM), affine)
    assert np.isnan(line.angle_deg).all()
    np.testing.assert_allclose(line.points_mm, [[0, 0, 0]], atol=1e-9)


@pytest.mark.parametrize("where", [(2, 3, 9), (95, 60, 0), (2, 60, 20), (2, 3, 21)])
def test_a_far_speck_bends_nothing(where):
    """A voxel, then nine, beside the nerve or beyond its end: no number of the profile changes."""
    shape = (100, 64, 24)
    affine = grid(shape)
    alone = tube(shape, affine, tilted(affine, 15.0, 30.0), 60.0) & (np.arange(24) < 20)
    plain, course = profile_of(alone, affine)
    for size in (1, 3):
        mask = alone.copy()
        x, y, z = where
        mask[x : x + size, y : y + size, z] = True
        profile, with_speck = profile_of(mask, affine)
        assert with_speck.length_mm == course.length_mm
        assert (with_speck.stray_pieces, with_speck.strays.sum()) == (1, mask.sum() - alone.sum())
        pd.testing.assert_frame_equal(profile, plain)


def test_two_nerves_far_apart_without_their_split_are_no_strays_of_one_another():
    shape = (120, 40, 12)
    affine = grid(shape)
    upright = tilted(affine, 0.0, 0.0)
    tibial = tube(shape, affine, tilted(affine, 8.0, 180.0), 40.0, through_mm=(-14.0, 0.0, 0.0))
    peroneal = tube(shape, affine, upright, 16.0, through_mm=(20.0, 0.0, 0.0))
    profile, course = profile_of(tibial | peroneal, affine, "right")
    assert {line.branch: line.slices.size for line in course.centrelines} == {"tibial": 12, "peroneal": 12}
    assert not profile["csa_perpendicular_mm2"].isna().any()
