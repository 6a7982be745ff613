import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydantic import ValidationError

from nerveseg.data.preprocessing import Crop, Preprocessing, normalise

SIZES = st.tuples(st.integers(1, 12), st.integers(1, 12))


def places(shape, size):
    """Where each pixel of a crop comes from: the array numbered from 1, cropped (0 is padding)."""
    return Crop(shape, size).apply(np.arange(1, shape[0] * shape[1] + 1).reshape(shape))


def inside(shape, size):
    """Brute force: walk out from the centre; a pixel is kept while the kept part is at most `size` long."""
    keep = np.ones(shape, dtype=bool)
    for axis in (0, 1):
        first, last = 0, shape[axis] - 1
        while last - first + 1 > size[axis]:
            if first < shape[axis] - 1 - last:
                first += 1
            else:
                last -= 1
        index = np.arange(shape[axis])
        kept = (index >= first) & (index <= last)
        keep &= kept[:, None] if axis == 0 else kept[None, :]
    return keep


@given(SIZES, SIZES)
def test_the_crop_is_centred(shape, size):
    where = np.argwhere(places(shape, size) > 0)
    origin = np.array(np.unravel_index(places(shape, size)[tuple(where[0])] - 1, shape))
    for axis in (0, 1):
        array_centre, crop_centre = (shape[axis] - 1) / 2, (size[axis] - 1) / 2
        shift = origin[axis] - where[0][axis]
        assert abs(shift + crop_centre - array_centre) <= 0.5


@given(SIZES, SIZES)
def test_every_pixel_that_fits_is_kept_once_in_its_order(shape, size):
    cropped = places(shape, size)
    kept = cropped[cropped > 0]
    assert cropped.shape == size
    assert len(kept) == min(shape[0], size[0]) * min(shape[1], size[1])
    np.testing.assert_array_equal(kept, np.sort(kept))
    assert len(set(kept)) == len(kept)


@given(SIZES, SIZES, st.floats(-5, 5, width=32))
def test_undo_restores_what_was_kept_and_fills_the_rest(shape, size, fill):
    array = np.random.default_rng(0).normal(size=(*shape, 3)).astype(np.float32)
    crop = Crop(shape, size)
    restored = crop.undo(crop.apply(array, fill=99.0), fill=fill)
    kept = Crop(shape, size).undo(np.ones(size, dtype=bool))
    np.testing.assert_array_equal(restored[kept], array[kept])
    assert (restored[~kept] == np.float32(fill)).all()
    assert kept.sum() == min(shape[0], size[0]) * min(shape[1], size[1])
    assert restored.dtype == array.dtype


@given(SIZES, SIZES)
def test_padding_is_the_fill_and_is_dropped_on_the_way_back(shape, size):
    padded = Crop(shape, size).apply(np.ones(shape, dtype=np.float32), fill=-3.0)
    assert (padded == -3).sum() == size[0] * size[1] - min(shape[0], size[0]) * min(shape[1], size[1])
    assert -3 not in Crop(shape, size).undo(padded)


@pytest.mark.parametrize("shape", [(384, 330), (330, 384), (320, 320), (321, 319), (280, 512), (5, 700)])
def test_the_papers_crop_against_a_walk_from_the_outside(shape):
    keep = inside(shape, (320, 320))
    numbers = np.arange(1, shape[0] * shape[1] + 1).reshape(shape)
    kept = places(shape, (320, 320))
    np.testing.assert_array_equal(kept[kept > 0], numbers[keep])


def test_the_papers_volume_loses_32_and_5_pixels_on_each_side():
    volume = np.random.default_rng(0).normal(size=(384, 330, 2)).astype(np.float32)
    crop = Crop((384, 330), (320, 320))
    np.testing.assert_array_equal(crop.apply(volume), volume[32:352, 5:325])
    back = crop.undo(crop.apply(volume))
    np.testing.assert_array_equal(back[32:352, 5:325], volume[32:352, 5:325])
    back[32:352, 5:325] = 0
    assert not back.any()


@given(arrays.arrays(np.float32, (4, 3, 2), elements=st.floats(-1e5, 1e5, width=32)).filter(lambda a: np.ptp(a) > 1))
def test_a_normalised_volume_has_mean_zero_and_variance_one(image):
    done = normalise(image, "volume").astype(np.float64)
    assert done.mean() == pytest.approx(0, abs=1e-5)
    assert done.var() == pytest.approx(1, abs=1e-4)
    # an increasing line through all values: nothing but shift and scale
    low, high = image.min(), image.max()
    expected = (image.astype(np.float64) - low) / (np.float64(high) - low)
    np.testing.assert_allclose((done - done.min()) / np.ptp(done), expected, atol=1e-5)


def test_a_large_offset_costs_no_precision():
    image = (30_000 + np.random.default_rng(0).integers(0, 2, (200, 200, 4))).astype(np.float32)
    assert normalise(image, "volume").mean(dtype=np.float64) == pytest.approx(0, abs=1e-5)
    assert normalise(image, "volume").std(dtype=np.float64) == pytest.approx(1, abs=1e-5)


def test_channels_are_normalised_over_the_whole_volume_each_for_itself_and_padded_with_air():
    random = np.random.default_rng(3)
    channels = np.stack([random.normal(100, 10, (6, 8, 3)), random.normal(-4, 2, (6, 8, 3))]).astype(np.float32)
    done, grid = Preprocessing(size=(8, 5)).apply(channels, (0.5, 0.5, 4.4))
    assert done.shape == (2, 8, 5, 3)
    assert done.dtype == np.float32
    for before, after in zip(channels.astype(np.float64), done, strict=True):
        whole = (before - before.mean()) / before.std()
        np.testing.assert_allclose(after[1:7], whole[:, 1:6], atol=1e-5)
        np.testing.assert_allclose(after[[0, 7]], whole.min(), atol=1e-5)
    assert (grid.crop.shape, grid.crop.size) == ((6, 8), (8, 5))


def test_at_another_spacing_the_middle_shows_the_same_millimetres():
    """A slanting plane and a disc of 12 mm, at 0.5 x 1 mm, stored at 0.75 mm: both known in closed form."""
    x, y = np.ogrid[-31.75:32:0.5, -31.5:32:1.0]
    plane = np.repeat((3 * x - 2 * y).astype(np.float32)[..., None], 2, axis=2)
    disc = np.repeat((np.hypot(x, y) < 12)[..., None], 2, axis=2).astype(np.uint8)
    done, grid = Preprocessing(size=(60, 60), spacing_mm=(0.75, 0.75)).apply(plane[None], (0.5, 1.0, 4.4))
    stored_x, stored_y = (0.75 * places for places in np.ogrid[-29.5:30, -29.5:30])
    expected = (3 * stored_x - 2 * stored_y - plane.mean()) / plane.std()
    np.testing.assert_allclose(done[0, ..., 1], expected, atol=1e-3)
    label = grid.apply_to_labels(disc)
    assert label.dtype == np.uint8
    differs = label[..., 0] != (np.hypot(stored_x, stored_y) < 12)
    assert np.abs(np.hypot(stored_x, stored_y) - 12)[differs].max(initial=0) < 0.75
    assert label.sum() / 2 * 0.75**2 == pytest.approx(np.pi * 12**2, rel=0.02)
    np.testing.assert_allclose(grid.undo(done[0])[30:-30, 15:-15], done_at_input(plane)[30:-30, 15:-15], atol=1e-2)


def done_at_input(plane):
    return (plane - plane.mean()) / plane.std()


@pytest.mark.parametrize("spacing", [None, (0.5, 0.7), (0.503, 0.696)])
def test_a_volume_of_the_models_spacing_is_not_touched(spacing):
    channels = np.random.default_rng(3).normal(100, 10, (1, 6, 8, 3)).astype(np.float32)
    expected, _ = Preprocessing(size=(4, 10)).apply(channels, (0.5, 0.7, 4.4))
    found, grid = Preprocessing(size=(4, 10), spacing_mm=spacing).apply(channels, (0.5, 0.7, 4.4))
    np.testing.assert_array_equal(found, expected)
    mask = (channels[0] > 100).astype(np.uint8)
    assert grid.resample_labels(mask) is mask


def test_a_studys_spacing_has_to_be_settled_first():
    with pytest.raises(ValueError, match="settle"):
        Preprocessing(spacing_mm="study").grid((6, 8), (0.5, 0.5, 4.4))


@pytest.mark.parametrize(
    "values", [{"size": (0, 320)}, {"size": (320,)}, {"normalisation": "slice"}, {"crop": 1}, {"spacing_mm": (0, 1)}]
)
def test_other_rules_are_refused(values):
    with pytest.raises(ValidationError):
        Preprocessing(**values)


def test_a_few_extreme_voxels_change_little_by_percentiles_and_everything_by_the_volume():
    image = np.random.default_rng(3).normal(100, 10, (40, 40, 10)).astype(np.float32)
    spoilt = image.copy()
    spoilt[5, 5, 5] = 1e6
    rest = np.ones(image.shape, dtype=bool)
    rest[5, 5, 5] = False
    np.testing.assert_allclose(normalise(spoilt, "percentile")[rest], normalise(image, "percentile")[rest], atol=0.02)
    assert normalise(spoilt, "volume")[rest].std() < 0.01
    low, high = np.percentile(image, (0.5, 99.5))
    limited = np.clip(image.astype(np.float64), low, high)
    np.testing.assert_allclose(normalise(image, "percentile"), (limited - limited.mean()) / limited.std(), atol=1e-4)


def test_the_rule_of_normalisation_is_applied_to_every_channel():
    channels = np.random.default_rng(4).exponential(50, (2, 8, 8, 3)).astype(np.float32)
    found, _ = Preprocessing(size=(8, 8), normalisation="percentile").apply(channels, (1.0, 1.0, 4.0))
    for channel, image in zip(channels, found, strict=True):
        np.testing.assert_array_equal(image, normalise(channel, "percentile"))
