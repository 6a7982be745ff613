"""Second channel: fat-suppressed T2 on its own coarser grid, slightly misregistered, as the paper's TIRM.

The leg moves between two series. Shift and rotation are small and known; the copy on the first channel's grid is
resampled by the headers alone, so it includes the misregistration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32
from scipy import ndimage

from nerveseg.phantom.acquisition import MUSCLE_UNITS, Acquisition
from nerveseg.phantom.grid import ScanGrid
from nerveseg.phantom.specification import CohortSpec, Participant, subject_generator
from nerveseg.types import Affine, Image

SHIFT_SD_MM = 0.6
TURN_SD_DEG = 0.25
"""Standard deviations of the movement of an immobilised leg between two series (assumed)."""


@dataclass(frozen=True)
class FatSuppressed:
    """Fat-suppressed series.

    Attributes:
        image: Image on its own grid.
        affine: Affine of that grid.
        on_t2: Image resampled to the T2 grid.
        shift_mm: Movement of the leg along x and y in mm.
        turn_deg: Rotation of the leg from x to y in degrees.
    """

    image: Image
    affine: Affine
    on_t2: Float32[np.ndarray[Any, Any], "x_t2 y_t2 z"]
    shift_mm: tuple[float, float]
    turn_deg: float


def fat_suppressed(
    spec: CohortSpec,
    participant: Participant,
    picture: Float32[np.ndarray[Any, Any], "x y z"],
    scan: Acquisition,
    grid: ScanGrid,
    affine: Affine,
) -> FatSuppressed:
    """Acquire the second channel.

    Args:
        spec: Specification of the cohort; its `fat_suppressed_mm` is the in-plane spacing.
        participant: Participant of the scan.
        picture: Noise-free signal on the T2 grid.
        scan: Coil and noise; the noise is reduced for larger voxels.
        grid: T2 grid.
        affine: Affine of the T2 grid.
    """
    rng = subject_generator(spec, participant.id, "fat-suppressed")
    shift_mm = tuple(float(v) for v in rng.normal(0.0, SHIFT_SD_MM, 2))
    turn_deg = float(rng.normal(0.0, TURN_SD_DEG))
    factor = float(spec.fat_suppressed_mm or 1.0) / grid.spacing_mm[0]
    shape = tuple(round(n / factor) for n in grid.shape[:2])
    moved = _moved(turn_deg, np.asarray(shift_mm) / grid.spacing_mm[:2], grid.shape[:2])
    down = _resizing(factor, grid.shape[:2], shape)
    up = np.linalg.inv(down)
    noise = scan.noise / factor
    image = np.zeros((*shape, grid.shape[2]), np.float32)
    copy = np.zeros(grid.shape, np.float32)
    for number in range(grid.shape[2]):
        seen = ndimage.gaussian_filter(picture[:, :, number], 0.35 * factor) * scan.sensitivity(grid, number)
        plane = _resampled(seen, moved @ down, shape)
        real = plane + noise * rng.standard_normal(shape, dtype=np.float32)
        imaginary = noise * rng.standard_normal(shape, dtype=np.float32)
        image[:, :, number] = np.round(MUSCLE_UNITS * np.hypot(real, imaginary))
        copy[:, :, number] = np.round(_resampled(image[:, :, number], up, grid.shape[:2]))
    return FatSuppressed(image, _coarser(affine, down), copy, (shift_mm[0], shift_mm[1]), turn_deg)


def _resizing(factor: float, shape: tuple[int, ...], coarse: tuple[int, ...]) -> Any:
    """Return the matrix (3 x 3) from indices of the coarse to those of the fine grid; the middles coincide."""
    matrix = np.diag([factor, factor, 1.0])
    matrix[:2, 2] = (np.array(shape) - 1) / 2 - factor * (np.array(coarse) - 1) / 2
    return matrix


def _moved(turn_deg: float, shift: Any, shape: tuple[int, ...]) -> Any:
    """Return the matrix (3 x 3) from indices after the movement to those before: a rotation and a shift."""
    angle = np.deg2rad(turn_deg)
    back = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    middle = (np.array(shape) - 1) / 2
    matrix = np.eye(3)
    matrix[:2, :2] = back
    matrix[:2, 2] = middle - back @ (middle + shift)
    return matrix


def _resampled(plane: Any, matrix: Any, shape: tuple[int, ...]) -> Any:
    return ndimage.affine_transform(plane, matrix[:2, :2], matrix[:2, 2], shape, order=1, mode="nearest")


def _coarser(affine: Affine, down: Any) -> Affine:
    """Return the affine of the coarse grid, which has the slices of the fine grid."""
    indices = np.eye(4)
    indices[:2, :2], indices[:2, 3] = down[:2, :2], down[:2, 2]
    return np.asarray(affine @ indices)
