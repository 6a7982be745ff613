import numpy as np
import pytest

from nerveseg.phantom.cohort import participants
from nerveseg.phantom.grid import distorted
from nerveseg.phantom.population import draw_grid


def test_nothing_moves_at_the_isocentre_and_the_corner_moves_by_the_worst():
    levels = np.array([-130.0, 0.0, 130.0])
    positions = np.array([-100.0, 0.0, 50.0, 100.0])
    moved = distorted(positions, levels, 100.0, 130.0, 2.0) - positions
    np.testing.assert_allclose(moved[:, 1], 0.0)
    np.testing.assert_allclose(moved[[0, 2], 3], 2.0)
    assert moved[1] == pytest.approx([-1.0, 0.0, 0.125, 1.0])
    assert (np.abs(moved) <= 2.0).all()


def test_a_cropped_grid_is_the_same_place(demo):
    grid = draw_grid(demo, participants(demo)[0])
    near = grid.crop((slice(10, 40), slice(5, 30)))
    assert near.shape == (30, 25, demo.slices)
    assert near.axes_mm(3)[0][0] == grid.axes_mm(3)[0][10]
    assert near.axes_mm(3)[1][0] == grid.axes_mm(3)[1][5]


@pytest.mark.parametrize("number", range(4))
def test_a_voxel_is_found_again_on_either_side(demo, number):
    grid = draw_grid(demo, participants(demo)[number])
    lateral, anterior = grid.axes_mm(2)
    assert grid.voxel(2, lateral[17], anterior[33]) == pytest.approx((17.0, 33.0))


def test_patients_lie_less_true_than_volunteers(demo):
    many = demo.model_copy(update={"volunteers": 40, "patients": {"distal": 40}})
    steps = {"volunteer": [], "patient": []}
    for row in participants(many):
        lateral, _ = draw_grid(many, row).axes_mm(0)
        steps[row.cohort].append(abs(abs(lateral[1] - lateral[0]) / many.spacing_mm[0] - 1))
    assert np.mean(steps["patient"]) > 2 * np.mean(steps["volunteer"]) > 0
