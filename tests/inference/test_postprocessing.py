import numpy as np
import pytest
import SimpleITK
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nerveseg.inference.postprocessing import Postprocessing, clean
from nerveseg.launch.compose import config_folder

SPACING_MM = (0.5, 0.5, 4.0)
SPECKS = Postprocessing(remove_specks=True, speck_volume_mm3=20.0, speck_distance_mm=10.0, bridge_single_slices=False)
BRIDGES = Postprocessing(remove_specks=False, bridge_single_slices=True)
EVERYTHING = SPECKS.model_copy(update={"bridge_single_slices": True})
OFF = Postprocessing(remove_specks=False, bridge_single_slices=False)
MASKS = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 7)))


def nerve(shape=(60, 50, 10)):
    """A straight nerve of 10 x 8 pixels: 20 mm2 in every slice."""
    mask = np.zeros(shape, bool)
    mask[10:20, 10:18] = True
    return mask


def ellipse(shape, centre, radii):
    x, y = np.ogrid[: shape[0], : shape[1]]
    return ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 <= 1


def two_specks_that_are_bridged_and_one_that_is_not():
    mask = np.zeros((3, 5, 4), dtype=bool)
    mask[0, 0, 0] = mask[2, 2, 0] = mask[2, 2, 2] = True
    return mask


@example(two_specks_that_are_bridged_and_one_that_is_not(), EVERYTHING, 2.0, 0.0)
@given(MASKS, st.sampled_from([SPECKS, BRIDGES, EVERYTHING]), st.floats(0, 15), st.floats(0, 8))
def test_a_clean_mask_stays_as_it_is(mask, rule, volume_mm3, distance_mm):
    rule = rule.model_copy(update={"speck_volume_mm3": volume_mm3, "speck_distance_mm": distance_mm})
    once = clean(mask, SPACING_MM, rule)
    np.testing.assert_array_equal(clean(once, SPACING_MM, rule), once)


@given(MASKS)
def test_switched_off_nothing_happens(mask):
    before = mask.copy()
    cleaned = clean(mask, SPACING_MM, OFF)
    np.testing.assert_array_equal(cleaned, before)
    assert cleaned is not mask
    clean(mask, SPACING_MM, EVERYTHING)
    np.testing.assert_array_equal(mask, before)


@given(MASKS, st.floats(0, 15), st.floats(0, 8))
def test_specks_are_what_brute_force_finds(mask, volume_mm3, distance_mm):
    """SimpleITK counts the components; every distance between two voxels is taken."""
    rule = SPECKS.model_copy(update={"speck_volume_mm3": volume_mm3, "speck_distance_mm": distance_mm})
    components = SimpleITK.ConnectedComponent(SimpleITK.GetImageFromArray(mask.astype(np.uint8)), True)
    labels = SimpleITK.GetArrayFromImage(components)
    places = {number: np.argwhere(labels == number) * SPACING_MM for number in range(1, labels.max() + 1)}
    large = [number for number, where in places.items() if len(where) * 1.0 >= volume_mm3]
    expected = mask.copy()
    for number, where in places.items():
        if large and number not in large:
            others = np.concatenate([places[other] for other in large])
            if np.linalg.norm(where[:, None] - others[None], axis=2).min() > distance_mm:
                expected[labels == number] = False
    np.testing.assert_array_equal(clean(mask, SPACING_MM, rule), expected)


def test_a_far_speck_goes_and_a_near_one_stays():
    mask = nerve()
    mask[28, 12, 4] = True  # 4.5 mm from the nerve
    far = mask.copy()
    far[50:53, 40:43, 4] = True  # 9 mm3, 15 mm from the nerve
    np.testing.assert_array_equal(clean(far, SPACING_MM, SPECKS), mask)


def test_a_second_nerve_and_the_branches_of_one_stay():
    mask = nerve()
    mask[10:20, 13:14, 5:] = False  # divided in the lower half
    mask[45:51, 30:38, 2:8] = True  # the other leg's, 15 mm away and less than half as large
    np.testing.assert_array_equal(clean(mask, SPACING_MM, SPECKS), mask)


def test_pieces_that_touch_at_a_corner_are_one():
    mask = nerve()
    for index in range(10):
        mask[45 + index, 35 + index, index] = True  # ten voxels, 26-connected only: 10 mm3
    assert not clean(mask, SPACING_MM, SPECKS)[30:].any()
    kept = clean(mask, SPACING_MM, SPECKS.model_copy(update={"speck_volume_mm3": 10.0}))
    np.testing.assert_array_equal(kept, mask)


def test_a_nerve_goes_on_behind_missed_slices():
    mask = nerve()
    mask[..., 5:] = False
    mask[12:16, 12:16, 7] = True  # 16 mm3, behind two missed slices
    np.testing.assert_array_equal(clean(mask, SPACING_MM, SPECKS.model_copy(update={"speck_distance_mm": 13.0})), mask)


@pytest.mark.parametrize("mask", [np.zeros((5, 4, 3), bool), np.eye(5, dtype=bool)[..., None]])
def test_a_mask_of_small_pieces_or_none_is_left_alone(mask):
    np.testing.assert_array_equal(clean(mask, SPACING_MM, SPECKS), mask)


def test_the_real_nerves_stay_whole_with_the_defaults(shared_data):
    image = SimpleITK.ReadImage(str(next(shared_data("sciatic_reference").glob("*.mha"))))
    mask = SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0) > 0
    np.testing.assert_array_equal(clean(mask, image.GetSpacing(), Postprocessing()), mask)


def test_real_slices_that_were_taken_out_come_back_nearly_as_they_were(shared_data):
    image = SimpleITK.ReadImage(str(next(shared_data("sciatic_reference").glob("*.mha"))))
    mask = SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0) > 0
    missed = mask.copy()
    taken = range(3, mask.shape[2] - 1, 5)
    missed[..., taken] = False
    bridged = clean(missed, image.GetSpacing(), BRIDGES)
    untouched = np.setdiff1d(np.arange(mask.shape[2]), taken)
    np.testing.assert_array_equal(bridged[..., untouched], mask[..., untouched])
    overlap = [
        2 * (bridged[..., index] & mask[..., index]).sum() / (bridged[..., index].sum() + mask[..., index].sum())
        for index in taken
    ]
    assert np.median(overlap) > 0.85
    areas = [bridged[..., index].sum() / mask[..., index].sum() for index in taken]
    assert np.median(areas) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("shift", [0, 3, 8])
def test_a_missed_slice_gets_the_shape_halfway_between(shift):
    """Of two ellipses whose axes differ, the one with the mean of the axes, at the mean of the centres."""
    mask = np.zeros((50, 40, 5), bool)
    mask[..., 1] = ellipse((50, 40), (20, 18), (9, 7))
    mask[..., 3] = ellipse((50, 40), (20 + shift, 18), (7, 5))
    bridged = clean(mask, SPACING_MM, BRIDGES)
    np.testing.assert_array_equal(bridged[..., [0, 1, 3, 4]], mask[..., [0, 1, 3, 4]])
    found, expected = bridged[..., 2], ellipse((50, 40), (20 + shift / 2, 18), (8, 6))
    assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) > 0.95
    assert found.sum() == pytest.approx(expected.sum(), rel=0.06)


def test_a_branch_that_was_missed_beside_one_that_was_not_is_bridged_alone():
    mask = nerve()
    mask[40:46, 20:26] = True
    missed = mask.copy()
    missed[40:46, 20:26, 4] = False
    np.testing.assert_array_equal(clean(missed, SPACING_MM, BRIDGES), mask)


@pytest.mark.parametrize("gap", [(0,), (9,), (4, 5), (3, 4, 5)])
def test_ends_and_longer_gaps_stay_open(gap):
    mask = nerve()
    mask[..., gap] = False
    np.testing.assert_array_equal(clean(mask, SPACING_MM, BRIDGES), mask)


def test_every_second_slice_is_bridged():
    mask = nerve()
    mask[..., 1:9:2] = False
    np.testing.assert_array_equal(clean(mask, SPACING_MM, BRIDGES), nerve())


def test_what_does_not_meet_in_projection_is_not_joined():
    mask = np.zeros((40, 40, 3), bool)
    mask[5:9, 5:9, 0] = mask[20:24, 20:24, 2] = True
    np.testing.assert_array_equal(clean(mask, SPACING_MM, BRIDGES), mask)


def test_the_configurations_are_the_defaults_and_nothing():
    read = {
        name: Postprocessing(**yaml.safe_load((config_folder() / "postprocessing" / f"{name}.yaml").read_text("utf-8")))
        for name in ("default", "none")
    }
    assert read["default"] == Postprocessing()
    assert not read["none"].remove_specks
    assert not read["none"].bridge_single_slices


@pytest.mark.parametrize("wrong", [{"speck_volume_mm3": -1.0}, {"speck_distance_mm": float("nan")}, {"largest": True}])
def test_a_wrong_option_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Postprocessing(**wrong)
