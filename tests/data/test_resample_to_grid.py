import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st

from nerveseg.data.resample_to_grid import resample_onto
from nerveseg.data.volumes.grids import Grid
from nerveseg.data.volumes.volume import Volume, read_image


def turned(spacing, degrees=(0, 0, 0), origin=(0.0, 0.0, 0.0)):
    affine = np.eye(4)
    affine[:3, :3] = nib.eulerangles.euler2mat(*np.deg2rad(degrees)) @ np.diag(spacing)
    affine[:3, 3] = origin
    return affine


def grid_of(shape, affine):
    return Grid(shape, affine, nib.Nifti1Header())


def places_mm(grid):
    indices = np.stack(np.meshgrid(*map(np.arange, grid.ras_shape), indexing="ij"), axis=-1)
    return indices @ grid.ras_affine[:3, :3].T + grid.ras_affine[:3, 3]


def in_simpleitk(array, affine):
    """In ITK's own axes; both volumes are turned alike, so the sampling is the same."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    return image


FINE = grid_of((40, 36, 12), turned((0.6, 0.7, 3.0), (4, -3, 8), (-10.0, -11.0, -15.0)))
COARSE = grid_of((20, 16, 9), turned((1.0, 1.1, 3.3), (1, 2, -5), (-8.0, -9.0, -12.0)))


@pytest.mark.parametrize(("source", "target"), [(FINE, COARSE), (COARSE, FINE)], ids=["onto coarser", "onto finer"])
def test_a_ramp_is_sampled_exactly(source, target):
    gradient = np.array([0.3, -0.7, 0.2])
    volume = Volume((places_mm(source) @ gradient + 5.0).astype(np.float32), source)
    sampled = resample_onto(volume, target)
    expected = places_mm(target) @ gradient + 5.0
    # Beyond the outermost voxel centres only part of the neighbours have a value.
    indices = (places_mm(target) - source.ras_affine[:3, 3]) @ np.linalg.inv(source.ras_affine[:3, :3]).T
    inner = ((indices > 1) & (indices < np.array(source.ras_shape) - 2)).all(axis=-1)
    assert inner.sum() > 200
    np.testing.assert_allclose(sampled[inner], expected[inner], atol=1e-4)


def test_onto_a_finer_grid_it_is_the_linear_interpolation_of_simpleitk():
    array = np.random.default_rng(3).normal(100.0, 20.0, COARSE.shape).astype(np.float32)
    sampled = resample_onto(Volume(array, COARSE), FINE)
    reference = in_simpleitk(np.zeros(FINE.shape, np.float32), FINE.affine)
    moved = SimpleITK.Resample(
        in_simpleitk(array, COARSE.affine), reference, SimpleITK.Transform(), SimpleITK.sitkLinear, float("nan")
    )
    expected = SimpleITK.GetArrayFromImage(moved).transpose(2, 1, 0)
    indices = (places_mm(FINE) - COARSE.affine[:3, 3]) @ np.linalg.inv(COARSE.affine[:3, :3]).T
    inner = ((indices >= 0) & (indices <= np.array(COARSE.shape) - 1)).all(axis=-1)
    assert inner.sum() > 1000
    np.testing.assert_allclose(sampled[inner], expected[inner], rtol=1e-5)
    outside = ((indices < -0.51) | (indices > np.array(COARSE.shape) - 0.49)).any(axis=-1)
    assert np.isnan(sampled[outside]).all()
    assert np.isnan(expected[outside]).all()


@given(st.integers(2, 4), st.integers(2, 4), st.integers(0, 1000))
def test_a_finer_source_is_averaged_over_the_pixel(across, along, seed):
    coarse = grid_of((5, 6, 3), turned((1.2, 1.2, 4.0)))
    fine_affine = turned((1.2 / across, 1.2 / along, 4.0))
    fine_affine[:2, 3] = -0.6 + 0.5 * np.diag(fine_affine)[:2]
    fine = grid_of((5 * across, 6 * along, 3), fine_affine)
    array = np.random.default_rng(seed).normal(size=fine.shape).astype(np.float32)
    blocks = array.reshape(5, across, 6, along, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(resample_onto(Volume(array, fine), coarse), blocks, atol=1e-5)


def test_noise_of_a_finer_map_goes_down_as_averaging_says():
    array = np.random.default_rng(0).normal(size=(120, 120, 4)).astype(np.float32)
    coarse = grid_of((38, 38, 4), turned((3.0, 3.0, 4.0), origin=(1.1, 1.1, 0.0)))
    sampled = resample_onto(Volume(array, grid_of(array.shape, turned((1.0, 1.0, 4.0)))), coarse)
    assert np.isfinite(sampled).all()
    assert sampled.std() < 1.05 / 3


@pytest.mark.parametrize("masked", [np.nan, 0.0])
@pytest.mark.parametrize("target", [0.4, 1.0, 2.5])
def test_a_masked_map_keeps_its_value_up_to_its_edge(masked, target):
    source = grid_of((30, 30, 5), turned((1.0, 1.0, 4.0)))
    distance = np.hypot(*np.ogrid[-14.6:14.6:30j, -14.6:14.6:30j])[..., None] + np.zeros(5)
    array = np.where(distance < 8, 50.0, masked).astype(np.float32)
    size = int(28 / target)
    sampled = resample_onto(
        Volume(array, source), grid_of((size, size, 5), turned((target, target, 4.0), (0, 0, 10))), missing=0.0
    )
    known = np.isfinite(sampled)
    np.testing.assert_allclose(sampled[known], 50.0, rtol=1e-5)
    assert known[:, :, 2].sum() * target**2 == pytest.approx((distance[..., 0] < 8).sum(), rel=0.05)


def test_zeros_are_values_unless_said_to_be_missing():
    grid = grid_of((4, 4, 2), turned((1.0, 1.0, 4.0)))
    half_way = grid_of((3, 4, 2), turned((1.0, 1.0, 4.0), origin=(0.5, 0.0, 0.0)))
    array = np.zeros((4, 4, 2), np.float32)
    array[2:] = 8.0
    volume = Volume(array, grid)
    assert resample_onto(volume, half_way)[:, 0, 0].tolist() == [0.0, 4.0, 8.0]
    without = resample_onto(volume, half_way, missing=0.0, fill=-1.0)[:, 0, 0]
    assert without.tolist() == [-1.0, 8.0, 8.0]
    assert resample_onto(volume, grid, missing=0.0, fill=-1.0)[:, 0, 0].tolist() == [-1.0, -1.0, 8.0, 8.0]


def test_the_field_of_view_ends_half_a_voxel_beyond_the_last_centre():
    source = Volume(np.ones((4, 4, 3), np.float32), grid_of((4, 4, 3), turned((1.0, 1.0, 4.0))))
    row = grid_of((16, 1, 1), turned((0.25, 1.0, 4.0), origin=(-1.0, 1.0, 4.0)))
    assert np.isfinite(resample_onto(source, row)[:, 0, 0]).tolist() == [False] * 2 + [True] * 14
    column = grid_of((1, 1, 4), turned((1.0, 1.0, 4.0), origin=(1.0, 1.0, -2.0)))
    assert np.isfinite(resample_onto(source, column)[0, 0]).tolist() == [True] * 4
    assert np.isnan(resample_onto(source, grid_of((2, 2, 2), turned((1.0, 1.0, 1.0), origin=(90.0, 0.0, 0.0))))).all()


def test_the_same_grid_in_another_file_order_is_handed_on_bit_for_bit():
    array = np.random.default_rng(1).normal(size=FINE.shape).astype(np.float32)
    flipped = FINE.affine.copy()
    flipped[:3, 3] += FINE.affine[:3, 0] * (FINE.shape[0] - 1)
    flipped[:3, 0] *= -1
    sampled = resample_onto(Volume(array, FINE), grid_of(FINE.shape, flipped))
    np.testing.assert_array_equal(sampled, array)


def test_a_known_motion_is_followed():
    grid = grid_of((24, 24, 6), turned((1.0, 1.0, 4.0)))
    array = np.random.default_rng(2).normal(size=grid.shape).astype(np.float32)
    motion = np.eye(4)
    motion[:3, 3] = (3.0, -2.0, 4.0)
    sampled = resample_onto(Volume(array, grid), grid, motion=motion)
    np.testing.assert_allclose(sampled[:-3, 2:, :-1], array[3:, :-2, 1:], atol=1e-5)
    assert np.isnan(sampled[-3:]).all()
    assert np.isnan(sampled[:, :2]).all()
    assert np.isnan(sampled[..., -1]).all()


def test_a_real_image_goes_to_another_grid_and_back(shared_data):
    water = read_image(shared_data("thigh_dixon") / "Thigh_001_0001.nii.gz")
    spacing, (columns, rows, slices) = water.grid.ras_spacing_mm[0], water.grid.ras_shape
    affine = water.grid.ras_affine.copy()
    affine[:3, :2] *= 0.6 / spacing
    finer = grid_of((int(columns * spacing / 0.6), int(rows * spacing / 0.6), slices), affine)
    there = resample_onto(water, finer)
    back = resample_onto(Volume(np.nan_to_num(there), finer), water.grid)
    inner = np.s_[20:-20, 20:-20]
    assert np.corrcoef(back[inner].ravel(), water.array[inner].ravel())[0, 1] > 0.99
    assert np.nanmean(there) == pytest.approx(water.array.mean(), rel=0.01)
