"""Measures of every rater's mask of every class, by which `mask_faults` recognises masks that are wrong.

A mask is compared with those of the other raters of the subject, as drawn and after a mirroring or a shift, and with
the image below it; its position in the body is compared between subjects.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, find_objects, minimum

from nerveseg.evaluation.comparisons import nerve_volume_mm3
from nerveseg.evaluation.metrics.pair_scores import dice
from nerveseg.evaluation.metrics.voxels import ALL_AROUND, component_of
from nerveseg.types import Image, Mask, SpacingMm

MIRRORED = ("left-right", "front-back", "head-feet")  # names of a mirroring along x, y and z

RING_MM = 3.0  # width of the ring around a mask whose intensity is compared with that inside


@dataclass(frozen=True)
class MaskMeasures:
    """Measures of one mask; a row of `check.csv`."""

    subject: str  # participant id, without `sub-`
    cohort: str  # name of the cohort
    side: str | None  # side of the leg, or None
    location: str | None  # part of the limb, or None
    structure: str  # name of the class
    rater: str  # name of the rater
    path: str  # file of the mask
    labels: str  # values in the file above zero, joined by spaces
    sha256: str  # SHA-256 of the voxels in RAS order and their shape; equal for masks that are equal voxel by voxel
    voxels: int  # number of voxels
    volume_mm3: float  # volume in mm3
    foreground_share: float  # share of the volume's voxels that are in the mask, in [0, 1]
    slices: int  # number of slices that hold the mask
    first_slice: int = -1  # first such slice, counted from the feet from 0; -1 for an empty mask
    last_slice: int = -1  # last such slice; -1 for an empty mask
    components: int = 0  # number of connected pieces (26 neighbours)
    # Largest distance of a piece from the largest one in the plane of the slices, in mm; 0 for one piece.
    stray_mm: float = 0.0
    stray_voxels: int = 0  # number of voxels of the piece that is farthest from the largest one
    dice: float = nan  # mean Dice with the other raters' masks; NaN for a single rater
    others_dice: float = nan  # mean Dice among the other raters; NaN for fewer than two of them
    changed_dice: float = nan  # mean Dice with the other raters after `change`
    change: str = ""  # mirroring or shift that increases the Dice most, such as "mirrored left-right"; empty for none
    # Mean Dice with the other raters' masks of another class, and that class, where both masks fit better exchanged.
    swapped_dice: float = nan
    swapped: str = ""
    x_share: float = nan  # position of the centroid between the left and right border of the body, in [0, 1]
    y_share: float = nan  # the same from back to front
    z_share: float = nan  # the same from the lowest to the highest slice
    intensity: float = nan  # rank of the mask's median intensity among the values of the body, in [0, 1]
    # Difference of the mean intensity inside and in a ring around, in standard deviations of the body.
    contrast: float = nan
    mirrored: str = ""  # mirroring of the mask whose contrast has the largest magnitude, such as "left-right"
    mirrored_contrast: float = nan  # contrast of the mask after that mirroring


def voxel_sha256(mask: Mask) -> str:
    """Return the SHA-256 of a mask's voxels and shape, whatever file holds it."""
    return hashlib.sha256(repr(mask.shape).encode() + np.packbits(mask).tobytes()).hexdigest()


def shape_measures(mask: Mask, spacing_mm: SpacingMm) -> dict[str, Any]:
    """Measure size, extent and pieces of a mask in RAS order, as fields of `MaskMeasures`."""
    voxels = int(np.count_nonzero(mask))
    held = np.flatnonzero(mask.any(axis=(0, 1)))
    found: dict[str, Any] = {
        "voxels": voxels,
        "volume_mm3": nerve_volume_mm3(mask, spacing_mm),
        "foreground_share": voxels / mask.size,
        "slices": len(held),
    }
    if voxels:
        found |= {"first_slice": int(held[0]), "last_slice": int(held[-1])} | _pieces(mask, spacing_mm)
    return found


def _pieces(mask: Mask, spacing_mm: SpacingMm) -> dict[str, Any]:
    """Return the number of pieces, and distance and size of the one that is farthest from the largest."""
    piece_of, number = component_of(mask, ALL_AROUND)
    sizes = np.bincount(piece_of)
    plane_mm = np.argwhere(mask)[:, :2] * spacing_mm[:2]
    largest = plane_mm[piece_of == sizes.argmax()]
    gaps = np.maximum(0, np.maximum(largest.min(axis=0) - plane_mm, plane_mm - largest.max(axis=0)))
    distances = np.asarray(minimum(np.hypot(*gaps.T), piece_of, np.arange(number)))
    farthest = int(distances.argmax())
    stray_mm = float(distances[farthest])
    return {"components": number, "stray_mm": stray_mm, "stray_voxels": int(sizes[farthest]) if stray_mm else 0}


def agreement_measures(masks: Mapping[str, Mask]) -> dict[str, dict[str, Any]]:
    """Compare the masks of one subject's raters, as drawn and after the mirroring or shift that fits best.

    Returns:
        Values from `dice` to `change`, by rater; empty for a single rater.
    """
    pairs = {frozenset(pair): dice(masks[pair[0]], masks[pair[1]]) for pair in combinations(masks, 2)}
    found = {}
    for rater, mask in masks.items() if pairs else ():
        others = [other for name, other in masks.items() if name != rater]
        as_drawn = _mean([value for pair, value in pairs.items() if rater in pair])
        changed, change = _best_change(mask, others)
        if not changed > as_drawn:
            changed, change = as_drawn, ""
        among = _mean([value for pair, value in pairs.items() if rater not in pair])
        found[rater] = {"dice": as_drawn, "others_dice": among, "changed_dice": changed, "change": change}
    return found


def swapped_classes(masks: Mapping[str, Mapping[str, Mask]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Find classes whose masks of one rater fit those of the other raters better if the two are exchanged.

    Args:
        masks: Masks of one subject, by class and rater.

    Returns:
        Values of `swapped` and `swapped_dice`, by class and rater; none where no exchange fits.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for first, second in combinations(masks, 2):
        for rater in masks[first]:
            others = [other for other in masks[first] if other != rater]
            if (masks[first][rater] & masks[second][rater]).any():
                continue  # nested classes
            kept, exchanged = (
                min(_mean([dice(masks[one][rater], masks[other][name]) for name in others]) for one, other in pairs)
                for pairs in (((first, first), (second, second)), ((first, second), (second, first)))
            )
            if exchanged > max(kept, found.get((first, rater), {}).get("swapped_dice", 0.0)):
                found[first, rater] = {"swapped_dice": exchanged, "swapped": second}
                found[second, rater] = {"swapped_dice": exchanged, "swapped": first}
    return found


def _best_change(mask: Mask, others: list[Mask]) -> tuple[float, str]:
    """Return the highest mean Dice with other masks after a mirroring or a shift, and the name of that change."""
    changes = {f"mirrored {name}": np.flip(mask, axis) for axis, name in enumerate(MIRRORED)}
    shifts = {_best_shift(mask, others), *((0, 0, slices) for slices in (-2, -1, 1, 2))} - {(0, 0, 0)}
    changes |= {f"shifted by {shift} voxels": _shifted(mask, shift) for shift in sorted(shifts)}
    values = {name: _mean([dice(changed, other) for other in others]) for name, changed in changes.items()}
    best = max(values, key=lambda name: values[name] if values[name] == values[name] else -1.0)
    return values[best], best


def _best_shift(mask: Mask, others: list[Mask]) -> tuple[int, int, int]:
    """Return the shift (x, y, z) in voxels after which a mask shares most voxels with the others together."""
    votes: NDArray[Any] = np.asarray(np.sum(others, axis=0, dtype=np.float32))
    if not mask.any() or not votes.any():
        return (0, 0, 0)
    from scipy.signal import correlate  # takes half a second to import

    own, theirs = find_objects(mask.astype(np.uint8))[0], find_objects((votes > 0).astype(np.uint8))[0]
    shared: NDArray[Any] = np.asarray(correlate(votes[theirs], mask[own].astype(np.float32), mode="full", method="fft"))
    peak = np.unravel_index(int(shared.argmax()), shared.shape)
    x, y, z = (
        int(there.start - here.start + at - (here.stop - here.start - 1))
        for at, here, there in zip(peak, own, theirs, strict=True)
    )
    return (x, y, z)


def _shifted(mask: Mask, shift: tuple[int, int, int]) -> Mask:
    """Return a mask moved by whole voxels, without what leaves the volume."""
    moved = np.zeros_like(mask)
    into = tuple(slice(max(0, step), size + min(0, step)) for step, size in zip(shift, mask.shape, strict=True))
    out_of = tuple(slice(max(0, -step), size + min(0, -step)) for step, size in zip(shift, mask.shape, strict=True))
    moved[into] = mask[out_of]
    return moved


def image_measures(masks: Mapping[str, Mask], image: Image, spacing_mm: SpacingMm) -> dict[str, dict[str, Any]]:
    """Measure where the masks of one subject's raters lie in the body, and the intensity of the image below them.

    Returns:
        Values from `x_share` to `mirrored_contrast`, by rater; raters with an empty mask are left out.
    """
    body = image > _background(image)
    box = find_objects(body.astype(np.uint8))[0]
    values = np.sort(image[body][::7])
    spread = float(values.std())
    found = {}
    for rater, mask in ((rater, mask) for rater, mask in masks.items() if mask.any()):
        centroid = np.argwhere(mask).mean(axis=0)
        x, y, _ = (
            (at - side.start) / max(1, side.stop - 1 - side.start) for at, side in zip(centroid, box, strict=True)
        )
        mirrored = {
            name: _contrast(np.flip(mask, axis), image, spread, spacing_mm) for axis, name in enumerate(MIRRORED)
        }
        strongest = max(mirrored, key=lambda name, of=mirrored: np.nan_to_num(abs(of[name]), nan=-1.0))
        found[rater] = {
            "x_share": float(x),
            "y_share": float(y),
            "z_share": float(centroid[2] / max(1, mask.shape[2] - 1)),
            "intensity": float(np.searchsorted(values, np.median(image[mask]))) / len(values),
            "contrast": _contrast(mask, image, spread, spacing_mm),
            "mirrored": strongest,
            "mirrored_contrast": mirrored[strongest],
        }
    return found


def _background(image: Image) -> float:
    """Return the intensity up to which a voxel is air: a tenth of the way from the lowest to the 98th percentile.

    The brightest voxels are never air, in an image of nearly one value either.
    """
    low, high = np.percentile(image[::3, ::3], (0.5, 98.0))
    return min(float(low + 0.1 * (high - low)), float(np.nextafter(image.max(), -np.inf)))


def _contrast(mask: Mask, image: Image, spread: float, spacing_mm: SpacingMm) -> float:
    steps = tuple(max(1, round(RING_MM / size)) for size in spacing_mm[:2])
    sides = tuple(
        slice(max(0, int(at.start) - step), int(at.stop) + step)
        for at, step in zip(find_objects(mask.astype(np.uint8))[0], (*steps, 0), strict=True)
    )
    inside, around = mask[sides], image[sides]
    disc = np.ones((2 * steps[0] + 1, 2 * steps[1] + 1, 1), dtype=bool)
    ring = binary_dilation(inside, disc) & ~inside
    return float((around[inside].mean() - around[ring].mean()) / spread) if ring.any() and spread > 0 else nan


def _mean(values: list[float]) -> float:
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else nan
