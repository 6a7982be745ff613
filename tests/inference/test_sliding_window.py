"""Windows of a network of three dimensions: weighted by a Gaussian, bounded, mirrored where the stack is short."""

import importlib.util

import numpy as np
import pytest
import torch

from nerveseg.data.context import Context
from nerveseg.errors import ConfigurationError, GeometryError
from nerveseg.inference import sliding_window
from nerveseg.inference.predict import predict_volume
from nerveseg.inference.prediction_settings import PredictionSettings
from nerveseg.inference.sliding_window import sliding_window_probabilities, window_size

pytest.importorskip("monai")

SPACING_MM = (1.0, 1.0, 4.4)


@pytest.fixture
def bundle(random_bundle):
    """`bundle(depth=, size=)`: a model of patches with kernels of all axes."""

    def make(depth=4, size=None, crop=(14, 12), **options):
        options = {"dimensions": 3, "pooling": [[2, 2, 1]]} | options
        return random_bundle(size=crop, context=Context(depth=depth, size=size), **options)

    return make


def scan(shape, seed=0):
    return np.random.default_rng(seed).normal(100, 30, (1, *shape)).astype(np.float32)


def normalised(array):
    return (array[0].astype(np.float64) - array.mean()) / array.std()


def predicted(model, array, **options):
    return predict_volume([model], array, SPACING_MM, **({"runtime": "torch"} | options)).probability


def network_of(model, array):
    """The network's own probability of an array (x, y, z), in one piece."""
    with torch.no_grad():
        logits = model.network(torch.tensor(array[None, None], dtype=torch.float32))
    return torch.softmax(logits.double(), dim=1)[0, 1].numpy()


def gaussian(size):
    """A Gaussian around the middle of a window, of an eighth of its length, and never below a thousandth."""
    axes = [np.exp(-(((np.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) / 2) for n in size]
    weights = axes[0][:, None, None] * axes[1][:, None] * axes[2]
    return np.maximum(weights, 1e-3)


def by_hand(model, array, window, starts):
    """Sum of the windows' weighted probabilities over the sum of the weights."""
    total, weight, own = np.zeros(array.shape), np.zeros(array.shape), gaussian(window)
    for x in starts[0]:
        for y in starts[1]:
            for z in starts[2]:
                part = tuple(slice(at, at + length) for at, length in zip((x, y, z), window, strict=True))
                total[part] += own * network_of(model, array[part])
                weight[part] += own
    return total / weight


def test_a_scan_of_one_window_is_what_the_network_says_of_it(bundle):
    model, array = bundle(), scan((14, 12, 4))
    found = predicted(model, array)
    assert found.dtype == np.float32
    assert found.std() > 0.01
    np.testing.assert_allclose(found, network_of(model, normalised(array)), atol=1e-5)


@pytest.mark.parametrize("slices_per_batch", [1, 8, 100])
def test_windows_overlap_by_half_with_gaussian_weights(bundle, slices_per_batch):
    model, array = bundle(), scan((14, 12, 9))
    expected = by_hand(model, normalised(array), (14, 12, 4), [[0], [0], [0, 2, 4, 5]])
    np.testing.assert_allclose(predicted(model, array, slices_per_batch=slices_per_batch), expected, atol=1e-5)


def test_windows_of_a_trained_patch_overlap_in_the_plane_too(bundle):
    model, array = bundle(size=(8, 6)), scan((14, 12, 5))
    expected = by_hand(model, normalised(array), (8, 6, 4), [[0, 4, 6], [0, 3, 6], [0, 1]])
    np.testing.assert_allclose(predicted(model, array), expected, atol=1e-5)


@pytest.mark.parametrize(("shown", "inside"), [([0, 0, 0, 0], [2]), ([1, 0, 1, 0], [1, 2]), ([1, 0, 1, 2], [1, 2, 3])])
def test_a_stack_less_deep_than_a_window_is_mirrored_at_its_ends(bundle, shown, inside):
    model, array = bundle(), scan((14, 12, len(inside)))
    expected = network_of(model, normalised(array)[..., shown])[..., inside]
    np.testing.assert_allclose(predicted(model, array), expected, atol=1e-5)


def test_the_field_of_view_is_the_whole_slice_or_the_crop(bundle):
    model, array = bundle(crop=(8, 6)), scan((16, 12, 4))
    np.testing.assert_allclose(predicted(model, array), network_of(model, normalised(array)), atol=1e-5)
    cropped = predicted(model, array, settings=PredictionSettings(field_of_view="crop"))
    expected = network_of(model, normalised(array)[4:12, 3:9])
    np.testing.assert_allclose(cropped[4:12, 3:9], expected, atol=1e-5)
    assert not cropped[:4].any()


def test_slices_too_large_for_one_window_are_shown_in_windows_of_the_crop(bundle, monkeypatch):
    monkeypatch.setattr(sliding_window, "LARGEST_WINDOW", 16 * 12 * 4 - 1)
    model, array = bundle(crop=(8, 6)), scan((16, 12, 4))
    expected = by_hand(model, normalised(array), (8, 6, 4), [[0, 4, 8], [0, 3, 6], [0]])
    np.testing.assert_allclose(predicted(model, array), expected, atol=1e-5)


def test_a_window_never_has_more_voxels_than_is_said():
    deep, patch = Context(depth=16), Context(depth=16, size=(96, 64))
    assert window_size(deep, (320, 320), (512, 512)) == (512, 512, 16)
    assert window_size(deep, (320, 320), (512, 528)) == (320, 320, 16)
    assert window_size(patch, (320, 320), (512, 512)) == (96, 64, 16)


def test_a_scan_beyond_the_bound_is_refused_before_it_is_computed(bundle, monkeypatch):
    monkeypatch.setattr(sliding_window, "LARGEST_VOLUME", 14 * 12 * 9 - 1)
    monkeypatch.setattr(sliding_window, "sliding_window_probabilities", None)
    with pytest.raises(GeometryError) as caught:
        predicted(bundle(), scan((14, 12, 9)), scan="P01")
    assert caught.value.subject == "P01"
    assert "14 x 12 x 9" in caught.value.found


def test_progress_rises_to_all_slices(bundle):
    told = []
    predicted(bundle(size=(8, 6)), scan((14, 12, 9)), progress=lambda done, of: told.append((done, of)))
    assert {of for _, of in told} == {9}
    assert told == sorted(told)
    assert (told[0], told[-1]) == ((0, 9), (9, 9))
    assert len(set(told)) > 4


def test_each_part_has_its_own_probability():
    volume = torch.rand(1, 9, 7, 5)
    found = sliding_window_probabilities(
        volume, (4, 4, 4), lambda windows: torch.cat([windows, 1 - windows], dim=1), 10**6
    )
    torch.testing.assert_close(found, torch.cat([volume, 1 - volume]))


def test_a_model_of_patches_is_exact_and_refuses_the_search_from_slice_to_slice(bundle):
    model, array = bundle(), scan((14, 12, 4))
    assert predict_volume([model], array, SPACING_MM).computation.accuracy == "exact"
    with pytest.raises(ConfigurationError) as caught:
        predict_volume([model], array, SPACING_MM, PredictionSettings(accuracy="fast"))
    assert "accuracy" in caught.value.remedy


def test_without_monai_it_is_named(bundle, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError) as caught:
        predicted(bundle(), scan((14, 12, 4)))
    assert "nerveseg[monai]" in caught.value.remedy
