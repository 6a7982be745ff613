import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nerveseg.errors import GeometryError
from nerveseg.evaluation.metrics.mask_pair import MaskPair
from nerveseg.evaluation.metrics.pair_scores import dice, hausdorff_distance, score_pair
from nerveseg.evaluation.metrics.surface import PairDistances
from tests.helpers.mask_pairs import CASES, SPACING_MM, oracle_pair, pairs, spacings, surface_distances_mm

tolerances = st.floats(0, 12)


def surface_dice(first, second, spacing_mm, tolerance_mm):
    return PairDistances(MaskPair.of(first, second, spacing_mm)).surface_dice(tolerance_mm)


def average_surface_distance(first, second, spacing_mm):
    return PairDistances(MaskPair.of(first, second, spacing_mm)).average_surface_mm()


@pytest.fixture(scope="module")
def monai():
    """MONAI's metrics of one pair of masks; its numbers are float32."""
    metrics = pytest.importorskip("monai.metrics", reason="MONAI is not installed")
    torch = pytest.importorskip("torch")

    def measure(name, reference, prediction, **options):
        first, second = (torch.from_numpy(np.ascontiguousarray(mask))[None, None] for mask in (reference, prediction))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*always_return_as_numpy", category=FutureWarning)
            score = getattr(metrics, name)(second.float(), first.float(), include_background=True, **options)
        return float(score)

    return measure


def random_pairs():
    for seed, share in enumerate((0.003, 0.02, 0.1, 0.4, 0.9)):
        random = np.random.default_rng(seed)
        first, second = random.random((2, 19, 17, 11)) < share
        first[2, 3, 4] = second[15, 9, 6] = True
        yield pytest.param(first, second, tuple(random.uniform(0.3, 5, 3)), id=f"random-{share}")


def filled_oracle_pairs():
    for case in CASES:
        pair = oracle_pair(case)
        if all(mask.any() for mask in pair):
            yield pytest.param(*pair, tuple(case["spacing_mm"]), id=case["name"])


def test_the_oracle_has_pairs_on_which_distances_are_defined():
    if not CASES:
        pytest.skip("no shared data: evaluate_segmentation is not there (NERVESEG_DATA names the folder)")
    assert len(list(filled_oracle_pairs())) >= 25


@pytest.mark.parametrize(("first", "second", "spacing_mm"), [*filled_oracle_pairs(), *random_pairs()])
def test_surface_distances_are_those_of_monai(monai, first, second, spacing_mm):
    scores = score_pair(first, second, spacing_mm)
    hd95_mm = monai("compute_hausdorff_distance", first, second, percentile=95, spacing=spacing_mm)
    assd_mm = monai("compute_average_surface_distance", first, second, symmetric=True, spacing=spacing_mm)
    assert scores.hd95_mm == pytest.approx(hd95_mm, rel=1e-6)
    assert scores.assd_mm == pytest.approx(assd_mm, rel=1e-6)


@pytest.mark.parametrize(("first", "second", "spacing_mm"), [*filled_oracle_pairs(), *random_pairs()])
@pytest.mark.parametrize("tolerance_mm", [0.0, 0.521, 1.042, 4.567])
def test_surface_dice_is_that_of_monai(monai, first, second, spacing_mm, tolerance_mm):
    expected = monai("compute_surface_dice", first, second, class_thresholds=[tolerance_mm], spacing=spacing_mm)
    assert surface_dice(first, second, spacing_mm, tolerance_mm) == pytest.approx(expected, rel=1e-6)


@given(pairs(), spacings, tolerances)
def test_surfaces_agree_as_brute_force_says(pair, spacing_mm, tolerance_mm):
    pool = np.concatenate(surface_distances_mm(*pair, spacing_mm))
    assert average_surface_distance(*pair, spacing_mm) == pytest.approx(pool.mean(), abs=1e-9)
    least, most = ((pool <= tolerance_mm * factor).mean() for factor in (1 - 1e-6, 1 + 1e-6))
    assert least <= surface_dice(*pair, spacing_mm, tolerance_mm) <= most


@given(pairs(), spacings, tolerances, tolerances)
def test_a_larger_tolerance_is_no_smaller_agreement(pair, spacing_mm, first, second):
    low, high = (surface_dice(*pair, spacing_mm, tolerance) for tolerance in sorted((first, second)))
    assert 0 <= low <= high <= 1


@given(pairs(), spacings)
def test_surfaces_agree_wholly_at_the_largest_of_their_distances_and_not_before(pair, spacing_mm):
    furthest_mm = hausdorff_distance(*pair, spacing_mm, 1.0, "surface")
    assert surface_dice(*pair, spacing_mm, furthest_mm) == 1
    if furthest_mm > 0:
        assert surface_dice(*pair, spacing_mm, furthest_mm * 0.999) < 1
    assert average_surface_distance(*pair, spacing_mm) <= furthest_mm + 1e-12


@given(pairs(), spacings)
def test_the_scores_are_those_of_the_functions(pair, spacing_mm):
    scores = score_pair(*pair, spacing_mm)
    assert scores.assd_mm == average_surface_distance(*pair, spacing_mm)
    assert scores.surface_dice_052 == surface_dice(*pair, spacing_mm, 0.521)
    assert scores.surface_dice_104 == surface_dice(*pair, spacing_mm, 1.042)


@pytest.mark.parametrize("pixel_mm", [200 / 384, 0.520833, 0.5208, 0.52, 0.521])
def test_a_shift_by_the_papers_pixel_is_within_one_pixel(pixel_mm):
    """Headers round 200/384; under a bare 0.52 mm a shift by one pixel would count as a miss."""
    bar = np.zeros((20, 9, 4), dtype=bool)
    bar[4:12, 3:6] = True
    shifted = [np.roll(bar, shift, axis=0) for shift in (1, 2, 3)]
    scores = [score_pair(bar, other, (pixel_mm, pixel_mm, 4.4)) for other in shifted]
    assert [score.surface_dice_052 == 1 for score in scores] == [True, False, False]
    assert [score.surface_dice_104 == 1 for score in scores] == [True, True, False]


def test_two_parallel_plates_lie_their_gap_apart():
    first, second = np.zeros((2, 12, 5, 4), dtype=bool)
    first[2], second[9] = True, True
    assert average_surface_distance(first, second, SPACING_MM) == pytest.approx(7 * 0.5)
    assert surface_dice(first, second, SPACING_MM, 3.5) == 1
    assert surface_dice(first, second, SPACING_MM, 3.49) == 0
    assert dice(first, second) == 0


def test_an_empty_mask_has_no_surface():
    empty, full = np.zeros((4, 3, 2), dtype=bool), np.ones((4, 3, 2), dtype=bool)
    assert surface_dice(empty, full, SPACING_MM, 100.0) == surface_dice(full, empty, SPACING_MM, 100.0) == 0
    assert math.isnan(surface_dice(empty, empty, SPACING_MM, 1.0))
    for pair in ((empty, full), (full, empty), (empty, empty)):
        assert math.isnan(average_surface_distance(*pair, SPACING_MM))


def test_two_shapes_are_refused():
    first, second = np.ones((2, 3, 4), dtype=bool), np.ones((2, 3, 5), dtype=bool)
    with pytest.raises(GeometryError) as caught:
        surface_dice(first, second, SPACING_MM, 1.0)
    assert caught.value.found == "shapes (2, 3, 4) and (2, 3, 5)"
    with pytest.raises(GeometryError) as caught:
        average_surface_distance(first, second, SPACING_MM)
    assert caught.value.found == "shapes (2, 3, 4) and (2, 3, 5)"
