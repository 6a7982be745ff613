import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from nerveseg.phantom.acquisition import draw_acquisition, fat_suppressed
from nerveseg.phantom.cohort import participants
from nerveseg.phantom.population import draw_affine, draw_grid


@pytest.fixture(scope="module")
def quiet(demo):
    return demo.model_copy(update={"noise": 0.0, "coil": 0.0, "shading_sd": 0.0, "motion": 0.0})


def second_series(spec, number: int, places):
    """The second channel of a picture of round spots."""
    row = participants(spec)[number]
    x, y = np.ogrid[: spec.matrix[0], : spec.matrix[1]]
    plane = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 4.0**2)) for px, py in places)
    picture = np.repeat(plane[..., None], spec.slices, axis=2).astype(np.float32)
    affine = draw_affine(spec, row)
    return fat_suppressed(spec, row, picture, draw_acquisition(spec, row), draw_grid(spec, row), affine), affine


def middle_mm(image, affine):
    return nib.affines.apply_affine(affine, ndimage.center_of_mass(image))


@pytest.mark.parametrize("number", range(4))
def test_a_spot_in_the_middle_is_seen_where_the_known_shift_puts_it(quiet, number):
    centre = (np.array(quiet.matrix) - 1) / 2
    second, affine = second_series(quiet, number, [centre])
    there = nib.affines.apply_affine(affine, [*(centre + second.shift_mm), (quiet.slices - 1) / 2])
    np.testing.assert_allclose(middle_mm(second.image, second.affine), there, atol=0.1)
    np.testing.assert_allclose(middle_mm(second.on_t2, affine), there, atol=0.1)
    assert 0 < np.hypot(*second.shift_mm) < 3


def test_two_spots_are_turned_by_the_known_angle(quiet):
    centre = (np.array(quiet.matrix) - 1) / 2
    apart = np.array([25.0, 0.0])
    second, _ = second_series(quiet, 3, [centre - apart, centre + apart])
    halves = second.on_t2[: quiet.matrix[0] // 2], second.on_t2[quiet.matrix[0] // 2 :]
    first, other = (np.array(ndimage.center_of_mass(half)[:2]) for half in halves)
    across = other + np.array([quiet.matrix[0] // 2, 0]) - first
    assert np.rad2deg(np.arctan2(across[1], across[0])) == pytest.approx(second.turn_deg, abs=0.1)


def test_the_second_grid_is_coarser_in_the_plane_and_shares_the_slices(quiet):
    second, affine = second_series(quiet, 0, [(50, 50)])
    steps = np.linalg.norm(second.affine[:3, :3], axis=0)
    assert steps == pytest.approx([1.5, 1.5, quiet.spacing_mm[2]])
    assert second.image.shape[2] == quiet.slices
    np.testing.assert_allclose(second.affine[:3, 2], affine[:3, 2])


def test_fat_is_dark_and_veins_are_bright(demo_subjects):
    for subject in demo_subjects:
        fat_suppressed, fat = subject.images.fat_suppressed.on_t2, subject.image > 500
        veins = ndimage.binary_erosion(subject.near_veins, np.ones((2, 2, 1)))
        assert np.median(fat_suppressed[fat]) < 60
        assert not veins.any() or np.median(fat_suppressed[veins]) > 100
