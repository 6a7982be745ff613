"""Truth of a simulated scan, as reference for biomarkers and maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from nerveseg.phantom.nerve import peroneal_offset_mm
from nerveseg.phantom.outline import Outline
from nerveseg.phantom.thigh import Thigh
from nerveseg.types import Image, Mask

TIBIAL, PERONEAL = 1, 2
"""Labels of the two parts, also in their common sheath."""


@dataclass(frozen=True)
class SliceTruth:
    """Truth of one slice.

    Attributes:
        slice: Index of the slice, from 0 at the distal end.
        level_mm: Level in mm above the popliteal crease.
        split: Flag: true if the two nerves have parted.
        area_mm2: Area in mm2 of the nerve in the image, with partial voxels.
        anatomical_area_mm2: Area in mm2 of the nerve in the undistorted thigh.
        swelling: Area relative to the same nerve in health.
        signal_gain: Signal relative to health.
        tibial_x: Voxel index along x of the centre of the tibial part.
        tibial_y: Voxel index along y of the centre of the tibial part.
        peroneal_x: Voxel index along x of the centre of the peroneal part.
        peroneal_y: Voxel index along y of the centre of the peroneal part.
    """

    slice: int
    level_mm: float
    split: bool
    area_mm2: float
    anatomical_area_mm2: float
    swelling: float
    signal_gain: float
    tibial_x: float
    tibial_y: float
    peroneal_x: float
    peroneal_y: float


@dataclass(frozen=True)
class Truth:
    """Truth of one scan on its grid.

    Attributes:
        nerve: Voxels that are at least half nerve.
        coverage: Share of every voxel that is nerve.
        branches: Labels `TIBIAL` and `PERONEAL` within the nerve.
        lesion: Nerve in which the lesion has at least half its strength.
        slices: Area and centreline of each slice.
    """

    nerve: Mask
    coverage: Image
    branches: UInt8[np.ndarray[Any, Any], "x y z"]
    lesion: Mask
    slices: tuple[SliceTruth, ...]


def truth_of(thigh: Thigh, outline: Outline) -> Truth:
    """Compute the truth of one scan."""
    step_mm = outline.grid.spacing_mm[0]
    coverage = np.clip(0.5 - outline.distance_mm / np.float32(step_mm), 0.0, 1.0)
    inside = outline.distance_mm < 0
    parts = np.where(outline.peroneal, PERONEAL, TIBIAL) * inside
    weights = np.array([thigh.nerve.lesion_weight(float(level)) for level in outline.grid.levels_mm])
    return Truth(
        nerve=outline.truth,
        coverage=outline.whole(coverage),
        branches=outline.whole(parts.astype(np.uint8)),
        lesion=outline.whole(inside & (weights >= 0.5)),
        slices=tuple(_slice_truth(thigh, outline, number, coverage) for number in range(len(weights))),
    )


def _slice_truth(thigh: Thigh, outline: Outline, number: int, coverage: Any) -> SliceTruth:
    grid, nerve = outline.grid, thigh.nerve
    level_mm = float(grid.levels_mm[number])
    centre = np.array(thigh.nerve_centre_mm(level_mm))
    tibial = grid.voxel(number, *(float(v) for v in centre))
    peroneal = grid.voxel(number, *(float(v) for v in centre + peroneal_offset_mm(nerve, level_mm)))
    return SliceTruth(
        slice=number,
        level_mm=level_mm,
        split=nerve.is_split(level_mm),
        area_mm2=float(coverage[:, :, number].sum() * grid.spacing_mm[0] * grid.spacing_mm[1]),
        anatomical_area_mm2=nerve.area_at(level_mm),
        swelling=nerve.swelling_at(level_mm),
        signal_gain=nerve.signal_gain_at(level_mm),
        tibial_x=tibial[0], tibial_y=tibial[1], peroneal_x=peroneal[0], peroneal_y=peroneal[1],
    )  # fmt: skip
