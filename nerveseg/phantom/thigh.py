"""Thigh of one subject: the atlas scaled and bent, with its own nerve and accompanying veins."""

from dataclasses import dataclass

import numpy as np

from nerveseg.phantom.atlas import SCIATIC, interpolate
from nerveseg.phantom.grid import Axis, Plane, WaveField
from nerveseg.phantom.nerve import Nerve


@dataclass(frozen=True)
class NearVein:
    """Vein that accompanies the nerve and winds slightly around it.

    Attributes:
        direction_rad: Direction from the nerve in radians, 0 is lateral.
        gap_mm: Width in mm of the fat between the two outlines.
        radius_mm: Radius of the vein in mm.
        phase: Phase in radians of its winding along the thigh.
    """

    direction_rad: float
    gap_mm: float
    radius_mm: float
    phase: float

    def offset_mm(self, nerve: Nerve, level_mm: float) -> tuple[float, float]:
        """Return the centre of the vein relative to the nerve's in mm."""
        direction = self.direction_rad + 0.4 * np.sin(level_mm / 35.0 + self.phase)
        distance = 1.2 * np.sqrt(nerve.area_at(level_mm) / np.pi) + self.gap_mm + self.radius_mm
        return float(distance * np.cos(direction)), float(distance * np.sin(direction))


@dataclass(frozen=True)
class Thigh:
    """Thigh of one subject.

    Attributes:
        size: Scale of the atlas.
        muscularity: Scale of the muscles' axes.
        fat_mm: Thickness of the subcutaneous fat in mm.
        fat_bed_mm: Thickness of the fat around the nerve in mm.
        bend: Fields that shift the atlas laterally and anteriorly.
        bend_mm: Standard deviation of the shift in mm.
        wrinkle: Fields that make outlines irregular at a finer scale.
        wrinkle_mm: Standard deviation of the irregularity in mm.
        septa: Field of the width of the septa between the muscles.
        nerve: Sciatic nerve.
        nerve_shift_mm: Position of the nerve relative to the atlas in mm.
        near_veins: Veins beside the nerve.
    """

    size: float
    muscularity: float
    fat_mm: float
    fat_bed_mm: float
    bend: tuple[WaveField, WaveField]
    bend_mm: float
    wrinkle: tuple[WaveField, WaveField]
    wrinkle_mm: float
    septa: WaveField
    nerve: Nerve
    nerve_shift_mm: tuple[float, float]
    near_veins: tuple[NearVein, ...]

    def to_atlas(self, lateral_mm: Axis, anterior_mm: Axis, level_mm: float) -> tuple[Plane, Plane]:
        """Return the atlas coordinates of a rectangular slice of the subject."""
        shift_l, shift_a = (
            self.bend_mm * bend.plane(lateral_mm, anterior_mm, level_mm)
            + self.wrinkle_mm * wrinkle.plane(lateral_mm, anterior_mm, level_mm)
            for bend, wrinkle in zip(self.bend, self.wrinkle, strict=True)
        )
        scale = np.float32(1.0 / self.size)
        atlas_l = (lateral_mm[:, None].astype(np.float32) + shift_l) * scale
        atlas_a = (anterior_mm[None, :].astype(np.float32) + shift_a) * scale
        return np.asarray(atlas_l), np.asarray(atlas_a)

    def from_atlas(self, lateral_mm: float, anterior_mm: float, level_mm: float) -> tuple[float, float]:
        """Return the subject coordinates of one atlas point (fixed-point iteration; the shift is smooth)."""
        target = np.array([lateral_mm, anterior_mm]) * self.size
        point = target.copy()
        for _ in range(4):
            point = target - np.array([f.at(point[0], point[1], level_mm) for f in self.bend]) * self.bend_mm
        return float(point[0]), float(point[1])

    def nerve_centre_mm(self, level_mm: float) -> tuple[float, float]:
        """Return the centre of the (tibial part of the) nerve."""
        lateral, anterior = interpolate(SCIATIC, level_mm)
        return self.from_atlas(lateral + self.nerve_shift_mm[0], anterior + self.nerve_shift_mm[1], level_mm)

    def near_vein_centre_mm(self, vein: NearVein, level_mm: float) -> tuple[float, float]:
        """Return the centre of a vein beside the nerve."""
        lateral, anterior = vein.offset_mm(self.nerve, level_mm)
        centre_l, centre_a = self.nerve_centre_mm(level_mm)
        return centre_l + lateral, centre_a + anterior
