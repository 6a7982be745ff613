"""Causes of the difference between two masks, as text, by rules on the masks alone.

Every voxel that only one of the masks holds gets one cause, the first of these that applies:

- nothing found: reference, where the automatic mask is empty;
- false piece: automatic, in a connected piece that touches no reference;
- missed slices: reference, in a slice in which the automatic mask touches none of it;
- missed branch: reference, in a section of its slice (a branch) that the automatic mask does not touch;
- too wide: automatic, around detected nerve; too narrow: reference, around detected nerve.

Voxels have equal weights, or are weighted by their distance to the other mask to explain a distance.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from nerveseg.evaluation.comparisons import AUTOMATIC, CONSENSUS
from nerveseg.evaluation.metrics.voxels import ALL_AROUND, IN_PLANE, Offset, component_of
from nerveseg.reporting.subject_view import SubjectView
from nerveseg.types import Mask

NOTHING, FALSE_PIECE = "nothing found", "false piece"
MISSED_SLICES, MISSED_BRANCH, TOO_WIDE, TOO_NARROW = "missed slices", "missed branch", "too wide", "too narrow"
NAMED_SHARE = 0.25  # least share of the disagreement from which a cause is named; the largest cause always is


@dataclass(frozen=True)
class Cause:
    """Cause of disagreement: its name, its share of the disagreement in [0, 1], and words with its size."""

    name: str
    share: float
    words: str


@dataclass(frozen=True)
class Explanation:
    """Location and causes of the difference between two masks."""

    slice_index: int  # index (RAS order) of the slice with the largest disagreement; for equal masks, with most nerve
    causes: tuple[Cause, ...]  # causes, the largest first; empty for equal masks

    @property
    def words(self) -> str:
        """Description of the causes that are named."""
        named = [cause.words for number, cause in enumerate(self.causes) if not number or cause.share >= NAMED_SHARE]
        return "; ".join(named) or "no difference"


def explain(view: SubjectView, by_distance: bool) -> Explanation:
    """Explain the difference of the masks; voxels have equal weights, or that of their distance to the other mask."""
    off_mm = _distances_mm(view)
    weight = off_mm if by_distance and np.isfinite(off_mm).all() else (off_mm > 0).astype(np.float64)
    total = float(weight.sum())
    if not total:
        nerve = view.masks[CONSENSUS].sum(axis=(0, 1))
        return Explanation(int(np.argmax(nerve)) if nerve.any() else len(nerve) // 2, ())
    causes = [
        Cause(name, float(weight[voxels].sum()) / total, _in_words(name, voxels, off_mm, view))
        for name, voxels in _by_cause(view).items()
        if voxels.any()
    ]
    index = int(np.argmax(weight.sum(axis=(0, 1))))
    return Explanation(index, tuple(sorted(causes, key=lambda cause: -cause.share)))


def _distances_mm(view: SubjectView) -> Float[np.ndarray[Any, Any], "x y z"]:
    """Return, for every voxel in one mask only, the distance in mm to the other mask; zero elsewhere."""
    off_mm = np.zeros(view.image.shape)
    automatic, reference = view.masks[AUTOMATIC], view.masks[CONSENSUS]
    for mask, other in ((automatic, reference), (reference, automatic)):
        alone = mask & ~other
        if other.any():
            off_mm[alone] = distance_transform_edt(~other, view.spacing_mm)[alone]
        else:
            off_mm[alone] = np.inf
    return off_mm


def _by_cause(view: SubjectView) -> dict[str, NDArray[Any]]:
    """Return the voxels of each cause; no voxel has two."""
    automatic, reference = view.masks[AUTOMATIC], view.masks[CONSENSUS]
    false, missed = automatic & ~reference, reference & ~automatic
    if not automatic.any():
        return {NOTHING: missed}
    pieces = false & _untouched(automatic, reference, ALL_AROUND)
    slices = missed & ~(automatic & reference).any(axis=(0, 1))
    branches = missed & _untouched(reference, automatic, IN_PLANE) & ~slices
    return {
        FALSE_PIECE: pieces,
        MISSED_SLICES: slices,
        MISSED_BRANCH: branches,
        TOO_WIDE: false & ~pieces,
        TOO_NARROW: missed & ~slices & ~branches,
    }


def _untouched(mask: Mask, other: Mask, neighbours: tuple[Offset, ...]) -> Mask:
    """Return the connected parts of a mask that share no voxel with the other mask."""
    component, number = component_of(mask, neighbours)
    touched = np.bincount(component, other[mask], minlength=number) > 0
    untouched = np.zeros_like(mask)
    untouched[mask] = ~touched[component]
    return untouched


def _in_words(name: str, voxels: NDArray[Any], off_mm: NDArray[Any], view: SubjectView) -> str:
    slices = int(voxels.any(axis=(0, 1)).sum())
    volume = f"({np.count_nonzero(voxels) * np.prod(view.spacing_mm):.0f} mm³)"
    in_slices = f"in {slices} slice{'' if slices == 1 else 's'}"
    if name == FALSE_PIECE:
        _, number = component_of(voxels, ALL_AROUND)
        away = off_mm[voxels].max()
        far = f", up to {away:.0f} mm away" if np.isfinite(away) else ""
        return f"{'false piece' if number == 1 else f'{number} false pieces'}{far} {volume}"
    return {
        MISSED_SLICES: f"nerve missed altogether {in_slices}",
        MISSED_BRANCH: f"branch missed {in_slices}",
        NOTHING: "no mask: nothing was found",
    }.get(name, f"outline {name} {volume}")
