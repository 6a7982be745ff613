"""Thigh of one subject: the atlas scaled and bent, with its own nerve and accompanying veins."""

from dataclasses import dataclass

import numpy as np

from nerveseg.phantom.atlas import SCIATIC, interpolate
from nerveseg.phantom.grid import Axis, Plane, WaveField
from nerveseg.phantom.nerve import Nerve


@dataclass(frozen=True)
class NearVein:
    """Vein that accompanies the nerve and winds slightly around it."""

    direction_rad: float  # from the nerve, 0 is lateral
    gap_mm: float  # width of the fat between the two outlines
    radius_mm: float
    phase: float  # of its winding along the thigh, in radians

    def offset_mm(self, nerve: Nerve, level_mm: float) -> tuple[float, float]:
        """Return the centre of the vein relative to the nerve's in mm."""
        direction = self.direction_rad + 0.4 * np.sin(level_mm / 35.0 + self.phase)
        distance = 1.2 * np.sqrt(nerve.area_at(level_mm) / np.pi) + self.gap_mm + self.radius_mm
        return float(distance * np.cos(direction)), float(distance * np.sin(direction))


@dataclass(frozen=True)
class Thigh:
    """Thigh of one subject."""

    size: float  # scale of the atlas
    muscularity: float  # scale of the muscles' axes
    fat_mm: float  # thickness of the subcutaneous fat
    fat_bed_mm: float  # thickness of the fat around the nerve
    bend: tuple[WaveField, WaveField]  # shifts the atlas laterally and anteriorly
    bend_mm: float  # standard deviation of the shift
    wrinkle: tuple[WaveField, WaveField]  # makes outlines irregular at a finer scale
    wrinkle_mm: float  # standard deviation of the irregularity
    septa: WaveField  # width of the septa between the muscles
    nerve: Nerve
    nerve_shift_mm: tuple[float, float]  # position of the nerve relative to the atlas
    near_veins: tuple[NearVein, ...]  # veins beside the nerve

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
