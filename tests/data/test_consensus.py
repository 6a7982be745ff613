import itertools

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nerveseg.data.consensus import STAPLE_MARGIN_VOXELS, consensus_of, leave_one_out, majority_vote, staple
from nerveseg.data.volumes.volume import read_mask
from nerveseg.errors import StudyError

UNDECIDED = 7


def every_vote(raters):
    """One voxel per pattern of votes: masks of shape (2**raters, 1, 1), and the patterns."""
    patterns = list(itertools.product([False, True], repeat=raters))
    return [np.array([pattern[rater] for pattern in patterns]).reshape(-1, 1, 1) for rater in range(raters)], patterns


def itk_vote(masks):
    """SimpleITK's vote; a tie is UNDECIDED."""
    voting = SimpleITK.LabelVotingImageFilter()
    voting.SetLabelForUndecidedPixels(UNDECIDED)
    return SimpleITK.GetArrayFromImage(
        voting.Execute([SimpleITK.GetImageFromArray(mask.astype(np.uint8)) for mask in masks])
    )


@pytest.mark.parametrize("raters", range(1, 6))
def test_nerve_is_what_more_than_half_drew(raters):
    masks, patterns = every_vote(raters)
    drawn = {1: (1,), 2: (2,), 3: (2, 3), 4: (3, 4), 5: (3, 4, 5)}[raters]
    assert majority_vote(masks).ravel().tolist() == [pattern.count(True) in drawn for pattern in patterns]


@pytest.mark.parametrize("raters", range(2, 6))
def test_simpleitk_votes_the_same_and_leaves_ties_open(raters):
    masks, patterns = every_vote(raters)
    expected = itk_vote(masks)
    ties = np.array([2 * pattern.count(True) == raters for pattern in patterns]).reshape(-1, 1, 1)
    np.testing.assert_array_equal(expected == UNDECIDED, ties)
    np.testing.assert_array_equal(majority_vote(masks), expected == 1)


@given(st.lists(arrays.arrays(bool, (3, 2, 2)), min_size=1, max_size=7), st.randoms())
def test_the_order_of_the_raters_does_not_matter_and_agreement_stays(masks, random):
    consensus = majority_vote(masks)
    shuffled = list(masks)
    random.shuffle(shuffled)
    np.testing.assert_array_equal(majority_vote(shuffled), consensus)
    assert not (np.logical_and.reduce(masks) & ~consensus).any()
    assert not (consensus & ~np.logical_or.reduce(masks)).any()


def test_more_raters_than_fit_into_a_byte_are_counted():
    masks = [np.ones((1, 1, 1), dtype=bool)] * 300 + [np.zeros((1, 1, 1), dtype=bool)] * 299
    assert majority_vote(masks).all()
    assert not majority_vote([*masks, masks[-1]]).any()


def test_no_mask_has_no_consensus():
    with pytest.raises(StudyError) as caught:
        consensus_of([])
    assert caught.value.found == "no masks"


def test_three_raters_of_a_real_vessel(shared_data):
    folder = shared_data("aorta_multirater")
    files = [folder / f"{rater}_Amira.nii.gz" for rater in ("P1", "P2", "P3")]
    consensus = majority_vote([read_mask(file) for file in files])
    assert consensus.sum() == 5548
    images = [SimpleITK.Cast(SimpleITK.ReadImage(str(file)) > 0, SimpleITK.sitkUInt8) for file in files]
    assert SimpleITK.GetArrayFromImage(SimpleITK.LabelVoting(images)).sum() == 5548


def ellipses(seed=0, shape=(40, 36, 6), raters=4):
    """Raters of different habits: one draws too much, one too little."""
    random = np.random.default_rng(seed)
    x, y, z = np.indices(shape)
    masks = []
    for rater in range(raters):
        centre = np.array([20, 18]) + random.normal(0, 0.7, 2)
        radius = 5 + 1.2 * rater - z / 4
        masks.append(((x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2) & (z > 0))
    return masks


def itk_staple(masks, *box):
    """SimpleITK's STAPLE on a box that was worked out by hand, put back into the volume."""
    images = [SimpleITK.GetImageFromArray(mask[box].astype(np.uint8)) for mask in masks]
    consensus = np.zeros(masks[0].shape, dtype=bool)
    consensus[box] = SimpleITK.GetArrayFromImage(SimpleITK.STAPLE(images, 1.0)) > 0.5
    return consensus


def test_staple_is_simpleitks_on_the_declared_box():
    first = np.zeros((30, 30, 20), dtype=bool)
    first[10:16, 12:20, 6:9] = True
    second = np.zeros_like(first)
    second[11:18, 10:18, 6:10] = True
    third = np.zeros_like(first)
    third[9:15, 12:21, 7:9] = True
    masks = [first, second, third]
    assert STAPLE_MARGIN_VOXELS == 5
    expected = itk_staple(masks, slice(9 - 5, 18 + 5), slice(10 - 5, 21 + 5), slice(6 - 5, 10 + 5))
    assert expected.any()
    np.testing.assert_array_equal(staple(masks), expected)


def test_the_box_ends_where_the_volume_ends():
    masks = ellipses()
    assert np.argwhere(np.any(masks, axis=0)).min(axis=0)[2] == 1
    corners = np.argwhere(np.any(masks, axis=0))
    low = np.maximum(corners.min(axis=0) - 5, 0)
    high = np.minimum(corners.max(axis=0) + 6, masks[0].shape)
    expected = itk_staple(masks, *[slice(int(a), int(b)) for a, b in zip(low, high, strict=True)])
    np.testing.assert_array_equal(staple(masks), expected)


@pytest.mark.parametrize("space", [0, 1, 40])
def test_more_empty_space_changes_nothing(space):
    """Why there is a box: on whole volumes STAPLE's result depends on how much background there is."""
    masks = [np.pad(mask, 6) for mask in ellipses(raters=3)]
    wider = staple([np.pad(mask, space) for mask in masks])
    inner = tuple(slice(space, space + length) for length in masks[0].shape)
    np.testing.assert_array_equal(wider[inner], staple(masks))
    assert wider.sum() == staple(masks).sum()


def test_staple_differs_from_the_vote_where_raters_differ_in_skill():
    """Two who draw the nerve, two who draw a sliver of it: a tie for the vote, which STAPLE settles."""
    truth = ellipses(raters=1)[0]
    sliver = truth & (np.indices(truth.shape)[0] < 18)
    masks = [truth, truth, sliver, sliver]
    np.testing.assert_array_equal(majority_vote(masks), sliver)
    np.testing.assert_array_equal(staple(masks), truth)


@pytest.mark.parametrize("rule", ["majority", "staple"])
def test_one_rater_is_his_own_consensus(rule):
    (mask,) = ellipses(raters=1)
    np.testing.assert_array_equal(consensus_of([mask], rule), mask)


@pytest.mark.parametrize("rule", ["majority", "staple"])
def test_nothing_drawn_is_an_empty_consensus(rule):
    nothing = np.zeros((5, 4, 3), dtype=bool)
    assert not consensus_of([nothing, nothing, nothing], rule).any()


@pytest.mark.parametrize("rule", ["majority", "staple"])
def test_one_empty_mask_is_outvoted(rule):
    first, second, third = ellipses(raters=3)
    consensus = consensus_of([first, second, np.zeros_like(third)], rule)
    assert consensus.any()
    assert not (consensus & ~(first | second)).any()


def test_the_consensus_without_a_rater_is_that_of_the_others():
    masks = dict(zip("ABCD", ellipses(), strict=True))
    others = {"A": "BCD", "B": "ACD", "C": "ABD", "D": "ABC"}
    found = leave_one_out(masks)
    assert list(found) == list("ABCD")
    for rater, rest in others.items():
        np.testing.assert_array_equal(found[rater], itk_vote([masks[other] for other in rest]) == 1)
    stapled = leave_one_out(masks, "staple")
    for rater, rest in others.items():
        np.testing.assert_array_equal(stapled[rater], staple([masks[other] for other in rest]))


def test_ties_among_four_others_are_background():
    masks, patterns = every_vote(5)
    found = leave_one_out(dict(zip("ABCDE", masks, strict=True)))["C"]
    assert found.ravel().tolist() == [sum(pattern) - pattern[2] >= 3 for pattern in patterns]


@pytest.mark.parametrize("raters", [0, 1, 2, 3])
def test_with_fewer_than_four_raters_nobody_is_left_out(raters):
    assert leave_one_out(dict(zip("ABC"[:raters], ellipses(), strict=False))) == {}
