"""Sciatic nerve along the thigh: two nerves in one sheath, which part above the popliteal crease.

Above the split the tibial and the peroneal nerve lie side by side and make one oval; below it the peroneal leaves
laterally. A neuropathy swells a focal or an extended stretch to 1.3 to 3 times the area (Sinclair 2011 and others).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Complex

from nerveseg.phantom.grid import Plane

TIBIAL_SHARE = 0.72  # tibial part of the nerve's area: 25.9 of 25.9 + 7.9 mm2 distally by ultrasound, less further up
CALIBRATED_SEPARATION_MM = 16.0  # up to which the union of the two nerves has exactly the given area
FARTHEST_MM = 42.0  # between the nerves: the peroneal one is at the fibular head (a real mask ends 51 mm apart)
FINE_MM = 0.35  # spacing of the grid on which the area is measured


@dataclass(frozen=True)
class Lesion:
    """Swollen, brighter stretch of the nerve."""

    centre_mm: float  # level of the middle
    half_length_mm: float  # distance from the middle at which the effect has fallen to about a third
    swelling: float  # area relative to health at the middle
    signal_gain: float  # signal relative to health at the middle


@dataclass(frozen=True)
class Nerve:
    """Nerve of one subject."""

    area_mm2: float  # healthy area of the undivided nerve
    split_mm: float  # level above the popliteal crease at which the two nerves part
    divergence: float  # distance gained between them per millimetre below the split (0.35 is a tilt of 19 degrees)
    flatness: float  # ratio of the axes of each part
    tilt_deg: float  # direction in which the parts lie side by side
    wave_phases: tuple[float, ...]  # of the outline's irregularity, (harmonics 2 to 4) x (tibial, peroneal)
    lesion: Lesion | None

    def area_at(self, level_mm: float) -> float:
        """Return the cross-sectional area in mm2 of all parts, less distal side branches, plus a lesion's swelling."""
        below = max(0.0, self.split_mm - level_mm)
        healthy = self.area_mm2 * (1.0 - 0.22 * (1.0 - np.exp(-below / 60.0)))
        return float(healthy * self.swelling_at(level_mm))

    def lesion_weight(self, level_mm: float) -> float:
        """Return 0 in health, 1 at the middle of the lesion; constant in the middle, smooth at the ends."""
        if self.lesion is None:
            return 0.0
        return float(np.exp(-(((level_mm - self.lesion.centre_mm) / self.lesion.half_length_mm) ** 4)))

    def swelling_at(self, level_mm: float) -> float:
        """Return the area relative to health."""
        return 1.0 if self.lesion is None else 1.0 + (self.lesion.swelling - 1.0) * self.lesion_weight(level_mm)

    def signal_gain_at(self, level_mm: float) -> float:
        """Return the signal relative to health."""
        return 1.0 if self.lesion is None else 1.0 + (self.lesion.signal_gain - 1.0) * self.lesion_weight(level_mm)

    def separation_mm(self, level_mm: float) -> float:
        """Return the distance in mm between the centres of the tibial and the peroneal nerve."""
        side_by_side = 0.75 * np.sqrt(self.area_at(level_mm) / np.pi)
        below = max(0.0, self.split_mm - level_mm)
        apart = self.divergence * below * (1.0 - np.exp(-below / 25.0))
        return float(side_by_side + FARTHEST_MM * np.tanh(apart / FARTHEST_MM))


@dataclass(frozen=True)
class NerveSection:
    """Nerve in one plane."""

    distance_mm: Plane  # signed distance to the outline, negative inside
    # Signed distance to the border between the parts, negative on the peroneal side: half the difference of the
    # distances to the two outlines.
    peroneal_mm: Plane


def nerve_section(nerve: Nerve, level_mm: float, lateral_mm: Plane, anterior_mm: Plane) -> NerveSection:
    """Compute the signed distance to the nerve's outline at coordinates relative to its (tibial) centre."""
    tibial, peroneal = _parts(nerve, level_mm, lateral_mm, anterior_mm)
    outline = _smooth_minimum(tibial, peroneal) - np.float32(_area_offset_mm(nerve, level_mm))
    return NerveSection(outline, np.float32(0.5) * (peroneal - tibial))


def peroneal_offset_mm(nerve: Nerve, level_mm: float) -> tuple[float, float]:
    """Return the peroneal centre relative to the tibial one in mm, along and around the medial border of biceps."""
    distance = nerve.separation_mm(level_mm)
    apart = distance / FARTHEST_MM
    direction = np.deg2rad(nerve.tilt_deg * (1.0 - apart)) - 0.6 * apart + 1.15 * apart**4
    return float(distance * np.cos(direction)), float(distance * np.sin(direction))


def _parts(nerve: Nerve, level_mm: float, lateral_mm: Plane, anterior_mm: Plane) -> tuple[Plane, Plane]:
    area = nerve.area_at(level_mm)
    lateral, anterior = peroneal_offset_mm(nerve, level_mm)
    tibial_tilt = 0.5 * nerve.tilt_deg if level_mm < nerve.split_mm else nerve.tilt_deg
    tibial = _oval(lateral_mm, anterior_mm, area * TIBIAL_SHARE, nerve.flatness, tibial_tilt, nerve.wave_phases[:3],
                   level_mm)  # fmt: skip
    peroneal = _oval(lateral_mm - lateral, anterior_mm - anterior, area * (1 - TIBIAL_SHARE), 1.25 * nerve.flatness,
                     nerve.tilt_deg + 15.0, nerve.wave_phases[3:], level_mm)  # fmt: skip
    return tibial, peroneal


def _oval(
    lateral_mm: Plane,
    anterior_mm: Plane,
    area_mm2: float,
    flatness: float,
    tilt_deg: float,
    phases: tuple[float, ...],
    level_mm: float,
) -> Plane:
    """Return the first-order signed distance to a wavy ellipse of a given area (f / |grad f|)."""
    angle = np.deg2rad(tilt_deg)
    long_mm, short_mm = np.sqrt(area_mm2 * flatness / np.pi), np.sqrt(area_mm2 / flatness / np.pi)
    along = (np.cos(angle) * lateral_mm + np.sin(angle) * anterior_mm) / long_mm
    across = (np.cos(angle) * anterior_mm - np.sin(angle) * lateral_mm) / short_mm
    radius = np.sqrt(along**2 + across**2) + 1e-6
    outline = 1.0 + _waves((along + np.complex64(1j) * across) / radius, phases, level_mm)
    gradient = np.sqrt((along / long_mm) ** 2 + (across / short_mm) ** 2) / radius + 1e-9
    return np.asarray((radius - outline) / gradient, dtype=np.float32)


def _waves(direction: Complex[np.ndarray[Any, Any], "x y"], phases: tuple[float, ...], level_mm: float) -> Plane:
    """Sum cos(m theta + phase) over harmonics m, by powers of exp(i theta): ten times faster than the cosines."""
    total = np.zeros(direction.shape, dtype=np.complex64)
    power = direction.astype(np.complex64)
    for harmonic, phase in enumerate(phases, start=2):
        power = power * direction
        total += power * np.complex64(0.12 / harmonic * np.exp(1j * (phase + level_mm / (20.0 * harmonic))))
    return np.asarray(total.real)


def _smooth_minimum(first: Plane, second: Plane, width_mm: float = 1.2) -> Plane:
    overlap = np.clip(width_mm - np.abs(first - second), 0.0, None) / width_mm
    return np.asarray(np.minimum(first, second) - overlap**2 * width_mm / 4.0, dtype=np.float32)


def _area_offset_mm(nerve: Nerve, level_mm: float) -> float:
    """Return the outward shift in mm of the outline at which the union of the two parts has the required area."""
    separation = nerve.separation_mm(level_mm)
    if separation > CALIBRATED_SEPARATION_MM:
        return 0.0
    half = separation + 4.0 + 1.5 * np.sqrt(nerve.area_at(level_mm) / np.pi)
    axis = np.arange(-half, half, FINE_MM, dtype=np.float32)
    distance = _smooth_minimum(*_parts(nerve, level_mm, axis[:, None] + 0 * axis, axis + 0 * axis[:, None]))
    inside = min(round(nerve.area_at(level_mm) / FINE_MM**2), distance.size - 1)
    return float(np.partition(distance, inside, axis=None)[inside])
