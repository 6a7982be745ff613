"""Noise-free signal of one plane in one or more MR sequences, from its tissues: texture and partial volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float32

from nerveseg.phantom.anatomy import Section
from nerveseg.phantom.fields import Axis, Plane
from nerveseg.phantom.perineural import Perineural
from nerveseg.phantom.tissues import Appearance, MrSequence

VESSEL_FAT_MM = 0.5
"""Thickness of the fat around vessels (assumed)."""

PERIOSTEUM_MM = 1.0
"""Distance from bone at which scar around the nerve ends (assumed)."""

Pictures: TypeAlias = Float32[np.ndarray[Any, Any], "sequence x y"]


def render(
    section: Section,
    look: Appearance,
    nerve_gain: float,
    fat_bed_mm: float,
    axes_mm: tuple[Axis, Axis],
    level_mm: float,
    voxel_mm: float,
    sequences: Sequence[MrSequence],
    perineural: Perineural | None = None,
) -> Pictures:
    """Render the noise-free signal of one plane, painted from the skin inwards.

    Args:
        section: Signed distances of all tissues.
        look: Appearance of the person's tissues.
        nerve_gain: Signal of the nerve relative to health at this level.
        fat_bed_mm: Thickness of the fat around the nerve in mm.
        axes_mm: Lateral and anterior coordinates of the grid in mm.
        level_mm: Level in mm above the popliteal crease.
        voxel_mm: In-plane voxel size in mm, the width of the border between two tissues.
        sequences: Sequences to render, one picture each.
        perineural: Scar and oedema around the nerve.
    """
    lobules = look.lobules.plane(*axes_mm, level_mm)
    coarse = 1.0 + 0.05 * lobules - 0.22 * _ridges(lobules, 0.05)
    streaks = _ridges(look.streaks.plane(*axes_mm, level_mm), 0.16)
    patches = np.clip(0.75 + 0.45 * look.patches.plane(*axes_mm, level_mm), 0.0, 1.4)
    nerve = section.nerve_box.index
    pattern = look.fascicles.plane(axes_mm[0][nerve[0]], axes_mm[1][nerve[1]], level_mm)
    pictures = np.zeros((len(sequences), *section.skin.shape), dtype=np.float32)

    paint, paint_nerve = _brush(pictures, voxel_mm), _brush(pictures[:, *nerve], voxel_mm)
    paint(section.skin, [s.skin for s in sequences])
    paint(section.skin + np.float32(1.5), [s.fat * coarse for s in sequences])
    paint(np.abs(section.fascia) - np.float32(0.05), [s.fascia for s in sequences])
    paint(section.muscle, [_muscle_signal(section, look, patches, streaks, s) for s in sequences])
    paint(section.bone, [s.bone for s in sequences])
    paint(section.marrow, [s.marrow * (1.0 + 0.04 * lobules) for s in sequences])
    paint_nerve(section.nerve[nerve] - np.float32(fat_bed_mm), [0.97 * s.fat for s in sequences])
    vessels = np.minimum(np.minimum(section.arteries, section.veins), section.near_veins)
    paint(vessels - np.float32(VESSEL_FAT_MM), [0.7 * s.fat for s in sequences])
    paint(section.arteries, [s.fascia for s in sequences])
    paint(section.arteries + np.float32(0.5), [s.artery for s in sequences])
    paint(section.veins, [look.vein * s.vein for s in sequences])
    paint(section.near_veins, [look.near_vein * s.vein for s in sequences])
    paint(section.nodes, [look.near_vein * s.vein for s in sequences])
    paint_nerve(section.nerve[nerve] - np.float32(0.25), [s.fascia for s in sequences])
    signals = [_nerve_signal(look, pattern, nerve_gain, s) for s in sequences]
    paint_nerve(section.nerve[nerve], signals)
    if perineural is not None:
        axes_near = axes_mm[0][nerve[0]], axes_mm[1][nerve[1]]
        cover = perineural.cover(section.nerve[nerve], *axes_near, level_mm, voxel_mm)
        kept_mm = np.minimum(vessels, section.bone - np.float32(PERIOSTEUM_MM))[nerve]
        cover *= np.clip(0.5 + kept_mm / np.float32(voxel_mm), 0.0, 1.0)
        uneven = perineural.unevenness(*axes_near, level_mm)
        for picture, signal in zip(pictures[:, *nerve], signals, strict=True):
            picture += cover * (uneven * signal - picture)
    return pictures


def _brush(pictures: Pictures, voxel_mm: float) -> Callable[[Plane, Sequence[Any]], None]:
    """Return a function that paints inside a border, one signal (number or plane) per picture, with partial volume."""

    def paint(distance_mm: Plane, signals: Sequence[Any]) -> None:
        share = np.clip(0.5 - distance_mm / np.float32(voxel_mm), 0.0, 1.0)
        for picture, signal in zip(pictures, signals, strict=True):
            picture += share * (signal - picture)

    return paint


def _muscle_signal(section: Section, look: Appearance, patches: Plane, streaks: Plane, sequence: MrSequence) -> Plane:
    """Return the signal of muscle, increased by oedema, crossed by fat lines, and partly replaced by fat."""
    muscle, oedema, infiltration = (
        np.asarray(values, dtype=np.float32)[section.muscle_index]
        for values in (look.muscle, look.oedema, look.infiltration)
    )
    water = muscle + sequence.oedema * oedema * patches
    fat_share = np.clip(0.18 * streaks + infiltration * (0.4 + patches + 0.8 * streaks), 0.0, 0.9)
    return np.asarray(water + fat_share * (np.float32(sequence.fat) - water), dtype=np.float32)


def _nerve_signal(look: Appearance, pattern: Plane, gain: float, sequence: MrSequence) -> Plane:
    """Return the signal of fascicles in epineurial fat, which is about a quarter of the area."""
    fat_share = 1.0 / (1.0 + np.exp((pattern + np.float32(0.75)) / np.float32(0.25)))
    fascicle = np.float32(look.fascicle * gain * sequence.nerve)
    return np.asarray(fascicle + fat_share * (np.float32(sequence.nerve_fat) - fascicle), dtype=np.float32)


def _ridges(field: Plane, width: float) -> Plane:
    """Return thin bright lines along a field's zero crossings."""
    return np.clip(1.0 - np.abs(field) / np.float32(width), 0.0, 1.0)
