"""Population of the cohort: a person's thigh and nerve, and the grid of one scan.

Properties of the person (anatomy, tissues, lesion) are drawn by the person's generator, those of a scan (position,
distortion, coil, motion, misregistration, difficulty) by the scan's, so a second scan shows the same leg.
"""

from dataclasses import dataclass

import numpy as np

from nerveseg.phantom.anatomy import NearVein, Thigh
from nerveseg.phantom.grid import ScanGrid, WaveField, distorted
from nerveseg.phantom.nerve import Lesion, Nerve
from nerveseg.phantom.specification import CohortSpec, Participant, subject_generator
from nerveseg.phantom.tissues import Appearance, draw_appearance
from nerveseg.phantom.variety import draw_varied_thigh
from nerveseg.types import Affine

# Level of the split, mean and SD: 60 +- 27 mm in one series, 40 to 200 in another, 145 in the real mask.
SPLIT_MM = {"distal": (125.0, 25.0), "medial": (75.0, 35.0), "proximal": (75.0, 35.0)}
AREA_MM2 = (44.0, 11.5)  # healthy area, mean and SD, within 26 to 65 (Sinclair 2011: median 43, upper limit 64)


@dataclass(frozen=True)
class SimulatedPerson:
    """Thigh with its nerve, and the appearance of its tissues."""

    thigh: Thigh
    look: Appearance


def draw_person(spec: CohortSpec, participant: Participant) -> SimulatedPerson:
    """Draw a person, the same for both scans of a person."""
    rng = subject_generator(spec, participant.group, "person")
    patient = participant.cohort == "patient"
    middle_mm = spec.stack_centre_mm[participant.location]
    span_mm = (spec.slices - 1) * spec.spacing_mm[2]
    if spec.varied:
        thigh = draw_varied_thigh(rng)
        return SimulatedPerson(thigh, draw_appearance(rng, spec, patient))
    nerve = _draw_nerve(rng, participant, middle_mm - span_mm / 2, span_mm)
    return SimulatedPerson(_draw_thigh(rng, nerve), draw_appearance(rng, spec, patient))


def draw_grid(spec: CohortSpec, participant: Participant) -> ScanGrid:
    """Draw the grid of a scan; x rises towards the patient's right."""
    rng = subject_generator(spec, participant.id, "position")
    levels = (np.arange(spec.slices) - (spec.slices - 1) / 2) * spec.spacing_mm[2]
    centre_mm = spec.stack_centre_mm[participant.location] + rng.normal(0.0, 8.0)
    centre = np.asarray(spec.field_centre_mm) + rng.normal(0.0, spec.field_jitter_mm, 2)
    worst = spec.distortion_mm if participant.cohort == "patient" else spec.distortion_mm / 3
    edge_mm = worst * rng.uniform(0.3, 1.0)
    x, y = ((np.arange(n) - (n - 1) / 2) * step for n, step in zip(spec.matrix, spec.spacing_mm[:2], strict=True))
    lateral = x if participant.side == "right" else -x
    half_mm, half_stack_mm = float(np.abs(x).max()), float(np.abs(levels).max())
    return ScanGrid(
        distorted(lateral, levels, half_mm, half_stack_mm, edge_mm) + centre[0],
        distorted(y, levels, half_mm, half_stack_mm, edge_mm) + centre[1],
        levels + centre_mm,
        spec.spacing_mm,
        spec.slice_thickness_mm,
        spec.sub_slices,
    )


def draw_affine(spec: CohortSpec, participant: Participant) -> Affine:
    """Draw an affine with RAS axes rotated by about a degree, and the middle of the volume near the isocentre."""
    rng = subject_generator(spec, participant.id, "affine")
    about_x, about_y = np.deg2rad(rng.normal(0.0, 1.5, 2))
    turn_x = np.array([[1, 0, 0], [0, np.cos(about_x), -np.sin(about_x)], [0, np.sin(about_x), np.cos(about_x)]])
    turn_y = np.array([[np.cos(about_y), 0, np.sin(about_y)], [0, 1, 0], [-np.sin(about_y), 0, np.cos(about_y)]])
    affine = np.eye(4)
    affine[:3, :3] = turn_y @ turn_x @ np.diag(spec.spacing_mm)
    middle = (np.array([*spec.matrix, spec.slices]) - 1) / 2
    affine[:3, 3] = rng.normal(0.0, 10.0, 3) - affine[:3, :3] @ middle
    return affine


def _draw_nerve(rng: np.random.Generator, participant: Participant, first_mm: float, span_mm: float) -> Nerve:
    split_mm, split_sd_mm = SPLIT_MM[participant.location]
    return Nerve(
        area_mm2=float(np.clip(rng.normal(*AREA_MM2), 26.0, 65.0)),
        split_mm=float(np.clip(rng.normal(split_mm, split_sd_mm), 0.0, 200.0)),
        divergence=float(rng.uniform(0.18, 0.36)),
        flatness=float(rng.uniform(1.0, 1.35)),
        tilt_deg=float(rng.normal(15.0, 12.0)),
        wave_phases=tuple(float(v) for v in rng.uniform(0, 2 * np.pi, 6)),
        lesion=_draw_lesion(rng, participant.lesion, first_mm, span_mm),
    )


def _draw_lesion(rng: np.random.Generator, kind: str, first_mm: float, span_mm: float) -> Lesion | None:
    share = rng.uniform(0.05, 0.12) if kind == "focal" else rng.uniform(0.22, 0.5)
    centre_mm, swelling = first_mm + span_mm * rng.uniform(0.2, 0.8), 1.3 + 1.7 * rng.beta(1.2, 3.5)
    gain = rng.uniform(1.2, 1.7)
    if kind == "none":
        return None
    return Lesion(
        centre_mm=float(centre_mm),
        half_length_mm=float(max(10.0, share * span_mm)),
        swelling=1.0 if kind == "signal" else float(swelling),
        signal_gain=float(gain),
    )


def _draw_thigh(rng: np.random.Generator, nerve: Nerve) -> Thigh:
    return Thigh(
        size=float(np.exp(rng.normal(0.0, 0.06))),
        muscularity=float(rng.normal(1.0, 0.12)),
        fat_mm=float(rng.uniform(6.0, 17.0)),
        fat_bed_mm=float(rng.uniform(0.8, 3.0)),
        bend=(WaveField.draw(rng, (22.0, 22.0, 90.0), 20), WaveField.draw(rng, (22.0, 22.0, 90.0), 20)),
        bend_mm=2.2,
        wrinkle=(WaveField.draw(rng, (7.0, 7.0, 40.0), 40), WaveField.draw(rng, (7.0, 7.0, 40.0), 40)),
        wrinkle_mm=0.5,
        septa=WaveField.draw(rng, (9.0, 9.0, 40.0), 32),
        nerve=nerve,
        nerve_shift_mm=(float(rng.normal(0.0, 2.0)), float(rng.normal(0.0, 1.5))),
        near_veins=tuple(_draw_vein(rng) for _ in range(int(rng.integers(1, 4)))),
    )


def _draw_vein(rng: np.random.Generator) -> NearVein:
    return NearVein(
        direction_rad=float(rng.uniform(0.5 * np.pi, 2.0 * np.pi)),
        gap_mm=float(rng.uniform(0.4, 5.0)),
        radius_mm=float(rng.uniform(1.3, 2.4)),
        phase=float(rng.uniform(0, 2 * np.pi)),
    )
