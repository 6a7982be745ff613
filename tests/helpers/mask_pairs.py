"""Pairs of small masks for property tests, and their surfaces and distances looked up voxel by voxel."""

import itertools
import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

SHARED_DATA = Path(os.environ.get("NERVESEG_DATA", Path(__file__).parents[3] / "shared" / "data"))
ORACLE = SHARED_DATA / "evaluate_segmentation"
CASES = json.loads((ORACLE / "reference.json").read_text()) if ORACLE.is_dir() else []
SPACING_MM = (0.5, 0.75, 4.4)

shapes = npst.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6)
spacings = st.tuples(*[st.floats(0.2, 5.0)] * 3)
quantiles = st.floats(0.01, 1.0)


def masks(shape):
    return npst.arrays(bool, shape)


@st.composite
def pairs(draw, filled=True):
    """Two masks of one shape; with `filled`, neither is empty."""
    shape = draw(shapes)
    pair = draw(masks(shape)), draw(masks(shape))
    if filled:
        for mask in pair:
            mask[tuple(draw(st.integers(0, side - 1)) for side in shape)] = True
    return pair


def oracle_pair(case):
    """The two masks of a case of the oracle."""
    return tuple(np.asarray(nib.load(ORACLE / case[side]).dataobj) > 0 for side in "ab")


def all_distances_mm(first, second, spacing_mm):
    """Distance of each voxel of `first` to the nearest of `second`, from the table of all pairs."""
    a, b = (np.argwhere(mask) * spacing_mm for mask in (first, second))
    return np.sqrt(((a[:, None] - b[None]) ** 2).sum(axis=2)).min(axis=1)


def boundary(mask):
    """Voxels with one of six neighbours outside the mask, looked up one by one."""
    found = np.zeros_like(mask)
    for voxel in np.argwhere(mask):
        for axis, step in itertools.product(range(3), (-1, 1)):
            neighbour = voxel.copy()
            neighbour[axis] += step
            inside = (neighbour >= 0).all() and (neighbour < mask.shape).all()
            found[tuple(voxel)] |= not inside or not mask[tuple(neighbour)]
    return found


def surface_distances_mm(first, second, spacing_mm):
    """Distances of all boundary voxels to the other mask's boundary, both ways, by brute force."""
    edges = boundary(first), boundary(second)
    return [all_distances_mm(*way, spacing_mm) for way in (edges, edges[::-1])]
