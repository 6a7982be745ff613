"""Distances between two masks: Hausdorff quantiles, surface Dice, average surface distance.

A mask's surface is its boundary voxels: those with a background voxel, or the end of the volume, among their six
neighbours. Each counts once, whatever its area, as in MONAI's metrics without sub-voxels (DeepMind's surface-distance
weights by area instead). Distances are between voxel centres.

Surface Dice is the share of both surfaces that lies within a tolerance of the other one, the normalised surface
distance of Nikolov et al., J Med Internet Res 2021;23:e26151. The average symmetric surface distance (ASSD) is the mean
over both surfaces in one pool.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float64
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree

from nerveseg.evaluation.metrics.mask_pair import MaskPair
from nerveseg.evaluation.metrics.voxels import foreground, surface
from nerveseg.types import Mask, SpacingMm

Points: TypeAlias = Literal["surface", "foreground", "disagreement"]
DistancesMm: TypeAlias = Float64[np.ndarray[Any, Any], " _n"]

# A search tree is faster while few voxels need a distance; above this share of the box one transform is.
_TREE_SHARE = 0.1

# Relative margin: rounding must not put a shift by one voxel outside a tolerance of one voxel.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class PairDistances:
    """Distances of a pair of masks, computed at first use."""

    pair: MaskPair

    def hausdorff_mm(self, quantile: float, points: Points) -> float:
        """Return a quantile in (0, 1] of the distances of the named points, in mm; NaN if a mask is empty."""
        if self.pair.any_empty:
            return float("nan")
        if points == "surface":
            return max(float(np.quantile(surface_mm, quantile)) for _, surface_mm in self._directions)
        missed = np.concatenate([missed_mm for missed_mm, _ in self._directions])
        held_by_both = int(np.count_nonzero(self.pair.reference & self.pair.prediction))
        zeros = 2 * held_by_both if points == "foreground" else 0
        rank = int(quantile * (zeros + missed.size - 1)) - zeros
        return float(np.partition(missed, rank)[rank]) if missed.size and rank >= 0 else 0.0

    def surface_dice(self, tolerance_mm: float) -> float:
        """Return the share of both surfaces within a tolerance of the other; 0 if one mask is empty, NaN if both."""
        if self.pair.any_empty:
            return float("nan") if self.pair.both_empty else 0.0
        return float((self._surfaces_mm <= tolerance_mm * (1 + _ROUNDING)).mean())

    def average_surface_mm(self) -> float:
        """Return the mean distance in mm of a surface voxel to the other surface; NaN if a mask is empty."""
        return float("nan") if self.pair.any_empty else float(self._surfaces_mm.mean())

    @cached_property
    def _directions(self) -> tuple[tuple[DistancesMm, DistancesMm], ...]:
        """Distances from the reference to the prediction, and back: of missed voxels, and of surface voxels."""
        pair = self.pair
        first, second = (pair.reference, surface(pair.reference)), (pair.prediction, surface(pair.prediction))
        return _directed(*first, *second, pair.spacing_mm), _directed(*second, *first, pair.spacing_mm)

    @cached_property
    def _surfaces_mm(self) -> DistancesMm:
        return np.concatenate([surface_mm for _, surface_mm in self._directions])


def _directed(
    source: Mask, source_surface: Mask, target: Mask, target_surface: Mask, spacing_mm: SpacingMm
) -> tuple[DistancesMm, DistancesMm]:
    """Measure from `source` to the surface of `target`, which holds the nearest voxel of each voxel outside."""
    missed = source & ~target
    distance_mm = _distances_mm(missed | (source_surface & ~target_surface), target_surface, spacing_mm)
    return distance_mm[np.flatnonzero(missed)], distance_mm[np.flatnonzero(source_surface)]


def _distances_mm(source: Mask, target: Mask, spacing_mm: SpacingMm) -> DistancesMm:
    """Return the distance of each source voxel to the nearest target voxel, flattened; other voxels are undefined."""
    if np.count_nonzero(source) > _TREE_SHARE * source.size:
        return np.asarray(distance_transform_edt(~target, sampling=spacing_mm), dtype=np.float64).reshape(-1)
    source_mm, target_mm = (np.stack(foreground(mask), axis=1) * spacing_mm for mask in (source, target))
    distance_mm = np.zeros(source.size)
    distance_mm[np.flatnonzero(source)] = KDTree(target_mm).query(source_mm)[0]
    return distance_mm
