"""One axial plane through a subject's thigh: where each tissue lies.

Everything is a signed distance in millimetres (negative inside), so that any grid samples the same thigh and a voxel's
share of a tissue follows from its distance to the border (partial volume). Muscles are the cells of a competition: a
point belongs to the muscle whose ellipse it is deepest in, and septa of fat remain where two are equally near.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int8

from nerveseg.phantom.atlas import BONES, FASCIA, MUSCLES, VESSELS, Ellipse, interpolate
from nerveseg.phantom.fields import Axis, Plane
from nerveseg.phantom.nerve import nerve_section
from nerveseg.phantom.thigh import Thigh

SEPTUM_MM = 0.9
"""Assumed median width of the fat and fascia between two muscles."""

NEVER_MM = np.float32(1e3)


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
