import numpy as np
import pytest

from nerveseg.biomarkers.branches import PERONEAL, TIBIAL, UNDIVIDED, trace_branches
from tests.helpers.tubes import PAPER_MM, grid, tilted, tube

DISTAL = ["P01", "P02", "P03"]
"""Of the demo cohort, whose stacks end at the knee."""
SHAPE = (120, 60, 20)


def forked(tibial_mm2=40.0, peroneal_mm2=16.0, at=10, tilt=20.0):
    """Upright to a slice, then two; the peroneal part leaves towards larger x (the right)."""
    affine = grid(SHAPE)
    start = [0.0, 0.0, (at - (SHAPE[2] - 1) / 2) * PAPER_MM[2] - 3.0]
    upright = tilted(affine, 0.0, 0.0)
    whole = tube(SHAPE, affine, upright, tibial_mm2 + peroneal_mm2, through_mm=start) & (np.arange(SHAPE[2]) < at)
    tibial = tube(SHAPE, affine, tilted(affine, tilt, 180.0), tibial_mm2, through_mm=start, from_point=True)
    peroneal = tube(SHAPE, affine, tilted(affine, tilt, 0.0), peroneal_mm2, through_mm=start, from_point=True)
    return whole, tibial, peroneal


def divided(branches):
    """Flag per slice: true if it holds tibial or peroneal nerve."""
    return np.isin(branches.labels, [TIBIAL, PERONEAL]).any(axis=(0, 1))


def spot(x, y, z, size=2):
    mask = np.zeros(SHAPE, dtype=bool)
    mask[x : x + size, y : y + size, z] = True
    return mask


@pytest.mark.parametrize("identifier", DISTAL)
@pytest.mark.parametrize("told", [True, False])
def test_the_phantoms_branches(simulated, identifier, told):
    subject = simulated("demo", identifier)
    side = subject.participant.side if told else "unknown"
    branches = trace_branches(subject.truth, (1.0, 1.0, 8.8), side)
    parted = np.array([row.split for row in subject.known.slices])
    asked = np.isin(branches.labels, (TIBIAL, PERONEAL)) & (subject.known.branches > 0) & parted
    assert (branches.labels[asked] == subject.known.branches[asked]).mean() > 0.95
    assert branches.distal == -1
    # Two nerves that have parted still touch until they are a nerve's width apart.
    assert 0 <= np.flatnonzero(parted)[-1] - branches.split_slice <= 4
    np.testing.assert_array_equal(branches.labels > 0, subject.truth)


@pytest.mark.parametrize("identifier", DISTAL)
@pytest.mark.parametrize("rater", ["OS", "BW", "LG"])
def test_the_branches_as_raters_draw_them(simulated, identifier, rater):
    subject = simulated("demo", identifier)
    labels = trace_branches(subject.raters[rater], (1.0, 1.0, 8.8), subject.participant.side).labels
    asked = np.isin(labels, (TIBIAL, PERONEAL)) & (subject.known.branches > 0)
    assert not asked.any() or (labels[asked] == subject.known.branches[asked]).mean() > 0.95


@pytest.mark.parametrize("identifier", ["V01", "P06"])
def test_a_stack_above_the_split_shows_none(simulated, identifier):
    subject = simulated("demo", identifier)
    for mask in (subject.truth, *subject.raters.values()):
        branches = trace_branches(mask, (1.0, 1.0, 8.8), subject.participant.side)
        assert branches.split_slice is None
        assert branches.distal is None
        assert set(np.unique(branches.labels)) == {0, UNDIVIDED}


def test_the_real_nerve(real_nerve):
    mask, grid_of_file, _ = real_nerve
    branches = trace_branches(mask, grid_of_file.ras_spacing_mm)
    assert branches.split_slice == 19
    assert branches.distal == 1, "index 0 is proximal, although the header's z rises"
    assert divided(branches)[19:].all()
    assert not divided(branches)[:19].any()
    x, y, _ = grid_of_file.ras_spacing_mm
    centres = [np.argwhere(branches.labels[:, :, 59] == label).mean(axis=0) * (x, y) for label in (TIBIAL, PERONEAL)]
    assert np.linalg.norm(centres[0] - centres[1]) == pytest.approx(51.0, abs=0.5)
    assert (branches.labels == TIBIAL).sum() > (branches.labels == PERONEAL).sum()
    # Slice 37 has two side branches beside the tibial nerve, 5 and 8 mm from it and 20 mm from the peroneal nerve.
    assert branches.components[:, 37].tolist() == [4, 3, 1, 0]


@pytest.mark.parametrize("upside_down", [False, True])
@pytest.mark.parametrize("side", ["right", "unknown"])
def test_a_fork(upside_down, side):
    whole, tibial, peroneal = forked()
    turned = (slice(None), slice(None), slice(None, None, -1 if upside_down else 1))
    branches = trace_branches((whole | tibial | peroneal)[turned], PAPER_MM, side)
    first = int(np.flatnonzero(divided(branches)[turned[2]])[0])
    assert first in (10, 11, 12)
    assert branches.split_slice == (SHAPE[2] - 1 - first if upside_down else first)
    assert branches.distal == (-1 if upside_down else 1)
    for label, part in ((TIBIAL, tibial), (PERONEAL, peroneal)):
        np.testing.assert_array_equal((branches.labels == label)[turned][:, :, first:], part[:, :, first:])


def test_on_a_left_leg_the_lateral_branch_is_the_other_one():
    """Position decides: the larger branch lies laterally there, which the note says."""
    whole, tibial, peroneal = forked()
    branches = trace_branches(whole | tibial | peroneal, PAPER_MM, "left")
    assert (branches.labels == PERONEAL).sum() > (branches.labels == TIBIAL).sum()
    assert branches.notes[0].startswith("left: the lateral branch")
    assert trace_branches(whole | tibial | peroneal, PAPER_MM, "right").notes == ()


@pytest.mark.parametrize("speck", [False, True])
def test_where_the_two_touch_again_they_are_told_apart_by_the_nearer_centre(speck):
    whole, tibial, peroneal = forked()
    bridge = np.zeros(SHAPE, dtype=bool)
    bridge[50:80, 29:31, 14] = True
    bridge[10, 10, 14] = speck
    branches = trace_branches(whole | tibial | peroneal | bridge, PAPER_MM, "right")
    assert branches.components[0, 14] == 1 + speck
    assert divided(branches)[12:].all()
    assert (branches.labels[tibial & (np.arange(20) == 14)] == TIBIAL).all()
    assert (branches.labels[peroneal & (np.arange(20) == 14)] == PERONEAL).all()


@pytest.mark.parametrize("slices", [(5,), (5, 6), (19,)])
def test_a_second_section_in_a_slice_or_two_is_no_split(slices):
    whole = tube(SHAPE, grid(SHAPE), np.array([0.0, 0.0, 1.0]), 40.0)
    specks = np.any([spot(70, 30, z, size=4) for z in slices], axis=0)
    branches = trace_branches(whole | specks, PAPER_MM)
    assert branches.split_slice is None
    assert (branches.labels[whole | specks] == UNDIVIDED).all()


def test_a_vein_beside_the_nerve_is_no_branch():
    whole = tube(SHAPE, grid(SHAPE), np.array([0.0, 0.0, 1.0]), 40.0)
    vein = tube(SHAPE, grid(SHAPE), np.array([0.0, 0.0, 1.0]), 12.0, through_mm=(8.0, 0.0, 0.0))
    vein &= np.arange(SHAPE[2]) >= 8
    assert trace_branches(whole | vein, PAPER_MM).split_slice is None


def test_a_vein_above_the_split_does_not_lengthen_the_division():
    whole, tibial, peroneal = forked()
    alone = trace_branches(whole | tibial | peroneal, PAPER_MM)
    vein = tube(SHAPE, grid(SHAPE), np.array([0.0, 0.0, 1.0]), 12.0, through_mm=(14.0, 0.0, 0.0))
    vein &= (np.arange(SHAPE[2]) < 10) & (np.arange(SHAPE[2]) > 4)
    both = trace_branches(whole | tibial | peroneal | vein, PAPER_MM)
    assert alone.split_slice in (10, 11, 12)
    assert both.split_slice == alone.split_slice


def test_side_branches_and_specks_belong_to_the_nearer_nerve():
    whole, tibial, peroneal = forked()
    left, right = spot(20, 40, 18), spot(90, 42, 18)
    branches = trace_branches(whole | tibial | peroneal | left | right, PAPER_MM)
    assert (branches.labels[left] == TIBIAL).all()
    assert (branches.labels[right] == PERONEAL).all()
    assert branches.components[0, 18] == 4


def test_two_nerves_throughout_have_no_split_but_branches():
    _, tibial, peroneal = forked(at=-4, tilt=10.0)
    branches = trace_branches(tibial | peroneal, PAPER_MM)
    assert branches.split_slice is None
    assert branches.distal == 1
    assert divided(branches).all()


@pytest.mark.parametrize("slices", [1, 2, 3])
def test_an_empty_mask_and_a_thin_stack(slices):
    mask = np.zeros((10, 10, slices), dtype=bool)
    assert not trace_branches(mask, PAPER_MM).labels.any()
    mask[2:4, 2:4] = mask[7:9, 7:9] = True
    branches = trace_branches(mask, PAPER_MM)
    assert (branches.labels[mask] > 0).all()
