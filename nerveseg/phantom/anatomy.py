"""Thigh of one subject (the atlas scaled and bent, with its own nerve and veins), and its tissues in an axial plane.

All tissues are signed distances in millimetres (negative inside), from which a voxel's share of a tissue follows
(partial volume). A point belongs to the muscle in whose ellipse it is deepest; septa of fat lie between two muscles.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Int8

from nerveseg.phantom.atlas import BONES, FASCIA, MUSCLES, NODES, SCIATIC, VESSELS, Ellipse, interpolate
from nerveseg.phantom.grid import Axis, Box, Plane, WaveField
from nerveseg.phantom.nerve import Nerve, NerveSection, nerve_section, peroneal_offset_mm

Disc: TypeAlias = tuple[tuple[float, float], float]  # centre (lateral, anterior) and radius in mm

SEPTUM_MM = 0.9  # assumed median width of the fat and fascia between two muscles
NEVER_MM = np.float32(1e3)
NERVE_MARGIN_MM = 20.0  # around the nerve's centres: a swollen nerve reaches 9 mm from them, its fat bed 3 mm more


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


@dataclass(frozen=True)
class Section:
    """One axial plane: signed distances in millimetres (negative inside) and the muscle of each point."""

    axes_mm: tuple[Axis, Axis]  # lateral and anterior coordinates of the grid
    level_mm: float  # above the popliteal crease
    skin: Plane  # distance to the outer surface
    fascia: Plane  # distance to the deep fascia
    muscle: Plane  # distance to the border of the nearest muscle
    muscle_index: Int8[np.ndarray[Any, Any], "x y"]  # index of that muscle in `atlas.MUSCLES`
    bone: Plane  # distance to the outer surface of the nearest bone
    marrow: Plane  # distance to the inner surface of the cortical bone
    arteries: Plane  # distance to the nearest artery
    veins: Plane  # distance to the nearest vein that is not beside the nerve
    near_veins: Plane  # distance to the nearest vein beside the nerve
    nodes: Plane  # distance to the nearest lymph node
    nerve: Plane  # distance to the nerve, within its box; large outside
    nerve_box: Box  # box of the nerve with its surroundings


def cut(thigh: Thigh, lateral_mm: Axis, anterior_mm: Axis, level_mm: float) -> Section:
    """Cut the thigh at a level above the popliteal crease, over the rectangular grid of the two axes."""
    atlas_l, atlas_a = thigh.to_atlas(lateral_mm, anterior_mm, level_mm)
    scale = np.float32(thigh.size)
    fascia = _ellipse_distance(Ellipse(*interpolate(FASCIA, level_mm)), atlas_l, atlas_a) * scale
    septum_mm = np.float32(SEPTUM_MM) * np.exp(0.6 * thigh.septa.plane(lateral_mm, anterior_mm, level_mm))
    muscle, index = _muscles(thigh, atlas_l, atlas_a, level_mm, septum_mm, lateral_mm[:2])
    bone, marrow = _bones(thigh, atlas_l, atlas_a, level_mm)
    box = nerve_box(thigh, lateral_mm, anterior_mm, level_mm)
    nerve = np.full((len(lateral_mm), len(anterior_mm)), NEVER_MM, dtype=np.float32)
    nerve[box] = nerve_in(thigh, lateral_mm[box[0]], anterior_mm[box[1]], level_mm).distance_mm
    near_veins = [(thigh.near_vein_centre_mm(vein, level_mm), vein.radius_mm) for vein in thigh.near_veins]
    return Section(
        axes_mm=(lateral_mm, anterior_mm),
        level_mm=level_mm,
        skin=fascia - np.float32(thigh.fat_mm) * (1.0 - 0.25 * atlas_l / 60.0 - 0.2 * atlas_a / 60.0).clip(0.4),
        fascia=fascia,
        muscle=np.maximum(muscle, fascia + np.float32(0.8)),
        muscle_index=index,
        bone=bone,
        marrow=marrow,
        arteries=_nearest(_vessels(thigh, level_mm, artery=True), lateral_mm, anterior_mm),
        veins=_nearest(_vessels(thigh, level_mm, artery=False), lateral_mm, anterior_mm),
        near_veins=_nearest(near_veins, lateral_mm, anterior_mm),
        nodes=_nearest(_nodes(thigh, level_mm), lateral_mm, anterior_mm),
        nerve=nerve,
        nerve_box=box,
    )


def nerve_box(
    thigh: Thigh, lateral_mm: Axis, anterior_mm: Axis, level_mm: float, margin_mm: float = NERVE_MARGIN_MM
) -> Box:
    """Return the box of the voxels within a margin of the nerve's two parts, at least one voxel."""
    centre = thigh.nerve_centre_mm(level_mm)
    offset = peroneal_offset_mm(thigh.nerve, level_mm)
    spans = []
    for axis, middle, apart in zip((lateral_mm, anterior_mm), centre, offset, strict=True):
        low, high = middle + min(0.0, apart) - margin_mm, middle + max(0.0, apart) + margin_mm
        inside = np.flatnonzero((axis >= low) & (axis <= high))
        spans.append(slice(int(inside[0]), int(inside[-1]) + 1) if inside.size else slice(0, 1))
    return spans[0], spans[1]


def nerve_in(thigh: Thigh, lateral_mm: Axis, anterior_mm: Axis, level_mm: float) -> NerveSection:
    """Return the nerve over a rectangular grid at a level above the popliteal crease."""
    centre_l, centre_a = thigh.nerve_centre_mm(level_mm)
    grid_l, grid_a = np.meshgrid(
        (lateral_mm - centre_l).astype(np.float32), (anterior_mm - centre_a).astype(np.float32), indexing="ij"
    )
    return nerve_section(thigh.nerve, level_mm, grid_l, grid_a)


def _ellipse_distance(ellipse: Ellipse, lateral_mm: Plane, anterior_mm: Plane) -> Plane:
    """Return the first-order signed distance to an ellipse."""
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
    """Return the distance to the border between two muscles, also where their distances increase alike."""
    slope = np.full(difference.shape, 0.1, dtype=np.float32)
    slope[1:-1, 1:-1] = np.hypot(
        difference[2:, 1:-1] - difference[:-2, 1:-1], difference[1:-1, 2:] - difference[1:-1, :-2]
    ) / np.float32(2 * step_mm)
    return difference / np.clip(slope, 0.1, 2.0)


def _bones(thigh: Thigh, atlas_l: Plane, atlas_a: Plane, level_mm: float) -> tuple[Plane, Plane]:
    bone = np.full(atlas_l.shape, NEVER_MM, dtype=np.float32)
    marrow = bone.copy()
    for sections in BONES:
        *ellipse, cortex_mm = interpolate(sections, level_mm)
        if ellipse[2] < 2.0 or ellipse[3] < 2.0:
            continue
        outer = _ellipse_distance(Ellipse(*ellipse), atlas_l, atlas_a) * np.float32(thigh.size)
        bone, marrow = np.minimum(bone, outer), np.minimum(marrow, outer + np.float32(cortex_mm * thigh.size))
    return bone, marrow


def _nearest(discs: Iterable[Disc], lateral_mm: Axis, anterior_mm: Axis) -> Plane:
    """Return the signed distance to the nearest of several discs."""
    nearest = np.full((len(lateral_mm), len(anterior_mm)), NEVER_MM, dtype=np.float32)
    for centre, radius_mm in discs:
        lateral2 = (lateral_mm - centre[0]).astype(np.float32)[:, None] ** 2
        anterior2 = (anterior_mm - centre[1]).astype(np.float32)[None, :] ** 2
        np.minimum(nearest, np.sqrt(lateral2 + anterior2) - np.float32(radius_mm), out=nearest)
    return nearest


def _vessels(thigh: Thigh, level_mm: float, artery: bool) -> Iterator[Disc]:
    for vessel in VESSELS:
        lateral, anterior, radius_mm = interpolate(vessel.sections, level_mm)
        if vessel.artery == artery and radius_mm >= 0.5:
            yield thigh.from_atlas(lateral, anterior, level_mm), radius_mm


def _nodes(thigh: Thigh, level_mm: float) -> Iterator[Disc]:
    """Yield the sections of the lymph nodes, which are balls."""
    for lateral, anterior, node_level_mm, radius_mm in NODES:
        half_chord2 = radius_mm**2 - (level_mm - node_level_mm) ** 2
        if half_chord2 > 0:
            yield thigh.from_atlas(lateral, anterior, level_mm), float(np.sqrt(half_chord2))
