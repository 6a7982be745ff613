"""Clean a mask: remove small components far from every nerve, and interpolate single missed slices.

A nerve may divide, run obliquely and leave a slice in several pieces, and one image may show two legs: so components
are counted in three dimensions with 26-connectivity, and the largest is never the only one kept. A speck is small and
also far from everything large. A single slice in which a nerve was missed may be bridged by shape-based interpolation:
the mean of the signed distance maps of the sections above and below, both moved to the middle between them.

Cleaning a clean mask changes nothing. Bridging may join small components to the first large one, beside which others
are specks: so both steps are repeated until no further slice is bridged. The repetition ends, because each removed
component takes voxels of the given mask with it.

References:
    Raya SP, Udupa JK. Shape-based interpolation of multidimensional objects. IEEE Trans Med Imaging 1990; 9:32-42.
"""

from operator import not_
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from scipy.ndimage import binary_dilation, distance_transform_edt, find_objects, label, shift
from scipy.spatial import cKDTree

from nerveseg.types import LabelMap, Mask, SpacingMm

CONNECTED_IN_SPACE = np.ones((3, 3, 3), dtype=bool)
CONNECTED_IN_PLANE = np.ones((3, 3), dtype=bool)


class Postprocessing(BaseModel, frozen=True, extra="forbid"):
    """Options of the clean-up."""

    # Flag: true to remove components that are smaller than `speck_volume_mm3` and farther than `speck_distance_mm` from
    # every larger one; a mask of small components only is kept as it is.
    remove_specks: bool = True
    # Volume from which a component is a nerve at any distance. The default is 23 mm2 in one slice of 4.4 mm; a nerve of
    # the thigh has 40 to 80 mm2 in each of many.
    speck_volume_mm3: float = Field(default=100.0, ge=0, allow_inf_nan=False)
    # Distance between voxel centres. The default lets a nerve that is missed in three slices of 4.4 mm go on behind
    # them.
    speck_distance_mm: float = Field(default=20.0, ge=0, allow_inf_nan=False)
    # Flag: true to interpolate a nerve that was missed in one slice between two that show it. Off by default, since a
    # quality flag names such a slice.
    bridge_single_slices: bool = False
    # Flag: true to keep of the nerve only the path through each leg's stack with its branches, and to fill the path's
    # gaps, before the steps above (`nerve_path`); false in bundles of earlier versions,
    # and left out of files where it is off, so that these and their hashes stay the same.
    follow_path: bool = Field(default=False, exclude_if=not_)

    def in_words(self) -> list[str]:
        """Return one phrase per step, for the model card."""
        specks = (
            f"components under {self.speck_volume_mm3:g} mm3 and more than {self.speck_distance_mm:g} mm from every"
            " larger one removed"
        )
        path = "the path of one nerve through each leg and its branches kept, its gaps filled; other nerve removed"
        steps = [path] if self.follow_path else []
        steps += [specks] if self.remove_specks else []
        steps += ["single missed slices interpolated"] if self.bridge_single_slices else []
        return steps or ["no clean-up of the mask"]


def clean(mask: Mask, spacing_mm: SpacingMm, rule: Postprocessing) -> Mask:
    """Return a cleaned copy of a mask in RAS order, slices along the last axis."""
    cleaned = mask.copy()
    while True:
        if rule.remove_specks:
            cleaned = _without_specks(cleaned, spacing_mm, rule)
        bridged = _bridged(cleaned, spacing_mm) if rule.bridge_single_slices else cleaned
        if np.array_equal(bridged, cleaned):
            return cleaned
        cleaned = bridged


def clean_labels(labels: LabelMap, spacing_mm: SpacingMm, rule: Postprocessing) -> LabelMap:
    """Clean each part of a label map by itself; a slice is bridged over background only."""
    cleaned = np.zeros_like(labels)
    for part in range(1, int(labels.max()) + 1):
        own = labels == part
        cleaned[clean(own, spacing_mm, rule) & (own | (labels == 0))] = part
    return cleaned


def _without_specks(mask: Mask, spacing_mm: SpacingMm, rule: Postprocessing) -> Mask:
    labels, number = label(mask, CONNECTED_IN_SPACE)
    volumes = np.bincount(labels.ravel(), minlength=number + 1) * np.prod(spacing_mm)
    nerves = volumes >= rule.speck_volume_mm3
    small = ~nerves
    nerves[0] = small[0] = False
    if not (nerves.any() and small.any()):
        return mask
    voxels = np.argwhere(small[labels])
    distances, _ = cKDTree(np.argwhere(nerves[labels]) * spacing_mm).query(voxels * spacing_mm)
    nearest = np.full(number + 1, np.inf)
    np.minimum.at(nearest, labels[tuple(voxels.T)], distances)
    return mask & ~(small & (nearest > rule.speck_distance_mm))[labels]


def _bridged(mask: Mask, spacing_mm: SpacingMm) -> Mask:
    """Fill single missed slices until none is left; each round only adds voxels, so the loop ends."""
    while True:
        added = mask.copy()
        for index in range(1, mask.shape[2] - 1):
            above, missed, below = (mask[..., number] for number in (index - 1, index, index + 1))
            if above.any() and below.any():
                added[..., index] |= _missed_sections(above, missed, below, (spacing_mm[0], spacing_mm[1]))
        if np.array_equal(added, mask):
            return mask
        mask = added


def _missed_sections(
    above: NDArray[Any], missed: NDArray[Any], below: NDArray[Any], spacing_mm: tuple[float, float]
) -> NDArray[np.bool_]:
    """Interpolate sections between those of two slices that meet in projection, if the slice between has none."""
    result = np.zeros_like(missed)
    groups, _ = label(above | below, CONNECTED_IN_PLANE)
    for group, box in enumerate(find_objects(groups), start=1):
        window = _widened(box, missed.shape)
        region = groups[window] == group
        first, second = above[window] & region, below[window] & region
        if not (first.any() and second.any()) or (_touching(region) & missed[window]).any():
            continue
        between = _interpolated(first, second, spacing_mm)
        if all((between & _touching(section)).any() for section in (first, second)):
            result[window] |= between
    return result


def _widened(box: tuple[slice, ...], shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Return a box with a margin for sections that are shifted by up to half its size."""
    margins = [(side.stop - side.start) // 2 + 2 for side in box]
    return tuple(
        slice(max(0, side.start - margin), min(pixels, side.stop + margin))
        for side, margin, pixels in zip(box, margins, shape, strict=True)
    )


def _touching(section: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray(binary_dilation(section, CONNECTED_IN_PLANE))


def _interpolated(first: NDArray[Any], second: NDArray[Any], spacing_mm: tuple[float, float]) -> NDArray[np.bool_]:
    """Return the shape halfway between two sections, centred halfway between their centres."""
    centres = [np.argwhere(section).mean(axis=0) for section in (first, second)]
    middle = (centres[0] + centres[1]) / 2
    maps = [
        shift(_signed_distance_mm(section, spacing_mm), middle - centre, order=1, mode="nearest")
        for section, centre in zip((first, second), centres, strict=True)
    ]
    return np.asarray(maps[0] + maps[1] > 0)


def _signed_distance_mm(section: NDArray[Any], spacing_mm: tuple[float, float]) -> NDArray[np.float64]:
    """Return the distance to the section's border in mm, positive inside."""
    inside, outside = (distance_transform_edt(part, sampling=spacing_mm) for part in (section, ~section))
    distance: NDArray[np.float64] = inside - outside
    return distance
