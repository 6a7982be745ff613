"""Surface of a mask as a smooth mesh of triangles in mm.

Slices are eight pixels apart, so a mesh of the voxels shows steps. Between slices the outline is therefore interpolated
by its signed distance in the plane (shape-based interpolation, Raya and Udupa 1990), component by component; a
component ends half a slice step beyond its last slice, like its voxels. The level is then shifted by a few hundredths
of a millimetre so that the mesh has the mask's volume, which smoothing would reduce.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import distance_transform_edt, find_objects, gaussian_filter, label, zoom
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

from nerveseg.types import Mask, SpacingMm

PointsMm: TypeAlias = Float[np.ndarray[Any, Any], "point 3"]
Triangles: TypeAlias = Int[np.ndarray[Any, Any], "triangle 3"]
Field: TypeAlias = Float[np.ndarray[Any, Any], "_x _y _z"]

MOST_TRIANGLES = 8_000
REACH_MM = 3.0  # of the signed distances; an outline may move by twice as much between slices and be one surface
SMOOTHING_PIXELS = 0.8
_NEAR_TRIANGLES = 24
_LEAST_PART = 0.25
_THIN_OUT = 3  # ratio of triangles to the limit above which only the planes half-way between slices are kept
_CORRECTIONS, _MOST_SHIFT_MM = 3, 0.5


@dataclass(frozen=True)
class Surface:
    """Closed mesh."""

    vertices_mm: PointsMm  # from the centre of the mask's first voxel, in RAS order
    triangles: Triangles  # rows of `vertices_mm`, oriented so that normals point outward

    @property
    def corners_mm(self) -> Float[np.ndarray[Any, Any], "triangle 3 3"]:
        """Three corners of each triangle."""
        return self.vertices_mm[self.triangles]

    @property
    def across_mm2(self) -> Float[np.ndarray[Any, Any], "triangle 3"]:
        """Outward normal of each triangle, with twice its area as length."""
        a, b, c = self.corners_mm.transpose(1, 0, 2)
        return np.asarray(np.cross(b - a, c - a))

    @property
    def area_mm2(self) -> float:
        """Area of the surface in mm²."""
        return float(np.linalg.norm(self.across_mm2, axis=1).sum() / 2)

    @property
    def volume_mm3(self) -> float:
        """Enclosed volume in mm³."""
        return float(np.einsum("ij,ij->", self.corners_mm[:, 0], self.across_mm2) / 6)

    def distances_mm(self, points_mm: PointsMm) -> Float[np.ndarray[Any, Any], " point"]:
        """Return the distance of each point to this surface in mm; infinite for a surface without triangles."""
        if not len(self.triangles):
            return np.full(len(points_mm), np.inf)
        number = min(_NEAR_TRIANGLES, len(self.triangles))
        _, near = cKDTree(self.corners_mm.mean(axis=1)).query(points_mm, k=number)
        corners = self.corners_mm[near.reshape(len(points_mm), number)]
        return np.asarray(_to_triangles(points_mm[:, None], corners).min(axis=1))


EMPTY = Surface(np.empty((0, 3)), np.empty((0, 3), dtype=np.int64))


def surface_of(mask: Mask, spacing_mm: SpacingMm, max_triangles: int = MOST_TRIANGLES) -> Surface:
    """Compute the closed surface of a mask (x, y, z), slices along z, coarsened to at most `max_triangles`.

    It encloses the mask's volume; it is `EMPTY` for an empty mask.
    """
    if not mask.any():
        return EMPTY
    (box,) = find_objects(mask.astype(np.uint8))
    margin = np.ceil((REACH_MM + 1.0) / np.array(spacing_mm)).astype(int)
    padded = np.pad(mask[box], [(int(width), int(width)) for width in margin])
    field, steps_mm = _signed_distance(padded, spacing_mm)
    start_mm = np.array([part.start for part in box]) * np.array(spacing_mm) - margin * np.array(spacing_mm)
    volume_mm3 = float(np.count_nonzero(mask) * np.prod(spacing_mm))
    surface = _meshed(field, steps_mm, volume_mm3)
    if len(surface.triangles) > _THIN_OUT * max_triangles:
        field, steps_mm = np.pad(field[..., 1::2], ((0, 0), (0, 0), (1, 1)), constant_values=-REACH_MM), spacing_mm
        start_mm[2] -= spacing_mm[2] / 2
        surface = _meshed(field, steps_mm, volume_mm3)
    while len(surface.triangles) > max_triangles:
        share = max(_LEAST_PART, 0.95 * sqrt(max_triangles / len(surface.triangles)))
        field, steps_mm = _coarser(field, steps_mm, share)
        surface = _meshed(field, steps_mm, volume_mm3)
    return Surface(surface.vertices_mm + start_mm, surface.triangles)


def _signed_distance(mask: Mask, spacing_mm: SpacingMm) -> tuple[Field, SpacingMm]:
    """Compute the signed distance in mm to the outline in the slice, positive inside, on slices and half-way planes."""
    x_mm, y_mm, z_mm = spacing_mm
    field = np.full((*mask.shape[:2], 2 * mask.shape[2] - 1), -REACH_MM, dtype=np.float32)
    pieces, _ = label(mask, np.ones((3, 3, 3)))
    reach = [int(np.ceil(REACH_MM / step)) for step in (x_mm, y_mm)]
    for number, (columns, rows, slices) in enumerate(find_objects(pieces), start=1):
        wide = (
            slice(max(columns.start - reach[0], 0), columns.stop + reach[0]),
            slice(max(rows.start - reach[1], 0), rows.stop + reach[1]),
        )
        piece = _piece(pieces[(*wide, slices)] == number, (x_mm, y_mm))
        first = 2 * (slices.start - 1)
        target = field[(*wide, slice(first, first + piece.shape[2]))]
        np.maximum(target, piece, out=target)
    return field, (x_mm, y_mm, z_mm / 2)


def _piece(piece: Mask, pixel_mm: tuple[float, float]) -> Field:
    """Compute the field of one component, one slice beyond both ends; zero on the half-way planes at the ends."""
    half_mm = min(pixel_mm) / 2
    field = np.full((*piece.shape[:2], 2 * piece.shape[2] + 3), -REACH_MM, dtype=np.float32)
    for z in range(piece.shape[2]):
        plane = piece[..., z]
        inside = distance_transform_edt(plane, pixel_mm)
        outside = distance_transform_edt(~plane, pixel_mm)
        signed = np.where(plane, inside - half_mm, half_mm - outside)
        smooth = gaussian_filter(signed.astype(np.float32), SMOOTHING_PIXELS, mode="nearest")
        field[..., 2 * z + 2] = np.clip(smooth, -REACH_MM, REACH_MM)
    field[..., 3:-3:2] = (field[..., 2:-4:2] + field[..., 4:-2:2]) / 2
    for beside, end in ((2, 1), (-3, -2)):
        field[..., end] = np.minimum(field[..., beside], 0)
    return field


def _coarser(field: Field, steps_mm: SpacingMm, share: float) -> tuple[Field, SpacingMm]:
    smaller = zoom(field, (share, share, 1.0), order=1, mode="nearest")
    factors = [(old - 1) / max(new - 1, 1) for old, new in zip(field.shape, smaller.shape, strict=True)]
    x_mm, y_mm, z_mm = (step * factor for step, factor in zip(steps_mm, factors, strict=True))
    return smaller, (float(x_mm), float(y_mm), float(z_mm))


def _meshed(field: Field, steps_mm: SpacingMm, volume_mm3: float) -> Surface:
    """Compute the surface at the level of a given volume, approximated by a few corrections."""
    level_mm, best = 0.0, _at_level(field, steps_mm, 0.0)
    surface = best
    for _ in range(_CORRECTIONS):
        if not surface.area_mm2:
            break
        shift_mm = (surface.volume_mm3 - volume_mm3) / surface.area_mm2
        level_mm = float(np.clip(level_mm + shift_mm, -_MOST_SHIFT_MM, _MOST_SHIFT_MM))
        surface = _at_level(field, steps_mm, level_mm)
        best = min(best, surface, key=lambda mesh: abs(mesh.volume_mm3 - volume_mm3))
    return best


def _at_level(field: Field, steps_mm: SpacingMm, level_mm: float) -> Surface:
    if field.max() <= level_mm:
        return EMPTY
    vertices, triangles, _, _ = marching_cubes(field, level_mm, spacing=steps_mm, gradient_direction="ascent")
    return Surface(vertices.astype(np.float64), triangles.astype(np.int64))


def _to_triangles(points: Any, corners: Any) -> Any:
    """Return the distance of points (n, 1, 3) to triangles (n, k, 3, 3), as (n, k)."""
    a, b, c = corners[..., 0, :], corners[..., 1, :], corners[..., 2, :]
    across = np.cross(b - a, c - a)
    length = np.maximum(np.linalg.norm(across, axis=-1), 1e-12)
    height = np.abs(np.sum((points - a) * across, axis=-1)) / length
    sides = ((a, b), (b, c), (c, a))
    turns = [np.sum(np.cross(end - start, points - start) * across, axis=-1) >= 0 for start, end in sides]
    edge = np.min([_to_segments(points, start, end) for start, end in sides], axis=0)
    return np.where(np.all(turns, axis=0), height, edge)


def _to_segments(points: Any, start: Any, end: Any) -> Any:
    along = end - start
    share = np.sum((points - start) * along, axis=-1) / np.maximum(np.sum(along**2, axis=-1), 1e-12)
    return np.linalg.norm(points - start - np.clip(share, 0, 1)[..., None] * along, axis=-1)
