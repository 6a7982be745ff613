"""Metrics of two masks: Dice, volumetric similarity (VS), three Hausdorff distances (paper 2.5, Table 1), and more.

Dice = 2TP / (2TP + FP + FN) and VS = 1 - |FN - FP| / (2TP + FN + FP), after Taha and Hanbury, BMC Med Imaging 2015.

A Hausdorff quantile depends on the points that are measured, so the set of points is always named:

- "foreground": all voxels of both masks, each to the other mask, in one pool; a voxel that both masks hold has
  distance 0. Quantile without interpolation, `sorted[int(q * (n - 1))]`. This is the rule that reproduces the digits
  of the paper's Table 1. The share of zeros in the pool is the Dice coefficient, so the 95 % quantile is 0 as soon as
  Dice exceeds about 0.95, however far away a small false positive lies.
- "disagreement": only the voxels that one mask holds and the other does not; same quantile. The rule of the
  EvaluateSegmentation tool that the paper names.
- "surface": boundary voxels to boundary voxels, the larger of the two directed quantiles, interpolated linearly. The
  usual definition in the field, and that of MONAI's `compute_hausdorff_distance(percentile=95)`.

Both masks empty: every metric is NaN. One empty: Dice, VS, surface Dice and centreline Dice are 0, distances are NaN,
and slices, branches and components are counted as usual.
"""

from dataclasses import dataclass, fields
from typing import get_args

import numpy as np

from nerveseg.errors import ConfigurationError
from nerveseg.evaluation.metrics.cross_sections import (
    CrossSections,
    centreline_dice,
    detect_branches,
    detect_slices,
    false_components,
    share,
)
from nerveseg.evaluation.metrics.mask_pair import AnyMask, MaskPair, check_shapes
from nerveseg.evaluation.metrics.surface import PairDistances, Points
from nerveseg.types import SpacingMm

ONE_PIXEL_MM = 0.521
TWO_PIXELS_MM = 1.042
"""Tolerances of surface Dice: the paper's pixel is 200 / 384 = 0.5208 mm, and a bare 0.52 would exclude a neighbour."""

DEFINED_UNLESS_EMPTY = frozenset({"dice", "hd95_paper_mm", "hd95_mm", "hd_mm", "vs", "assd_mm"})
"""NaN in one of these says that a mask is empty; other metrics may be NaN because there was nothing to count."""


@dataclass(frozen=True)
class PairScores:
    """Scores of one pair of masks; the names are the metrics of scores.csv."""

    dice: float  # overlap in [0, 1]
    hd95_paper_mm: float  # 95 % Hausdorff distance over all foreground voxels, the rule behind the paper's table
    hd95_mm: float  # 95 % Hausdorff distance between the surfaces, the usual definition
    hd_mm: float  # full Hausdorff distance between the masks (the largest distance of a voxel of one to the other)
    vs: float  # volumetric similarity in [0, 1]; compares the volumes only, not where they lie
    voxel_sensitivity: float  # share of the reference's voxels that the prediction holds; NaN without any
    voxel_precision: float  # share of the prediction's voxels that the reference holds; NaN without any
    surface_dice_052: float  # share of the surfaces within one pixel of the paper (0.5208 mm) of one another, in [0, 1]
    surface_dice_104: float  # share within two pixels (1.0417 mm), in [0, 1]
    assd_mm: float  # average symmetric surface distance
    cldice: float  # centreline Dice in [0, 1]
    fp_components: float  # number of components of the prediction that share no voxel with the reference
    fp_components_mm3: float  # volume of these components
    slices_both: float  # number of slices in which both masks show nerve
    slices_missed: float  # number of slices in which only the reference does
    slices_false_positive: float  # number of slices in which only the prediction does
    slices_neither: float  # number of slices in which neither does
    slice_sensitivity: float  # share of the reference's slices in which the prediction shows nerve; NaN without any
    branch_sensitivity: float  # share of the reference's cross-sections that the prediction touches; NaN without any
    branch_sensitivity_undivided: float  # share of the cross-sections that are alone in their slice; NaN without any
    branch_sensitivity_divided: float  # share of the cross-sections in slices with two or more; NaN without any


def dice(reference: AnyMask, prediction: AnyMask) -> float:
    """Compute the Dice coefficient in [0, 1] of two masks (x, y, z); 0 if one is empty, NaN if both are.

    Raises:
        GeometryError: The shapes differ.
    """
    check_shapes(reference, prediction)
    both = np.count_nonzero(reference & prediction)
    total = np.count_nonzero(reference) + np.count_nonzero(prediction)
    return float(2 * both / total) if total else float("nan")


def volumetric_similarity(reference: AnyMask, prediction: AnyMask) -> float:
    """Compute the volumetric similarity in [0, 1] of two masks (x, y, z); 0 if one is empty, NaN if both are.

    Raises:
        GeometryError: The shapes differ.
    """
    check_shapes(reference, prediction)
    first, second = np.count_nonzero(reference), np.count_nonzero(prediction)
    return float(1 - abs(first - second) / (first + second)) if first + second else float("nan")


def hausdorff_distance(
    reference: AnyMask,
    prediction: AnyMask,
    spacing_mm: SpacingMm,
    quantile: float = 0.95,
    points: Points = "surface",
) -> float:
    """Compute the Hausdorff distance or a quantile of the point distances, in mm; NaN if a mask is empty.

    Args:
        reference: Reference mask (x, y, z).
        prediction: Predicted mask of the same shape.
        spacing_mm: Distance between voxel centres in mm along x, y, z.
        quantile: Quantile in (0, 1]; 1 is the full distance.
        points: Set of points that are measured, see the module's description.

    Raises:
        GeometryError: The shapes differ, or a spacing is not above zero.
        ConfigurationError: The quantile is out of range, or the set of points is unknown.
    """
    if not 0 < quantile <= 1:
        raise ConfigurationError("a quantile in (0, 1]", found=quantile, remedy="0.95 is the usual one")
    if points not in get_args(Points):
        raise ConfigurationError("a set of points: " + ", ".join(get_args(Points)), found=points)
    return PairDistances(MaskPair.of(reference, prediction, spacing_mm)).hausdorff_mm(quantile, points)


def score_pair(reference: AnyMask, prediction: AnyMask, spacing_mm: SpacingMm) -> PairScores:
    """Compute all metrics of two masks (x, y, z), whose slices are stacked along z.

    Raises:
        GeometryError: The shapes differ, or a spacing is not above zero.
    """
    pair = MaskPair.of(reference, prediction, spacing_mm)
    if pair.both_empty:
        return PairScores(**{field.name: float("nan") for field in fields(PairScores)})
    distances, sections = PairDistances(pair), CrossSections.of(pair.reference)
    return PairScores(
        dice=dice(pair.reference, pair.prediction),
        hd95_paper_mm=distances.hausdorff_mm(0.95, "foreground"),
        hd95_mm=distances.hausdorff_mm(0.95, "surface"),
        hd_mm=distances.hausdorff_mm(1.0, "foreground"),
        vs=volumetric_similarity(pair.reference, pair.prediction),
        voxel_sensitivity=share(pair.prediction[pair.reference]),
        voxel_precision=share(pair.reference[pair.prediction]),
        surface_dice_052=distances.surface_dice(ONE_PIXEL_MM),
        surface_dice_104=distances.surface_dice(TWO_PIXELS_MM),
        assd_mm=distances.average_surface_mm(),
        cldice=centreline_dice(pair, sections, CrossSections.of(pair.prediction)),
        **false_components(pair),
        **detect_slices(pair),
        **detect_branches(pair, sections),
    )
