"""Acquisition of a noise-free picture: point spread, coil sensitivity, motion ghosts, Rician noise.

The sensitivity of a knee coil falls towards its ends, that of a surface coil behind the thigh with depth. Motion adds
faint copies of the leg along the phase-encoding direction, more in patients, who move more (paper, section 4).

The second channel, fat-suppressed T2 as the paper's TIRM, has its own coarser grid. The leg moves between two series by
a small, known shift and rotation; the copy on the first channel's grid includes this misregistration.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float32
from scipy import ndimage

from nerveseg.phantom.grid import Plane, ScanGrid, WaveField
from nerveseg.phantom.specification import CohortSpec, Participant, subject_generator
from nerveseg.types import Affine, Image

Picture: TypeAlias = Float32[np.ndarray[Any, Any], "x y z"]

MUSCLE_UNITS = 100.0  # image units of healthy muscle where the coil's sensitivity is 1
GHOST_SHARE = {"patient": 0.05, "volunteer": 0.015}  # median strength of the ghosts relative to the picture (assumed)
MOVED_SHARE = (0.2, 0.5)  # range of the share of a slice's echoes after the movement (assumed)
SHIFT_SD_MM, TURN_SD_DEG = 0.6, 0.25  # of an immobilised leg's movement between two series (assumed)


@dataclass(frozen=True)
class Acquisition:
    """Coil, noise and motion of one scan."""

    knee_coil: bool  # else a surface coil
    coil: float  # strength of the coil's profile; 0 is a uniform coil
    middle_mm: float  # level of the coil's middle
    half_length_mm: float  # distance at which the knee coil's sensitivity has fallen to 1/e
    shading: WaveField  # deviations from the profile
    shading_sd: float  # standard deviation of the logarithm of the deviations
    noise: float  # standard deviation of the noise in each of the two receiver components
    ghost: float  # strength of the motion ghosts relative to the picture
    ghost_mm: float  # distance of the ghosts
    ghost_phase: float  # phase of the movement in radians
    moved_mm: tuple[float, ...] = ()  # movement along the phase-encoding direction during each slice; empty for none
    moved_share: tuple[float, ...] = ()  # share of each slice's echoes after the movement

    def sensitivity(self, grid: ScanGrid, number: int) -> Plane:
        """Return the sensitivity over one slice, 1 near the nerve in the middle of the coil."""
        lateral, anterior = grid.axes_mm(number)
        level_mm = float(grid.levels_mm[number])
        logarithm = self.shading_sd * self.shading.plane(lateral, anterior, level_mm)
        if self.coil:
            logarithm += np.float32(self.coil) * self._profile(lateral[:, None], anterior[None, :], level_mm)
        return np.exp(logarithm)

    def _profile(self, lateral_mm: Any, anterior_mm: Any, level_mm: float) -> Plane:
        along = ((level_mm - self.middle_mm) / self.half_length_mm) ** 2
        if self.knee_coil:
            return np.asarray((lateral_mm**2 + anterior_mm**2) / 80.0**2 * 0.3 - along, dtype=np.float32)
        profile = -(anterior_mm + 45.0) / 70.0 - ((lateral_mm + 10.0) / 110.0) ** 2 - 0.3 * along
        return np.asarray(profile, dtype=np.float32)


def draw_acquisition(spec: CohortSpec, participant: Participant) -> Acquisition:
    """Draw one scan's coil, noise and motion."""
    rng = subject_generator(spec, participant.id, "acquisition")
    half_mm = spec.slices * spec.spacing_mm[2] / 2
    moved_mm, moved_share = _draw_movement(spec, participant)
    return Acquisition(
        knee_coil=participant.location == "distal",
        coil=spec.coil * float(np.exp(rng.normal(0.0, 0.25))),
        middle_mm=spec.stack_centre_mm[participant.location] + float(rng.normal(0.0, 10.0)),
        half_length_mm=1.4 * half_mm,
        shading=WaveField.draw(rng, (70.0, 70.0, 120.0), 8),
        shading_sd=spec.shading_sd,
        noise=spec.noise,
        ghost=spec.motion * GHOST_SHARE[participant.cohort] * float(np.exp(rng.normal(0.0, 0.5))),
        ghost_mm=float(rng.uniform(20.0, 60.0)),
        ghost_phase=float(rng.uniform(0, 2 * np.pi)),
        moved_mm=moved_mm,
        moved_share=moved_share,
    )


def _draw_movement(spec: CohortSpec, participant: Participant) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Draw the displacement of every slice of a patient; its spread differs between patients."""
    if participant.cohort != "patient" or spec.patient_movement_mm == 0:
        return (), ()
    rng = subject_generator(spec, participant.id, "movement")
    restless_mm = spec.patient_movement_mm * float(np.exp(rng.normal(0.0, 0.4)))
    moved_mm = restless_mm * rng.standard_normal(spec.slices)
    return tuple(moved_mm.tolist()), tuple(rng.uniform(*MOVED_SHARE, spec.slices).tolist())


def acquire(picture: Picture, scan: Acquisition, grid: ScanGrid, rng: np.random.Generator) -> Picture:
    """Apply point spread, coil, ghosts and noise to a signal relative to healthy muscle, slice by slice, in place."""
    for number in range(picture.shape[2]):
        seen = ndimage.gaussian_filter(picture[:, :, number], 0.35)
        if scan.moved_mm:
            after = ndimage.shift(seen, (0.0, scan.moved_mm[number] / grid.spacing_mm[1]), order=1, mode="nearest")
            seen += np.float32(scan.moved_share[number]) * (after - seen)
        seen *= scan.sensitivity(grid, number)
        signal = _with_ghosts(seen, scan, grid.spacing_mm[1], number) if scan.ghost else seen
        picture[:, :, number] = _received(signal, scan.noise, rng)
    return picture


def _received(signal: Plane, noise: float, rng: np.random.Generator) -> Plane:
    """Return the magnitude in image units of a signal with noise in both receiver components (Rician)."""
    real = signal + noise * rng.standard_normal(signal.shape, dtype=np.float32)
    imaginary = noise * rng.standard_normal(signal.shape, dtype=np.float32)
    return np.asarray(MUSCLE_UNITS * np.hypot(real, imaginary))


def _with_ghosts(seen: Plane, scan: Acquisition, step_mm: float, number: int) -> Plane:
    """Add two copies, shifted along the phase-encoding direction and wrapped round, with the sign of the phase."""
    shift = max(1, round(scan.ghost_mm / step_mm))
    strength = np.float32(scan.ghost * np.sin(scan.ghost_phase + 2.4 * number))
    return np.asarray(seen + strength * (np.roll(seen, shift, axis=1) - np.roll(seen, -shift, axis=1)))


@dataclass(frozen=True)
class FatSuppressed:
    """Fat-suppressed series."""

    image: Image  # on its own grid
    affine: Affine  # of that grid
    on_t2: Float32[np.ndarray[Any, Any], "x_t2 y_t2 z"]  # resampled to the T2 grid
    shift_mm: tuple[float, float]  # movement of the leg along x and y
    turn_deg: float  # rotation of the leg from x to y


def fat_suppressed(
    spec: CohortSpec, participant: Participant, picture: Picture, scan: Acquisition, grid: ScanGrid, affine: Affine
) -> FatSuppressed:
    """Acquire the second channel of a noise-free signal on the T2 grid; the noise is lower in larger voxels."""
    rng = subject_generator(spec, participant.id, "fat-suppressed")
    shift_mm = tuple(float(v) for v in rng.normal(0.0, SHIFT_SD_MM, 2))
    turn_deg = float(rng.normal(0.0, TURN_SD_DEG))
    factor = float(spec.fat_suppressed_mm or 1.0) / grid.spacing_mm[0]
    shape = tuple(round(n / factor) for n in grid.shape[:2])
    moved = _moved(turn_deg, np.asarray(shift_mm) / grid.spacing_mm[:2], grid.shape[:2])
    down = _resizing(factor, grid.shape[:2], shape)
    up = np.linalg.inv(down)
    image = np.zeros((*shape, grid.shape[2]), np.float32)
    copy = np.zeros(grid.shape, np.float32)
    for number in range(grid.shape[2]):
        seen = ndimage.gaussian_filter(picture[:, :, number], 0.35 * factor) * scan.sensitivity(grid, number)
        plane = _resampled(seen, moved @ down, shape)
        image[:, :, number] = np.round(_received(plane, scan.noise / factor, rng))
        copy[:, :, number] = np.round(_resampled(image[:, :, number], up, grid.shape[:2]))
    indices = np.eye(4)  # of the coarse grid, which has the slices of the fine one
    indices[:2, :2], indices[:2, 3] = down[:2, :2], down[:2, 2]
    return FatSuppressed(image, affine @ indices, copy, (shift_mm[0], shift_mm[1]), turn_deg)


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
