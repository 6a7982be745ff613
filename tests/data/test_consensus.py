import itertools

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nerveseg.data.consensus import consensus_of, majority_vote
from nerveseg.data.volumes import read_mask
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
    with pytest.raises(StudyError, match="at least one rater"):
        consensus_of([])


def test_three_raters_of_a_real_vessel(shared_data):
    folder = shared_data("aorta_multirater")
    files = [folder / f"{rater}_Amira.nii.gz" for rater in ("P1", "P2", "P3")]
    consensus = majority_vote([read_mask(file) for file in files])
    assert consensus.sum() == 5548
    images = [SimpleITK.Cast(SimpleITK.ReadImage(str(file)) > 0, SimpleITK.sitkUInt8) for file in files]
    assert SimpleITK.GetArrayFromImage(SimpleITK.LabelVoting(images)).sum() == 5548
