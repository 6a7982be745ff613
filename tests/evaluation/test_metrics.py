import itertools
import json
import math
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from nerveseg.errors import ConfigurationError, GeometryError
from nerveseg.evaluation.metrics import dice, hausdorff_distance, score_pair, volumetric_similarity

SHARED_DATA = Path(os.environ.get("NERVESEG_DATA", Path(__file__).parents[3] / "shared" / "data"))
ORACLE = SHARED_DATA / "evaluate_segmentation"
CASES = json.loads((ORACLE / "reference.json").read_text()) if ORACLE.is_dir() else []
SPACING_MM = (0.5, 0.75, 4.4)

shapes = npst.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6)
spacings = st.tuples(*[st.floats(0.2, 5.0)] * 3)
quantiles = st.floats(0.01, 1.0)


def masks(shape):
    return npst.arrays(bool, shape)


@st.composite
def pairs(draw, filled=True):
    """Two masks of one shape; with `filled`, neither is empty."""
    shape = draw(shapes)
    pair = draw(masks(shape)), draw(masks(shape))
    if filled:
        for mask in pair:
            mask[tuple(draw(st.integers(0, side - 1)) for side in shape)] = True
    return pair


def numbers(scores):
    return [scores.dice, scores.hd95_paper_mm, scores.hd95_mm, scores.hd_mm, scores.vs]


def all_distances_mm(first, second, spacing_mm):
    """Distance of each voxel of `first` to the nearest of `second`, from the table of all pairs."""
    a, b = (np.argwhere(mask) * spacing_mm for mask in (first, second))
    return np.sqrt(((a[:, None] - b[None]) ** 2).sum(axis=2)).min(axis=1)


def boundary(mask):
    """Voxels with one of six neighbours outside the mask, looked up one by one."""
    found = np.zeros_like(mask)
    for voxel in np.argwhere(mask):
        for axis, step in itertools.product(range(3), (-1, 1)):
            neighbour = voxel.copy()
            neighbour[axis] += step
            inside = (neighbour >= 0).all() and (neighbour < mask.shape).all()
            found[tuple(voxel)] |= not inside or not mask[tuple(neighbour)]
    return found


def ranked(values, quantile):
    return sorted(values)[int(quantile * (len(values) - 1))]


def brute_force_mm(first, second, spacing_mm, quantile, points):
    if points == "surface":
        edges = boundary(first), boundary(second)
        return max(np.quantile(all_distances_mm(*way, spacing_mm), quantile) for way in (edges, edges[::-1]))
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
    first, second = (np.asarray(nib.load(ORACLE / case[side]).dataobj) > 0 for side in "ab")
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
    np.testing.assert_array_equal(numbers(score_pair(*pair, spacing_mm)), numbers(score_pair(*pair[::-1], spacing_mm)))


@given(pairs(), spacings)
def test_a_mask_agrees_with_itself(pair, spacing_mm):
    assert numbers(score_pair(pair[0], pair[0], spacing_mm)) == [1, 0, 0, 0, 1]


@given(pairs(filled=False), spacings, st.permutations(range(3)))
def test_axes_may_be_permuted_with_their_spacing(pair, spacing_mm, order):
    turned = score_pair(*(mask.transpose(order) for mask in pair), tuple(spacing_mm[axis] for axis in order))
    np.testing.assert_allclose(numbers(turned), numbers(score_pair(*pair, spacing_mm)), atol=1e-9)


@given(pairs(filled=False), spacings, st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 3))
def test_background_around_the_masks_changes_nothing(pair, spacing_mm, widths):
    padded = score_pair(*(np.pad(mask, widths) for mask in pair), spacing_mm)
    np.testing.assert_allclose(numbers(padded), numbers(score_pair(*pair, spacing_mm)), atol=1e-9)


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


def test_a_size_zero_volume_counts_as_empty():
    nothing = np.zeros((0, 3, 2), dtype=bool)
    assert all(map(math.isnan, numbers(score_pair(nothing, nothing, SPACING_MM))))


def test_two_shapes_are_refused_by_every_metric():
    first, second = np.ones((2, 3, 4), dtype=bool), np.ones((2, 3, 5), dtype=bool)
    for metric in (dice, volumetric_similarity):
        with pytest.raises(GeometryError, match=r"\(2, 3, 4\) and \(2, 3, 5\)"):
            metric(first, second)
    for metric in (score_pair, hausdorff_distance):
        with pytest.raises(GeometryError, match=r"\(2, 3, 4\) and \(2, 3, 5\)"):
            metric(first, second, SPACING_MM)


@pytest.mark.parametrize("spacing_mm", [(0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, math.nan), (math.inf, 1.0, 1.0)])
def test_an_impossible_spacing_is_refused(spacing_mm):
    mask = np.ones((2, 2, 2), dtype=bool)
    with pytest.raises(GeometryError, match="spacing"):
        score_pair(mask, mask, spacing_mm)


@pytest.mark.parametrize("quantile", [0.0, -0.5, 1.01, 95.0, math.nan])
def test_an_impossible_quantile_is_refused(quantile):
    mask = np.ones((2, 2, 2), dtype=bool)
    with pytest.raises(ConfigurationError, match="quantile"):
        hausdorff_distance(mask, mask, SPACING_MM, quantile)
