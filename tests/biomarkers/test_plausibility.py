"""Masks of an anatomy that no nerve has; the slices are counted from the feet, as in RAS order."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nerveseg.biomarkers.branches import TIBIAL
from nerveseg.biomarkers.course import follow_nerves
from nerveseg.biomarkers.plausibility import anatomy_flags
from nerveseg.biomarkers.profile import nerve_profile
from nerveseg.biomarkers.summary import summarise
from nerveseg.data.legs import Leg

SLICES, STEP_MM, SPLIT = 14, 8.8, 6
AFFINE = np.diag([1.0, 1.0, STEP_MM, 1.0])


def disc(mask, number, x, radius):
    columns, rows = np.ogrid[: mask.shape[0], : mask.shape[1]]
    mask[:, :, number] |= (columns - x) ** 2 + (rows - 30) ** 2 <= radius**2


def fork(lost_tibial=(), lost_peroneal=(), split=SPLIT):
    """Trunk from slice `split` upwards; below it the tibial nerve and, laterally in a right leg, the peroneal nerve."""
    mask = np.zeros((90, 60, SLICES), dtype=bool)
    for number in range(SLICES):
        below = split - number
        if below <= 0:
            disc(mask, number, 40, 5)
            continue
        if number not in lost_tibial:
            disc(mask, number, 36 - 2 * below, 4)
        if number not in lost_peroneal:
            disc(mask, number, 44 + 2 * below, 3)
    return mask


def measured(mask, affine=AFFINE):
    """Return the profile, the summary, and the slices of each flag by its code."""
    courses = follow_nerves(mask, affine, [Leg("right", slice(0, mask.shape[0]))])
    profile = nerve_profile(courses, range(mask.shape[2]))
    flags = {flag.code: flag.slices for flag in anatomy_flags(courses, range(mask.shape[2]))}
    return profile, summarise(profile, courses[0]), flags


def named(profile):
    """Return the slices of each named branch."""
    return {name: rows["slice"].tolist() for name, rows in profile.groupby("branch") if name != "total"}


def test_a_nerve_that_divides_towards_the_feet_raises_nothing():
    profile, summary, flags = measured(fork())
    assert named(profile) == {"tibial": list(range(SPLIT)), "peroneal": list(range(SPLIT))}
    assert (summary.split_slice, flags) == (SPLIT - 1, {})


@pytest.mark.parametrize("lost", [(0, 1, 2), (3,), (0,)])
@pytest.mark.parametrize("branch", ["lost_tibial", "lost_peroneal"])
def test_a_single_section_below_the_split_has_no_name_but_is_measured(branch, lost):
    mask = fork(**{branch: lost})
    profile, summary, flags = measured(mask)
    both = [number for number in range(SPLIT) if number not in lost]
    assert named(profile) == {"tibial": both, "peroneal": both}
    assert flags == {"branch_ends": lost}
    assert summary.volume_mm3 == pytest.approx(mask.sum() * STEP_MM)
    assert (SLICES - 1) * STEP_MM < summary.length_mm < 1.1 * (SLICES - 1) * STEP_MM
    total = profile[profile["branch"] == "total"]
    assert (total["csa_perpendicular_mm2"] <= total["csa_mm2"]).all()
    assert total["csa_perpendicular_mm2"].notna().all()


@pytest.mark.parametrize("lost", [(1, 2), (0, 1, 2, 3)])
def test_the_length_goes_to_the_end_of_the_nerve_where_the_tibial_nerve_is_lost(lost):
    """The trunk is 8 slices long; with the tibial nerve's rest alone the length would be 8 to 10 slices."""
    _, summary, _ = measured(fork(lost_tibial=lost, split=8))
    assert summary.length_mm >= (SLICES - 1) * STEP_MM


def test_a_division_towards_the_head_is_flagged_and_a_plain_one_is_named():
    profile, summary, flags = measured(fork()[:, :, ::-1])
    assert flags == {"branches_headward": tuple(range(SLICES - SPLIT, SLICES))}
    assert summary.split_slice == SLICES - SPLIT
    assert set(named(profile)) == {"tibial", "peroneal"}


def test_a_false_part_towards_the_head_is_flagged_and_no_branch():
    mask = fork(split=0)
    for number in range(10, SLICES):
        disc(mask, number, 48 + 3 * (number - 10), 3)
    profile, summary, flags = measured(mask)
    assert set(flags) == {"branches_headward"}
    assert (named(profile), summary.split_slice) == ({}, None)
    assert not (follow_nerves(mask, AFFINE, [Leg("right", slice(0, 90))])[0].branches.followed == TIBIAL).any()


def test_of_a_false_part_above_and_a_true_division_below_the_true_one_is_named():
    mask = fork()
    for number in range(9, SLICES):
        disc(mask, number, 48 + 3 * (number - 9), 3)
    profile, summary, _ = measured(mask)
    assert summary.split_slice == SPLIT - 1
    assert named(profile)["peroneal"] == list(range(SPLIT))


def test_two_legs_are_flagged_by_side():
    mask = np.concatenate([fork(), fork()[:, :, ::-1]])
    legs = [Leg("left", slice(0, 90)), Leg("right", slice(90, 180))]
    flags = anatomy_flags(follow_nerves(mask, AFFINE, legs), range(SLICES))
    assert [(flag.code, flag.side) for flag in flags] == [("branches_headward", "right")]


@given(hnp.arrays(bool, (12, 5, 8), elements=st.sampled_from([False, False, False, True])))
def test_the_length_is_that_of_a_course_between_the_first_slice_and_the_last(mask):
    """At least along the normal, at most as steep as 45 degrees; whatever the sections are."""
    wide = mask.repeat(6, axis=0)
    profile, summary, _ = measured(wide)
    held = profile.loc[(profile["branch"] == "total") & (profile["csa_mm2"] > 0), "z_mm"]
    along_mm = float(np.ptp(held)) if held.size else 0.0
    assert summary.length_mm <= np.sqrt(2) * along_mm + 1e-6
    if held.size:
        assert summary.length_mm >= along_mm - 1e-6


@given(hnp.arrays(bool, (8, 5, 7), elements=st.booleans()))
def test_a_branch_has_a_row_only_beside_the_other(mask):
    profile, _, _ = measured(mask)
    rows = named(profile)
    assert rows.get("tibial") == rows.get("peroneal")
