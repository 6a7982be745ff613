import numpy as np
import pandas as pd
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nerveseg.biomarkers.branches import TIBIAL
from nerveseg.biomarkers.course import follow_nerves
from nerveseg.biomarkers.profile import PROFILE_COLUMNS, nerve_profile
from nerveseg.biomarkers.quality import coverage_flags
from nerveseg.biomarkers.signals import Signals, eroded_in_plane, muscle_means
from nerveseg.data.legs import Leg
from nerveseg.errors import GeometryError

AFFINE = np.diag([0.5, 0.5, 4.0, 1.0])
SHAPE = (40, 24, 6)
AREA_ONLY = Signals({})


def whole(mask, side="unknown"):
    return [Leg(side, slice(0, mask.shape[0]))]


def block(x, y, z=slice(1, 5)):
    mask = np.zeros(SHAPE, dtype=bool)
    mask[x, y, z] = True
    return mask


@pytest.fixture
def square():
    """Ten by eight pixels in slices 1 to 4."""
    return block(slice(10, 20), slice(8, 16))


def profile_of(mask, signals=AREA_ONLY, numbers=None):
    return nerve_profile(follow_nerves(mask, AFFINE, whole(mask)), numbers or range(mask.shape[2]), signals)


@pytest.fixture(scope="module")
def real_profile(real_nerve):
    mask, grid, _ = real_nerve
    courses = follow_nerves(mask, grid.ras_affine, whole(mask))
    return nerve_profile(courses, [grid.slice_number(k) for k in range(mask.shape[2])])


def test_the_areas_of_a_real_nerve(real_profile):
    areas = real_profile[real_profile["branch"] == "total"].set_index("slice")["csa_mm2"]
    assert [round(value) for value in (areas[0], areas.max(), areas.min(), areas[59])] == [79, 85, 42, 51]
    assert areas.sum() * 4.40001 == pytest.approx(17131, abs=1.0)


def test_the_areas_and_components_of_a_real_nerve_are_those_simpleitk_counts(real_profile, real_nerve):
    _, _, image = real_nerve
    total = real_profile[real_profile["branch"] == "total"].set_index("slice")
    for number in range(image.GetSize()[2]):
        plane = image[:, :, number] > 0
        parts = SimpleITK.ConnectedComponent(plane, True)
        shapes = SimpleITK.LabelShapeStatisticsImageFilter()
        shapes.Execute(parts)
        area_mm2 = sum(shapes.GetPhysicalSize(label) for label in shapes.GetLabels())
        assert total.loc[number, "components"] == shapes.GetNumberOfLabels()
        assert total.loc[number, "csa_mm2"] == pytest.approx(area_mm2, rel=1e-5)


def test_a_real_nerves_branches_add_up_to_the_total(real_profile):
    parts = real_profile[real_profile["branch"] != "total"].groupby("slice")
    total = real_profile[real_profile["branch"] == "total"].set_index("slice")
    assert sorted(parts.groups) == list(range(19, 60))
    for column in ("csa_mm2", "csa_perpendicular_mm2"):
        np.testing.assert_allclose(parts[column].sum(), total.loc[19:, column])
    assert (total["csa_perpendicular_mm2"] <= total["csa_mm2"]).all()
    assert total.loc[19:, "angle_deg"].isna().all()
    assert total.loc[59, "distance_from_split_mm"] == pytest.approx(40 * 4.40001, abs=1e-3)
    assert total.loc[0, "distance_from_split_mm"] == pytest.approx(-19 * 4.40001, abs=1e-3)


@pytest.mark.parametrize("identifier", ["V01", "P01", "P03"])
def test_the_phantoms_areas_within_their_partial_volume(simulated, identifier):
    """Voxels are nerve or not: at most a quarter of the outline's length times the pixel may be counted wrongly."""
    subject = simulated("demo", identifier)
    courses = follow_nerves(subject.truth, subject.affine, whole(subject.truth, subject.participant.side))
    profile = nerve_profile(courses, range(subject.truth.shape[2]))
    measured = profile[profile["branch"] == "total"]["csa_mm2"].to_numpy()
    for area_mm2, row in zip(measured, subject.known.slices, strict=True):
        outlines_mm = 2 * np.sqrt(np.pi * row.area_mm2) * (np.sqrt(2) if row.split else 1)
        assert area_mm2 == pytest.approx(row.area_mm2, abs=outlines_mm * 1.0 / 4)
    assert measured.mean() == pytest.approx(np.mean([row.area_mm2 for row in subject.known.slices]), rel=0.03)


def test_every_slice_has_a_total_row_also_where_there_is_no_nerve(square):
    profile = profile_of(square, Signals({"T2": np.ones(SHAPE)}, lesion=square))
    assert list(profile.columns[: len(PROFILE_COLUMNS)]) == list(PROFILE_COLUMNS)
    assert profile["slice"].tolist() == list(range(6))
    assert profile["csa_mm2"].tolist() == [0.0, 20.0, 20.0, 20.0, 20.0, 0.0]
    assert profile["csa_perpendicular_mm2"].tolist() == [0.0, 20.0, 20.0, 20.0, 20.0, 0.0]
    assert profile["components"].tolist() == [0, 1, 1, 1, 1, 0]
    empty = profile.loc[[0, 5], ["angle_deg", "eroded", "lesion_fraction", "T2_mean", "distance_from_split_mm"]]
    assert empty.isna().all(axis=None)


def test_slices_have_the_numbers_of_their_file(square):
    """A file whose slices run downwards: the first slice of the RAS array is its last."""
    square[:, :, 4] = False
    profile = profile_of(square, numbers=[5, 4, 3, 2, 1, 0])
    assert profile["slice"].tolist() == list(range(6))
    assert profile["z_mm"].tolist() == [20.0, 16.0, 12.0, 8.0, 4.0, 0.0]
    assert profile["csa_mm2"].tolist() == [0.0, 0.0, 20.0, 20.0, 20.0, 0.0]


def test_signals_are_those_of_the_eroded_mask(square):
    channel = np.full(SHAPE, 1000.0)
    channel[11:19, 9:15] = np.arange(48.0).reshape(8, 6, 1)
    profile = profile_of(square, Signals({"T2": channel}))
    row = profile[profile["slice"] == 2].iloc[0]
    assert row["eroded"]
    expected = pd.Series(np.arange(48.0))
    assert row["T2_mean"] == pytest.approx(23.5)
    assert row["T2_sd"] == pytest.approx(expected.std())
    assert [row["T2_p10"], row["T2_p50"], row["T2_p90"]] == pytest.approx(expected.quantile([0.1, 0.5, 0.9]).tolist())


def test_a_section_that_erosion_would_remove_is_taken_whole():
    thin = block(slice(10, 12), slice(8, 16))
    channel = np.where(thin, 5.0, 0.0)
    row = profile_of(thin, Signals({"T2": channel})).iloc[2]
    assert not row["eroded"]
    assert row["T2_mean"] == 5.0


def test_unknown_voxels_of_a_channel_are_left_out(square):
    channel = np.full(SHAPE, np.nan)
    channel[:15] = 3.0
    channel[:, :, 3] = np.nan
    profile = profile_of(square, Signals({"T2map": channel}))
    assert profile["T2map_mean"].tolist()[1:3] == [3.0, 3.0]
    assert np.isnan(profile["T2map_mean"][3])


def test_the_coverage_of_a_channel_is_of_the_section_and_flagged_by_slice(square):
    channel = np.ones(SHAPE)
    channel[:15, :, 2] = channel[:, :, 3] = np.nan
    profile = profile_of(square, Signals({"T2map": channel}))
    assert profile["T2map_coverage"][1:5].tolist() == pytest.approx([1.0, 0.5, 0.0, 1.0])
    assert profile["T2map_coverage"][[0, 5]].isna().all()
    (flag,) = coverage_flags(profile, ["T2map"], 0.9)
    assert (flag.code, flag.side, flag.slices) == ("signal_missing", None, (2, 3))
    assert coverage_flags(profile, ["T2map"], 0.0) == ()


def test_erosion_takes_one_pixel_at_the_outline_in_the_plane_and_none_at_the_images_border():
    mask = np.zeros((9, 9, 2), dtype=bool)
    mask[:5, 2:7] = True
    expected = np.zeros_like(mask)
    expected[:4, 3:6] = True
    np.testing.assert_array_equal(eroded_in_plane(mask), expected)


def test_the_ratio_to_muscle_is_of_the_fat_suppressed_channel_in_the_same_slice(square):
    muscle = block(slice(30, 38), slice(2, 12), slice(2, 5))
    gain = np.arange(1.0, 7.0)
    channel = np.where(square, 6.0, np.where(muscle, 2.0, 50.0)) * gain
    profile = profile_of(square, Signals({"T2": channel, "TIRM": channel}, "TIRM", muscle))
    assert "T2_muscle_ratio" not in profile
    assert profile["TIRM_muscle_ratio"][2:5].tolist() == pytest.approx([3.0, 3.0, 3.0])
    assert profile["TIRM_muscle_ratio"][[0, 1, 5]].isna().all(), "no muscle, or no nerve, in these slices"


def test_without_muscle_the_ratio_is_empty(square):
    profile = profile_of(square, Signals({"TIRM": np.ones(SHAPE)}, "TIRM"))
    assert profile["TIRM_muscle_ratio"].isna().all()


def test_too_little_muscle_is_no_reference():
    channel = np.ones(SHAPE)
    few, enough = block(slice(0, 19), slice(0, 1)), block(slice(0, 20), slice(0, 1))
    assert np.isnan(muscle_means(channel, few)).all()
    assert muscle_means(channel, enough)[1:5].tolist() == [1.0] * 4
    channel[0] = np.nan
    assert np.isnan(muscle_means(channel, enough)).all()


def test_the_lesions_share_of_each_branch():
    left, right = block(slice(5, 13), slice(8, 16), slice(0, 6)), block(slice(20, 24), slice(8, 16), slice(0, 6))
    lesion = block(slice(5, 9), slice(8, 16), slice(0, 6))
    profile = profile_of(left | right, Signals({}, lesion=lesion))
    fractions = profile[profile["slice"] == 3].set_index("branch")["lesion_fraction"]
    assert fractions.to_dict() == pytest.approx({"total": 1 / 3, "tibial": 0.5, "peroneal": 0.0})


def test_two_legs_are_two_nerves(square):
    other = block(slice(28, 34), slice(8, 16), slice(0, 6))
    legs = [Leg("left", slice(0, 24)), Leg("right", slice(24, 40))]
    muscle = block(slice(24, 28), slice(0, 8), slice(0, 6))
    channel = np.ones(SHAPE)
    courses = follow_nerves(square | other, AFFINE, legs)
    profile = nerve_profile(courses, range(6), Signals({"TIRM": channel}, "TIRM", muscle))
    sides = profile.groupby("side")
    assert sides["csa_mm2"].max().to_dict() == {"left": 20.0, "right": 12.0}
    assert sides["slice"].count().to_dict() == {"left": 6, "right": 6}
    assert sides["TIRM_muscle_ratio"].count().to_dict() == {"left": 0, "right": 6}, "the other leg's muscle"
    assert not any((course.branches.labels == TIBIAL).any() for course in courses)


def test_a_channel_on_another_grid_is_refused(square):
    with pytest.raises(GeometryError) as caught:
        profile_of(square, Signals({"T2map": np.ones((4, 4, 4))}))
    assert caught.value.found.startswith("T2map: (4, 4, 4)")


@given(hnp.arrays(bool, (6, 5, 7), elements=st.booleans()), st.sampled_from(["left", "right", "unknown"]))
def test_whatever_the_mask_every_voxel_is_counted_once(mask, side):
    (course,) = follow_nerves(mask, AFFINE, whole(mask, side))
    np.testing.assert_array_equal(course.branches.labels > 0, mask)
    profile = nerve_profile([course], range(7))
    total = profile[profile["branch"] == "total"].set_index("slice")
    np.testing.assert_allclose(total["csa_mm2"], mask.sum(axis=(0, 1)) * 0.25)
    parts = profile[profile["branch"] != "total"].groupby("slice")["csa_mm2"].sum()
    np.testing.assert_allclose(parts, total["csa_mm2"][parts.index])


def test_the_profile_of_an_empty_mask_is_zeros():
    profile = profile_of(np.zeros(SHAPE, dtype=bool))
    assert profile["csa_mm2"].tolist() == [0.0] * 6
    assert profile["csa_perpendicular_mm2"].tolist() == [0.0] * 6
