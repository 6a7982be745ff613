"""Mirrored views: a mirrored scan gives the mirrored probability, whatever the network sees of a stack."""

import importlib.util

import numpy as np
import pytest
import torch

from nerveseg.data.context import Context
from nerveseg.inference import runtimes
from nerveseg.inference.bundle import ModelDescription, load_bundle, read_description, save_bundle
from nerveseg.inference.predict import predict_volume
from nerveseg.inference.prediction_settings import PredictionSettings
from nerveseg.scans.request import SegmentOptions, settings_notes

SPACING_MM = (1.0, 1.0, 4.4)
RUNTIMES = ["torch", *(["openvino"] if importlib.util.find_spec("openvino") else [])]
CONTEXTS = {
    "slice": {},
    "neighbours": {"neighbours": 2},
    "volume": {"context": Context(depth=4), "dimensions": 3, "pooling": [[2, 2, 1]]},
    "volume of patches": {"context": Context(depth=4, size=(8, 8)), "dimensions": 3, "pooling": [[2, 2, 1]]},
}


def scan(shape=(24, 20, 6), seed=0):
    return np.random.default_rng(seed).normal(100, 30, (1, *shape)).astype(np.float32)


def predicted(members, array, mirrored, runtime, accuracy="exact", spacing_mm=SPACING_MM):
    settings = PredictionSettings(accuracy=accuracy, mirrored_views=mirrored)
    return predict_volume(members, array, spacing_mm, settings, runtime=runtime).probability


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("context", CONTEXTS)
def test_a_mirrored_scan_gives_the_mirrored_probability(context, runtime, random_bundle):
    if "volume" in context:
        pytest.importorskip("monai")
    members = [random_bundle(seed=seed, size=(16, 12), **CONTEXTS[context]) for seed in (3, 4)]
    array = scan()
    found = predicted(members, array, True, runtime)
    np.testing.assert_allclose(predicted(members, array[:, ::-1].copy(), True, runtime)[::-1], found, atol=1e-6)
    one, other = (predicted(members, each, False, runtime) for each in (array, array[:, ::-1].copy()))
    np.testing.assert_allclose(found, (one.astype(np.float64) + other[::-1]) / 2, atol=1e-6)
    assert np.abs(one - other[::-1]).max() > 0.05


def test_a_scan_of_another_spacing_gives_the_mirrored_probability(random_bundle):
    members, array = [random_bundle(size=(16, 12))], scan((40, 30, 3))
    found = predicted(members, array, True, "torch", spacing_mm=(0.6, 0.7, 4.4))
    again = predicted(members, array[:, ::-1].copy(), True, "torch", spacing_mm=(0.6, 0.7, 4.4))
    np.testing.assert_allclose(again[::-1], found, atol=1e-5)


def test_both_views_are_averaged_where_the_nerve_is_followed(random_bundle, monkeypatch):
    """Were the network's answer the image moved by a pixel, the mean would be that of the image moved both ways."""
    sizes = []

    def moved(network, slices):
        sizes.append(slices.shape[0] * slices.shape[2] * slices.shape[3])
        return slices[:, :1].roll(1, dims=2).clamp(0, 1)

    monkeypatch.setattr(runtimes, "part_probabilities", moved)
    array = np.zeros((1, 160, 120, 30), np.float32)
    for number in range(30):
        array[0, 40 + number : 52 + number, 50:60, number] = 1
    found = predicted([random_bundle(size=(16, 12))], array, True, "torch", "fast")
    normalised = np.clip((array[0] - array.mean()) / array.std(), 0, 1)
    expected = (np.roll(normalised, 1, axis=0) + np.roll(normalised, -1, axis=0)) / 2
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert sum(sizes) < array[0].size


def test_a_model_without_mirrored_views_has_the_file_and_hash_of_earlier_versions(random_bundle, tmp_path):
    bundle = random_bundle()
    mirrored = bundle.description.model_copy(update={"prediction": PredictionSettings(mirrored_views=True)})
    for name, description in (("without", bundle.description), ("with", mirrored)):
        save_bundle(tmp_path / name, bundle.network, description)
    without, with_views = (read_description(tmp_path / name) for name in ("without", "with"))
    assert "mirrored_views" not in (tmp_path / "without" / "model.json").read_text(encoding="utf-8")
    assert "mirror image" not in (tmp_path / "without" / "README.md").read_text(encoding="utf-8")
    assert set(without.model_dump()["prediction"]) == {
        *("field_of_view", "accuracy", "in_plane_spacing", "precision", "postprocessing"),
    }
    assert without.sha256() != with_views.sha256()
    assert load_bundle(tmp_path / "with").description.prediction.mirrored_views
    assert "mirror image" in (tmp_path / "with" / "README.md").read_text(encoding="utf-8")


def test_segment_may_switch_mirrored_views_on_and_off():
    on = PredictionSettings(mirrored_views=True)
    assert SegmentOptions().settings(on) == on
    off = SegmentOptions(mirrored_views=False).settings(on)
    assert off == PredictionSettings()
    assert [note.split(":")[0] for note in settings_notes(off, on)] == ["mirrored_views=false"]


def test_the_views_are_mirrored_left_to_right():
    seen = []
    engine = runtimes.with_mirrored_views(lambda slices: seen.append(slices) or slices[:, :1])
    slices = torch.arange(24.0).reshape(1, 2, 4, 3)
    torch.testing.assert_close(engine(slices), slices[:, :1])
    torch.testing.assert_close(seen[1], torch.from_numpy(slices.numpy()[:, :, ::-1].copy()))


def test_descriptions_of_earlier_versions_have_no_mirrored_views(random_bundle):
    values = random_bundle().description.model_dump()
    assert not ModelDescription.model_validate(values).prediction.mirrored_views
