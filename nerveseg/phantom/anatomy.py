"""A subject's thigh in one axial plane: from the atlas, scaled, bent and with its own nerve, to tissues.

Everything is a signed distance in millimetres (negative inside), so that any grid samples the same thigh and a voxel's
share of a tissue follows from its distance to the border (partial volume). Muscles are the cells of a competition: a
point belongs to the muscle whose ellipse it is deepest in, and septa of fat remain where two are equally near.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int8

from nerveseg.phantom.atlas import BONES, FASCIA, MUSCLES, SCIATIC, VESSELS, Ellipse, interpolate
from nerveseg.phantom.fields import Axis, Plane, WaveField
from nerveseg.phantom.nerve import Nerve, nerve_section

SEPTUM_MM = 0.9
"""Assumed median width of the fat and fascia between two muscles."""

NEVER_MM = np.float32(1e3)


@dataclass(frozen=True)
class NearVein:
    """A vein that accompanies the nerve and winds a little around it.

    Attributes:
        direction_rad: Where it lies seen from the nerve, 0 = lateral.
        gap_mm: Fat between the two outlines.
        radius_mm: Radius of the vein.
        phase: Phase of its winding along the thigh.
    """

    direction_rad: float
    gap_mm: float
    radius_mm: float
    phase: float

    def offset_mm(self, nerve: Nerve, level_mm: float) -> tuple[float, float]:
        """Centre of the vein relative to the nerve's."""
        direction = self.direction_rad + 0.4 * np.sin(level_mm / 35.0 + self.phase)
        distance = 1.2 * np.sqrt(nerve.area_at(level_mm) / np.pi) + self.gap_mm + self.radius_mm
        return float(distance * np.cos(direction)), float(distance * np.sin(direction))


@dataclass(frozen=True)
class Thigh:
    """One subject's thigh.

    Attributes:
        size: Scale of the atlas.
        muscularity: Scale of the muscles' axes before they compete.
        fat_mm: Thickness of the subcutaneous fat.
        fat_bed_mm: Fat around the nerve.
        bend: Two fields that shift the atlas laterally and anteriorly.
        bend_mm: Standard deviation of the shift.
        wrinkle: Two fields that make outlines irregular at a finer scale.
        wrinkle_mm: Standard deviation of that.
        septa: How the septa between the muscles vary in width.
        nerve: The sciatic nerve.
        nerve_shift_mm: The nerve's place relative to the atlas.
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
        """Atlas coordinates of a rectangular slice of the subject."""
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
        """Subject coordinates of one atlas point (fixed-point iteration; the shift is smooth)."""
        target = np.array([lateral_mm, anterior_mm]) * self.size
        point = target.copy()
        for _ in range(4):
            point = target - np.array([f.at(point[0], point[1], level_mm) for f in self.bend]) * self.bend_mm
        return float(point[0]), float(point[1])

    def nerve_centre_mm(self, level_mm: float) -> tuple[float, float]:
        """Centre of the (tibial part of the) nerve."""
        lateral, anterior = interpolate(SCIATIC, level_mm)
        return self.from_atlas(lateral + self.nerve_shift_mm[0], anterior + self.nerve_shift_mm[1], level_mm)


@dataclass(frozen=True)
class Section:
    """One axial plane: signed distances in millimetres (negative inside) and which muscle it is.

    Attributes:
        skin: To the outer surface.
        fascia: To the deep fascia.
        muscle: To the border of the nearest muscle.
        muscle_index: Which one (index into `atlas.MUSCLES`).
        bone: To the outer surface of the nearest bone.
        marrow: To the inner surface of its cortical bone.
        arteries: To the nearest artery.
        veins: To the nearest vein that is not beside the nerve.
        near_veins: To the nearest vein beside the nerve.
        nerve: To the nerve.
        peroneal: 1 where the peroneal part of the nerve is the nearer one.
        peroneal_apart: Whether the nerve has split at this level.
    """

    skin: Plane
    fascia: Plane
    muscle: Plane
    muscle_index: Int8[np.ndarray[Any, Any], "x y"]
    bone: Plane
    marrow: Plane
    arteries: Plane
    veins: Plane
    near_veins: Plane
    nerve: Plane
    peroneal: Plane
    peroneal_apart: bool


def cut(thigh: Thigh, lateral_mm: Axis, anterior_mm: Axis, level_mm: float) -> Section:
    """Cut the thigh at a level above the popliteal crease, over the rectangular grid of the two axes."""
    atlas_l, atlas_a = thigh.to_atlas(lateral_mm, anterior_mm, level_mm)
    scale = np.float32(thigh.size)
    fascia = _ellipse_distance(Ellipse(*interpolate(FASCIA, level_mm)), atlas_l, atlas_a) * scale
    septum_mm = np.float32(SEPTUM_MM) * np.exp(0.6 * thigh.septa.plane(lateral_mm, anterior_mm, level_mm))
    muscle, index = _muscles(thigh, atlas_l, atlas_a, level_mm, septum_mm, lateral_mm[:2])
    bone, marrow = _bones(thigh, atlas_l, atlas_a, level_mm)
    grid_l, grid_a = np.meshgrid(lateral_mm.astype(np.float32), anterior_mm.astype(np.float32), indexing="ij")
    arteries, veins = _vessels(thigh, grid_l, grid_a, level_mm)
    centre_l, centre_a = thigh.nerve_centre_mm(level_mm)
    nerve = nerve_section(thigh.nerve, level_mm, grid_l - np.float32(centre_l), grid_a - np.float32(centre_a))
    return Section(
        skin=fascia - np.float32(thigh.fat_mm) * (1.0 - 0.25 * atlas_l / 60.0 - 0.2 * atlas_a / 60.0).clip(0.4),
        fascia=fascia,
        muscle=np.maximum(muscle, fascia + np.float32(0.8)),
        muscle_index=index,
        bone=bone,
        marrow=marrow,
        arteries=arteries,
        veins=veins,
        near_veins=_near_veins(thigh, grid_l, grid_a, level_mm),
        nerve=nerve.distance_mm,
        peroneal=nerve.peroneal,
        peroneal_apart=thigh.nerve.is_split(level_mm),
    )


def _ellipse_distance(ellipse: Ellipse, lateral_mm: Plane, anterior_mm: Plane) -> Plane:
    """First-order signed distance to an ellipse."""
    angle = np.deg2rad(ellipse.tilt_deg)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    l0, a0 = lateral_mm - np.float32(ellipse.lateral_mm), anterior_mm - np.float32(ellipse.anterior_mm)
    along = (cos * l0 + sin * a0) / np.float32(ellipse.lateral_axis_mm)
    across = (cos * a0 - sin * l0) / np.float32(ellipse.anterior_axis_mm)
    radius2 = along * along + across * across + np.float32(1e-6)
    slope2 = (along / np.float32(ellipse.lateral_axis_mm)) ** 2 + (across / np.float32(ellipse.anterior_axis_mm)) ** 2
    return np.asarray((radius2 - np.sqrt(radius2)) / np.sqrt(slope2 + np.float32(1e-9)))


def _muscles(
    thigh: Thigh, atlas_l: Plane, atlas_a: Plane, level_mm: float, septum_mm: Plane, neighbours_mm: Axis
) -> tuple[Plane, Int8[np.ndarray[Any, Any], "x y"]]:
    best = np.full(atlas_l.shape, NEVER_MM, dtype=np.float32)
    second, index = best.copy(), np.zeros(atlas_l.shape, dtype=np.int8)
    for number, muscle in enumerate(MUSCLES):
        ellipse = muscle.at(level_mm)
        smaller_axis_mm = min(ellipse.lateral_axis_mm, ellipse.anterior_axis_mm)
        if smaller_axis_mm < 1.5:
            continue
        growth_mm = min(5.0, 0.4 * smaller_axis_mm) + 3.0 * (thigh.muscularity - 1.0)
        distance = _ellipse_distance(ellipse, atlas_l, atlas_a) - np.float32(growth_mm)
        second = np.minimum(second, np.maximum(best, distance))
        index[distance < best] = number
        best = np.minimum(best, distance)
    scale = np.float32(thigh.size)
    to_rival = _in_millimetres((best - second) * scale, float(abs(neighbours_mm[1] - neighbours_mm[0])))
    return np.maximum(best * scale, to_rival + septum_mm / 2), index


def _in_millimetres(difference: Plane, step_mm: float) -> Plane:
    """Distance to the border at which a difference of two distances is zero.

    Where two muscles lie one behind the other their distances grow alike, and the difference alone would make a wide
    blur of the border.
    """
    slope = np.full(difference.shape, 0.1, dtype=np.float32)
    slope[1:-1, 1:-1] = np.hypot(
        difference[2:, 1:-1] - difference[:-2, 1:-1], difference[1:-1, 2:] - difference[1:-1, :-2]
    ) / np.float32(2 * step_mm)
    return difference / np.clip(slope, 0.1, 2.0)


def _bones(thigh: Thigh, atlas_l: Plane, atlas_a: Plane, level_mm: float) -> tuple[Plane, Plane]:
    """Signed distances to the outer and the inner surface of the cortical bone."""
    bone = np.full(atlas_l.shape, NEVER_MM, dtype=np.float32)
    marrow = bone.copy()
    for sections in BONES:
        *ellipse, cortex_mm = interpolate(sections, level_mm)
        if ellipse[2] < 2.0 or ellipse[3] < 2.0:
            continue
        outer = _ellipse_distance(Ellipse(*ellipse), atlas_l, atlas_a) * np.float32(thigh.size)
        bone, marrow = np.minimum(bone, outer), np.minimum(marrow, outer + np.float32(cortex_mm * thigh.size))
    return bone, marrow


def _disc(lateral_mm: Plane, anterior_mm: Plane, centre: tuple[float, float], radius_mm: float) -> Plane:
    return np.hypot(lateral_mm - np.float32(centre[0]), anterior_mm - np.float32(centre[1])) - np.float32(radius_mm)


def _vessels(thigh: Thigh, lateral_mm: Plane, anterior_mm: Plane, level_mm: float) -> tuple[Plane, Plane]:
    arteries = np.full(lateral_mm.shape, NEVER_MM, dtype=np.float32)
    veins = arteries.copy()
    for vessel in VESSELS:
        lateral, anterior, radius_mm = interpolate(vessel.sections, level_mm)
        if radius_mm < 0.5:
            continue
        disc = _disc(lateral_mm, anterior_mm, thigh.from_atlas(lateral, anterior, level_mm), radius_mm)
        np.minimum(arteries if vessel.artery else veins, disc, out=arteries if vessel.artery else veins)
    return arteries, veins


def _near_veins(thigh: Thigh, lateral_mm: Plane, anterior_mm: Plane, level_mm: float) -> Plane:
    veins = np.full(lateral_mm.shape, NEVER_MM, dtype=np.float32)
    centre_l, centre_a = thigh.nerve_centre_mm(level_mm)
    for vein in thigh.near_veins:
        lateral, anterior = vein.offset_mm(thigh.nerve, level_mm)
        centre = (centre_l + lateral, centre_a + anterior)
        veins = np.minimum(veins, _disc(lateral_mm, anterior_mm, centre, vein.radius_mm))
    return veins
