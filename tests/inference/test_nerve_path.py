"""The nerve's path: of several structures the one with most evidence over the stack is kept, with its branches."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter

from nerveseg.data.classes import Classes
from nerveseg.data.legs import Leg
from nerveseg.inference import runtimes
from nerveseg.inference.bundle import read_description, save_bundle
from nerveseg.inference.nerve_path import along_nerves, along_path
from nerveseg.inference.postprocessing import Postprocessing
from nerveseg.inference.predict import predict_volume
from nerveseg.inference.prediction_settings import PredictionSettings
from nerveseg.launch.compose import config_folder
from nerveseg.scans.request import SegmentOptions, settings_notes

SPACING_MM = (1.0, 1.0, 4.0)
SHAPE = (80, 60, 12)
WHOLE = (Leg("unknown", slice(0, SHAPE[0])),)


def tube(at, slices=range(SHAPE[2]), width=6, value=0.9, shape=SHAPE):
    """Probability of a square section of a width in pixels, whose corner `at` gives for each slice."""
    probability = np.zeros(shape)
    for number in slices:
        x, y = at(number)
        probability[x : x + width, y : y + width, number] = value
    return probability


def followed(probability):
    return along_path(probability > 0.5, probability, SPACING_MM)


NERVE = tube(lambda number: (20 + number, 20))


@pytest.mark.parametrize("slices", [range(3), range(4, 10), range(9, 12)])
@pytest.mark.parametrize("away", [12, 15, 40])
def test_a_vein_beside_the_nerve_goes_in_the_slices_that_show_it(slices, away):
    vein = tube(lambda number: (20 + number + away, 20), slices, value=0.99)
    np.testing.assert_array_equal(followed(np.maximum(NERVE, vein)), NERVE > 0.5)


def test_a_large_structure_in_a_few_slices_does_not_outweigh_the_nerve():
    large = tube(lambda number: (45, 5), range(5, 8), width=30, value=0.99)
    np.testing.assert_array_equal(followed(np.maximum(NERVE, large)), NERVE > 0.5)


def test_both_branches_stay_after_the_split_and_so_does_one_that_is_missed_in_a_slice():
    tibial = tube(lambda number: (30 - number, 20), range(12))
    peroneal = tube(lambda number: (30 + 2 * number, 20), range(12))  # at last 33 mm from the other
    both = np.maximum(tibial, peroneal)
    np.testing.assert_array_equal(followed(both), both > 0.5)
    peroneal[..., 8] = 0
    np.testing.assert_array_equal(followed(np.maximum(tibial, peroneal)), np.maximum(tibial, peroneal) > 0.5)


@pytest.mark.parametrize(("value", "filled"), [(0.3, True), (0.21, True), (0.2, False), (0.1, False)])
@pytest.mark.parametrize("missed", [(5,), (3, 4, 5, 6), (0, 1), (11,)])
def test_missed_slices_are_filled_where_the_nerve_is_likely_enough(missed, value, filled):
    probability = NERVE.copy()
    probability[..., list(missed)] *= value / 0.9
    expected = NERVE > 0.5
    if not filled:
        expected[..., list(missed)] = False
    np.testing.assert_array_equal(followed(probability), expected)


def test_what_is_likely_beside_the_path_is_not_filled():
    beside = tube(lambda number: (50, 30), value=0.4)
    np.testing.assert_array_equal(followed(np.maximum(NERVE, beside)), NERVE > 0.5)


@pytest.mark.parametrize("value", [0.0, 0.15, 0.45])
def test_an_empty_mask_stays_empty(value):
    assert not followed(tube(lambda number: (20, 20), value=value)).any()


def test_a_mask_of_one_slice_is_kept():
    one = tube(lambda number: (20, 20), [4])
    np.testing.assert_array_equal(followed(one), one > 0.5)


@given(arrays(np.float64, (12, 10, 6), elements=st.floats(0, 1)), st.floats(0, 1.5))
def test_following_the_path_again_changes_nothing(noise, smooth):
    probability = np.clip(gaussian_filter(noise, (smooth, smooth, 0)), 0, 1)
    once = followed(probability)
    np.testing.assert_array_equal(along_path(once, probability, SPACING_MM), once)
    assert (probability[once] > 0.2).all()


PLACES = st.lists(st.lists(st.tuples(st.integers(0, 34), st.integers(51, 99)), max_size=2), min_size=1, max_size=6)


@given(PLACES)
def test_the_path_is_what_trying_all_paths_finds(stack):
    """Squares of 4 mm in a row; every choice of one or no section in each slice is tried, and the best is on the path.

    Squares are circles of 2.2568 mm radius to the rule of reach; the components that meet the path are found by hand.
    """
    probability = np.zeros((40, 4, len(stack)))
    for number, row in enumerate(stack):
        if len(row) == 2 and abs(row[0][0] - row[1][0]) < 6:
            row.pop()
        for place, percent in row:
            probability[place : place + 4, :, number] = percent / 100
    sections = [[(number, *each) for each in row] for number, row in enumerate(stack)]
    if not any(sections):
        return

    def reachable(one, other):
        outlines = abs(one[1] - other[1]) - 2 * np.sqrt(16 / np.pi)
        return round(outlines, 6) <= min(0.5 * 4.0 * (other[0] - one[0]), 20.0)

    best = {}
    for choice in itertools.product(*[[None, *row] for row in sections]):
        chosen = [each for each in choice if each]
        if chosen and all(map(reachable, chosen, chosen[1:])):
            best.setdefault(sum(each[2] for each in chosen), []).append(set(chosen))
    kept = [set(path) for path in best[max(best)]]
    everything = {each for row in sections for each in row}
    for path in kept:
        while True:  # what touches, or overlaps in projection at most 20 mm along the stack away
            joined = {
                each
                for each in everything - path
                for other in path
                if (abs(each[0] - other[0]) == 1 and abs(each[1] - other[1]) <= 4)
                or (2 <= abs(each[0] - other[0]) <= 5 and abs(each[1] - other[1]) < 4)
            }
            if not joined:
                break
            path |= joined
    found = followed(probability)
    assert {each for each in everything if found[each[1], 0, each[0]]} in kept


def test_each_leg_has_a_path():
    both = np.maximum(tube(lambda number: (10, 20)), tube(lambda number: (60, 20), value=0.8))
    vein = tube(lambda number: (70, 40), range(6), width=4)
    labels = (np.maximum(both, vein) > 0.5).astype(np.uint8)
    legs = (Leg("left", slice(0, 40)), Leg("right", slice(40, 80)))
    found = [
        along_nerves(labels, np.maximum(both, vein)[None], Classes.of(None), SPACING_MM, of) for of in (legs, WHOLE)
    ]
    np.testing.assert_array_equal(found[0], both > 0.5)
    np.testing.assert_array_equal(found[1], both > 0.85)
    assert found[0].dtype == np.uint8


def test_parts_are_kept_filled_by_the_likeliest_and_others_are_not_touched():
    """Tibial and peroneal nerve and bone; bone lies far away, and in the gap of one slice."""
    classes = Classes.of({"bone": [7], "tibial": [1], "peroneal": [2], "nerve": [1, 2]})
    probabilities = np.zeros((3, *SHAPE))
    probabilities[1] = tube(lambda number: (20, 20), range(6))
    probabilities[2] = tube(lambda number: (20, 20), range(6, 12))
    probabilities[1][..., 3] *= 0.2
    probabilities[2][..., 3] = tube(lambda number: (20, 20), value=0.3)[..., 3]
    probabilities[0][..., 9] = tube(lambda number: (20, 20), value=0.6)[..., 9]
    probabilities[2][..., 9] *= 0.3
    probabilities[0] += tube(lambda number: (60, 40))
    probabilities[2] += tube(lambda number: (45, 40), range(2, 5))  # off the path
    labels = runtimes.most_likely(probabilities)
    expected = labels.copy()
    expected[45:51] = 0
    expected[20:26, 20:26, 3] = 3
    found = along_nerves(labels, probabilities, classes, SPACING_MM, WHOLE)
    np.testing.assert_array_equal(found, expected)
    assert set(np.unique(found[..., 9])) == {0, 1}


@pytest.mark.parametrize("follow_path", [True, False])
def test_a_prediction_follows_the_path_where_its_settings_say_so(follow_path, random_bundle, monkeypatch):
    """Were the network's answer the image itself, the nerve would be found with a vein that is no speck."""
    monkeypatch.setattr(runtimes, "part_probabilities", lambda network, slices: slices[:, :1].clamp(0, 1))
    image = np.maximum(NERVE, tube(lambda number: (60, 40), range(8))).astype(np.float32)[None]
    settings = PredictionSettings(accuracy="exact", postprocessing=Postprocessing(follow_path=follow_path))
    found = predict_volume([random_bundle(size=(16, 12))], image, SPACING_MM, settings, runtime="torch")
    np.testing.assert_array_equal(found.mask, (NERVE if follow_path else image[0]) > 0.5)


def test_a_model_without_the_path_has_the_file_of_earlier_versions(random_bundle, tmp_path):
    bundle = random_bundle()
    settings = PredictionSettings(postprocessing=Postprocessing(follow_path=True))
    following = bundle.description.model_copy(update={"prediction": settings})
    for name, description in (("without", bundle.description), ("with", following)):
        save_bundle(tmp_path / name, bundle.network, description)
    without, with_path = (read_description(tmp_path / name) for name in ("without", "with"))
    assert "follow_path" not in (tmp_path / "without" / "model.json").read_text(encoding="utf-8")
    assert not without.prediction.postprocessing.follow_path
    assert with_path.prediction == settings
    assert without.sha256() != with_path.sha256()
    cards = [(tmp_path / name / "README.md").read_text(encoding="utf-8") for name in ("without", "with")]
    assert ["path of one nerve" in card for card in cards] == [False, True]


@pytest.mark.parametrize("given_as", [{"follow_path": False}, Postprocessing()], ids=["a value", "the class"])
def test_segment_may_switch_the_path_off(given_as):
    model = PredictionSettings(postprocessing=Postprocessing(follow_path=True))
    assert SegmentOptions().settings(model) == model
    used = SegmentOptions(postprocessing=given_as).settings(model)
    assert used == PredictionSettings()
    assert [note.split(":")[0] for note in settings_notes(used, model)] == ["postprocessing.follow_path=false"]


def test_the_configurations_do_not_follow_the_path_by_default():
    assert "follow_path: false" in (config_folder() / "postprocessing" / "default.yaml").read_text(encoding="utf-8")
    assert not Postprocessing().follow_path
