"""True outline of the nerve, its uncertainty, the veins that can be mistaken for nerve, and the truth of a scan.

The error of a border increases as the local contrast of the noise-free picture falls. It is computed in the same way
with and without an image, so that masks for calibration are those of the full simulation.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64
from numpy.typing import NDArray
from scipy import ndimage

from nerveseg.phantom.acquisition import Acquisition
from nerveseg.phantom.anatomy import Thigh, cut, nerve_box, nerve_in
from nerveseg.phantom.atlas import VESSELS, interpolate
from nerveseg.phantom.grid import Box, Plane, ScanGrid
from nerveseg.phantom.nerve import peroneal_offset_mm
from nerveseg.phantom.population import SimulatedPerson
from nerveseg.phantom.signal import render
from nerveseg.phantom.tissues import T2
from nerveseg.types import Image, LabelMap, Mask

SURROUNDINGS_MM = 15.0  # margin around the nerve's centres in which outlines are drawn
SHARP_PER_MM = 1.3  # contrast, in signal of healthy muscle per mm, at which the uncertainty is 1 (usual in volunteers)
CONFUSABLE = ("femoral and popliteal vein", "deep femoral vein", "small saphenous vein", "perforating vein")
TIBIAL, PERONEAL, SCIATIC = 1, 2, 3  # labels of the two parts, and of the undivided nerve above the split
InBox = Float32[np.ndarray[Any, Any], "bx by z"]


@dataclass(frozen=True)
class VeinTrack:
    """Vein through the stack."""

    centre_mm: Float64[np.ndarray[Any, Any], "z 2"]  # lateral and anterior
    radius_mm: Float64[np.ndarray[Any, Any], " z"]  # 0 where there is no vein
    gap_mm: Float64[np.ndarray[Any, Any], " z"]  # distance from the nerve's centre
    beside: bool  # true for a vein that accompanies the nerve


@dataclass(frozen=True)
class Outline:
    """Outline of the nerve in one scan; arrays cover the box around the nerve."""

    grid: ScanGrid  # of the whole scan
    box: Box  # of the arrays in the grid
    distance_mm: InBox  # signed distance to the true outline, averaged through the slice
    uncertainty: InBox  # error of an outline relative to a border of usual contrast
    peroneal_mm: InBox  # signed distance to the border between the two parts, negative on the peroneal side
    split_mm: float  # level above the popliteal crease at which the two nerves part
    veins: tuple[VeinTrack, ...]  # those that can be mistaken for nerve

    def whole(self, part: NDArray[Any]) -> Any:
        """Embed an array of the box in the whole scan, with zeros around it."""
        array = np.zeros(self.grid.shape, dtype=part.dtype)
        array[self.box] = part
        return array

    def extended(self, part: NDArray[Any]) -> NDArray[Any]:
        """Extend an array of the box to the whole scan, each voxel with the value of the nearest voxel of the box."""
        margins = [(span.start, n - span.stop) for span, n in zip(self.box, self.grid.shape, strict=False)]
        return np.pad(part, [*margins, (0, 0)], mode="edge")

    @property
    def peroneal(self) -> Bool[np.ndarray[Any, Any], "bx by z"]:
        """Section that is nearer to the peroneal part."""
        return np.asarray(self.peroneal_mm < 0)

    @property
    def split_first(self) -> int:
        """Number of slices from the distal end that show two nerves."""
        return int((self.grid.levels_mm < self.split_mm).sum())

    @property
    def truth(self) -> Mask:
        """Voxels that are at least half nerve."""
        return np.asarray(self.whole(self.distance_mm < 0))

    @property
    def branch(self) -> Bool[np.ndarray[Any, Any], "bx by z"]:
        """Section of the peroneal side below the split."""
        return self.peroneal & (np.arange(self.peroneal.shape[2]) < self.split_first)


def outline_of(person: SimulatedPerson, grid: ScanGrid, scan: Acquisition) -> Outline:
    """Compute the outline of a scan."""
    box = _stack_box(person.thigh, grid)
    near = grid.crop(box)
    distance_mm, peroneal_mm, uncertainty = (np.zeros(near.shape, np.float32) for _ in range(3))
    for number in range(len(grid.levels_mm)):
        axes_mm, planes_mm = near.axes_mm(number), near.planes_mm(number)
        for plane_mm in planes_mm:
            section = nerve_in(person.thigh, *axes_mm, float(plane_mm))
            distance_mm[:, :, number] += section.distance_mm / np.float32(len(planes_mm))
        peroneal_mm[:, :, number] = section.peroneal_mm
        contrast = _contrast_per_mm(person, near, number) * scan.sensitivity(near, number)
        uncertainty[:, :, number] = np.clip(np.sqrt(SHARP_PER_MM / (contrast + 1e-3)), 0.6, 2.2)
    veins = tuple(_tracks(person.thigh, grid))
    return Outline(grid, box, distance_mm, uncertainty, peroneal_mm, person.thigh.nerve.split_mm, veins)


def _stack_box(thigh: Thigh, grid: ScanGrid) -> Box:
    boxes = [nerve_box(thigh, *grid.axes_mm(n), float(z), SURROUNDINGS_MM) for n, z in enumerate(grid.levels_mm)]
    x, y = (slice(min(s.start for s in spans), max(s.stop for s in spans)) for spans in zip(*boxes, strict=True))
    return x, y


def _contrast_per_mm(person: SimulatedPerson, grid: ScanGrid, number: int) -> Plane:
    """Return the slope of the noise-free picture at the scale of a millimetre."""
    section = cut(person.thigh, *grid.axes_mm(number), float(grid.levels_mm[number]))
    step_mm = grid.spacing_mm[0]
    (picture,) = render(section, person, step_mm, [T2])
    sigma = 0.6 / step_mm
    slopes = [ndimage.gaussian_filter1d(picture, max(sigma, 0.6), axis, 1) / step_mm for axis in (0, 1)]
    return np.asarray(ndimage.gaussian_filter(np.hypot(*slopes), 2.0 * sigma), dtype=np.float32)


def _tracks(thigh: Thigh, grid: ScanGrid) -> list[VeinTrack]:
    nerve = np.array([thigh.nerve_centre_mm(float(level)) for level in grid.levels_mm])
    tracks = []
    for vein in thigh.near_veins:
        centre = np.array([thigh.near_vein_centre_mm(vein, float(level)) for level in grid.levels_mm])
        tracks.append((centre, np.full(len(centre), vein.radius_mm), True))
    for vessel in VESSELS:
        if vessel.name in CONFUSABLE:
            rows = [interpolate(vessel.sections, float(level)) for level in grid.levels_mm]
            drawn = zip(rows, grid.levels_mm, strict=True)
            centre = np.array([thigh.from_atlas(lateral, anterior, float(z)) for (lateral, anterior, _), z in drawn])
            radius_mm = np.array([r[2] if r[2] >= 0.5 else 0.0 for r in rows])
            tracks.append((centre, radius_mm, False))
    return [VeinTrack(c, r, np.linalg.norm(c - nerve, axis=1), beside) for c, r, beside in tracks]


def vein_mask(track: VeinTrack, grid: ScanGrid, first: int = 0, behind: int | None = None) -> Mask:
    """Return the voxels of a vein between two slices."""
    mask = np.zeros(grid.shape, dtype=bool)
    for number in range(grid.shape[2])[first:behind]:
        lateral, anterior = grid.axes_mm(number)
        away_l, away_a = lateral - track.centre_mm[number, 0], anterior - track.centre_mm[number, 1]
        mask[:, :, number] = away_l[:, None] ** 2 + away_a[None, :] ** 2 < track.radius_mm[number] ** 2
    return mask


@dataclass(frozen=True)
class SliceTruth:
    """Truth of one slice."""

    slice: int  # from 0 at the distal end
    level_mm: float  # above the popliteal crease
    split: bool  # true if the two nerves have parted
    area_mm2: float  # in the image, with partial voxels
    anatomical_area_mm2: float  # in the undistorted thigh
    swelling: float  # area relative to the same nerve in health
    signal_gain: float  # signal relative to health
    tibial_x: float  # centres of the two parts as voxel indices
    tibial_y: float
    peroneal_x: float
    peroneal_y: float


@dataclass(frozen=True)
class Truth:
    """Truth of one scan on its grid."""

    nerve: Mask  # voxels that are at least half nerve
    coverage: Image  # share of every voxel that is nerve
    branches: LabelMap  # `TIBIAL` and `PERONEAL` within the nerve, also above the split
    nerves: LabelMap  # `TIBIAL` and `PERONEAL` below the split, `SCIATIC` above it
    lesion: Mask  # nerve in which the lesion has at least half its strength
    slices: tuple[SliceTruth, ...]


def truth_of(thigh: Thigh, outline: Outline) -> Truth:
    """Compute the truth of one scan."""
    step_mm = outline.grid.spacing_mm[0]
    coverage = np.clip(0.5 - outline.distance_mm / np.float32(step_mm), 0.0, 1.0)
    inside = outline.distance_mm < 0
    parts = np.where(outline.peroneal, PERONEAL, TIBIAL) * inside
    nerves = np.where(np.arange(parts.shape[2]) < outline.split_first, parts, SCIATIC * inside)
    weights = np.array([thigh.nerve.lesion_weight(float(level)) for level in outline.grid.levels_mm])
    return Truth(
        nerve=outline.truth,
        coverage=outline.whole(coverage),
        branches=outline.whole(parts.astype(np.uint8)),
        nerves=outline.whole(nerves.astype(np.uint8)),
        lesion=outline.whole(inside & (weights >= 0.5)),
        slices=tuple(_slice_truth(thigh, outline, number, coverage) for number in range(len(weights))),
    )


def _slice_truth(thigh: Thigh, outline: Outline, number: int, coverage: Any) -> SliceTruth:
    grid, nerve = outline.grid, thigh.nerve
    level_mm = float(grid.levels_mm[number])
    centre = np.array(thigh.nerve_centre_mm(level_mm))
    tibial = grid.voxel(number, *(float(v) for v in centre))
    peroneal = grid.voxel(number, *(float(v) for v in centre + peroneal_offset_mm(nerve, level_mm)))
    return SliceTruth(
        slice=number,
        level_mm=level_mm,
        split=level_mm < nerve.split_mm,
        area_mm2=float(coverage[:, :, number].sum() * grid.spacing_mm[0] * grid.spacing_mm[1]),
        anatomical_area_mm2=nerve.area_at(level_mm),
        swelling=nerve.swelling_at(level_mm),
        signal_gain=nerve.signal_gain_at(level_mm),
        tibial_x=tibial[0], tibial_y=tibial[1], peroneal_x=peroneal[0], peroneal_y=peroneal[1],
    )  # fmt: skip
