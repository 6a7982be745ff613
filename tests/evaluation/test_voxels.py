import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from nerveseg.evaluation.metrics.voxels import ALL_AROUND, FACES, IN_PLANE, component_of, foreground, surface
from tests.helpers.mask_pairs import boundary, masks, shapes

any_mask = shapes.flatmap(masks)
NEIGHBOURS = {FACES: 6, IN_PLANE: 8, ALL_AROUND: 26}


@pytest.mark.parametrize(("half", "number"), NEIGHBOURS.items())
def test_each_neighbour_stands_once_with_its_opposite(half, number):
    both_ways = {*half, *(tuple(-step for step in offset) for offset in half)}
    assert len(both_ways) == number
    assert (0, 0, 0) not in both_ways
    assert {abs(step) for offset in both_ways for step in offset} == {0, 1}


@given(any_mask)
def test_the_foreground_is_listed_in_c_order(mask):
    np.testing.assert_array_equal(np.stack(foreground(mask), axis=1), np.argwhere(mask))


@given(any_mask)
def test_the_surface_is_what_looking_at_each_neighbour_finds(mask):
    before = mask.copy()
    np.testing.assert_array_equal(surface(mask), boundary(mask))
    np.testing.assert_array_equal(mask, before)


def partition(mask, component):
    """The components as a set of sets of voxels, so that their numbering does not matter."""
    voxels = [tuple(voxel) for voxel in np.argwhere(mask).tolist()]
    return {frozenset(v for v, c in zip(voxels, component, strict=True) if c == k) for k in set(component.tolist())}


def structure(half):
    ones = np.zeros((3, 3, 3), dtype=int)
    for x, y, z in ((0, 0, 0), *half):
        ones[1 + x, 1 + y, 1 + z] = ones[1 - x, 1 - y, 1 - z] = 1
    return ones


@given(any_mask, st.sampled_from(list(NEIGHBOURS)), st.booleans())
def test_components_are_those_of_scipy_whether_the_box_is_full_or_not(mask, half, within_much_background):
    """Background around the mask makes it sparse, and the search then follows neighbouring pairs."""
    if within_much_background:
        mask = np.pad(mask, 9)
    labels, expected = ndimage.label(mask, structure(half))
    component, number = component_of(mask, half)
    assert number == expected
    assert set(component.tolist()) == set(range(number))
    assert partition(mask, component) == partition(mask, labels[mask])


@given(any_mask, st.permutations(range(3)), st.sampled_from(list(NEIGHBOURS)))
def test_the_order_in_memory_does_not_matter(mask, order, half):
    """Arrays from SimpleITK and nibabel come transposed."""
    view = np.pad(mask, 9).transpose(order)
    copy = view.copy(order="C")
    np.testing.assert_array_equal(surface(view), surface(copy))
    assert partition(view, component_of(view, half)[0]) == partition(copy, component_of(copy, half)[0])
    np.testing.assert_array_equal(foreground(view), foreground(copy))


def test_a_winding_thread_is_one_component():
    """A spiral over thousands of voxels, each touching the next only by a corner or an edge."""
    t = np.linspace(0, 12 * np.pi, 20000)
    mask = np.zeros((120, 120, 60), dtype=bool)
    mask[(60 + 50 * np.cos(t)).astype(int), (60 + 50 * np.sin(t)).astype(int), (t / t[-1] * 59).astype(int)] = True
    assert mask.mean() < 0.05
    assert component_of(mask, ALL_AROUND)[1] == 1
    mask[:, :, 30] = False
    assert component_of(mask, ALL_AROUND)[1] == 2
