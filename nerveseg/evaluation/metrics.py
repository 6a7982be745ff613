"""How well two masks agree: Dice, volumetric similarity (VS) and three Hausdorff distances (paper 2.5, Table 1).

Dice = 2TP / (2TP + FP + FN) and VS = 1 - |FN - FP| / (2TP + FN + FP), after Taha and Hanbury, BMC Med Imaging 2015.

A Hausdorff quantile depends on which points are asked, so the points are always named:

- "foreground": all voxels of both masks, each to the other mask, in one pool; a voxel that both masks hold has
  distance 0. Quantile without interpolation, `sorted[int(q * (n - 1))]`. This is the rule that reproduces the digits
  of the paper's Table 1. The share of zeros in the pool is the Dice coefficient, so the 95 % quantile is 0 as soon as
  Dice exceeds about 0.95, however far away a small false positive lies.
- "disagreement": only the voxels that one mask holds and the other does not; same quantile. The rule of the
  EvaluateSegmentation tool that the paper names.
- "surface": boundary voxels to boundary voxels, the larger of the two directed quantiles, interpolated linearly. What
  the field usually reports, and what MONAI's `compute_hausdorff_distance(percentile=95)` computes.

A distance to an empty mask does not exist. Both masks empty: every metric is NaN. One mask empty: Dice 0, VS 0, the
distances NaN. All metrics here are symmetric in the two masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from jaxtyping import Bool, Float64
from scipy.ndimage import binary_erosion, distance_transform_edt
from scipy.spatial import KDTree

from nerveseg.errors import ConfigurationError, GeometryError
from nerveseg.types import Mask, SpacingMm

AnyMask: TypeAlias = Bool[np.ndarray[Any, Any], "_x _y _z"]
"""A mask whose shape is still to be compared with its partner's, by an error that names both."""

Points: TypeAlias = Literal["surface", "foreground", "disagreement"]
DistancesMm: TypeAlias = Float64[np.ndarray[Any, Any], " _n"]

# A search tree pays off while few voxels ask for a distance; beyond this share of the box one transform is faster.
_TREE_SHARE = 0.1


@dataclass(frozen=True)
class PairScores:
    """What one pair of masks scores.

    Attributes:
        dice: Overlap in [0, 1].
        hd95_paper_mm: 95 % Hausdorff distance over all foreground voxels, the rule behind the paper's table.
        hd95_mm: 95 % Hausdorff distance between the surfaces, the field's usual one.
        hd_mm: Full Hausdorff distance between the masks (the largest distance of a voxel of one to the other).
        vs: Volumetric similarity in [0, 1]; compares the volumes only, not where they lie.
    """

    dice: float
    hd95_paper_mm: float
    hd95_mm: float
    hd_mm: float
    vs: float


def dice(reference: AnyMask, prediction: AnyMask) -> float:
    """Dice coefficient in [0, 1]; 0 if one mask is empty, NaN if both are.

    Args:
        reference: Mask (x, y, z).
        prediction: Mask of the same shape.

    Raises:
        GeometryError: The shapes differ.
    """
    _check_shapes(reference, prediction)
    both = np.count_nonzero(reference & prediction)
    total = np.count_nonzero(reference) + np.count_nonzero(prediction)
    return 2 * both / total if total else float("nan")


def volumetric_similarity(reference: AnyMask, prediction: AnyMask) -> float:
    """Volumetric similarity in [0, 1]; 0 if one mask is empty, NaN if both are; 1 also for equal volumes side by side.

    Args:
        reference: Mask (x, y, z).
        prediction: Mask of the same shape.

    Raises:
        GeometryError: The shapes differ.
    """
    _check_shapes(reference, prediction)
    first, second = np.count_nonzero(reference), np.count_nonzero(prediction)
    return 1 - abs(first - second) / (first + second) if first + second else float("nan")


def hausdorff_distance(
    reference: AnyMask,
    prediction: AnyMask,
    spacing_mm: SpacingMm,
    quantile: float = 0.95,
    points: Points = "surface",
) -> float:
    """Hausdorff distance, or a quantile of the distances it is the largest of, in mm; NaN if a mask is empty.

    Args:
        reference: Mask (x, y, z).
        prediction: Mask of the same shape.
        spacing_mm: Distance between voxel centres along x, y, z.
        quantile: In (0, 1]; 1 is the full distance.
        points: Which voxels are asked for their distance, see the module's description.

    Raises:
        GeometryError: The shapes differ, or a spacing is not above zero.
        ConfigurationError: The quantile or the name of the points is none of those above.
    """
    if not 0 < quantile <= 1:
        raise ConfigurationError("a quantile lies in (0, 1]", found=quantile, remedy="0.95 is the usual one")
    if points not in get_args(Points):
        raise ConfigurationError("the points of a distance are " + ", ".join(get_args(Points)), found=points)
    return _MaskPair.of(reference, prediction, spacing_mm).hausdorff_mm(quantile, points)


def score_pair(reference: AnyMask, prediction: AnyMask, spacing_mm: SpacingMm) -> PairScores:
    """All metrics of one pair, from one computation of the distances.

    Args:
        reference: Mask (x, y, z).
        prediction: Mask of the same shape.
        spacing_mm: Distance between voxel centres along x, y, z.

    Raises:
        GeometryError: The shapes differ, or a spacing is not above zero.
    """
    pair = _MaskPair.of(reference, prediction, spacing_mm)
    return PairScores(
        dice=dice(pair.reference, pair.prediction),
        hd95_paper_mm=pair.hausdorff_mm(0.95, "foreground"),
        hd95_mm=pair.hausdorff_mm(0.95, "surface"),
        hd_mm=pair.hausdorff_mm(1.0, "foreground"),
        vs=volumetric_similarity(pair.reference, pair.prediction),
    )


@dataclass(frozen=True)
class _Directed:
    """Distances in mm from one mask to another.

    Attributes:
        missed: Of the voxels that the other mask does not hold.
        surface: Of the boundary voxels, to the other's boundary.
    """

    missed: DistancesMm
    surface: DistancesMm


@dataclass(frozen=True)
class _MaskPair:
    """Two masks in their joint bounding box; outside it both are background, so no metric changes."""

    reference: Mask
    prediction: Mask
    spacing_mm: SpacingMm

    @classmethod
    def of(cls, reference: AnyMask, prediction: AnyMask, spacing_mm: SpacingMm) -> _MaskPair:
        _check_shapes(reference, prediction)
        if not all(np.isfinite(step) and step > 0 for step in spacing_mm):
            raise GeometryError("a voxel spacing is above zero along every axis", found=f"{spacing_mm} mm")
        box = _bounding_box(reference | prediction)
        return cls(reference[box], prediction[box], spacing_mm)

    @cached_property
    def directed(self) -> tuple[_Directed, _Directed]:
        """Distances from the reference to the prediction, and back."""
        edges = _edge(self.reference), _edge(self.prediction)
        return (
            _directed(self.reference, edges[0], self.prediction, edges[1], self.spacing_mm),
            _directed(self.prediction, edges[1], self.reference, edges[0], self.spacing_mm),
        )

    def hausdorff_mm(self, quantile: float, points: Points) -> float:
        if not (self.reference.any() and self.prediction.any()):
            return float("nan")
        if points == "surface":
            return max(float(np.quantile(way.surface, quantile)) for way in self.directed)
        missed = np.concatenate([way.missed for way in self.directed])
        zeros = 2 * np.count_nonzero(self.reference & self.prediction) if points == "foreground" else 0
        rank = int(quantile * (zeros + missed.size - 1)) - zeros
        return float(np.partition(missed, rank)[rank]) if missed.size and rank >= 0 else 0.0


def _check_shapes(reference: AnyMask, prediction: AnyMask) -> None:
    if reference.shape != prediction.shape:
        raise GeometryError(
            "two masks are compared on one grid",
            found=f"shapes {reference.shape} and {prediction.shape}",
            remedy="resample one mask onto the other's grid",
        )


def _bounding_box(mask: Mask) -> tuple[slice, ...]:
    """Smallest box around the foreground; an empty mask's box is empty."""
    box: tuple[slice, ...] = ()
    for axis in range(mask.ndim):
        occupied = np.flatnonzero(mask[box].any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        box += (slice(int(occupied[0]), int(occupied[-1]) + 1) if occupied.size else slice(0, 0),)
    return box


def _edge(mask: Mask) -> Mask:
    """Foreground voxels with a background voxel, or the end of the array, among their six neighbours."""
    return mask & ~np.asarray(binary_erosion(mask), dtype=np.bool_)


def _directed(source: Mask, source_edge: Mask, target: Mask, target_edge: Mask, spacing_mm: SpacingMm) -> _Directed:
    """Distances from `source` to `target`, all of them measured to the target's boundary.

    From outside, the nearest voxel of a mask is a boundary voxel, so one search serves both point sets.
    """
    missed = source & ~target
    distance_mm = _distances_mm(missed | (source_edge & ~target_edge), target_edge, spacing_mm)
    return _Directed(missed=distance_mm[missed], surface=distance_mm[source_edge])


def _distances_mm(asking: Mask, target: Mask, spacing_mm: SpacingMm) -> Float64[np.ndarray[Any, Any], "x y z"]:
    """Distance of each asking voxel to the nearest target voxel (elsewhere the value has no meaning, or is 0)."""
    if not target.any() or not asking.any():
        return np.zeros(asking.shape)
    if np.count_nonzero(asking) > _TREE_SHARE * asking.size:
        return np.asarray(distance_transform_edt(~target, sampling=spacing_mm), dtype=np.float64)
    distance_mm = np.zeros(asking.shape)
    tree = KDTree(np.argwhere(target) * spacing_mm)
    distance_mm[asking] = tree.query(np.argwhere(asking) * spacing_mm)[0]
    return distance_mm
