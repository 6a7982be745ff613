"""Sections of the nerve (8-connected parts of the mask in each slice) with area and centre.

Sections are not linked between slices, see `evaluation.metrics.cross_sections`, which counts the voxels of the same
sections without their centres.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int
from numpy.typing import NDArray
from scipy import ndimage

from nerveseg.types import Mask, SpacingMm

IN_PLANE = np.zeros((3, 3, 3), dtype=bool)
IN_PLANE[:, :, 1] = True


@dataclass(frozen=True)
class Sections:
    """Sections of one mask.

    Attributes:
        labels: Number of each voxel's section, from 1; 0 outside.
        slices: Index of the slice of each section.
        sizes: Number of voxels of each section.
        areas_mm2: Area in mm2 of each section in its plane.
        centres_mm: In-plane centre in mm of each section, voxel index times spacing.
    """

    labels: Int[np.ndarray[Any, Any], "x y z"]
    slices: Int[np.ndarray[Any, Any], " _n"]
    sizes: Int[np.ndarray[Any, Any], " _n"]
    areas_mm2: Float64[np.ndarray[Any, Any], " _n"]
    centres_mm: Float64[np.ndarray[Any, Any], "_n 2"]

    @classmethod
    def of(cls, mask: Mask, spacing_mm: SpacingMm) -> Sections:
        """Find the sections of a mask (x, y, z)."""
        labels, number = ndimage.label(mask, IN_PLANE)
        x, y, z = np.nonzero(labels)
        of_voxel = labels[x, y, z] - 1
        sizes = np.bincount(of_voxel, minlength=number)
        slices = np.zeros(number, dtype=np.intp)
        slices[of_voxel] = z
        sums = [np.bincount(of_voxel, index, minlength=number) for index in (x, y)]
        centres = [total / sizes * step_mm for total, step_mm in zip(sums, spacing_mm[:2], strict=True)]
        areas_mm2 = sizes * (spacing_mm[0] * spacing_mm[1])
        return cls(labels, slices, sizes, areas_mm2, np.stack(centres, axis=1).astype(np.float64))

    @property
    def per_slice(self) -> NDArray[np.intp]:
        """Number of sections in each slice."""
        return np.bincount(self.slices, minlength=self.labels.shape[2])

    def within(self, number: int) -> NDArray[np.intp]:
        """Return the sections of one slice, largest first."""
        found = np.flatnonzero(self.slices == number)
        return found[np.argsort(-self.sizes[found], kind="stable")]

    def main_within(self, number: int, share: float) -> NDArray[np.intp]:
        """Return the sections with at least a share of the slice's nerve, largest first."""
        found = self.within(number)
        return np.asarray(found[self.sizes[found] >= share * self.sizes[found].sum()])
