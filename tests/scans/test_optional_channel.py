"""A model that may do without a channel."""

import numpy as np
import pytest
import torch

import nerveseg
from nerveseg.errors import BundleError
from nerveseg.inference.bundle import read_description
from nerveseg.inference.ensemble import open_model
from nerveseg.inference.training_intensity import IntensityRange
from nerveseg.scans.request import SegmentOptions
from tests.helpers.scan_models import write_model

CROP = SegmentOptions(accelerator="cpu", field_of_view="crop", accuracy="exact", in_plane_spacing="scan")


@pytest.fixture
def model(tmp_path):
    return open_model(write_model(tmp_path / "model", 5, {}, channels=("T2", "FS"), optional=("FS",)))


def by_hand(model, planes):
    """The probability of nerve by the network itself, of planes (plane, x, y, z) of the training crop's size."""
    network = model.bundles[0].network
    with torch.no_grad():
        logits = network(torch.from_numpy(planes.transpose(3, 0, 1, 2).copy()))
    return logits.softmax(dim=1)[:, 1].numpy().transpose(1, 2, 0)


def cropped(array, fill):
    """The middle of an array at the model's crop of 48 x 48, padded where it is smaller."""
    result = np.full((48, 48, array.shape[2]), fill, dtype=np.float32)
    starts = [(large - 48) // 2 for large in array.shape[:2]]
    assert min(starts) >= 0
    result[:] = array[starts[0] : starts[0] + 48, starts[1] : starts[1] + 48]
    return result


def z_scores(array):
    return ((array - array.mean(dtype=np.float64)) / array.std(dtype=np.float64)).astype(np.float32)


@pytest.mark.parametrize("given", [True, False])
def test_the_network_sees_the_channel_and_its_presence_or_zeros(given, model, image_of, fat_suppressed_of):
    images = {"FS": fat_suppressed_of("V01")} if given else {}
    found = nerveseg.segment_scan(image_of("V01"), model, images=images, options=CROP)
    image = z_scores(found.scan.image.array)
    planes = [cropped(image, image.min())]
    if given:
        channel = found.scan.channels["FS"]
        channel = z_scores(np.nan_to_num(channel, nan=float(np.nanmin(channel))))
        planes += [cropped(channel, channel.min()), np.ones_like(planes[0])]
    else:
        planes += [np.zeros_like(planes[0])] * 2
    expected = by_hand(model, np.stack(planes))
    seen = cropped(found.prediction.probability, 0.0)
    np.testing.assert_allclose(seen, expected, atol=1e-4)
    assert any("no channel FS" in note for note in found.notes) == (not given)


def test_the_presence_changes_the_result(model, image_of, fat_suppressed_of):
    images = {"FS": fat_suppressed_of("V01")}
    with_it, without = (
        nerveseg.segment_scan(image_of("V01"), model, images=each, options=CROP) for each in (images, {})
    )
    assert (with_it.prediction.probability != without.prediction.probability).any()


def test_a_missing_channel_is_not_unlike_the_training(image_of, tmp_path):
    folder = write_model(tmp_path / "model", 5, {}, channels=("T2", "FS"), optional=("FS",))
    path = folder / "model.json"
    ranges = IntensityRange.over([(-9.0, -8.0, -7.0, -6.0, -5.0)])
    described = read_description(folder).model_copy(update={"intensity": {"FS": ranges}})
    path.write_text(described.model_dump_json(), encoding="utf-8")
    found = nerveseg.segment_scan(image_of("V01"), folder, options=CROP)
    assert not any(flag.code == "intensity_unlike_training" for flag in found.flags)


def test_a_channel_that_is_not_optional_is_still_needed(image_of, tmp_path):
    model = write_model(tmp_path / "three", 5, {}, channels=("T2", "FS", "T1"), optional=("T1",))
    with pytest.raises(BundleError) as caught:
        nerveseg.segment_scan(image_of("V01"), model)
    assert "images.FS=" in caught.value.remedy
    assert "images.T1=" not in caught.value.remedy


@pytest.mark.parametrize("optional", [("T2",), ("DWI",)])
def test_a_description_whose_optional_channel_is_first_or_unknown_is_refused(optional, tmp_path):
    folder = write_model(tmp_path / "model", 5, {}, channels=("T2", "FS"))
    path = folder / "model.json"
    text = path.read_text(encoding="utf-8").replace('"optional": []', f'"optional": ["{optional[0]}"]')
    assert text != path.read_text(encoding="utf-8")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BundleError) as caught:
        open_model(folder)
    assert caught.value.path == path
