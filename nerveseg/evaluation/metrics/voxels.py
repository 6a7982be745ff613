"""Surfaces and connected components of a sparse mask, computed on its list of foreground voxels.

A nerve fills less than one voxel in a hundred of its bounding box, so only these voxels and their neighbours are read.
"""

from itertools import product
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Int
from scipy.ndimage import label
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nerveseg.types import Mask

Indices: TypeAlias = Int[np.ndarray[Any, Any], " _n"]
Offset: TypeAlias = tuple[int, int, int]

FACES: tuple[Offset, ...] = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
"""Offsets of half of the six neighbours of a voxel; the other half is opposite."""

IN_PLANE: tuple[Offset, ...] = ((1, -1, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0))
"""Offsets of half of the eight neighbours in the same slice."""

ALL_AROUND: tuple[Offset, ...] = tuple(offset for offset in product((-1, 0, 1), repeat=3) if offset > (0, 0, 0))
"""Offsets of half of the 26 neighbours."""

# Above this share of the box the list of neighbouring pairs costs more time and memory than labelling the whole box.
_SPARSE_SHARE = 0.05


def foreground(mask: Mask) -> tuple[Indices, Indices, Indices]:
    """Return the indices along x, y and z of the foreground voxels, in C order."""
    x, y, z = np.unravel_index(np.flatnonzero(mask), mask.shape)
    return x, y, z


def surface(mask: Mask) -> Mask:
    """Return the foreground voxels with background, or the end of the array, among their six neighbours."""
    padded = np.pad(np.ascontiguousarray(mask), 1)
    flat, voxels = padded.reshape(-1), np.flatnonzero(padded)
    steps = _flat_steps(padded, FACES)
    flat[voxels] = ~np.all([flat[voxels + step] for step in (*steps, *-steps)], axis=0)
    return padded[1:-1, 1:-1, 1:-1]


def component_of(mask: Mask, neighbours: tuple[Offset, ...]) -> tuple[Indices, int]:
    """Label the components of a mask (x, y, z) that are connected over offsets, one of each opposite pair.

    Returns:
        Number of the component, from 0, of each foreground voxel in C order; number of components.
    """
    if np.count_nonzero(mask) > _SPARSE_SHARE * mask.size:
        return _components_of_all(mask, neighbours)
    padded = np.pad(np.ascontiguousarray(mask), 1)
    voxels = np.flatnonzero(padded)
    position = np.zeros(padded.size, dtype=np.intp)  # from 1, 0 is background; untouched pages take no memory
    position[voxels] = np.arange(1, voxels.size + 1)
    ends = [position[voxels + step] for step in _flat_steps(padded, neighbours)]
    first = np.concatenate([np.flatnonzero(end) for end in ends])
    second = np.concatenate([end[end > 0] - 1 for end in ends])
    graph = coo_array((np.ones(first.size, dtype=np.bool_), (first, second)), shape=(voxels.size, voxels.size))
    number, component = connected_components(graph, directed=False)
    return np.asarray(component, dtype=np.intp), int(number)


def _components_of_all(mask: Mask, neighbours: tuple[Offset, ...]) -> tuple[Indices, int]:
    structure = np.zeros((3, 3, 3), dtype=np.bool_)
    for offset in ((0, 0, 0), *neighbours):
        structure[tuple(1 + np.array(offset))] = structure[tuple(1 - np.array(offset))] = True
    labels, number = label(mask, structure)
    return labels.reshape(-1)[np.flatnonzero(mask)].astype(np.intp) - 1, int(number)


def _flat_steps(array: Mask, offsets: tuple[Offset, ...]) -> Any:
    return np.array(offsets) @ (np.array(array.strides) // array.itemsize)
