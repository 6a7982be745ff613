"""Voxel grids: conversion of a file's array to RAS order and back, and comparison of grids.

A grid is reoriented (never resampled) to the closest canonical RAS order, so that slices are axial along axis 2.
The axes of ITK (MetaImage, NRRD) and DICOM point to the left and to posterior, those of RAS to the right and to
anterior: converting changes two signs and is exact.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray

from nerveseg.errors import GeometryError
from nerveseg.types import Affine, Image, SpacingMm

CORNER_TOLERANCE_MM = 0.1
SHEAR_TOLERANCE = 1e-3  # cosine of two axes at right angles, up to the rounding of headers


@dataclass(frozen=True)
class ItkFrame:
    """Geometry of an ITK image (left-posterior-superior), with the digits of the file."""

    spacing_mm: tuple[float, ...]  # distance in mm between voxel centres along the file's axes
    origin_mm: tuple[float, ...]  # centre of the first voxel in mm
    direction: tuple[float, ...]  # unit vectors of the axes, the columns of a 3 x 3 matrix, row by row

    @property
    def affine(self) -> Affine:
        """Voxel-to-millimetre matrix in RAS."""
        affine = np.eye(4)
        affine[:3, :3] = np.reshape(self.direction, (3, 3)) * self.spacing_mm
        affine[:3, 3] = self.origin_mm
        affine[:2] *= -1
        return affine

    @classmethod
    def of_affine(cls, affine: Affine) -> ItkFrame:
        """Return the frame of a grid whose file was no ITK image."""
        lps = np.array(affine, dtype=np.float64)
        lps[:2] *= -1
        spacing = np.linalg.norm(lps[:3, :3], axis=0)
        direction = (lps[:3, :3] / spacing).ravel()
        return cls(*(tuple(map(float, values)) for values in (spacing, lps[:3, 3], direction)))


@dataclass(frozen=True)
class Grid:
    """Voxel grid of a file, and its conversion to RAS and back."""

    shape: tuple[int, int, int]  # size of the file's array
    affine: Affine  # voxel-to-millimetre matrix of the file
    # NIfTI header of the file, whose codes and units are written to output; made from the affine if the file is no
    # NIfTI.
    header: Any
    frame: ItkFrame | None = None  # ITK geometry of the file; None if the file is no ITK image

    @classmethod
    def without_header(cls, shape: tuple[int, int, int], affine: Affine, frame: ItkFrame | None = None) -> Grid:
        """Return the grid of a new file or of one that is no NIfTI; its header has millimetres and both transforms."""
        header = nib.Nifti1Header()
        header.set_data_shape(shape)
        header.set_sform(affine, code=1)
        header.set_qform(affine, code=1)
        header.set_xyzt_units("mm")
        return cls(shape, affine, header, frame)

    @cached_property
    def orientation(self) -> Any:
        """Orientation (nibabel) that converts an array of this grid to RAS order."""
        return ornt_transform(io_orientation(self.affine), axcodes2ornt("RAS"))

    @property
    def ras_affine(self) -> Affine:
        """Affine of the array after reorientation to RAS."""
        return np.asarray(self.affine @ inv_ornt_aff(self.orientation, self.shape), dtype=np.float64)

    @property
    def ras_shape(self) -> tuple[int, int, int]:
        """Shape of the array after reorientation to RAS."""
        x, y, z = (self.shape[int(np.flatnonzero(self.orientation[:, 0] == axis)[0])] for axis in range(3))
        return x, y, z

    @property
    def ras_spacing_mm(self) -> SpacingMm:
        """Voxel spacing along the RAS axes; the last is the slice step from the affine."""
        x, y, z = (float(value) for value in np.linalg.norm(self.ras_affine[:3, :3], axis=0))
        return x, y, z

    def to_ras(self, array: NDArray[Any]) -> NDArray[Any]:
        """Reorder the axes of an array of this grid to RAS (a permutation with flips, no resampling)."""
        return np.asarray(apply_orientation(array, self.orientation))

    def from_ras(self, array: NDArray[Any]) -> NDArray[Any]:
        """Undo `to_ras` exactly."""
        back = ornt_transform(axcodes2ornt("RAS"), io_orientation(self.affine))
        return np.asarray(apply_orientation(array, back))

    def slice_number(self, ras_slice: int) -> int:
        """Return the index, in the file's own slice order, of a slice of the RAS array."""
        axis = int(np.flatnonzero(self.orientation[:, 0] == 2)[0])
        flipped = self.orientation[axis, 1] < 0
        return self.shape[axis] - 1 - ras_slice if flipped else ras_slice

    @property
    def slice_numbers(self) -> list[int]:
        """Index, in the file's own slice order, of every slice of the RAS array."""
        return [self.slice_number(index) for index in range(self.ras_shape[2])]

    def corner_distance_mm(self, other: Grid) -> float:
        """Return the largest distance in mm between corresponding corners of two grids of one shape, in RAS order."""
        return corner_distance_mm(self.ras_affine, other.ras_affine, self.ras_shape)

    def lies_on(self, other: Grid) -> bool:
        """Return true if two grids are equal in RAS order (shape, corners within 0.1 mm), in any axis order on disk."""
        return self.ras_shape == other.ras_shape and self.corner_distance_mm(other) <= CORNER_TOLERANCE_MM


@dataclass(frozen=True)
class Volume:
    """Image in RAS order with the grid of its file."""

    array: Image  # values of the voxels
    grid: Grid  # grid of the file
    files: tuple[Path, ...] = ()  # files of a DICOM series, ordered by position; empty for other formats


def check_same_grid(grid: Grid, like: Grid, what: str = "a mask") -> None:
    """Raise `GeometryError` unless two grids are equal in RAS order (shape, and corners within 0.1 mm)."""
    if grid.ras_shape != like.ras_shape:
        rule, found = f"{what} has the shape of its image", f"shape {grid.shape}, image {like.shape}"
        raise GeometryError(rule, found=found, remedy="draw or export it on the image's own grid")
    if not grid.lies_on(like):
        rule = f"{what} lies on its image's grid (corners within {CORNER_TOLERANCE_MM} mm)"
        found = f"corners {grid.corner_distance_mm(like):.2f} mm apart"
        raise GeometryError(rule, found=found, remedy="resample it onto the image; do not copy a header by hand")


def has_orientation(grid: Grid) -> bool:
    """Return true if the file states its orientation: a NIfTI header may have neither qform nor sform."""
    return grid.header is None or any(int(grid.header[code]) > 0 for code in ("qform_code", "sform_code"))


def check_affine(affine: Affine, shape: tuple[int, ...]) -> None:
    """Raise `GeometryError` for an affine that is singular, not finite, or sheared.

    An affine is sheared if its axes are not at right angles (cosine above `SHEAR_TOLERANCE`) and the far end of the
    volume is shifted by more than `CORNER_TOLERANCE_MM` by it, the tolerance of a DICOM series.
    """
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        rule = "the affine maps voxels to millimetres"
        raise GeometryError(rule, found="a singular matrix", remedy="export the file again with its geometry")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    axes = affine[:3, :3] / spacing
    cosines = np.abs(axes.T @ axes - np.eye(3))
    shift = float((cosines * spacing * (np.array(shape) - 1)).max())
    if cosines.max() > SHEAR_TOLERANCE and shift > CORNER_TOLERANCE_MM:
        found = f"axes with a cosine of {cosines.max():.3g}, which shift the far end by {shift:.2f} mm"
        remedy = "a tilted gantry or an affine registration: resample the volume, for example with dcm2niix"
        raise GeometryError("the axes of a volume are at right angles", found=found, remedy=remedy)


def check_spacing(spacing_mm: Iterable[float]) -> None:
    """Raise `GeometryError` unless a header states a positive, finite distance of voxels along each axis."""
    values = list(spacing_mm)
    if len(values) < 3 or not all(0 < value < np.inf for value in values):
        rule = "the header states the distance of voxels in mm along each axis, above 0"
        found = " x ".join(f"{value:g}" for value in values) or "none"
        raise GeometryError(rule, found=found, remedy="export the file again with its geometry")


def corner_distance_mm(first: Affine, second: Affine, shape: tuple[int, ...]) -> float:
    """Return the largest distance in mm between corresponding corners of two grids of one shape."""
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in shape], indexing="ij")).reshape(3, -1)
    corners = np.vstack([corners, np.ones(corners.shape[1])])
    return float(np.linalg.norm(((first - second) @ corners)[:3], axis=0).max())
