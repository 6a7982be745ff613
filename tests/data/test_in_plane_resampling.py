import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from nerveseg.data.in_plane_resampling import InPlaneResampling

SPACINGS = st.floats(0.2, 2.5)


def places_mm(pixels, spacing_mm):
    """Centres of pixels along one axis, from the middle of the field of view."""
    return (np.arange(pixels) - (pixels - 1) / 2) * spacing_mm


def disc(shape, spacing_mm, radius_mm, centre_mm, sub=8):
    """Share of each pixel that a disc covers, by counting points."""
    x, y = (
        places_mm(pixels * sub, spacing / sub) - centre
        for pixels, spacing, centre in zip(shape, spacing_mm, centre_mm, strict=True)
    )
    inside = x[:, None] ** 2 + y[None] ** 2 < radius_mm**2
    return inside.reshape(shape[0], sub, shape[1], sub).mean(axis=(1, 3))


@given(st.tuples(SPACINGS, SPACINGS), st.tuples(SPACINGS, SPACINGS), st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_a_linear_ramp_stays_one_there_and_back(spacing, target, shape):
    resampling = InPlaneResampling(shape, spacing, target)
    ramp = 3 + 2 * places_mm(shape[0], spacing[0])[:, None] - places_mm(shape[1], spacing[1])[None]
    there = resampling.apply(ramp[None, :, :, None].astype(np.float32))
    assert there.shape == (1, *resampling.size, 1)
    real = [step * here for step, here in zip(resampling.steps, spacing, strict=True)]
    x, y = (places_mm(pixels, step) for pixels, step in zip(resampling.size, real, strict=True))
    expected = 3 + 2 * x[:, None] - y[None]
    inside = [
        np.abs(place) <= extent * pixels / 2 - 1.5 * max(extent, step)
        for place, extent, pixels, step in zip((x, y), spacing, shape, real, strict=True)
    ]
    within = np.ix_(*inside)
    np.testing.assert_allclose(there[0, ..., 0][within], expected[within], atol=2e-3)
    back = resampling.undo(there)
    assert back.shape == (1, *shape, 1)
    deep = [
        np.abs(places_mm(pixels, extent)) <= extent * pixels / 2 - 3 * max(extent, step)
        for pixels, extent, step in zip(shape, spacing, real, strict=True)
    ]
    np.testing.assert_allclose(back[0, ..., 0][np.ix_(*deep)], ramp[np.ix_(*deep)], atol=4e-3)


@given(st.tuples(SPACINGS, SPACINGS), st.tuples(SPACINGS, SPACINGS), st.integers(0, 99))
def test_nothing_is_invented(spacing, target, seed):
    resampling = InPlaneResampling((13, 9), spacing, target)
    array = np.random.default_rng(seed).random((2, 13, 9, 3), dtype=np.float32)
    for found in (resampling.apply(array), resampling.undo(resampling.apply(array))):
        assert array.min() - 1e-5 <= found.min()
        assert found.max() <= array.max() + 1e-5
    constant = resampling.undo(resampling.apply(np.full_like(array, 7)))
    np.testing.assert_allclose(constant, 7, rtol=1e-5)
    covered = [
        pixels * step * here for pixels, step, here in zip(resampling.size, resampling.steps, spacing, strict=True)
    ]
    assert all(after >= before - 1e-4 for after, before in zip(covered, (13 * spacing[0], 9 * spacing[1]), strict=True))


@pytest.mark.parametrize("target", [(0.3, 0.25), (0.5, 0.2), (0.49, 0.7)])
def test_going_finer_is_the_linear_interpolation_of_simpleitk(target):
    spacing, shape = (0.5, 0.7), (21, 18)
    array = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    resampling = InPlaneResampling(shape, spacing, target)
    image = SimpleITK.GetImageFromArray(array.T)
    image.SetSpacing(spacing)
    image.SetOrigin([-(pixels - 1) / 2 * step for pixels, step in zip(shape, spacing, strict=True)])
    real = [step * here for step, here in zip(resampling.steps, spacing, strict=True)]
    reference = SimpleITK.Image(resampling.size, SimpleITK.sitkFloat32)
    reference.SetSpacing(real)
    reference.SetOrigin([-(pixels - 1) / 2 * step for pixels, step in zip(resampling.size, real, strict=True)])
    resampled = SimpleITK.Resample(image, reference, SimpleITK.Transform(), SimpleITK.sitkLinear, np.nan)
    expected = SimpleITK.GetArrayFromImage(resampled).T
    found = resampling.apply(array[None, :, :, None])[0, ..., 0]
    known = np.isfinite(expected)
    assert known.mean() > 0.9
    np.testing.assert_allclose(found[known], expected[known], atol=1e-4)


def test_what_the_coarser_grid_cannot_show_is_not_folded_into_it():
    """A pattern of two fine pixels, sampled at every 1.9th, would come back as slow stripes of full height."""
    stripes = np.where(np.arange(200) % 2, 1.0, -1.0).astype(np.float32)
    fine = np.broadcast_to(stripes[:, None], (200, 4))
    coarse = InPlaneResampling((200, 4), (0.5, 0.5), (0.95, 0.5)).apply(fine[None, :, :, None])
    assert np.abs(coarse[:, 2:-2]).max() < 0.2
    places = places_mm(coarse.shape[1], 1.9) + 99.5
    points = np.interp(places, np.arange(200), stripes)
    assert np.abs(points).max() > 0.9


@pytest.mark.parametrize(
    ("spacing", "target"),
    [((0.4, 0.4), (0.52, 0.52)), ((0.3, 0.35), (0.52, 0.52)), ((0.26, 0.26), (0.52, 0.52)), ((0.7, 0.6), (0.52, 0.52))],
)
def test_a_blurred_disc_of_a_nerves_size_keeps_its_place_and_its_area_within_1_percent(spacing, target):
    shape = (int(40 / spacing[0]), int(36 / spacing[1]))
    resampling = InPlaneResampling(shape, spacing, target)
    areas, returned = 0.0, 0.0
    for centre in np.random.default_rng(5).uniform(-1, 1, (10, 2)):
        drawn = gaussian_filter(disc(shape, spacing, 5.0, centre), [0.6 / step for step in spacing])
        back = resampling.undo(resampling.apply(drawn[None, :, :, None].astype(np.float32)))[0, ..., 0]
        mask = back > 0.5
        areas += (drawn > 0.5).sum()
        returned += mask.sum()
        middle = [
            (place * mask.sum(axis=1 - axis)).sum() / mask.sum()
            for axis, place in enumerate(places_mm(n, s) for n, s in zip(shape, spacing, strict=True))
        ]
        np.testing.assert_allclose(middle, centre, atol=0.12)
    assert returned / areas == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("target", [(0.5, 0.7), (0.5049, 0.6931), (0.4951, 0.7069)])
def test_a_spacing_that_is_equal_within_1_percent_leaves_everything_untouched(target):
    resampling = InPlaneResampling((7, 8), (0.5, 0.7), target)
    array = np.random.default_rng(0).random((1, 7, 8, 2), dtype=np.float32)
    assert resampling.size == (7, 8)
    assert resampling.apply(array) is array
    assert resampling.undo(array) is array


def test_each_axis_is_decided_by_itself_and_slices_never_mix():
    array = np.random.default_rng(0).random((2, 7, 8, 3), dtype=np.float32)
    resampling = InPlaneResampling((7, 8), (0.5, 0.7), (0.5, 0.35))
    assert resampling.size == (7, 16)
    whole = resampling.apply(array)
    for channel in range(2):
        for index in range(3):
            alone = resampling.apply(array[channel : channel + 1, :, :, index : index + 1])
            np.testing.assert_allclose(whole[channel, ..., index], alone[0, ..., 0], atol=1e-6)
