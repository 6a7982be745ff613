import math

import numpy as np
import pytest
from hypothesis import given
from scipy import ndimage

from nerveseg.evaluation.metrics.pair_scores import score_pair
from tests.helpers.mask_pairs import SPACING_MM, pairs, spacings

VOXEL_MM3 = 0.5 * 0.75 * 4.4


def forked_nerve():
    """Ten slices: background, four with one section, four with two, background."""
    nerve = np.zeros((30, 20, 10), dtype=bool)
    nerve[10:14, 8:12, 1:5] = True
    nerve[4:8, 8:12, 5:9] = nerve[20:23, 8:12, 5:9] = True
    return nerve


def test_a_perfect_prediction_finds_everything_and_invents_nothing():
    scores = score_pair(forked_nerve(), forked_nerve(), SPACING_MM)
    assert (scores.slices_both, scores.slices_missed, scores.slices_false_positive, scores.slices_neither) == (
        8, 0, 0, 2,
    )  # fmt: skip
    assert scores.slice_sensitivity == scores.branch_sensitivity == 1
    assert scores.branch_sensitivity_undivided == scores.branch_sensitivity_divided == 1
    assert scores.fp_components == scores.fp_components_mm3 == 0


def test_a_missed_branch_is_seen_by_branches_but_not_by_slices():
    prediction = forked_nerve()
    prediction[20:23] = False
    scores = score_pair(forked_nerve(), prediction, SPACING_MM)
    assert scores.slice_sensitivity == 1
    assert scores.branch_sensitivity == 8 / 12
    assert scores.branch_sensitivity_undivided == 1
    assert scores.branch_sensitivity_divided == 0.5


def test_one_voxel_finds_a_branch():
    prediction = np.zeros_like(forked_nerve())
    prediction[13, 11, 4] = prediction[22, 8, 5] = True
    scores = score_pair(forked_nerve(), prediction, SPACING_MM)
    assert scores.branch_sensitivity == 2 / 12
    assert scores.branch_sensitivity_undivided == 1 / 4
    assert scores.branch_sensitivity_divided == 1 / 8
    assert (scores.slices_both, scores.slices_missed) == (2, 6)
    assert scores.slice_sensitivity == 2 / 8


def test_nerve_elsewhere_in_the_slice_counts_for_the_slice_alone():
    prediction = np.roll(forked_nerve(), 8, axis=1)
    scores = score_pair(forked_nerve(), prediction, SPACING_MM)
    assert scores.slice_sensitivity == 1
    assert scores.branch_sensitivity == 0


def test_a_vein_is_one_component_of_its_own_volume_in_slices_of_its_own():
    prediction = forked_nerve()
    prediction[26:28, 2:5, 0:3] = True
    scores = score_pair(forked_nerve(), prediction, SPACING_MM)
    assert scores.fp_components == 1
    assert scores.fp_components_mm3 == pytest.approx(18 * VOXEL_MM3)
    assert (scores.slices_false_positive, scores.slices_neither) == (1, 1)
    assert scores.branch_sensitivity == 1


def test_a_part_that_hangs_on_the_nerve_by_a_corner_is_not_one_of_its_own():
    prediction = forked_nerve()
    prediction[14:16, 12:14, 5] = True
    assert score_pair(forked_nerve(), prediction, SPACING_MM).fp_components == 0
    prediction[14:16, 12:14, 5], prediction[14:16, 12:14, 6] = False, True
    assert score_pair(forked_nerve(), prediction, SPACING_MM).fp_components == 1


def test_sections_that_touch_by_a_corner_are_one_branch():
    nerve = np.zeros((8, 8, 2), dtype=bool)
    nerve[1:3, 1:3, 0] = nerve[3:5, 3:5, 0] = True
    nerve[1:3, 1:3, 1] = nerve[4:6, 4:6, 1] = True
    prediction = np.zeros_like(nerve)
    prediction[1, 1] = True
    scores = score_pair(nerve, prediction, SPACING_MM)
    assert scores.branch_sensitivity == 2 / 3
    assert scores.branch_sensitivity_undivided == 1
    assert scores.branch_sensitivity_divided == 0.5


def test_a_nerve_that_never_divides_has_no_branches_to_find():
    nerve = forked_nerve()
    nerve[..., 5:] = False
    scores = score_pair(nerve, nerve, SPACING_MM)
    assert math.isnan(scores.branch_sensitivity_divided)
    assert scores.branch_sensitivity == scores.branch_sensitivity_undivided == 1


def parts_by_slice(mask):
    for z in range(mask.shape[2]):
        labels, number = ndimage.label(mask[..., z], np.ones((3, 3)))
        yield [(labels == k + 1) for k in range(number)]


def share(hits):
    return np.mean(hits) if len(hits) else math.nan


@given(pairs(), spacings)
def test_counts_are_those_of_walking_through_the_slices(pair, spacing_mm):
    reference, prediction = pair
    scores = score_pair(reference, prediction, spacing_mm)
    present = [(reference[..., z].any(), prediction[..., z].any()) for z in range(reference.shape[2])]
    counted = [(True, True), (True, False), (False, True), (False, False)]
    assert [scores.slices_both, scores.slices_missed, scores.slices_false_positive, scores.slices_neither] == [
        present.count(case) for case in counted
    ]
    hits = [[prediction[..., z][part].any() for part in parts] for z, parts in enumerate(parts_by_slice(reference))]
    undivided = [hit for slice_hits in hits if len(slice_hits) == 1 for hit in slice_hits]
    divided = [hit for slice_hits in hits if len(slice_hits) > 1 for hit in slice_hits]
    assert scores.branch_sensitivity == pytest.approx(share(undivided + divided))
    assert scores.branch_sensitivity_undivided == pytest.approx(share(undivided), nan_ok=True)
    assert scores.branch_sensitivity_divided == pytest.approx(share(divided), nan_ok=True)


@given(pairs(), spacings)
def test_invented_components_are_those_of_labelling_the_prediction(pair, spacing_mm):
    reference, prediction = pair
    labels, number = ndimage.label(prediction, np.ones((3, 3, 3)))
    invented = [labels == k + 1 for k in range(number) if not (reference & (labels == k + 1)).any()]
    scores = score_pair(reference, prediction, spacing_mm)
    assert scores.fp_components == len(invented)
    assert scores.fp_components_mm3 == pytest.approx(sum(part.sum() for part in invented) * math.prod(spacing_mm))


def test_the_real_nerve_against_its_undivided_part(shared_data):
    """The mask of `sciatic_reference`: one 3-D component, one section at its proximal end, two at its distal one."""
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.ReadImage(str(shared_data("sciatic_reference") / "EXAMPLE_GROUND_TRUTH.mha"))
    nerve = sitk.GetArrayFromImage(image).transpose(2, 1, 0) > 0
    proximal = nerve & (np.arange(60) < 16)
    scores = score_pair(nerve, proximal, image.GetSpacing())
    assert (scores.slices_both, scores.slices_missed) == (16, 44)
    assert 0 < scores.branch_sensitivity_undivided < 1
    assert scores.branch_sensitivity_divided == 0
    scores = score_pair(proximal, nerve, image.GetSpacing())
    assert scores.fp_components == 0, "all of it hangs together"
    assert (scores.slice_sensitivity, scores.slices_false_positive) == (1, 44)
