import json

import numpy as np
import pytest

from nerveseg.biomarkers.course import follow_nerves
from nerveseg.biomarkers.profile import nerve_profile
from nerveseg.biomarkers.quality import QualityLimits, find_flags
from nerveseg.biomarkers.signals import Signals
from nerveseg.biomarkers.summary import NerveSummary, summarise
from nerveseg.data.legs import Leg

AFFINE = np.diag([0.5, 0.5, 4.0, 1.0])


@pytest.fixture
def mask():
    """Areas of 12, 12, 20, 0 and 12 mm2 in slices 1 to 5 of 8."""
    mask = np.zeros((30, 20, 8), dtype=bool)
    mask[10:18, 8:14, [1, 2, 5]] = True
    mask[8:18, 7:15, 3] = True
    return mask


def measured(mask, affine=AFFINE, numbers=None, side="unknown", exploratory=None, **signals):
    (course,) = follow_nerves(mask, affine, [Leg(side, slice(0, mask.shape[0]))])
    signals = Signals(**{"channels": {}, **signals})
    profile = nerve_profile([course], numbers or range(mask.shape[2]), signals)
    return summarise(profile, course, signals.channels, exploratory)


def test_the_real_nerve(real_nerve):
    mask, grid, image = real_nerve
    numbers = [grid.slice_number(k) for k in range(60)]
    summary = measured(mask, grid.ras_affine, numbers)
    assert summary.volume_mm3 == pytest.approx(17131, abs=1.0)
    assert summary.volume_mm3 == pytest.approx(mask.sum() * np.prod(image.GetSpacing()), rel=1e-5)
    assert (round(summary.max_csa_mm2), summary.max_csa_slice) == (85, 6)
    assert summary.split_slice == 19
    assert (summary.slices_with_nerve, summary.coverage, summary.coverage_of_stack) == (60, 1.0, 1.0)
    assert 59 * 4.4 < summary.length_mm < 1.1 * 59 * 4.4


def test_gaps_count_as_missed_coverage_and_not_as_area(mask):
    summary = measured(mask)
    assert summary.volume_mm3 == pytest.approx(56.0 * 4.0)
    assert summary.volume_mm3 == pytest.approx(mask.sum() * np.linalg.det(AFFINE))
    assert summary.mean_csa_mm2 == pytest.approx(14.0)
    assert summary.slices_with_nerve == 4
    assert summary.slices_total == 8
    assert summary.coverage == pytest.approx(4 / 5)
    assert summary.coverage_of_stack == pytest.approx(4 / 8)
    assert summary.split_slice is None
    assert summary.lesion_burden is None


def test_positions_are_the_files_own(mask):
    summary = measured(mask, numbers=[7, 6, 5, 4, 3, 2, 1, 0])
    assert (summary.max_csa_mm2, summary.max_csa_slice, summary.max_csa_z_mm) == (20.0, 4, 12.0)


def test_lesion_and_signal_are_weighted_by_area(mask):
    lesion = mask & (np.arange(8) == 3)
    channel = np.broadcast_to(np.arange(8.0), mask.shape)
    summary = measured(mask, channels={"TIRM": channel}, lesion=lesion, exploratory=True)
    assert summary.lesion_volume_mm3 == pytest.approx(lesion.sum() * np.linalg.det(AFFINE))
    assert summary.lesion_burden == pytest.approx(lesion.sum() / mask.sum())
    assert summary.lesion_exploratory is True
    assert summary.mean_signal["TIRM"] == pytest.approx(channel[mask].mean())


def test_a_lesion_is_counted_where_it_could_be_judged(mask):
    """Half of slice 1 and slice 3 are known; of slice 3 a quarter is abnormal."""
    known = mask & (np.arange(8) == 3)
    known[10:14, :, 1] = mask[10:14, :, 1]
    lesion = known & (np.arange(8) == 3)
    lesion[:, 9:] = False
    summary = measured(mask, side="left", lesion=lesion, lesion_known=known)
    assert summary.lesion_burden == pytest.approx(20 / (80 + 24))
    assert summary.lesion_volume_mm3 == pytest.approx(20 * np.linalg.det(AFFINE))
    assert summary.lesion_coverage == pytest.approx((80 + 24) / mask.sum())
    assert summary.notes == ("left: a lesion could be judged in 46 % of the nerve",)


def test_a_nerve_of_which_nothing_is_known_has_no_burden(mask):
    nothing = np.zeros_like(mask)
    summary = measured(mask, lesion=nothing, lesion_known=nothing)
    assert (summary.lesion_burden, summary.lesion_volume_mm3) == (None, None)
    assert summary.lesion_coverage == 0.0
    assert "in 0 %" in summary.notes[0]


def test_a_nerve_that_is_known_everywhere_needs_no_note(mask):
    summary = measured(mask, lesion=mask, lesion_known=np.ones_like(mask))
    assert (summary.lesion_burden, summary.lesion_coverage, summary.notes) == (1.0, 1.0, ())
    assert measured(mask, lesion=mask) == summary
    assert measured(mask).lesion_coverage is None


def test_nothing_is_made_up_for_an_empty_mask():
    summary = measured(np.zeros((10, 10, 4), dtype=bool), channels={"T2": np.ones((10, 10, 4))}, side="left")
    assert summary.side == "left"
    assert (summary.volume_mm3, summary.length_mm, summary.slices_with_nerve, summary.coverage) == (0.0, 0.0, 0, 0.0)
    assert summary.mean_csa_mm2 is None
    assert summary.max_csa_slice is None
    assert summary.mean_signal == {}


def test_a_summary_survives_json(mask):
    summary = measured(mask)
    assert NerveSummary.model_validate(json.loads(summary.model_dump_json())) == summary


@pytest.mark.parametrize("held", [[1, 2, 3, 5], [2], [0, 7], []])
def test_the_mean_across_the_nerve_is_over_the_slices_of_that_in_their_plane(mask, held):
    """A course that leans by 27 degrees: 2 mm to the side in every slice of 4 mm."""
    wide = np.concatenate([mask, np.zeros_like(mask)])
    leaning = np.stack([np.roll(wide[:, :, 3], 4 * number, axis=0) for number in range(8)], axis=2)
    leaning &= np.isin(np.arange(8), held)
    summary = measured(leaning)
    if len(held) < 2:
        assert summary.mean_csa_perpendicular_mm2 is None
    else:
        cosine = np.cos(np.arctan(2.0 / 4.0))
        assert summary.mean_csa_perpendicular_mm2 == pytest.approx(summary.mean_csa_mm2 * cosine, rel=1e-6)


def test_the_numbers_of_the_branches_are_over_the_slices_that_show_both():
    mask = np.zeros((60, 20, 8), dtype=bool)
    mask[24:36, 6:14, 4:] = True
    for number, shift in enumerate((9, 6, 3, 1)):
        mask[22 - shift : 30 - shift, 6:14, number] = mask[31 + shift : 35 + shift, 6:14, number] = True
    summary = measured(mask, side="right")
    assert summary.split_slice == 3
    assert {name: one.mean_csa_mm2 for name, one in summary.branches.items()} == {"tibial": 16.0, "peroneal": 8.0}
    assert summary.branches["tibial"].max_csa_mm2 == 16.0
    parts = sum(one.volume_mm3 for one in summary.branches.values())
    assert parts == pytest.approx(summary.volume_mm3 * mask[:, :, :4].sum() / mask.sum())


def test_strays_are_counted_apart(mask):
    """Two pieces beyond 15 mm, of 4 voxels of 1 mm3 each, are in no number; one within it is."""
    near = np.zeros((80, 40, 8), dtype=bool)
    near[:30, :20] = mask
    near[26:28, 10:12, 3] = True
    with_strays = near.copy()
    with_strays[70:72, 10:12, 3] = with_strays[60:62, 30:32, 2] = True
    found = measured(with_strays, side="right")
    assert (found.stray_pieces, found.stray_volume_mm3) == (2, pytest.approx(8.0))
    assert len(found.notes) == 1
    assert found.notes[0].startswith("right: ")
    plain = measured(near, side="right")
    assert plain.volume_mm3 == pytest.approx((mask.sum() + 4) * 1.0)
    assert found == plain.model_copy(
        update={"stray_pieces": 2, "stray_volume_mm3": found.stray_volume_mm3, "notes": found.notes}
    )


def test_strays_belong_to_their_leg_and_the_flags_name_the_same(mask):
    both = np.concatenate([np.zeros((40, 20, 8), dtype=bool), mask, mask, np.zeros((40, 20, 8), dtype=bool)], axis=0)
    both[2, 2, 4] = True
    legs = {"left": slice(0, 70), "right": slice(70, 140)}
    for far_mm, expected in ((15.0, {"left": 1, "right": 0}), (30.0, {"left": 0, "right": 0})):
        courses = follow_nerves(both, AFFINE, [Leg(side, columns) for side, columns in legs.items()], far_mm)
        assert {course.side: course.stray_pieces for course in courses} == expected
        limits = QualityLimits(far_mm=far_mm)
        flags = find_flags(both, None, (0.5, 0.5, 4.0), range(8), sides=legs, limits=limits)
        flagged = [flag.side for flag in flags if flag.code in ("far_component", "stray_pieces")]
        assert flagged == [side for side, pieces in expected.items() if pieces]


def test_two_sides_are_summed_up_apart(mask):
    both = np.concatenate([mask, mask & (np.arange(8) < 3)], axis=0)
    courses = follow_nerves(both, AFFINE, [Leg("left", slice(0, 30)), Leg("right", slice(30, 60))])
    profile = nerve_profile(courses, range(8))
    assert [summarise(profile, course).volume_mm3 for course in courses] == pytest.approx([224.0, 96.0])
