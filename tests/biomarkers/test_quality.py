import doctest

import numpy as np
import pytest
import SimpleITK

from nerveseg.biomarkers import wording
from nerveseg.biomarkers.quality import Flag, QualityLimits, TrainingScans, find_flags

SPACING = (0.52, 0.52, 4.4)
TRAINING = TrainingScans(SPACING, (320, 320), {"T2": {1.0: (-1.0, -0.8), 50.0: (-0.3, 0.1), 99.0: (2.0, 3.0)}})


def disc(mask, number, centre, radius):
    x, y = np.ogrid[: mask.shape[0], : mask.shape[1]]
    mask[:, :, number] |= (x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2


def cord(shape=(160, 140, 30), x=60.0, drift=0.4, radius=7.0):
    """One nerve of about 42 mm2 that leans, and parts in the last third."""
    mask = np.zeros(shape, dtype=bool)
    for number in range(shape[2]):
        apart = max(0.0, number - 2 * shape[2] / 3) * 2.0
        disc(mask, number, (x + drift * number, 70), radius if apart < 12 else 0.8 * radius)
        if apart >= 12:
            disc(mask, number, (x + drift * number + apart, 70), 0.6 * radius)
    return mask


def codes(mask, probability=None, **options):
    spacing = options.pop("spacing_mm", SPACING)
    return [flag.code for flag in find_flags(mask, probability, spacing, range(mask.shape[2]), **options)]


def the_flag(mask, probability=None, **options):
    (flag,) = find_flags(mask, probability, SPACING, range(mask.shape[2]), **options)
    return flag


@pytest.fixture(scope="module")
def real_mask(shared_data):
    path = shared_data("sciatic_reference") / "EXAMPLE_GROUND_TRUTH.mha"
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).transpose(2, 1, 0) > 0


def test_a_sound_nerve_raises_nothing():
    mask = cord()
    assert codes(mask, np.where(mask, 0.95, 0.001), training=TRAINING, percentiles={"T2": {50.0: 0.0}}) == []


def test_the_real_mask_raises_nothing(real_mask):
    assert codes(real_mask) == []
    assert codes(real_mask[::-1, :, ::-1]) == []


@pytest.mark.parametrize("nerve", ["real", "simple"])
def test_a_gap_is_found_and_named_by_the_files_slice_numbers(real_mask, nerve):
    mask = real_mask.copy() if nerve == "real" else cord()
    mask[..., [10, 11, 12, 15]] = False
    numbers = range(mask.shape[2])[::-1]
    (flag,) = find_flags(mask, None, SPACING, numbers)
    expected = tuple(sorted(numbers[index] for index in (10, 11, 12, 15)))
    assert (flag.code, flag.slices) == ("empty_slices", expected)
    assert f"slices {expected[0]} and {expected[1]} to {expected[3]}" in flag.message


def test_missing_ends_are_no_gap(real_mask):
    real_mask = real_mask.copy()
    real_mask[..., :7] = real_mask[..., 50:] = False
    assert codes(real_mask) == []


def test_a_lost_branch_and_a_leak_are_jumps():
    mask = cord()
    disc(mask, 8, (63, 70), 13.0)
    flag = the_flag(mask)
    assert (flag.code, flag.slices) == ("area_jump", (7, 8, 9))
    thin = cord()
    thin[:, :70, 12] = False
    assert the_flag(thin, limits=QualityLimits(area_change_per_mm=0.06)).slices == (11, 12, 13)


@pytest.mark.parametrize(("step_mm", "factor", "expected"), [
    (4.4, 2.0, ["area_jump"]), (17.6, 2.0, ["area_jump"]), (4.4, 1.7, ["area_jump"]), (17.6, 1.7, []),
])  # fmt: skip
def test_a_jump_of_88_percent_is_flagged_however_far_apart_the_slices_are(step_mm, factor, expected):
    """A jump by 70 % is one between slices 4.4 mm apart (0.53 of 0.44), and none between slices 17.6 mm apart."""
    mask = cord()
    area = mask.sum(axis=(0, 1))
    disc(mask, 8, (63, 70), np.sqrt(factor * area[9] / np.pi))
    assert mask[..., 8].sum() / area[9] == pytest.approx(factor, abs=0.06)
    assert codes(mask, spacing_mm=(0.52, 0.52, step_mm)) == expected


def test_an_area_that_goes_up_and_down_is_flagged_and_one_that_swells_is_not():
    def with_radii(radii):
        mask = np.zeros((60, 60, len(radii)), dtype=bool)
        for number, radius in enumerate(radii):
            disc(mask, number, (30, 30), radius)
        return mask

    wavy, swollen = with_radii([7.0, 8.0] * 6), with_radii([7.0] * 7 + [7.5, 8.5, 9.5, 8.5, 7.5] + [7.0] * 7)
    assert codes(wavy) == ["area_uneven"]
    assert codes(swollen) == []
    assert codes(with_radii([7.0, 8.0, 7.0, 8.0])) == []
    assert codes(wavy, limits=QualityLimits(area_unevenness=0.3)) == []


def test_a_split_is_no_jump_and_neither_are_a_few_pixels():
    assert codes(cord(radius=6.0)) == []
    small = np.zeros((40, 40, 10), dtype=bool)
    for number in range(10):
        disc(small, number, (20, 20), 1.0 if number % 2 else 2.2)
    assert codes(small) == []


@pytest.mark.parametrize("nerve", ["real", "simple"])
@pytest.mark.parametrize("distance_mm", [13.0, 17.0])
def test_a_speck_is_far_from_the_nearest_branch_or_not(real_mask, nerve, distance_mm):
    mask = (real_mask if nerve == "real" else cord()).copy()
    farthest = np.argwhere(mask[:, :, 25])
    x, y = farthest[np.argmin(farthest[:, 1])]
    gap = round(distance_mm / 0.52)
    mask[x : x + 3, y - gap - 3 : y - gap + 1, 25:27] = True
    assert codes(mask) == (["stray_pieces"] if distance_mm > 15 else [])
    assert codes(mask, limits=QualityLimits(stray_share=0.0))[:1] == (["far_component"] if distance_mm > 15 else [])
    if distance_mm > 15:
        flag = the_flag(mask)
        assert flag.slices == (25, 26)
        assert "24 voxels" in flag.message


def test_a_nerve_that_goes_on_beyond_a_gap_is_not_far():
    mask = cord(drift=1.5)
    mask[..., 9:13] = False
    assert codes(mask) == ["empty_slices"]


def test_a_detached_branch_belongs_to_the_nerve_through_the_nearer_branch():
    mask = np.zeros((200, 60, 12), dtype=bool)
    for number in range(12):
        for x in (20, 50, 80, 110):  # each 15 mm from the next, the last 45 mm from the first
            disc(mask, number, (x, 30), 6 if x == 20 else 5)
    assert codes(mask) == []
    mask[40:90] = False
    assert "far_component" in codes(mask)


def test_thousands_of_specks_are_judged_in_time():
    mask = np.random.default_rng(1).random((120, 120, 30)) < 0.002
    assert "area_jump" not in codes(mask)


def test_low_probability_is_seen_inside_and_outside():
    mask = cord()
    probability = np.where(mask, 0.95, 0.0)
    probability[..., 3:6] = np.where(mask[..., 3:6], 0.55, 0.0)
    assert codes(mask, probability) == []
    flag = the_flag(mask, np.where(mask, 0.6, 0.0))
    assert (flag.code, len(flag.slices)) == ("low_probability", 30)
    beside = np.roll(mask, 30, axis=1)
    flag = the_flag(mask, np.where(mask, 0.9, np.where(beside, 0.49, 0.0) * 2))
    assert (flag.code, flag.slices) == ("low_probability", ())
    assert f"expected overlap {2 * 0.9 / 2.88:.2f}" in flag.detail


def test_the_border_matters_in_the_plane_only():
    mask = cord()
    first = int(np.argwhere(mask)[:, 0].min())
    flag = the_flag(mask[first:])
    assert flag.code == "touches_border"
    assert flag.slices[0] == 0
    assert codes(mask[:, ::-1]) == []


def test_no_nerve_at_all():
    flag = the_flag(np.zeros((20, 20, 5), dtype=bool), np.zeros((20, 20, 5)))
    assert flag == Flag("no_nerve", "no nerve found")


@pytest.mark.parametrize(
    ("spacing", "size", "code"),
    [
        ((0.78, 0.78, 4.4), (256, 256), []),
        ((1.04, 1.04, 8.8), (192, 165), ["spacing_unlike_training"]),
        ((0.52, 0.52, 24.0), (384, 330), ["step_unlike_training"]),
        ((0.52, 0.52, 4.4), (1024, 1024), ["field_unlike_training"]),
        ((0.52, 0.52, 4.4), (100, 400), ["field_unlike_training"]),
        ((4.4, 0.52, 4.4), (60, 384), ["not_axial"]),
    ],
)
def test_another_geometry_is_named(spacing, size, code):
    mask = np.zeros((*size, 2), dtype=bool)
    mask[30:40, 30:40] = True
    assert codes(mask, spacing_mm=spacing, training=TRAINING) == code


@pytest.mark.parametrize(
    ("spacing", "code"),
    [
        ((0.5, 0.5, 3.0), []),  # far from the middle of the ranges by the ratios that hold without them
        ((1.6, 1.6, 24.0), []),
        ((1.602, 1.602, 8.0), []),
        ((0.45, 0.45, 8.0), ["spacing_unlike_training"]),
        ((1.7, 1.7, 8.0), ["spacing_unlike_training"]),
        ((1.0, 1.0, 2.5), ["step_unlike_training"]),
        ((1.0, 1.0, 25.0), ["step_unlike_training"]),
    ],
)
def test_known_ranges_replace_the_ratios(spacing, code):
    made = TrainingScans((1.0, 1.0, 8.5), (224, 208), pixel_mm=(0.5, 1.6), step_mm=(3.0, 24.0))
    mask = np.zeros((224, 208, 2), dtype=bool)
    mask[30:40, 30:40] = True
    assert codes(mask, spacing_mm=spacing, training=made) == code


def test_another_brightness_is_named():
    mask = cord()

    def found(channel, **values):
        return codes(mask, training=TRAINING, percentiles={channel: {float(k[1:]): v for k, v in values.items()}})

    assert found("T2", p1=-1.09, p50=0.29, p99=3.49) == []
    assert found("T2", p1=-1.11) == ["intensity_unlike_training"]
    assert found("T2", p99=3.6) == ["intensity_unlike_training"]
    assert found("FS", p99=99.0) == []
    assert found("T2", p75=99.0) == []


def test_each_side_is_judged_by_itself():
    left, right = cord((120, 140, 30), x=40.0, drift=0.2), cord((120, 140, 30), x=30.0, drift=0.3)
    sides = {"left": slice(0, 120), "right": slice(120, 240)}
    assert codes(np.concatenate([left, right]), sides=sides) == []
    right[..., 7] = False
    flag = the_flag(np.concatenate([left, right]), sides=sides)
    assert (flag.code, flag.side, flag.slices) == ("empty_slices", "right", (7,))
    thin = cord((120, 140, 30), x=40.0, drift=0.2, radius=4.5)
    flag = the_flag(np.concatenate([left, thin]), sides=sides)
    assert (flag.code, flag.side) == ("sides_differ", None)
    assert f"left nerve's mean area is {left.sum() / thin.sum():.1f} times" in flag.message
    flag = the_flag(np.concatenate([np.zeros_like(left), left]), sides=sides)
    assert (flag.code, flag.side) == ("sides_differ", "left")


def test_examples_of_slices_in_words():
    assert doctest.testmod(wording).failed == 0
