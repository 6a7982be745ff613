"""Part of an axial plane in the scanner: a leg at a random place and angle, often the other leg, sometimes a hand.

A view maps positions of the field of view to positions in the leg, and is the same for all slices of a sample.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from nerveseg.synthesis.anatomies import (
    AIR,
    CENTRE_MM,
    CORTEX,
    FIRST_MUSCLE,
    LEVELS_MM,
    MARROW,
    NERVOUS,
    SEPTUM,
    SIZE,
    SKIN,
    STEP_MM,
    SUBCUTANEOUS,
    Planes,
)

PatchLabels = UInt8[np.ndarray[Any, Any], "u v"]
FINGER = ((9.0, SKIN), (8.0, SUBCUTANEOUS), (6.5, FIRST_MUSCLE), (4.5, CORTEX), (3.0, MARROW))  # radius in mm, tissue
STEPS_MM = (3.0, 24.0)  # least and greatest slice step
SEPTUM_SD = 1.2  # smoothing of the borders of muscles, in pixels of the bank
SEPTUM_LIMITS = (0.18, 0.34)
"""Range of the limit of the smoothed border, of which a straight one has 0.33: septa of 3 mm to lines with gaps."""


@dataclass(frozen=True)
class View:
    """Place of the field of view in the leg, and the movement of all its points."""

    field_mm: tuple[float, float]  # size of the field of view
    centre_mm: tuple[float, float]  # its middle in the leg
    turn: Any  # matrix (2 x 2) from directions in the field to directions in the leg; a mirror is part of it
    bend_mm: Any  # displacements (2, x, y) at control points over the field
    midline_mm: float | None  # coordinate of the plane in which the other leg is mirrored; None shows one leg
    finger_mm: tuple[float, float] | None  # position of a hand's first finger in the leg's coordinates, if any
    septum: float | None  # value of the smoothed borders of muscles above which fat lies between them; None for none

    def positions_mm(self, size: tuple[int, int]) -> Float32[Tensor, "2 x y"]:
        """Return the positions in the leg of the pixels of a grid over the field of view."""
        x, y = (((torch.arange(n) + 0.5) / n - 0.5) * own for n, own in zip(size, self.field_mm, strict=True))
        plain = torch.stack([x[:, None].expand(*size), y[None, :].expand(*size)])
        bend = torch.from_numpy(self.bend_mm)[None]
        plain = plain + interpolate(bend, size, mode="bicubic", align_corners=False)[0]
        turned = torch.from_numpy(self.turn) @ plain.flatten(1)
        centre = torch.tensor(self.centre_mm, dtype=torch.float32)[:, None]
        return (turned + centre).reshape(2, *size)


@dataclass(frozen=True)
class Patch:
    """Rectangle of the bank's pixels that holds a view."""

    first: tuple[int, int]  # index of its first pixel; may lie outside the bank
    size: tuple[int, int]  # size in pixels

    @classmethod
    def around(cls, positions_mm: Float32[Tensor, "2 x y"]) -> "Patch":
        """Return the patch around positions."""
        indices = to_index(positions_mm).flatten(1)
        low, high = (indices.amin(1) - 2).int().tolist(), (indices.amax(1) + 3).int().tolist()
        return cls((low[0], low[1]), (high[0] - low[0], high[1] - low[1]))

    def read(self, plane: UInt8[np.ndarray[Any, Any], "x y"], view: View) -> PatchLabels:
        """Return the tissues of the patch, with the other leg and the hand of a view."""
        x, y = (np.arange(n) + first for n, first in zip(self.size, self.first, strict=True))
        labels = _read(plane, x, y)
        if view.midline_mm is not None:
            mirrored = -(x - (SIZE - 1) / 2) + 2 * (view.midline_mm - CENTRE_MM[0]) / STEP_MM + (SIZE - 1) / 2
            labels = np.where(labels == AIR, _read(plane, np.rint(mirrored).astype(int), y), labels)
        if view.finger_mm is not None:
            _add_hand(labels, x, y, view.finger_mm)
        if view.septum is not None:
            _add_septa(labels, view.septum)
        return labels

    def sample(
        self, values: Float32[Tensor, "slice u v"], positions_mm: Float32[Tensor, "2 x y"], mode: str = "bilinear"
    ) -> Float32[Tensor, "slice x y"]:
        """Return values of the patch at positions in the leg."""
        indices = to_index(positions_mm) - torch.tensor(self.first)[:, None, None]
        size = torch.tensor(self.size)[:, None, None]
        grid = ((2 * indices + 1) / size - 1).flip(0).movedim(0, -1)[None].float()
        return grid_sample(values[None], grid, mode=mode, padding_mode="border", align_corners=False)[0]


def to_index(positions_mm: Float32[Tensor, "2 *size"]) -> Float32[Tensor, "2 *size"]:
    """Return the bank's pixel indices of positions in the leg."""
    centre = torch.tensor(CENTRE_MM).reshape(2, *(1,) * (positions_mm.ndim - 1))
    return (positions_mm - centre) / STEP_MM + (SIZE - 1) / 2


def _read(plane: Any, x: Any, y: Any) -> PatchLabels:
    labels = np.full((len(x), len(y)), AIR, np.uint8)
    in_x, in_y = (np.flatnonzero((axis >= 0) & (axis < SIZE)) for axis in (x, y))
    if in_x.size and in_y.size:
        labels[in_x[0] : in_x[-1] + 1, in_y[0] : in_y[-1] + 1] = plane[np.ix_(x[in_x], y[in_y])]
    return labels


def _add_hand(labels: PatchLabels, x: Any, y: Any, finger_mm: tuple[float, float]) -> None:
    at_x, at_y = ((axis - (SIZE - 1) / 2) * STEP_MM + c for axis, c in zip((x, y), CENTRE_MM, strict=True))
    free = labels == AIR
    for finger in range(4):
        distance = np.hypot(at_x[:, None] - finger_mm[0] - 3.0 * finger, at_y[None, :] - finger_mm[1] + 17.0 * finger)
        for radius_mm, tissue in FINGER:
            labels[free & (distance < radius_mm)] = tissue


def _add_septa(labels: PatchLabels, limit: float) -> None:
    """Put fat between muscles that touch: a line where two meet, wider where three do."""
    muscle = labels >= FIRST_MUSCLE
    border = np.zeros(labels.shape, bool)
    border[1:] |= (labels[1:] != labels[:-1]) & muscle[1:] & muscle[:-1]
    border[:, 1:] |= (labels[:, 1:] != labels[:, :-1]) & muscle[:, 1:] & muscle[:, :-1]
    near = ndimage.gaussian_filter(border.astype(np.float32), SEPTUM_SD, truncate=2.5)
    labels[muscle & (near > limit)] = SEPTUM


def draw_view(rng: np.random.Generator, planes: Planes, level: int, field_mm: tuple[float, float]) -> View:
    """Draw the view of a sample, mostly about the nerve."""
    body = np.argwhere(np.asarray(planes[level, ::4, ::4]) != AIR) * 4
    if rng.random() < 0.85:
        nerve = np.argwhere(np.asarray(planes[level]) == NERVOUS)
        pixel = nerve[rng.integers(len(nerve))] + rng.normal(0.0, 18.0, 2) / STEP_MM
    else:
        pixel = body[rng.integers(len(body))] + rng.normal(0.0, 10.0, 2)
    medial_mm = (body[:, 0].min() - (SIZE - 1) / 2) * STEP_MM + CENTRE_MM[0]
    lateral_mm = (body[:, 0].max() - (SIZE - 1) / 2) * STEP_MM + CENTRE_MM[0]
    finger_mm = None
    if rng.random() < 0.2:
        finger_mm = (float(lateral_mm + rng.uniform(8.0, 25.0)), float(rng.uniform(-20.0, 50.0)))
        if rng.random() < 0.4:  # a finger is as round as a nerve
            pixel = (np.array(finger_mm) - CENTRE_MM) / STEP_MM + (SIZE - 1) / 2 + rng.normal(0.0, 18.0, 2) / STEP_MM
    angle = np.deg2rad(rng.normal(0.0, 10.0) if rng.random() < 0.85 else rng.normal(0.0, 35.0))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shape = np.diag(np.exp(rng.normal(0.0, 0.1) + rng.normal(0.0, 0.05, 2)))
    shape[0, 1] = rng.normal(0.0, 0.08)
    mirror = np.diag([1.0 if rng.random() < 0.5 else -1.0, 1.0])
    bend_mm = rng.normal(0.0, rng.uniform(0.0, 3.5), (2, 6, 6))
    return View(
        field_mm=field_mm,
        centre_mm=tuple(((pixel - (SIZE - 1) / 2) * STEP_MM + CENTRE_MM).tolist()),
        turn=(turn @ shape @ mirror).astype(np.float32),
        bend_mm=bend_mm.astype(np.float32),
        midline_mm=float(medial_mm + rng.uniform(-25.0, 8.0)) if rng.random() < 0.7 else None,
        finger_mm=finger_mm,
        septum=float(rng.uniform(*SEPTUM_LIMITS)) if rng.random() < 0.6 else None,
    )


def draw_levels(rng: np.random.Generator, neighbours: int) -> tuple[list[list[int]], float]:
    """Draw the planes of the bank that each slice of a sample averages, and the slice step in mm.

    Beyond one end of the stack, where a sample lies there, slices are mirrored, as `nerveseg.data.context` does.
    """
    step_mm = float(np.exp(rng.uniform(*np.log(STEPS_MM))))
    thick_mm = min(step_mm, float(rng.uniform(2.0, 9.0)))
    count = 1 if thick_mm < 3.5 else 2 if thick_mm < 6.5 else 3
    middle_mm = rng.uniform(LEVELS_MM[0] + 5.0, LEVELS_MM[-1] - 5.0)
    offsets = np.arange(-neighbours, neighbours + 1)
    if rng.random() < 0.12:
        end = int(rng.integers(0, neighbours + 1))
        offsets = np.where(offsets > end, 2 * end - offsets, offsets)
        offsets *= rng.choice([-1, 1])
        if offsets[0] > offsets[-1] or offsets[neighbours] != 0:
            offsets = offsets[::-1]
    levels = []
    for offset in offsets.tolist():
        inside = ((np.arange(count) + 0.5) / count - 0.5) * thick_mm
        at_mm = middle_mm + offset * step_mm + inside
        indices = np.rint((at_mm - LEVELS_MM[0]) / (LEVELS_MM[1] - LEVELS_MM[0])).astype(int)
        levels.append(indices.clip(0, len(LEVELS_MM) - 1).tolist())
    return levels, step_mm
