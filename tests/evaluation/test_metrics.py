import math
from dataclasses import asdict, fields

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st

from nerveseg.errors import ConfigurationError, GeometryError
from nerveseg.evaluation.metrics.pair_scores import (
    PairScores,
    dice,
    hausdorff_distance,
    score_pair,
    volumetric_similarity,
)
from tests.helpers.mask_pairs import (
    CASES,
    SPACING_MM,
    all_distances_mm,
    oracle_pair,
    pairs,
    quantiles,
    spacings,
    surface_distances_mm,
)

ALIKE_BOTH_WAYS = [
    "dice", "hd95_paper_mm", "hd95_mm", "hd_mm", "vs", "surface_dice_052", "surface_dice_104", "assd_mm", "cldice",
    "slices_both", "slices_neither",
]  # fmt: skip
ALIKE_ALONG_ALL_AXES = [*ALIKE_BOTH_WAYS[:8], "fp_components", "fp_components_mm3"]
BEST = {name: 1.0 for name in ("dice", "vs", "surface_dice_052", "surface_dice_104", "cldice", "slice_sensitivity",
                               "voxel_sensitivity", "voxel_precision")} | {
    name: 0.0
    for name in (
        "hd95_paper_mm", "hd95_mm", "hd_mm", "assd_mm", "fp_components", "fp_components_mm3", "slices_missed",
        "slices_false_positive",
    )
}  # fmt: skip


def numbers(scores, names=None):
    return [getattr(scores, name) for name in names or [field.name for field in fields(PairScores)]]


def ranked(values, quantile):
    return sorted(values)[int(quantile * (len(values) - 1))]


def brute_force_mm(first, second, spacing_mm, quantile, points):
    if points == "surface":
        return max(np.quantile(way, quantile) for way in surface_distances_mm(first, second, spacing_mm))
    pool = np.concatenate([all_distances_mm(first, second, spacing_mm), all_distances_mm(second, first, spacing_mm)])
    pool = pool[pool > 0] if points == "disagreement" else pool
    return ranked(pool, quantile) if len(pool) else 0.0


def test_the_oracle_is_whole_where_there_is_one():
    if not CASES:
        pytest.skip("no shared data: evaluate_segmentation is not there (NERVESEG_DATA names the folder)")
    assert len(CASES) == 29


@pytest.mark.skipif(not CASES, reason="no shared data: evaluate_segmentation is not there")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_scores_are_those_of_the_evaluate_segmentation_tool(case):
    first, second = oracle_pair(case)
    spacing_mm = tuple(case["spacing_mm"])
    scores = score_pair(first, second, spacing_mm)
    if not (first.any() and second.any()):
        assert case["DICE"] is None, "the tool gives no value for an empty mask"
        assert math.isnan(scores.hd_mm)
        return
    if second.all():
        assert case["DICE"] is None, "the tool takes a mask of one value for an empty one"
        assert scores.dice == pytest.approx(2 * first.sum() / (first.sum() + first.size))
        return
    disagreement_mm = hausdorff_distance(first, second, spacing_mm, 0.95, "disagreement")
    assert scores.dice == pytest.approx(case["DICE"], abs=1e-5)
    assert scores.vs == pytest.approx(case["VOLSMTY"], abs=1e-5)
    assert scores.hd_mm == pytest.approx(case["HDRFDST_mm"], abs=1e-5)
    assert scores.hd95_paper_mm == pytest.approx(case["HD95_all_foreground_mm"], abs=1e-5)
    assert disagreement_mm == pytest.approx(case["HDRFDST@0.95@_exact_mm"], abs=1e-5)


@given(pairs(), spacings, quantiles, st.sampled_from(["surface", "foreground", "disagreement"]))
def test_distances_are_those_of_brute_force(pair, spacing_mm, quantile, points):
    expected = brute_force_mm(*pair, spacing_mm, quantile, points)
    assert hausdorff_distance(*pair, spacing_mm, quantile, points) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("share", [0.001, 0.02, 0.3, 0.9])
@pytest.mark.parametrize("seed", [0, 1])
def test_sparse_and_dense_masks_give_the_distances_of_brute_force(share, seed):
    """Both searches, the tree and the transform, over masks too large for the property test."""
    random = np.random.default_rng(seed)
    first, second = random.random((2, 17, 13, 11)) < share
    first[3, 4, 5] = second[14, 2, 9] = True
    for points in ("surface", "foreground", "disagreement"):
        expected = brute_force_mm(first, second, SPACING_MM, 0.95, points)
        assert hausdorff_distance(first, second, SPACING_MM, 0.95, points) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_simpleitk(seed):
    random = np.random.default_rng(seed)
    first, second = random.random((2, 9, 8, 7)) < random.uniform(0.05, 0.9)
    images = [SimpleITK.GetImageFromArray(mask.transpose(2, 1, 0).astype(np.uint8)) for mask in (first, second)]
    for image in images:
        image.SetSpacing(SPACING_MM)
    overlap, distance = SimpleITK.LabelOverlapMeasuresImageFilter(), SimpleITK.HausdorffDistanceImageFilter()
    overlap.Execute(*images)
    distance.Execute(*images)
    scores = score_pair(first, second, SPACING_MM)
    assert scores.dice == pytest.approx(overlap.GetDiceCoefficient())
    assert scores.vs == pytest.approx(1 - abs(overlap.GetVolumeSimilarity()) / 2)  # ITK's is 2 (a - b) / (a + b)
    assert scores.hd_mm == pytest.approx(distance.GetHausdorffDistance(), abs=1e-5)


@given(pairs(filled=False), spacings)
def test_the_order_of_the_masks_does_not_matter(pair, spacing_mm):
    there, back = score_pair(*pair, spacing_mm), score_pair(*pair[::-1], spacing_mm)
    np.testing.assert_allclose(numbers(there, ALIKE_BOTH_WAYS), numbers(back, ALIKE_BOTH_WAYS), rtol=1e-12)
    np.testing.assert_equal(there.slices_missed, back.slices_false_positive)


@given(pairs(), spacings)
def test_a_mask_agrees_with_itself(pair, spacing_mm):
    scores = asdict(score_pair(pair[0], pair[0], spacing_mm))
    assert {name: scores[name] for name in BEST} == BEST
    assert scores["branch_sensitivity"] == 1
    assert {scores["branch_sensitivity_undivided"], scores["branch_sensitivity_divided"]} >= {1}
    assert scores["slices_both"] == pair[0].any(axis=(0, 1)).sum()


@given(pairs(filled=False), spacings, st.permutations(range(3)))
def test_axes_may_be_permuted_with_their_spacing(pair, spacing_mm, order):
    """The slices keep what is counted slice by slice from being more than exchangeable in plane."""
    scores = score_pair(*pair, spacing_mm)
    turned = score_pair(*(mask.transpose(order) for mask in pair), tuple(spacing_mm[axis] for axis in order))
    names = None if order[2] == 2 else ALIKE_ALONG_ALL_AXES
    np.testing.assert_allclose(numbers(turned, names), numbers(scores, names), atol=1e-9, rtol=1e-9)


@given(pairs(filled=False), spacings, st.sets(st.integers(0, 2)))
def test_a_mirror_changes_nothing(pair, spacing_mm, axes):
    mirrored = score_pair(*(np.flip(mask, tuple(axes)) for mask in pair), spacing_mm)
    np.testing.assert_allclose(numbers(mirrored), numbers(score_pair(*pair, spacing_mm)), atol=1e-9)


@given(pairs(filled=False), spacings, st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 3))
def test_background_around_the_masks_changes_nothing_but_the_slices_without_nerve(pair, spacing_mm, widths):
    scores = asdict(score_pair(*pair, spacing_mm))
    scores["slices_neither"] += sum(widths[2])
    padded = asdict(score_pair(*(np.pad(mask, widths) for mask in pair), spacing_mm))
    assert padded == pytest.approx(scores, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_layout_in_memory_does_not_matter(order):
    pair = np.random.default_rng(0).random((2, 9, 8, 7)) < 0.2
    laid_out = score_pair(*(np.array(mask, order=order) for mask in pair), SPACING_MM)
    views = score_pair(*(np.pad(mask, 2)[2:-2, 2:-2, 2:-2] for mask in pair), SPACING_MM)
    np.testing.assert_array_equal(numbers(laid_out), numbers(views))


@given(pairs(), spacings, quantiles, quantiles, st.sampled_from(["surface", "foreground", "disagreement"]))
def test_a_larger_quantile_is_no_smaller_distance(pair, spacing_mm, first, second, points):
    low, high = (hausdorff_distance(*pair, spacing_mm, q, points) for q in sorted((first, second)))
    assert low <= high + 1e-12


@given(pairs(), spacings, st.floats(0.1, 10))
def test_distances_scale_with_the_spacing(pair, spacing_mm, factor):
    scores = score_pair(*pair, spacing_mm)
    scaled = score_pair(*pair, tuple(factor * step for step in spacing_mm))
    assert scaled.hd_mm == pytest.approx(factor * scores.hd_mm)
    assert scaled.hd95_mm == pytest.approx(factor * scores.hd95_mm)
    assert scaled.dice == scores.dice


@given(pairs())
def test_the_share_of_zero_distances_in_the_papers_rule_is_dice(pair):
    """The rule's quantile jumps from zero to above zero exactly where the pool's zeros end."""
    pool = int(sum(mask.sum() for mask in pair))
    zeros = sum(hausdorff_distance(*pair, SPACING_MM, _just_reaches(k, pool), "foreground") == 0 for k in range(pool))
    assert zeros / pool == pytest.approx(dice(*pair))


def _just_reaches(rank, pool):
    """A quantile whose rank, int(q * (pool - 1)), is the given one."""
    return min(1.0, (rank + 0.5) / (pool - 1)) if pool > 1 else 1.0


@given(pairs(filled=False))
def test_dice_and_similarity_are_bounded_and_ordered(pair):
    similarity, overlap = volumetric_similarity(*pair), dice(*pair)
    if any(mask.any() for mask in pair):
        assert 0 <= overlap <= similarity + 1e-12
        assert similarity <= 1


@given(pairs(), spacings)
def test_the_distances_are_ordered(pair, spacing_mm):
    scores = score_pair(*pair, spacing_mm)
    assert scores.hd95_paper_mm <= scores.hd_mm
    assert scores.hd95_paper_mm <= hausdorff_distance(*pair, spacing_mm, 0.95, "disagreement")
    assert score_pair(*pair, spacing_mm).hd_mm == hausdorff_distance(*pair, spacing_mm, 1.0, "foreground")


def test_a_vein_far_away_is_noticed_by_the_surface_but_not_by_the_papers_rule():
    nerve = np.zeros((60, 20, 30), dtype=bool)
    nerve[5:15, 5:15] = True
    with_vein = nerve.copy()
    with_vein[50:52, 5:7] = True
    scores = score_pair(nerve, with_vein, (0.5, 0.5, 4.4))
    assert scores.dice > 0.95
    assert scores.hd95_paper_mm == 0
    assert scores.hd_mm == 37 * 0.5
    assert scores.hd95_mm > 10


@pytest.mark.parametrize("points", ["surface", "foreground", "disagreement"])
def test_an_empty_mask_has_no_distance(points):
    empty, full = np.zeros((4, 3, 2), dtype=bool), np.ones((4, 3, 2), dtype=bool)
    for pair in ((empty, full), (full, empty), (empty, empty)):
        assert math.isnan(hausdorff_distance(*pair, SPACING_MM, 0.95, points))
    assert (dice(empty, full), volumetric_similarity(full, empty)) == (0, 0)
    assert math.isnan(dice(empty, empty))
    assert math.isnan(volumetric_similarity(empty, empty))


NAN = math.nan
WITHOUT_A_MASK = {
    "dice": 0, "hd95_paper_mm": NAN, "hd95_mm": NAN, "hd_mm": NAN, "vs": 0, "surface_dice_052": 0,
    "surface_dice_104": 0, "assd_mm": NAN, "cldice": 0, "slices_both": 0, "slices_neither": 3,
}  # fmt: skip


def nerve_in_two_of_five_slices():
    mask = np.zeros((8, 6, 5), dtype=bool)
    mask[1:3, 1:3, 1] = mask[1:3, 1:3, 2] = mask[6, 4, 2] = True
    return mask


def test_an_empty_prediction_is_counted():
    nerve = nerve_in_two_of_five_slices()
    expected = WITHOUT_A_MASK | {
        "fp_components": 0, "fp_components_mm3": 0, "slices_missed": 2, "slices_false_positive": 0,
        "voxel_sensitivity": 0, "voxel_precision": NAN,
        "slice_sensitivity": 0, "branch_sensitivity": 0, "branch_sensitivity_undivided": 0,
        "branch_sensitivity_divided": 0,
    }  # fmt: skip
    assert asdict(score_pair(nerve, np.zeros_like(nerve), SPACING_MM)) == pytest.approx(expected, nan_ok=True)


def test_an_empty_reference_leaves_nothing_to_find_and_everything_invented():
    nerve = nerve_in_two_of_five_slices()
    expected = WITHOUT_A_MASK | {
        "fp_components": 2, "fp_components_mm3": 9 * 0.5 * 0.75 * 4.4, "slices_missed": 0, "slices_false_positive": 2,
        "voxel_sensitivity": NAN, "voxel_precision": 0,
        "slice_sensitivity": NAN, "branch_sensitivity": NAN, "branch_sensitivity_undivided": NAN,
        "branch_sensitivity_divided": NAN,
    }  # fmt: skip
    assert asdict(score_pair(np.zeros_like(nerve), nerve, SPACING_MM)) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("shape", [(4, 3, 2), (0, 3, 2), (4, 3, 0)])
def test_two_empty_masks_have_no_score_at_all(shape):
    nothing = np.zeros(shape, dtype=bool)
    assert all(map(math.isnan, numbers(score_pair(nothing, nothing, SPACING_MM))))


def test_two_shapes_are_refused_by_every_metric():
    first, second = np.ones((2, 3, 4), dtype=bool), np.ones((2, 3, 5), dtype=bool)
    for metric in (dice, volumetric_similarity):
        with pytest.raises(GeometryError) as caught:
            metric(first, second)
        assert caught.value.found == "shapes (2, 3, 4) and (2, 3, 5)"
    for metric in (score_pair, hausdorff_distance):
        with pytest.raises(GeometryError) as caught:
            metric(first, second, SPACING_MM)
        assert caught.value.found == "shapes (2, 3, 4) and (2, 3, 5)"


@pytest.mark.parametrize("spacing_mm", [(0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, math.nan), (math.inf, 1.0, 1.0)])
def test_an_impossible_spacing_is_refused(spacing_mm):
    mask = np.ones((2, 2, 2), dtype=bool)
    with pytest.raises(GeometryError) as caught:
        score_pair(mask, mask, spacing_mm)
    assert caught.value.found == f"{spacing_mm} mm"


@pytest.mark.parametrize("quantile", [0.0, -0.5, 1.01, 95.0, math.nan])
def test_an_impossible_quantile_is_refused(quantile):
    mask = np.ones((2, 2, 2), dtype=bool)
    with pytest.raises(ConfigurationError) as caught:
        hausdorff_distance(mask, mask, SPACING_MM, quantile)
    assert "quantile" in caught.value.rule
    assert caught.value.found is quantile
