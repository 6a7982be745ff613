"""From tissues to a T2-weighted image: signal table, texture, partial volume, coil shading, Rician noise.

Signals are relative to healthy muscle (1) at TE 82 ms, TR 4690 ms (the paper's T2-weighted turbo spin echo without fat
suppression). The values of the literature are given where there are any; the rest is assumed and says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32
from scipy import ndimage

from nerveseg.phantom.anatomy import Section
from nerveseg.phantom.atlas import MUSCLES
from nerveseg.phantom.fields import Axis, Plane, WaveField

FAT = 6.0
MARROW = 5.6
CORTICAL_BONE = 0.1
ARTERY = 0.15
FASCIA = 0.8
"""Connective tissue sheets (assumed: short T2, thinner than a voxel)."""
SKIN = 2.0
"""Assumed."""
NERVE_FAT = 4.2
"""Epineurial fat between the fascicles, with its septa (assumed somewhat below fat)."""

VESSEL_FAT_MM = 0.5
"""Fat around vessels (assumed)."""

MUSCLE_UNITS = 100.0
"""Image units of healthy muscle."""


@dataclass(frozen=True)
class Appearance:
    """What one subject's tissues look like.

    Attributes:
        muscle: Signal of every muscle, in the order of `atlas.MUSCLES`.
        oedema: Additional signal of denervated muscle where it is full, per muscle.
        fascicle: Signal of healthy nerve fascicles, 1.5 to 2.6 (T2 45 to 64 ms).
        vein: Signal of slowly flowing blood, 2 to 3.7 (T2 50 to 80 ms).
        near_vein: Signal of the veins beside the nerve.
        streaks: Fine fat lines in the muscles.
        patches: Where oedema is strong.
        fascicles: Pattern of the nerve's fascicles.
        lobules: Pattern of the fat.
        shading: Sensitivity of the coil.
        shading_sd: Standard deviation of its logarithm.
        noise: Standard deviation of the noise in each of the two receiver components.
    """

    muscle: tuple[float, ...]
    oedema: tuple[float, ...]
    fascicle: float
    vein: float
    near_vein: float
    streaks: WaveField
    patches: WaveField
    fascicles: WaveField
    lobules: WaveField
    shading: WaveField
    shading_sd: float
    noise: float


def render(
    section: Section,
    look: Appearance,
    nerve_gain: float,
    fat_bed_mm: float,
    axes_mm: tuple[Axis, Axis],
    level_mm: float,
    voxel_mm: float,
) -> Plane:
    """Noise-free signal of one plane, painted from the skin inwards.

    Args:
        section: Signed distances of all tissues.
        look: The subject's tissues.
        nerve_gain: Signal of the nerve relative to health at this level.
        fat_bed_mm: Fat around the nerve.
        axes_mm: Lateral and anterior coordinates of the grid.
        level_mm: Height above the popliteal crease.
        voxel_mm: In-plane voxel size: how wide a border between two tissues is blurred.
    """
    lobules = look.lobules.plane(*axes_mm, level_mm)
    streaks = _ridges(look.streaks.plane(*axes_mm, level_mm), 0.16)
    picture = np.zeros_like(section.skin)

    def paint(distance_mm: Plane, signal: Plane | float) -> None:
        share = np.clip(0.5 - distance_mm / np.float32(voxel_mm), 0.0, 1.0)
        picture[...] += share * (signal - picture)

    paint(section.skin, SKIN)
    paint(section.skin + np.float32(1.5), FAT * (1.0 + 0.02 * lobules - 0.22 * _ridges(lobules, 0.05)))
    paint(np.abs(section.fascia) - np.float32(0.05), FASCIA)
    muscle = np.asarray(look.muscle, dtype=np.float32)[section.muscle_index]
    oedema = np.asarray(look.oedema, dtype=np.float32)[section.muscle_index]
    patches = np.clip(0.75 + 0.45 * look.patches.plane(*axes_mm, level_mm), 0.0, 1.4)
    paint(section.muscle, muscle + oedema * patches + streaks * (0.9 + 0.6 * oedema))
    paint(section.bone, CORTICAL_BONE)
    paint(section.marrow, MARROW * (1.0 + 0.03 * lobules))
    paint(section.nerve - np.float32(fat_bed_mm), FAT * (0.97 + 0.02 * lobules))
    vessels = np.minimum(np.minimum(section.arteries, section.veins), section.near_veins)
    paint(vessels - np.float32(VESSEL_FAT_MM), 0.7 * FAT)
    paint(section.arteries, FASCIA)
    paint(section.arteries + np.float32(0.5), ARTERY)
    paint(section.veins, look.vein)
    paint(section.near_veins, look.near_vein)
    paint(section.nerve - np.float32(0.25), FASCIA)
    paint(section.nerve, _nerve_signal(look, axes_mm, level_mm, nerve_gain))
    return picture


def acquire(
    picture: Float32[np.ndarray[Any, Any], "x y z"],
    look: Appearance,
    axes_mm: tuple[Axis, Axis],
    levels_mm: Axis,
    rng: np.random.Generator,
) -> Float32[np.ndarray[Any, Any], "x y z"]:
    """What the scanner makes of it: point spread, coil shading, Rician noise; slice by slice, in place."""
    for number, level_mm in enumerate(levels_mm):
        seen = ndimage.gaussian_filter(picture[:, :, number], 0.35)
        seen *= np.exp(look.shading_sd * look.shading.plane(*axes_mm, float(level_mm)))
        real = seen + look.noise * rng.standard_normal(seen.shape, dtype=np.float32)
        imaginary = look.noise * rng.standard_normal(seen.shape, dtype=np.float32)
        picture[:, :, number] = MUSCLE_UNITS * np.hypot(real, imaginary)
    return picture


def draw_appearance(
    rng: np.random.Generator, denervation: float, voxel_mm: float, noise: float, shading_sd: float
) -> Appearance:
    """Draw one subject's tissues.

    Args:
        rng: The subject's own generator.
        denervation: 0 in health, 1 where the muscles of the sciatic nerve are fully denervated.
        voxel_mm: In-plane voxel size; no texture is finer.
        noise: Noise relative to muscle.
        shading_sd: Strength of the coil's shading.
    """
    muscle = tuple(float(v) for v in rng.normal(1.0, 0.07, len(MUSCLES)))
    taken = rng.uniform(0.3, 1.4, len(MUSCLES))
    oedema = tuple(float(1.5 * denervation * t) if m.sciatic else 0.0 for m, t in zip(MUSCLES, taken, strict=True))
    fascicle = float(np.clip(rng.normal(2.0, 0.2), 1.5, 2.6))
    return Appearance(
        muscle=muscle,
        oedema=oedema,
        fascicle=fascicle,
        vein=float(rng.uniform(2.0, 3.7)),
        near_vein=float(np.clip(rng.normal(1.25 * fascicle, 0.35), 2.0, 3.7)),
        streaks=WaveField.draw(rng, (3.2, 4.5, 120.0), 96),
        patches=WaveField.draw(rng, (8.0, 8.0, 60.0), 32),
        fascicles=WaveField.draw(rng, (max(0.55, 0.5 * voxel_mm),) * 2 + (60.0,), 48),
        lobules=WaveField.draw(rng, (7.0, 7.0, 25.0), 64),
        shading=WaveField.draw(rng, (70.0, 70.0, 120.0), 8),
        shading_sd=shading_sd,
        noise=noise,
    )


def _nerve_signal(look: Appearance, axes_mm: tuple[Axis, Axis], level_mm: float, gain: float) -> Plane:
    """Fascicles in epineurial fat: about a quarter of the area is fat."""
    pattern = look.fascicles.plane(*axes_mm, level_mm)
    fat_share = 1.0 / (1.0 + np.exp((pattern + 0.75) / 0.25))
    fascicle = look.fascicle * gain
    return np.asarray(fascicle + fat_share * max(NERVE_FAT - fascicle, 0.0), dtype=np.float32)


def _ridges(field: Plane, width: float) -> Plane:
    """Thin bright lines along a field's zero crossings."""
    return np.clip(1.0 - np.abs(field) / np.float32(width), 0.0, 1.0)
