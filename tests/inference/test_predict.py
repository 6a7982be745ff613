import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nerveseg.data.preprocessing import Preprocessing
from nerveseg.errors import BundleError, GeometryError
from nerveseg.inference import runtimes
from nerveseg.inference.bundle import Bundle
from nerveseg.inference.postprocessing import Postprocessing
from nerveseg.inference.predict import network_grid, predict_volume
from nerveseg.inference.prediction_settings import PredictionSettings

SPACING_MM = (1.0, 1.0, 4.4)


def segment_volume(members, channels, spacing_mm, settings=None, **options):
    """The probability by every slice whole, in torch."""
    settings = PredictionSettings(accuracy="exact", **(settings or {}))
    return predict_volume(members, channels, spacing_mm, settings, **({"runtime": "torch"} | options)).probability


def scan(shape, channels=1, seed=0):
    return np.random.default_rng(seed).normal(100, 30, (channels, *shape)).astype(np.float32)


def by_hand(bundle, channels):
    """Probability within the training crop: normalise, cut or pad by numpy alone, the network slice by slice."""
    size, rule = bundle.description.preprocessing.size, bundle.description.preprocessing.normalisation
    if rule == "percentile":
        channels = [np.clip(channel, *np.percentile(channel, (0.5, 99.5))) for channel in channels]
    normalised = [(channel.astype(np.float64) - channel.mean()) / channel.std() for channel in channels]
    result = np.zeros(channels[0].shape)
    cut, pad = [], []
    for axis in (0, 1):
        extra = result.shape[axis] - size[axis]
        cut.append(slice(extra // 2, extra // 2 + size[axis]) if extra > 0 else slice(None))
        pad.append((-extra // 2, -extra - (-extra // 2)) if extra < 0 else (0, 0))
    back = tuple(slice(before, length - after) for (before, after), length in zip(pad, size, strict=True))
    beside, last = bundle.description.context.neighbours, result.shape[2] - 1
    for index in range(result.shape[2]):
        window = [last - abs(last - abs(place)) for place in range(index - beside, index + beside + 1)]
        cropped = [np.pad(c[(*cut, z)], pad, constant_values=c.min()) for z in window for c in normalised]
        with torch.no_grad():
            logits = bundle.network(torch.tensor(np.stack(cropped)[None], dtype=torch.float32))[0].double().numpy()
        result[(*cut, index)] = (1 / (1 + np.exp(logits[0] - logits[1])))[back]
    return result


@pytest.mark.parametrize("size", [(8, 6), (20, 24), (10, 16), (14, 11), (8, 20)])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_crop_of_the_training_is_the_networks_probability_and_0_outside_it(size, channels, random_bundle):
    bundle = random_bundle(size=size, channels=("T2", "FS")[:channels])
    array = scan((14, 11, 5), channels)
    expected = by_hand(bundle, array)
    found = segment_volume([bundle], array, SPACING_MM, {"field_of_view": "crop"})
    assert np.std(expected[expected > 0]) > 0.01
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(found == 0, expected == 0)


@pytest.mark.parametrize("neighbours", [1, 2])
@pytest.mark.parametrize("slices_per_batch", [1, 3, 8])
def test_the_network_sees_the_slices_beside_each_mirrored_at_the_ends(neighbours, slices_per_batch, random_bundle):
    bundle = random_bundle(size=(14, 12), channels=("T2", "FS"), neighbours=neighbours)
    array = scan((14, 11, 5), channels=2)
    found = segment_volume([bundle], array, SPACING_MM, slices_per_batch=slices_per_batch)
    np.testing.assert_allclose(found, by_hand(bundle, array), atol=1e-5)


def test_a_scan_is_normalised_as_the_training_was(random_bundle):
    bundle = random_bundle(size=(14, 12))
    robust = Preprocessing(size=(14, 12), normalisation="percentile")
    described = Bundle(bundle.network, bundle.description.model_copy(update={"preprocessing": robust}))
    array = scan((14, 12, 5))
    array[0, 3, 3, 1] = 1e5
    found = segment_volume([described], array, SPACING_MM)
    np.testing.assert_allclose(found, by_hand(described, array), atol=1e-5)
    assert np.abs(found - segment_volume([bundle], array, SPACING_MM)).max() > 0.1


@pytest.mark.parametrize(
    ("shape", "size"), [((16, 12, 5), (16, 12)), ((15, 9, 5), (15, 9)), ((10, 12, 3), (16, 12)), ((9, 7, 4), (16, 24))]
)
def test_of_a_scan_no_larger_than_the_training_crop_the_whole_is_the_crop(shape, size, random_bundle):
    bundle = random_bundle(size=size)
    crop = segment_volume([bundle], scan(shape), SPACING_MM, {"field_of_view": "crop"})
    np.testing.assert_array_equal(segment_volume([bundle], scan(shape), SPACING_MM), crop)


def test_the_settings_are_the_bundles_own_unless_others_are_given(random_bundle):
    bundle = random_bundle(size=(8, 6))
    own = PredictionSettings(field_of_view="crop", accuracy="exact", postprocessing=Postprocessing(remove_specks=False))
    described = Bundle(bundle.network, bundle.description.model_copy(update={"prediction": own}))
    array = scan((14, 11, 5))
    found = predict_volume([described], array, SPACING_MM)
    assert found.settings == own
    np.testing.assert_array_equal(found.probability, predict_volume([bundle], array, SPACING_MM, own).probability)
    np.testing.assert_array_equal(found.mask, found.probability > 0.5)
    assert predict_volume([described], array, SPACING_MM, PredictionSettings()).settings.field_of_view == "whole"


def test_the_mask_is_what_is_likelier_than_not_cleaned(random_bundle, monkeypatch):
    """Were the network's answer the image itself, a block and a far voxel would be found; the voxel is a speck."""
    monkeypatch.setattr(runtimes, "part_probabilities", lambda network, slices: slices[:, :1].clone())
    array = np.zeros((1, 40, 36, 5), np.float32)
    array[0, 4:10, 4:10] = array[0, 34, 30, 2] = 1
    found = predict_volume(
        [random_bundle(size=(16, 12))], array, SPACING_MM, PredictionSettings(accuracy="exact"), runtime="torch"
    )
    assert found.probability[34, 30, 2] > 0.5
    expected = array[0] > 0
    expected[34, 30, 2] = False
    np.testing.assert_array_equal(found.mask, expected)


@pytest.mark.parametrize(("accuracy", "device", "settled"), [("auto", "cpu", "fast"), ("exact", "cpu", "exact")])
def test_what_was_computed_with_is_told(accuracy, device, settled, random_bundle):
    settings = PredictionSettings(accuracy=accuracy)
    found = predict_volume([random_bundle()], scan((8, 6, 3)), SPACING_MM, settings, runtime="torch", device=device)
    assert found.computation.model_dump() == {"device": device, "runtime": "torch", "accuracy": settled}


def test_the_scans_own_pixels_go_in_where_the_settings_say_so(random_bundle):
    bundle = random_bundle(size=(16, 12))
    array = scan((14, 11, 4))
    own = segment_volume([bundle], array, (0.5, 1.5, 4.4), {"in_plane_spacing": "scan"})
    np.testing.assert_array_equal(own, segment_volume([bundle], array, SPACING_MM))
    assert np.abs(own - segment_volume([bundle], array, (0.5, 1.5, 4.4))).max() > 1e-2


@pytest.mark.parametrize("accuracy", ["fast", "exact"])
def test_a_probability_that_is_not_finite_is_an_error_with_scan_and_model(accuracy, random_bundle):
    bundle = random_bundle(fold=3)
    with torch.no_grad():
        bundle.network.classifier.bias[0] = float("nan")
    with pytest.raises(BundleError) as caught:
        predict_volume(
            [bundle], scan((8, 6, 2)), SPACING_MM, PredictionSettings(accuracy=accuracy), runtime="torch", scan="V07"
        )
    assert caught.value.subject == "V07"
    assert "fold 3" in caught.value.found
    assert "of x" in caught.value.found


@pytest.mark.parametrize("transitions", [1, 2])
def test_away_from_the_crops_border_the_whole_field_of_view_says_the_same(transitions, random_bundle):
    """The receptive field of such a small network ends within 24 pixels; the crop lies on the pooling's steps."""
    bundle = random_bundle(size=(64, 72), transitions=transitions)
    channels = scan((128, 136, 2))
    whole = segment_volume([bundle], channels, SPACING_MM)
    crop = segment_volume([bundle], channels, SPACING_MM, {"field_of_view": "crop"})
    middle = np.s_[32 + 24 : 96 - 24, 32 + 24 : 104 - 24]
    np.testing.assert_allclose(whole[middle], crop[middle], atol=1e-5)
    border = np.s_[32:34, 32:104]
    assert np.abs(whole[border] - crop[border]).max() > 1e-2
    assert (whole > 0).all()
    assert not crop[:32].any()


def test_a_nerve_outside_the_training_crop_is_found(random_bundle):
    """What is seen moves with the picture, by any multiple of what the transitions divide by."""
    bundle = random_bundle(size=(16, 16), transitions=1)
    patch = scan((12, 12, 1), seed=4)[0]
    channels = np.full((1, 120, 100, 1), 60, np.float32)
    channels[0, 54:66, 44:56] = patch
    moved = np.roll(channels, (-30, 20), axis=(1, 2))
    here, there = (segment_volume([bundle], array, SPACING_MM) for array in (channels, moved))
    assert np.ptp(here[54:66, 44:56]) > 0.1
    np.testing.assert_allclose(there[24:36, 64:76], here[54:66, 44:56], atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "size", "inside"),
    [
        ((8, 6), (8, 6), (8, 6)),
        ((5, 6), (8, 6), (8, 6)),
        ((9, 7), (8, 6), (12, 8)),
        ((12, 20), (8, 6), (12, 20)),
        ((9, 5), (7, 6), (12, 6)),
        ((512, 512), (320, 320), (512, 512)),
    ],
)
def test_a_slice_is_padded_to_the_crop_and_to_what_the_transitions_divide_by(shape, size, inside, random_bundle):
    grid = network_grid(random_bundle(size=size, transitions=2), shape, SPACING_MM, PredictionSettings())
    assert grid.crop.size == inside
    assert grid.crop.shape == shape


def test_the_padding_is_the_volumes_minimum(random_bundle, monkeypatch):
    seen = []
    monkeypatch.setattr(
        runtimes, "part_probabilities", lambda network, slices: seen.append(slices) or slices[:, :1].clone()
    )
    channels = scan((13, 9, 3), channels=2)
    segment_volume([random_bundle(size=(8, 6), channels=("T2", "FS"), transitions=2)], channels, SPACING_MM)
    slices = torch.cat(seen)
    assert slices.shape == (3, 2, 16, 12)
    for number, channel in enumerate(channels):
        smallest = (channel.min() - channel.mean()) / channel.std()
        for edge in (slices[:, number, 0], slices[:, number, -2:], slices[:, number, :, 0], slices[:, number, :, -2:]):
            np.testing.assert_allclose(edge.numpy(), smallest, atol=1e-5)
        inside = slices[:, number, 1:14, 1:10].numpy().transpose(1, 2, 0)
        np.testing.assert_allclose(inside, (channel - channel.mean()) / channel.std(), atol=1e-5)


@pytest.mark.parametrize("count", [2, 3])
def test_several_members_are_averaged(count, random_bundle):
    members = [random_bundle(seed=seed, size=(16, 12)) for seed in range(count)]
    channels = scan((20, 15, 4))
    alone = [segment_volume([member], channels, SPACING_MM).astype(np.float64) for member in members]
    together = segment_volume(members, channels, SPACING_MM)
    np.testing.assert_allclose(together, sum(alone) / count, atol=1e-6)
    assert np.abs(alone[0] - alone[1]).max() > 0.1


@pytest.mark.parametrize("slices_per_batch", [1, 2, 64])
def test_the_batch_size_does_not_matter(slices_per_batch, random_bundle):
    members = [random_bundle(seed=seed, size=(16, 12)) for seed in range(2)]
    channels = scan((20, 15, 5))
    spacing = (0.8, 1.3, 4.4)
    expected = segment_volume(members, channels, spacing, slices_per_batch=4)
    found = segment_volume(members, channels, spacing, slices_per_batch=slices_per_batch)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_batches_shrink_as_slices_grow_and_progress_is_told(random_bundle):
    told = []
    bundle = random_bundle(size=(8, 6))
    segment_volume([bundle], scan((8, 6, 5)), SPACING_MM, slices_per_batch=4, progress=lambda *now: told.append(now))
    segment_volume([bundle], scan((16, 6, 5)), SPACING_MM, slices_per_batch=4, progress=lambda *now: told.append(now))
    segment_volume([bundle], scan((80, 60, 2)), SPACING_MM, slices_per_batch=4, progress=lambda *now: told.append(now))
    assert told == [(0, 5), (4, 5), (5, 5), (0, 5), (2, 5), (4, 5), (5, 5), (0, 2), (1, 2), (2, 2)]


@pytest.mark.parametrize("spacing", [(0.7, 0.8, 4.4), (1.6, 0.9, 3.0), (0.5, 2.0, 4.4), (1.004, 0.996, 4.4)])
def test_at_another_spacing_every_pixel_gets_what_was_said_of_its_place(spacing, random_bundle, monkeypatch):
    """Were the network's answer the image itself, a slanting plane would come back as it went in."""
    monkeypatch.setattr(runtimes, "part_probabilities", lambda network, slices: slices[:, :1].clone())
    x, y, z = np.ogrid[:40, :36, :3]
    plane = (0.3 * x * spacing[0] - 0.2 * y * spacing[1] + 5 * z).astype(np.float32)
    found = segment_volume([random_bundle(size=(16, 12))], plane[None], spacing)
    expected = (plane - plane.mean()) / plane.std()
    inside = np.s_[6:-6, 6:-6]
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-3)
    assert found.shape == plane.shape


def test_channels_that_are_not_the_models_are_refused(random_bundle):
    with pytest.raises(BundleError) as caught:
        segment_volume([random_bundle(channels=("T2", "FS"))], scan((8, 6, 2)), SPACING_MM)
    assert "(T2, FS)" in caught.value.rule
    assert caught.value.found == 1


def test_a_spacing_that_cannot_be_true_is_refused(random_bundle):
    with pytest.raises(GeometryError) as caught:
        segment_volume([random_bundle()], scan((8, 6, 2)), (1200.0, 1200.0, 4.4))
    assert caught.value.found.startswith("9600 x 7200 pixels")
    assert "field_of_view=crop" in caught.value.remedy


def test_dropout_is_off_and_the_networks_stay_as_they_were(random_bundle):
    bundle = random_bundle(dropout=0.5)
    before = {name: tensor.clone() for name, tensor in bundle.network.state_dict().items()}
    first, second = (segment_volume([bundle], scan((10, 9, 3)), SPACING_MM) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert all(torch.equal(tensor, before[name]) for name, tensor in bundle.network.state_dict().items())


def test_the_probability_is_the_softmax_of_the_logits(random_bundle):
    bundle = random_bundle()
    slices = torch.randn(3, 1, 8, 6)
    with torch.no_grad():
        logits = bundle.network(slices).double().numpy()
        found = runtimes.part_probabilities(bundle.network, slices).numpy()[:, 0]
    np.testing.assert_allclose(found, 1 / (1 + np.exp(logits[:, 0] - logits[:, 1])), atol=1e-6)


def test_nerve_is_what_is_likelier_than_not():
    probability = np.array([0.0, 0.5, np.nextafter(0.5, 1), 1.0]).reshape(2, 2, 1)
    np.testing.assert_array_equal(runtimes.most_likely(probability[None]).ravel(), [0, 0, 1, 1])


SIXTEENTHS = st.tuples(*3 * [st.integers(0, 16)]).map(sorted).map(lambda c: (c[0], c[1] - c[0], c[2] - c[1]))
"""Three shares that leave the rest to background, as the steps between three sorted numbers."""


@given(st.lists(SIXTEENTHS, min_size=1, max_size=20))
def test_of_several_parts_the_likeliest_is_taken_unless_background_is_as_likely(weights):
    """Probabilities in sixteenths are exact, and compared here as whole numbers."""
    probabilities = (np.array(weights, dtype=np.float32).T / 16).reshape(3, -1, 1, 1)
    found = runtimes.most_likely(probabilities).ravel()
    for column, part in zip(weights, found, strict=True):
        assert part == (0 if max(column) <= 16 - sum(column) else 1 + column.index(max(column)))


@given(st.lists(SIXTEENTHS, min_size=1, max_size=20), st.sampled_from([1.0, 2.0, 4.0]))
def test_the_odds_of_favoured_parts_are_multiplied(weights, odds):
    probabilities = (np.array(weights, dtype=np.float32).T / 16).reshape(3, -1, 1, 1)
    found = runtimes.most_likely(probabilities, [1, 3], odds).ravel()
    for column, part in zip(weights, found, strict=True):
        rated = [16 - sum(column), odds * column[0], column[1], odds * column[2]]
        assert part == rated.index(max(rated))
    one = runtimes.most_likely(probabilities[:1], [1], odds).ravel()
    assert one.tolist() == [odds * column[0] > 16 - column[0] for column in weights]


def test_more_nerve_is_marked_with_higher_odds_at_the_same_probability(random_bundle):
    bundle, array = random_bundle(), scan((8, 6, 3))
    settings = PredictionSettings(accuracy="exact", postprocessing=Postprocessing(remove_specks=False))
    plain, more = (
        predict_volume([bundle], array, SPACING_MM, settings.model_copy(update={"nerve_odds": odds}), runtime="torch")
        for odds in (1.0, 3.0)
    )
    np.testing.assert_array_equal(plain.probability, more.probability)
    np.testing.assert_array_equal(plain.mask, plain.probability > 0.5)
    np.testing.assert_array_equal(more.mask, more.probability > 0.25)
