import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nerveseg.evaluation.metrics.pair_scores import score_pair
from tests.helpers.mask_pairs import SPACING_MM, pairs, spacings

X, Y = np.ogrid[:96, :96]


def tube(*branches, radius=8.0, slices=40):
    """Discs around the points that each branch gives for a slice; a branch may end by giving None."""
    mask = np.zeros((96, 96, slices), dtype=bool)
    for z in range(slices):
        for x, y in filter(None, (branch(z) for branch in branches)):
            mask[..., z] |= (X - x) ** 2 + (Y - y) ** 2 <= radius**2
    return mask


def straight(z):
    return (48, 48)


def oblique(z):
    return (24 + 1.2 * z, 48)


def steep(z):
    return (10 + 2 * z, 48)


def left(z):
    return (48 - 0.9 * max(0, z - 15), 48)


def right(z):
    return (48 + 0.9 * max(0, z - 15), 48)


def cldice(reference, prediction, spacing_mm=SPACING_MM):
    return score_pair(reference, prediction, spacing_mm).cldice


@pytest.mark.parametrize("course", [straight, oblique, steep], ids=lambda course: course.__name__)
@pytest.mark.parametrize("radius", [1, 3, 5, 8])
def test_calibre_does_not_matter(course, radius):
    assert cldice(tube(course), tube(course, radius=radius)) == 1


@pytest.mark.parametrize(("shift", "expected"), [(0, 1), (3, 1), (8, 1), (9, 0), (30, 0)])
def test_a_tube_is_followed_until_its_centre_leaves_the_other(shift, expected):
    assert cldice(tube(straight), tube(lambda z: (48 + shift, 48))) == expected


@pytest.mark.parametrize("length", [1, 10, 20, 39])
def test_a_part_of_the_course_has_full_precision_and_its_share_of_sensitivity(length):
    part = tube(lambda z: (48, 48) if z < length else None)
    assert cldice(tube(straight), part) == pytest.approx(2 * length / (length + 40))


def test_a_missing_branch_costs_its_slices():
    """Ten slices with one section and ten with two, of which one is found: 20 of 30 sections."""
    fork = tube(lambda z: (48, 48) if z < 10 else (34, 48), lambda z: None if z < 10 else (62, 48), slices=20)
    half = tube(lambda z: (48, 48) if z < 10 else (34, 48), slices=20)
    sensitivity = 20 / 30
    assert cldice(fork, half) == pytest.approx(2 * sensitivity / (1 + sensitivity))
    assert cldice(half, fork) == pytest.approx(2 * sensitivity / (1 + sensitivity))


def test_a_crescent_is_centred_on_itself():
    """The centroid of a horseshoe lies in its hollow; the centreline must not."""
    shoe = np.zeros((30, 30, 3), dtype=bool)
    shoe[5:25, 5:25] = True
    shoe[8:25, 8:22] = False
    assert cldice(shoe, shoe) == 1
    hollow = np.zeros_like(shoe)
    hollow[10:20, 10:20] = True
    assert cldice(shoe, hollow) == 0


def test_equally_near_voxels_share_the_centre():
    """A section of two by two voxels has four centres; the other mask holds one of them, and is held whole."""
    square, single = np.zeros((2, 6, 6, 1), dtype=bool)
    square[2:4, 2:4] = single[2, 2] = True
    assert cldice(square, single) == pytest.approx(2 * 1 * 0.25 / 1.25)


def test_the_nearest_voxel_is_nearest_in_millimetres():
    """An L whose corner is missing: the nearest voxel to the centroid depends on the shape of the pixels."""
    ell = np.zeros((9, 9, 1), dtype=bool)
    ell[0, 0:3] = ell[0:3, 0] = True
    ell[0, 0] = False
    along_x, along_y = np.zeros((2, 9, 9, 1), dtype=bool)
    along_x[1, 0], along_y[0, 1] = True, True
    # The parts touch by a corner only, so they are one section with its centroid at (0.75, 0.75).
    assert cldice(ell, along_x, (1.0, 1.0, 4.4)) == pytest.approx(2 * 0.5 / 1.5)
    assert cldice(ell, along_x, (1.0, 0.5, 4.4)) == pytest.approx(1)
    assert cldice(ell, along_y, (1.0, 0.5, 4.4)) == pytest.approx(0)


@given(pairs(), spacings)
def test_it_lies_between_nothing_and_all_and_needs_overlap(pair, spacing_mm):
    score = cldice(*pair, spacing_mm)
    assert 0 <= score <= 1
    if not (pair[0] & pair[1]).any():
        assert score == 0


@given(pairs(), spacings, st.integers(2, 4))
def test_repeating_every_slice_changes_nothing(pair, spacing_mm, times):
    """The course weighs by slice, so half the slice step with every slice twice is the same nerve."""
    repeated = (np.repeat(mask, times, axis=2) for mask in pair)
    assert cldice(*repeated, spacing_mm) == pytest.approx(cldice(*pair, spacing_mm))


def test_an_empty_mask_is_followed_nowhere():
    nothing = np.zeros((96, 96, 40), dtype=bool)
    assert cldice(tube(straight), nothing) == cldice(nothing, tube(straight)) == 0
    assert math.isnan(cldice(nothing, nothing))


@pytest.mark.parametrize(
    ("reference", "prediction"),
    [
        (tube(straight), tube(straight, radius=4)),
        (tube(straight), tube(lambda z: (51, 48))),
        (tube(straight), tube(lambda z: (60, 48))),
        (tube(oblique), tube(lambda z: (27 + 1.2 * z, 48))),
        (tube(steep), tube(steep, radius=3)),
        (tube(straight), tube(lambda z: (48, 48) if z < 20 else None)),
        (tube(left, right), tube(left)),
        (tube(left, right), tube(left, right, radius=5)),
    ],
    ids=["thin", "beside", "apart", "oblique", "steep", "half the length", "one branch missing", "thin fork"],
)
def test_on_tubes_it_is_within_three_points_of_the_skeletons_cldice(reference, prediction):
    """Shit et al. thin in three dimensions; on clean tubes along z that must come to much the same."""
    morphology = pytest.importorskip("skimage.morphology", reason="scikit-image is not installed")

    def skeleton(mask):
        return morphology.skeletonize(np.pad(mask, ((2, 2), (2, 2), (0, 0))), method="lee")[2:-2, 2:-2] > 0

    ours, theirs = (skeleton(mask) for mask in (reference, prediction))
    precision, sensitivity = reference[theirs].mean(), prediction[ours].mean()
    expected = 2 * precision * sensitivity / (precision + sensitivity) if precision + sensitivity else 0
    assert cldice(reference, prediction) == pytest.approx(expected, abs=0.03)
