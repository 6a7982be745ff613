"""Features of a mask against closed forms and a flood fill."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nerveseg.data.classes import Classes
from nerveseg.data.legs import Leg
from nerveseg.inference.uncertainty import measure_classes, measure_features, slice_uncertainty_mm2

SPACING = (0.5, 2.0, 4.0)


def cube(value: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    mask = np.zeros((6, 6, 4), dtype=bool)
    mask[1:3, 1:4] = True
    return mask, np.where(mask, value, 0).astype(np.float32)


def test_a_straight_certain_nerve_has_the_best_features():
    found = measure_features(*cube(), SPACING)
    assert (found.soft_dice, found.slice_agreement, found.largest_component_share) == (1.0, 1.0, 1.0)
    assert found.area_mm2 == 6 * 0.5 * 2.0


def test_soft_dice_is_the_dice_that_the_probability_expects():
    assert measure_features(*cube(0.8), SPACING).soft_dice == pytest.approx(2 * 0.8 / 1.8)


def test_probability_outside_the_mask_lowers_the_soft_dice():
    mask, probability = cube(0.8)
    probability[4, 4, :] = 0.4
    assert measure_features(mask, probability, SPACING).soft_dice == pytest.approx(2 * 19.2 / (24 + 19.2 + 1.6))


def test_a_gap_lowers_the_slice_agreement():
    mask, probability = cube()
    mask[..., 1] = False
    assert measure_features(mask, probability, SPACING).slice_agreement == pytest.approx(1 / 3)


def test_slices_without_the_class_on_both_sides_are_no_pair():
    mask, probability = cube()
    mask[..., 2:] = False
    assert measure_features(mask, probability, SPACING).slice_agreement == pytest.approx(1 / 2)


def test_a_stack_of_one_slice_has_full_agreement():
    mask, probability = cube()
    assert measure_features(mask[..., :1], probability[..., :1], SPACING).slice_agreement == 1.0


def test_the_nerves_of_two_legs_are_measured_each_by_itself():
    one, _ = cube()
    other = np.zeros_like(one)
    other[1:3, 1:3, :] = True
    other[..., 2] = False
    mask = np.concatenate([one, other])
    legs = (Leg("left", slice(0, 6)), Leg("right", slice(6, 12)))
    found = measure_features(mask, mask.astype(np.float32), SPACING, legs)
    voxels = [one.sum(), other.sum()]
    each = [measure_features(part, part.astype(np.float32), SPACING) for part in (one, other)]
    for name in ("slice_agreement", "largest_component_share", "area_mm2"):
        assert getattr(found, name) == pytest.approx(np.average([getattr(part, name) for part in each], weights=voxels))


def test_a_missed_leg_makes_no_mask_better():
    one, _ = cube()
    legs = (Leg("left", slice(0, 6)), Leg("right", slice(6, 12)))
    both, missed = np.concatenate([one, one]), np.concatenate([one, np.zeros_like(one)])
    probability = both.astype(np.float32)
    found, lacking = (measure_features(mask, probability, SPACING, legs) for mask in (both, missed))
    assert (found.slice_agreement, found.largest_component_share, found.area_mm2) == (1.0, 1.0, 12.0 / 2)
    assert lacking.largest_component_share <= found.largest_component_share
    assert lacking.soft_dice < found.soft_dice


def test_an_empty_mask_has_no_features():
    assert measure_features(np.zeros((3, 3, 2), dtype=bool), np.zeros((3, 3, 2), dtype=np.float32), SPACING) is None


def largest_component(mask: np.ndarray) -> int:
    """Voxels of the largest 26-connected component, by flood fill."""
    left, largest = {tuple(map(int, voxel)) for voxel in np.argwhere(mask)}, 0
    while left:
        queue, size = [left.pop()], 0
        while queue:
            x, y, z = queue.pop()
            size += 1
            near = {(x + i, y + j, z + k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)} & left
            left -= near
            queue += near
        largest = max(largest, size)
    return largest


@given(arrays(np.bool_, (4, 3, 5), elements=st.booleans()))
def test_the_largest_component_share_is_that_of_a_flood_fill(mask):
    found = measure_features(mask, mask.astype(np.float32), SPACING)
    if mask.any():
        assert found.largest_component_share == pytest.approx(largest_component(mask) / mask.sum())
    else:
        assert found is None


def test_a_class_has_the_sum_of_its_parts_probabilities():
    mask, probability = cube(0.8)
    classes = Classes.of({"whole": [1, 2], "part": [2]})
    found = measure_classes(mask.astype(np.uint8), np.stack([probability / 2, probability / 2]), classes, SPACING)
    assert found["whole"].soft_dice == pytest.approx(2 * 0.8 / 1.8)
    assert found["part"] is None


def test_the_uncertainty_of_a_slice_is_the_area_expected_to_be_wrong():
    probability = np.zeros((2, 2, 3), dtype=np.float32)
    probability[0, 0] = [1.0, 0.75, 0.5]
    probability[1, 1] = [0.0, 0.1, 0.5]
    assert slice_uncertainty_mm2(probability, SPACING) == pytest.approx([0.0, 0.35, 1.0])
