"""Follow the nerve of each leg through the stack: remove what is neither on its path nor a branch, and fill its gaps.

A false vein or an artefact has a high probability in some slices, the nerve in most of them. What decides is therefore
the evidence over the whole stack:

- A section is a connected component, in the plane of a slice, of the probability above `PROBABLE`. Its evidence is the
  mean probability times the area, of at most `LARGEST_MM2`, so that no large structure in a few slices outweighs a
  nerve.
- The path goes from a section to one of a later slice, across any number of missed slices, if the outlines lie near
  enough for a course at most as steep as `STEEPEST`. The outlines are taken for circles of the sections' areas. The
  path of most evidence is found by dynamic programming.
- Evidence of a section without mask decides only between paths through the same mask. Such a section fills a gap if it
  lies between two sections of the path with mask and is no larger than the larger of them.
- Components of the mask in three dimensions that meet the path are kept, and so are those that continue a kept one: in
  a slice at most `GAP_MM` away, a section of theirs overlaps with one that is kept. So both branches are kept after the
  split, however far they run apart.
- The path is looked for again in what is left, and kept with its branches, its gaps unfilled, while it is comparable to
  the first: so are branches that are separate in the whole stack, and the nerves of two legs taken for one.

A mask in fewer than `LEAST_SLICES` slices stays as it is. Following the path again changes nothing.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int, Int32, Int64
from scipy.ndimage import find_objects, label
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nerveseg.data.classes import Classes
from nerveseg.data.legs import Leg
from nerveseg.inference.postprocessing import CONNECTED_IN_SPACE
from nerveseg.types import LabelMap, Mask, Probabilities, Probability, SpacingMm

PROBABLE = 0.2  # probability above which a voxel may be nerve; of a missed section it is the outline

LARGEST_MM2 = 100.0  # area from which on a larger section is no better; a nerve of the thigh has 40 to 80 mm2

STEEPEST = 0.5  # steepest course, in mm in the plane per mm along the stack: 27 degrees to the normal of the slices

FARTHEST_MM = 20.0  # largest distance in the plane between the outlines of two sections, however many slices apart

GAP_MM = 20.0  # largest distance along the stack across which a branch goes on: three missed slices of 4.4 mm

MISSED = 1e-9  # weight of the evidence of a section without mask: it decides only between paths of the same mask

LEAST_SLICES = 3  # slices with mask from which on a path is looked for

SLICES_SHARE = 0.75  # number of a further path's sections, to those of the best, from which on it is kept as well

PROBABILITY_SHARE = 0.8  # mean probability of its sections likewise: of false veins in most slices it is lower

EVIDENCE_SHARE = 1 / 3  # its evidence likewise: the peroneal nerve has about half of the tibial nerve's area

DECIMALS = 6  # of distances in mm that are compared with a limit

IN_ITS_SLICE = np.ones((3, 3, 3), dtype=bool) & np.array([False, True, False])  # neighbours along x and y


@dataclass(frozen=True)
class _Sections:
    """Sections of a stack, of which number n + 1 in `labels` has the index n elsewhere."""

    labels: Int32[np.ndarray, "x y z"]  # number of each voxel's section, 0: none
    slices: Int64[np.ndarray, " section"]  # index of the slice
    in_mask: Bool[np.ndarray, " section"]  # whether any voxel is in the mask
    centres_mm: Float64[np.ndarray, "section 2"]  # centroid in the plane
    areas_mm2: Float64[np.ndarray, " section"]
    probabilities: Float64[np.ndarray, " section"]  # mean over the section
    evidence_mm2: Float64[np.ndarray, " section"]  # mean probability times the area, of at most `LARGEST_MM2`


def along_nerves(
    labels: LabelMap,
    probabilities: Probabilities,
    classes: Classes,
    spacing_mm: SpacingMm,
    legs: tuple[Leg, ...],
) -> LabelMap:
    """Return a label map whose nerve is that of the paths through each leg, with their branches.

    Voxels of parts that are no nerve stay as they are. Filled voxels, of background before, get their likeliest part.

    Args:
        labels: Number of each voxel's part.
        probabilities: Probability of each part.
        classes: Classes of the model.
        spacing_mm: Voxel spacing in mm.
        legs: Legs of the scan; each has a path of its own.
    """
    numbers = np.array(classes.nerve_parts, dtype=np.uint8)
    mask, probability = classes.nerve(labels), classes.nerve_probability(probabilities)
    nerve = np.zeros_like(mask)
    for leg in legs:
        nerve[leg.columns] = along_path(mask[leg.columns], probability[leg.columns], spacing_mm)
    result = labels.copy()
    result[mask & ~nerve] = 0
    filled = nerve & (labels == 0)
    result[filled] = numbers[probabilities[numbers - 1][:, filled].argmax(axis=0)]
    return result


def along_path(mask: Mask, probability: Probability, spacing_mm: SpacingMm) -> Mask:
    """Return what of a mask is on a path of much evidence or a branch of it, with the gaps of the best path filled."""
    if mask.any(axis=(0, 1)).sum() < LEAST_SLICES:
        return mask.copy()
    result = np.zeros_like(mask)
    box = find_objects((mask | (probability > PROBABLE)).astype(np.uint8))[0]
    result[box] = _along_paths(mask[box], probability[box], spacing_mm)
    return result


def _along_paths(mask: Mask, probability: Probability, spacing_mm: SpacingMm) -> Mask:
    sections = _find_sections(mask, probability, spacing_mm)
    best = path = _with_gaps(sections, _best_path(sections, np.arange(sections.slices.size), spacing_mm[2]))
    missed = path[~sections.in_mask[path]]
    pieces = _find_pieces(mask | _chosen(sections.labels, missed + 1), spacing_mm[2])
    kept = np.zeros_like(mask)
    left = sections.in_mask.copy()
    while _are_comparable(sections, path, best):
        kept |= _chosen(pieces, pieces[_chosen(sections.labels, path + 1)]) & (pieces > 0)
        left[sections.labels[kept] - 1] = False
        path = _best_path(sections, np.flatnonzero(left), spacing_mm[2])
    return kept


def _are_comparable(
    sections: _Sections, path: Int64[np.ndarray, " on_path"], best: Int64[np.ndarray, " on_best"]
) -> bool:
    """Return whether a path is long, likely and large enough beside the best to be a nerve or branch as well."""
    probability, evidence_mm2 = sections.probabilities, sections.evidence_mm2
    return bool(
        path.size >= SLICES_SHARE * best.size
        and probability[path].mean() >= PROBABILITY_SHARE * probability[best].mean()
        and evidence_mm2[path].sum() >= EVIDENCE_SHARE * evidence_mm2[best].sum()
    )


def _find_sections(mask: Mask, probability: Probability, spacing_mm: SpacingMm) -> _Sections:
    probable = mask | (probability > PROBABLE)
    labels, count = label(probable, IN_ITS_SLICE)
    voxels = np.argwhere(probable)
    of = labels[probable] - 1
    pixels = np.bincount(of, minlength=count)
    x, y, z = (np.bincount(of, axis, count) / pixels for axis in voxels.T)
    areas_mm2 = pixels * spacing_mm[0] * spacing_mm[1]
    mean = np.bincount(of, probability[probable], count) / pixels
    return _Sections(
        labels=labels,
        slices=np.rint(z).astype(np.int64),
        in_mask=np.bincount(of, mask[probable], count) > 0,
        centres_mm=np.stack([x * spacing_mm[0], y * spacing_mm[1]], axis=1),
        areas_mm2=areas_mm2,
        probabilities=mean,
        evidence_mm2=mean * np.minimum(areas_mm2, LARGEST_MM2),
    )


def _best_path(sections: _Sections, among: Int64[np.ndarray, " some"], step_mm: float) -> Int64[np.ndarray, " on_path"]:
    """Return the sections of the path of most evidence among some, from the last slice to the first."""
    if not among.size:
        return among
    slices, centres_mm = sections.slices[among], sections.centres_mm[among]
    radii_mm = np.sqrt(sections.areas_mm2[among] / np.pi)
    total = sections.evidence_mm2[among] * np.where(sections.in_mask[among], 1, MISSED)
    before = np.full(among.size, -1)
    for each in np.argsort(slices, kind="stable"):
        steps = slices[each] - slices
        apart_mm = np.linalg.norm(centres_mm - centres_mm[each], axis=1)
        outlines_mm = np.round(apart_mm - radii_mm - radii_mm[each], DECIMALS)
        reach_mm = np.round(np.minimum(STEEPEST * steps * step_mm, FARTHEST_MM), DECIMALS)
        earlier = np.flatnonzero((steps > 0) & (outlines_mm <= reach_mm))
        if earlier.size:
            before[each] = earlier[total[earlier].argmax()]
            total[each] += total[before[each]]
    path = [int(total.argmax())]
    while before[path[-1]] >= 0:
        path.append(int(before[path[-1]]))
    return among[path]


def _with_gaps(sections: _Sections, path: Int64[np.ndarray, " on_path"]) -> Int64[np.ndarray, " kept"]:
    """Return the sections of a path in the mask, and those between two of them no larger than the larger one."""
    found = np.flatnonzero(sections.in_mask[path])
    path, found = path[found[0] : found[-1] + 1], found - found[0]
    areas_mm2 = sections.areas_mm2[path]
    following = np.searchsorted(found, np.arange(path.size))  # of a section in the mask itself
    largest_mm2 = np.maximum(areas_mm2[found[following - 1]], areas_mm2[found[following]])
    kept: Int64[np.ndarray, " kept"] = path[areas_mm2 <= largest_mm2]
    return kept


def _find_pieces(mask: Mask, step_mm: float) -> Int32[np.ndarray, "x y z"]:
    """Return the mask's components in three dimensions, of one number if they overlap across a gap; 0: none."""
    components, count = label(mask, CONNECTED_IN_SPACE)
    x, y, z = np.nonzero(components)
    pairs = []
    for gap in range(min(components.shape[2] - 1, int(round(GAP_MM / step_mm, DECIMALS))) + 1):
        low = z < components.shape[2] - gap
        one, other = (components[x[low], y[low], z[low] + each].astype(np.int64) for each in (0, gap))
        pairs.append(np.unique((one * (count + 1) + other)[other > 0]))
    one, other = np.divmod(np.concatenate(pairs), count + 1)
    joined = coo_array((np.ones(one.size), (one, other)), shape=(count + 1, count + 1))
    numbers = connected_components(joined, directed=False)[1]  # of the background, the first: 0
    pieces: Int32[np.ndarray, "x y z"] = numbers[components]
    return pieces


def _chosen(labels: Int32[np.ndarray, "x y z"], numbers: Int[np.ndarray, " chosen"]) -> Mask:
    table = np.zeros(int(labels.max()) + 1, dtype=bool)
    table[numbers] = True
    mask: Mask = table[labels]
    return mask
