"""The nerve's path: of several structures the one with most evidence over the stack is kept, with its branches."""

import itertools
import time

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
@pytest.mark.parametrize("missed", [(5,), (3, 4, 5, 6), (1, 10)])
def test_missed_slices_are_filled_where_the_nerve_is_likely_enough(missed, value, filled):
    probability = NERVE.copy()
    probability[..., list(missed)] *= value / 0.9
    expected = NERVE > 0.5
    if not filled:
        expected[..., list(missed)] = False
    np.testing.assert_array_equal(followed(probability), expected)


@pytest.mark.parametrize("seen", [range(10), range(2, 12), range(3, 8)])
def test_nothing_is_added_before_the_first_slice_of_the_mask_or_behind_the_last(seen):
    likely = tube(lambda number: (20 + number, 20), value=0.22)
    probability = np.maximum(likely, tube(lambda number: (20 + number, 20), seen, value=0.95))
    np.testing.assert_array_equal(followed(probability), probability > 0.5)


def test_a_long_chain_that_is_nowhere_in_the_mask_does_not_outweigh_a_short_nerve():
    shape = (80, 60, 30)
    nerve = tube(lambda number: (20, 20), range(4, 8), value=0.95, shape=shape)
    chain = tube(lambda number: (50, 20), range(30), width=14, value=0.25, shape=shape)
    np.testing.assert_array_equal(followed(np.maximum(nerve, chain)), nerve > 0.5)


@pytest.mark.parametrize(("width", "filled"), [(6, True), (7, False), (50, False)])
def test_a_gap_stays_where_what_is_likely_is_larger_than_the_nerve_beside_it(width, filled):
    probability = tube(lambda number: (20, 5))
    probability[..., 5] = tube(lambda number: (20, 5), width=width, value=0.25)[..., 5]
    np.testing.assert_array_equal(followed(probability), probability > (0.2 if filled else 0.5))


def test_a_section_of_the_mask_is_not_widened_by_what_is_likely_around_it():
    probability = np.maximum(NERVE, tube(lambda number: (19 + number, 19), width=8, value=0.4))
    np.testing.assert_array_equal(followed(probability), NERVE > 0.5)


def test_what_is_likely_beside_the_path_is_not_filled():
    beside = tube(lambda number: (50, 30), value=0.4)
    np.testing.assert_array_equal(followed(np.maximum(NERVE, beside)), NERVE > 0.5)


@pytest.mark.parametrize("value", [0.0, 0.15, 0.45])
def test_an_empty_mask_stays_empty(value):
    assert not followed(tube(lambda number: (20, 20), value=value)).any()


@pytest.mark.parametrize("slices", [[4], [4, 7]])
@pytest.mark.parametrize("depth", [8, 12])
def test_a_mask_of_fewer_than_three_slices_is_kept(slices, depth):
    """Tibial and peroneal nerve in one section each; so few slices hold no evidence against one of them."""
    shape = (80, 60, depth)
    tibial = tube(lambda number: (20, 20), slices, width=8, shape=shape)
    both = np.maximum(tibial, tube(lambda number: (40, 20), slices, width=4, shape=shape))
    np.testing.assert_array_equal(followed(both), both > 0.5)


def test_a_scan_of_one_slice_stays_as_it_is():
    both = np.maximum(tube(lambda n: (20, 20), shape=(80, 60, 1), slices=[0]), NERVE[..., 11:])
    np.testing.assert_array_equal(followed(both), both > 0.5)


@pytest.mark.parametrize("names", [{"nerve": [1]}, {"tibial": [1], "peroneal": [2]}])
def test_two_branches_that_are_separate_in_the_whole_stack_are_both_kept(names):
    """Sections of 144 and 81 mm2 in 20 slices; a vein of the larger's size in 10 of them goes."""
    shape = (100, 60, 20)
    branches = [
        tube(lambda number: (20, 20), range(20), width=12, shape=shape),
        tube(lambda number: (45 + number, 20), range(20), width=9, shape=shape),
    ]
    vein = tube(lambda number: (20, 45), range(10), width=12, shape=shape)
    classes = Classes.of(names if len(names) > 1 else None)
    parts = np.stack(branches if len(names) > 1 else [np.maximum(*branches)])
    expected = runtimes.most_likely(parts)
    parts[0] = np.maximum(parts[0], vein)
    found = along_nerves(runtimes.most_likely(parts), parts, classes, SPACING_MM, (Leg("unknown", slice(0, 100)),))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("slices", "width", "value", "kept"),
    [
        (range(3, 12), 6, 0.9, True),
        (range(4, 12), 6, 0.9, False),
        (range(12), 4, 0.9, True),
        (range(12), 3, 0.9, False),
        (range(12), 6, 0.73, True),
        (range(12), 6, 0.71, False),
    ],
)
def test_a_further_path_is_kept_if_it_is_comparable_to_the_best(slices, width, value, kept):
    """At least 3/4 of the slices, 4/5 of the probability and 1/3 of the evidence: of 12 slices of 36 mm2 and 0.9."""
    other = tube(lambda number: (50, 20), slices, width=width, value=value)
    np.testing.assert_array_equal(followed(np.maximum(NERVE, other)), (np.maximum(NERVE, other * kept)) > 0.5)


def test_a_fine_stack_takes_less_than_a_second():
    """Two branches in 600 slices of 0.6 mm, one of them in 18 pieces that go on behind gaps of 18 mm each."""
    shape = (100, 100, 600)
    tibial = tube(lambda number: (20, 45), range(600), width=12, shape=shape)
    pieces = [number for number in range(600) if number % 33 < 3]
    probability = np.maximum(tibial, tube(lambda number: (32 + number // 12, 45), pieces, width=9, shape=shape))
    start_s = time.process_time()
    found = along_path(probability > 0.5, probability, (0.6, 0.6, 0.6))
    assert time.process_time() - start_s < 1
    np.testing.assert_array_equal(found, probability > 0.5)


@given(arrays(np.float64, (12, 10, 6), elements=st.floats(0, 1)), st.floats(0, 1.5))
def test_following_the_path_again_changes_nothing(noise, smooth):
    probability = np.clip(gaussian_filter(noise, (smooth, smooth, 0)), 0, 1)
    once = followed(probability)
    np.testing.assert_array_equal(along_path(once, probability, SPACING_MM), once)
    assert (probability[once] > 0.2).all()


PLACES = st.lists(st.lists(st.tuples(st.integers(0, 34), st.integers(51, 99)), max_size=2), min_size=1, max_size=6)


@given(PLACES)
def test_the_path_is_what_trying_all_paths_finds(stack):
    """Squares of 4 mm in a row; every choice of one or no section in each slice is tried, and again of what is left.

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

    def best_paths(among):
        best = {}
        for choice in itertools.product(*[[None, *[each for each in row if each in among]] for row in sections]):
            chosen = [each for each in choice if each]
            if all(map(reachable, chosen, chosen[1:])):
                best.setdefault(sum(each[2] for each in chosen), []).append(set(chosen))
        return max(best), best[max(best)]

    def with_branches(path):
        while True:  # what touches, or overlaps in projection at most 20 mm along the stack away
            joined = {
                each
                for each in everything - path
                for other in path
                if (abs(each[0] - other[0]) == 1 and abs(each[1] - other[1]) <= 4)
                or (2 <= abs(each[0] - other[0]) <= 5 and abs(each[1] - other[1]) < 4)
            }
            if not joined:
                return path
            path = path | joined

    def with_further_paths(kept, evidence, slices):
        further, paths = best_paths(everything - kept)
        for path in paths:
            likely = path and further / len(path) >= 0.8 * evidence / slices
            if likely and 4 * len(path) >= 3 * slices and 3 * further >= evidence:
                yield from with_further_paths(kept | with_branches(path), evidence, slices)
            else:
                yield kept

    everything = {each for row in sections for each in row}
    evidence, paths = best_paths(everything)
    allowed = [kept for path in paths for kept in with_further_paths(with_branches(path), evidence, len(path))]
    if sum(map(bool, sections)) < 3:
        allowed = [everything]
    found = followed(probability)
    assert {each for each in everything if found[each[1], 0, each[0]]} in allowed


@pytest.mark.parametrize("legs", [(Leg("left", slice(0, 40)), Leg("right", slice(40, 80))), WHOLE])
def test_each_leg_has_a_path_also_where_both_are_taken_for_one(legs):
    both = np.maximum(tube(lambda number: (10, 20)), tube(lambda number: (60, 20), value=0.8))
    vein = tube(lambda number: (70, 40), range(6), width=4)
    labels = (np.maximum(both, vein) > 0.5).astype(np.uint8)
    found = along_nerves(labels, np.maximum(both, vein)[None], Classes.of(None), SPACING_MM, legs)
    np.testing.assert_array_equal(found, both > 0.5)
    assert found.dtype == np.uint8


@pytest.mark.parametrize(("legs", "slices"), [(2, range(12)), (2, range(5)), (1, range(12))])
def test_one_leg_of_two_has_a_path_of_its_own_length(legs, slices):
    """The left nerve is seen in a part of the slices; where both legs are one, it has to be in most slices."""
    both = np.maximum(tube(lambda number: (10, 20), slices, value=0.9), tube(lambda number: (60, 20)))
    halves = (Leg("left", slice(0, 40)), Leg("right", slice(40, 80)))
    labels = (both > 0.5).astype(np.uint8)
    found = along_nerves(labels, both[None], Classes.of(None), SPACING_MM, halves if legs == 2 else WHOLE)
    np.testing.assert_array_equal(found, labels)


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
