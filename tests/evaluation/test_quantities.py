import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nerveseg.evaluation.comparisons import (
    MEAN_AREA,
    QUANTITY_COLUMNS,
    VOLUME,
    mean_cross_sectional_area_mm2,
    measure_masks,
    nerve_volume_mm3,
)
from tests.helpers.score_tables import SPACING_MM, subject, tube

spacings = st.tuples(*[st.floats(0.1, 6.0)] * 3)
masks = arrays.arrays(bool, (4, 3, 5))


def test_a_box_has_the_volume_and_area_of_a_box():
    box = np.zeros((8, 8, 6), dtype=bool)
    box[1:5, 2:5, 1:4] = True
    assert nerve_volume_mm3(box, (0.5, 0.25, 4.4)) == pytest.approx(2.0 * 0.75 * 13.2), "the gap between slices counts"
    assert mean_cross_sectional_area_mm2(box, (0.5, 0.25, 4.4)) == pytest.approx(2.0 * 0.75)


def test_only_slices_that_hold_nerve_enter_the_mean_area():
    mask = np.zeros((4, 4, 5), dtype=bool)
    mask[:2, :2, 1] = mask[:3, :2, 3] = True
    assert mean_cross_sectional_area_mm2(mask, (1.0, 1.0, 4.4)) == 5.0


@given(masks.filter(np.any), spacings)
def test_volume_is_that_of_simpleitk(mask, spacing_mm):
    image = SimpleITK.GetImageFromArray(mask.astype(np.uint8).transpose(2, 1, 0))
    image.SetSpacing(spacing_mm)
    shape = SimpleITK.LabelShapeStatisticsImageFilter()
    shape.Execute(image)
    assert nerve_volume_mm3(mask, spacing_mm) == pytest.approx(shape.GetPhysicalSize(1))


@given(masks, spacings)
def test_mean_area_times_the_length_of_its_slices_is_the_volume(mask, spacing_mm):
    length_mm = mask.any(axis=(0, 1)).sum() * spacing_mm[2]
    area_mm2 = mean_cross_sectional_area_mm2(mask, spacing_mm)
    assert area_mm2 * length_mm == pytest.approx(nerve_volume_mm3(mask, spacing_mm))


def test_an_empty_mask_is_a_nerve_of_no_size():
    nothing = np.zeros((3, 3, 3), dtype=bool)
    assert nerve_volume_mm3(nothing, SPACING_MM) == mean_cross_sectional_area_mm2(nothing, SPACING_MM) == 0


def test_every_mask_of_a_subject_is_measured_once():
    raters = {rater: tube(radius=2 + 0.5 * n) for n, rater in enumerate("ABCD")}
    table = measure_masks(subject("1", raters, tube(radius=4), location="distal"))
    assert tuple(table.columns) == QUANTITY_COLUMNS
    assert sorted(table["source"].unique()) == ["A", "Auto", "B", "C", "D", "GT"], "no consensus that leaves one out"
    values = table.set_index(["source", "quantity"])["value"]
    for rater, mask in raters.items():
        assert values[(rater, VOLUME)] == pytest.approx(mask.sum() * 0.5 * 0.5 * 4.0)
        assert values[(rater, MEAN_AREA)] == pytest.approx(mask[..., 0].sum() * 0.5 * 0.5)
    assert set(table["location"]) == {"distal"}


def test_one_rater_is_not_measured_twice():
    assert set(measure_masks(subject("1", {"A": tube()}))["source"]) == {"A"}
