"""Follow the nerve of each leg through the stack: remove what is neither on its path nor a branch, and fill its gaps.

A false vein or an artefact has a high probability in some slices, the nerve in most of them. What decides is therefore
the evidence over the whole stack:

- A section is a connected component, in the plane of a slice, of the probability above `PROBABLE`. Its evidence is the
  mean probability times the area, of at most `LARGEST_MM2`, so that no large structure in a few slices outweighs a
  nerve.
- The path goes from a section to one of a later slice, across any number of missed slices, if the outlines lie near
  enough for a course at most as steep as `STEEPEST`. The outlines are taken for circles of the sections' areas. The
  path of most evidence is found by dynamic programming.
- A section of the path without mask fills a gap.
- Components of the mask in three dimensions that meet the path are kept, and so are those that continue a kept one: in
  a slice at most `GAP_MM` away, a section of theirs overlaps with one that is kept. So both branches are kept after the
  split, however far they run apart.

An empty mask of a leg stays empty. Following the path again changes nothing.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int, Int32, Int64
from scipy.ndimage import label

from nerveseg.data.classes import Classes
from nerveseg.data.legs import Leg
from nerveseg.inference.postprocessing import CONNECTED_IN_SPACE
from nerveseg.types import LabelMap, Mask, Probabilities, Probability, SpacingMm

PROBABLE = 0.2  # probability above which a voxel may be nerve; of a missed section it is the outline

LARGEST_MM2 = 100.0  # area from which on a larger section is no better; a nerve of the thigh has 40 to 80 mm2

STEEPEST = 0.5  # steepest course, in mm in the plane per mm along the stack: 27 degrees to the normal of the slices

FARTHEST_MM = 20.0  # largest distance in the plane between the outlines of two sections, however many slices apart

GAP_MM = 20.0  # largest distance along the stack across which a branch goes on: three missed slices of 4.4 mm

DECIMALS = 6  # of distances in mm that are compared with a limit

IN_ITS_SLICE = np.ones((3, 3, 3), dtype=bool) & np.array([False, True, False])  # neighbours along x and y


@dataclass(frozen=True)
class _Sections:
    """Sections of a stack, of which number n + 1 in `labels` has the index n elsewhere."""

    labels: Int32[np.ndarray, "x y z"]  # number of each voxel's section, 0: none
    slices: Int64[np.ndarray, " section"]  # index of the slice
    centres_mm: Float64[np.ndarray, "section 2"]  # centroid in the plane
    radii_mm: Float64[np.ndarray, " section"]  # radius of the circle of the section's area
    evidence_mm2: Float64[np.ndarray, " section"]  # mean probability times the area, of at most `LARGEST_MM2`


def along_nerves(
    labels: LabelMap,
    probabilities: Probabilities,
    classes: Classes,
    spacing_mm: SpacingMm,
    legs: tuple[Leg, ...],
) -> LabelMap:
    """Return a label map whose nerve is that of one path through each leg, with its branches.

    Voxels of parts that are no nerve stay as they are. Filled voxels, of background before, get their likeliest part.

    Args:
        labels: Number of each voxel's part.
        probabilities: Probability of each part.
        classes: Classes of the model.
        spacing_mm: Voxel spacing in mm.
        legs: Legs of the scan; each has a path.
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
    """Return what of a mask is on the path of one nerve or a branch of it, with the gaps of the path filled."""
    if not mask.any():
        return mask.copy()
    sections = _find_sections(mask, probability, spacing_mm)
    path = _best_path(sections, spacing_mm[2])
    missed = np.setdiff1d(path, sections.labels[mask] - 1)
    filled = mask | _chosen(sections.labels, missed + 1)
    components, _ = label(filled, CONNECTED_IN_SPACE)
    return _with_branches(components, filled & _chosen(sections.labels, path + 1), spacing_mm[2])


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
        centres_mm=np.stack([x * spacing_mm[0], y * spacing_mm[1]], axis=1),
        radii_mm=np.sqrt(areas_mm2 / np.pi),
        evidence_mm2=mean * np.minimum(areas_mm2, LARGEST_MM2),
    )


def _best_path(sections: _Sections, step_mm: float) -> Int64[np.ndarray, " on_path"]:
    """Return the sections of the path of most evidence, from the last slice to the first."""
    order = np.argsort(sections.slices, kind="stable")
    total, before = sections.evidence_mm2.copy(), np.full(order.size, -1)
    for each in order:
        steps = sections.slices[each] - sections.slices
        apart_mm = np.linalg.norm(sections.centres_mm - sections.centres_mm[each], axis=1)
        outlines_mm = np.round(apart_mm - sections.radii_mm - sections.radii_mm[each], DECIMALS)
        reach_mm = np.round(np.minimum(STEEPEST * steps * step_mm, FARTHEST_MM), DECIMALS)
        earlier = np.flatnonzero((steps > 0) & (outlines_mm <= reach_mm))
        if earlier.size:
            before[each] = earlier[total[earlier].argmax()]
            total[each] += total[before[each]]
    path = [int(total.argmax())]
    while before[path[-1]] >= 0:
        path.append(int(before[path[-1]]))
    return np.array(path)


def _with_branches(components: Int32[np.ndarray, "x y z"], path: Mask, step_mm: float) -> Mask:
    """Return the components that meet the path, and those that continue a kept one across a gap."""
    numbers = np.unique(components[path])
    farthest = min(components.shape[2] - 1, int(round(GAP_MM / step_mm, DECIMALS)))
    while True:
        kept = _chosen(components, numbers)
        found = [numbers]
        for gap in range(2, farthest + 1):  # neighbouring slices are connected
            found += [components[..., gap:][kept[..., :-gap]], components[..., :-gap][kept[..., gap:]]]
        continued = np.unique(np.concatenate(found))
        continued = continued[continued > 0]
        if continued.size == numbers.size:
            return kept
        numbers = continued


def _chosen(labels: Int32[np.ndarray, "x y z"], numbers: Int[np.ndarray, " chosen"]) -> Mask:
    table = np.zeros(int(labels.max()) + 1, dtype=bool)
    table[numbers] = True
    mask: Mask = table[labels]
    return mask
