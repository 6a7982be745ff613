"""One synthetic subject: parameters drawn from the subject's own seed, then image, truth and three raters' masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nerveseg.phantom.anatomy import cut
from nerveseg.phantom.fields import Axis, WaveField
from nerveseg.phantom.nerve import Lesion, Nerve
from nerveseg.phantom.raters import RATERS, Outline, draw_difficulty, rate
from nerveseg.phantom.signal import Appearance, acquire, draw_appearance, render
from nerveseg.phantom.specification import CohortSpec, Participant, subject_generator
from nerveseg.phantom.thigh import NearVein, Thigh
from nerveseg.types import Affine, Image, Mask


@dataclass(frozen=True)
class SimulatedSubject:
    """What is known of one simulated subject, in RAS order on one grid.

    Attributes:
        participant: The row of participants.tsv.
        image: T2-weighted image; whole numbers, healthy muscle near 100.
        truth: The true nerve: voxels that are at least half nerve.
        raters: One mask per rater.
        near_veins: Veins beside the nerve, the look-alikes.
        affine: Voxel indices to millimetres.
        split_mm: Level of the split relative to the middle of the lowest slice; below 0 the stack shows none.
    """

    participant: Participant
    image: Image
    truth: Mask
    raters: dict[str, Mask]
    near_veins: Mask
    affine: Affine
    split_mm: float


def simulate_subject(spec: CohortSpec, participant: Participant) -> SimulatedSubject:
    """Simulate one subject; the same in any order and in any process.

    Args:
        spec: The cohort.
        participant: One of `participants(spec)`.
    """
    rng = subject_generator(spec, participant.id, "subject")
    levels_mm = _levels_mm(spec, participant, rng)
    patient = participant.cohort == "patient"
    nerve = _draw_nerve(rng, participant, levels_mm)
    thigh = _draw_thigh(rng, nerve)
    denervation = float(rng.uniform(0.25, 1.0)) if patient else 0.0
    look = draw_appearance(rng, denervation, spec.spacing_mm[0], spec.noise, spec.shading_sd)
    axes_mm = _axes_mm(spec, participant, rng)
    picture, outline = _scan(spec, thigh, look, axes_mm, levels_mm)
    image = np.round(acquire(picture, look, axes_mm, levels_mm, rng)).clip(0, 32767).astype(np.float32)
    difficulty = draw_difficulty(rng, patient, spec.rater_noise_scale)
    masks = {
        rater.name: rate(outline, image, rater, difficulty, subject_generator(spec, participant.id, rater.name))
        for rater in RATERS
    }
    return SimulatedSubject(
        participant=participant,
        image=image,
        truth=outline.distance_mm < 0,
        raters=masks,
        near_veins=outline.near_veins,
        affine=_affine(spec, rng),
        split_mm=float(nerve.split_mm - levels_mm[0]),
    )


def _scan(
    spec: CohortSpec, thigh: Thigh, look: Appearance, axes_mm: tuple[Axis, Axis], levels_mm: Axis
) -> tuple[Image, Outline]:
    """Average planes through each slice's thickness."""
    shape = (*spec.matrix, spec.slices)
    picture, distance_mm = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    branch, veins = np.zeros(shape, bool), np.zeros(shape, bool)
    offsets = (np.arange(spec.sub_slices) + 0.5) / spec.sub_slices - 0.5
    for number, level_mm in enumerate(levels_mm):
        for plane_mm in level_mm + offsets * spec.slice_thickness_mm:
            section = cut(thigh, *axes_mm, float(plane_mm))
            gain = thigh.nerve.signal_gain_at(float(plane_mm))
            picture[:, :, number] += render(
                section, look, gain, thigh.fat_bed_mm, axes_mm, float(plane_mm), spec.spacing_mm[0]
            )
            distance_mm[:, :, number] += section.nerve
        branch[:, :, number] = (section.peroneal > 0) & section.peroneal_apart
        veins[:, :, number] = section.near_veins < 0
    picture /= np.float32(spec.sub_slices)
    distance_mm /= np.float32(spec.sub_slices)
    split_first = int((levels_mm < thigh.nerve.split_mm).sum())
    return picture, Outline(distance_mm, branch, veins & (distance_mm > 0), spec.spacing_mm, split_first)


def _levels_mm(spec: CohortSpec, participant: Participant, rng: np.random.Generator) -> Axis:
    """Levels of the slices above the popliteal crease, rising with the slice number (RAS)."""
    centre_mm = spec.stack_centre_mm[participant.location] + rng.normal(0.0, 8.0)
    return centre_mm + (np.arange(spec.slices) - (spec.slices - 1) / 2) * spec.spacing_mm[2]


def _axes_mm(spec: CohortSpec, participant: Participant, rng: np.random.Generator) -> tuple[Axis, Axis]:
    """Lateral and anterior coordinates of the grid; x rises towards the patient's right."""
    centre = np.asarray(spec.field_centre_mm) + rng.normal(0.0, spec.field_jitter_mm, 2)
    x, y = ((np.arange(n) - (n - 1) / 2) * step for n, step in zip(spec.matrix, spec.spacing_mm[:2], strict=True))
    lateral = x if participant.side == "right" else -x
    return lateral + centre[0], y + centre[1]


def _draw_nerve(rng: np.random.Generator, participant: Participant, levels_mm: Axis) -> Nerve:
    """Healthy area 45 +- 12 mm2 within 25 to 65; split 60 +- 27 mm in one series, 40 to 200 in another."""
    split_mm, split_sd_mm = (125.0, 25.0) if participant.location == "distal" else (85.0, 40.0)
    return Nerve(
        area_mm2=float(np.clip(rng.normal(45.0, 11.0), 28.0, 65.0)),
        split_mm=float(np.clip(rng.normal(split_mm, split_sd_mm), 0.0, 200.0)),
        divergence=float(rng.uniform(0.18, 0.36)),
        flatness=float(rng.uniform(1.0, 1.35)),
        tilt_deg=float(rng.normal(15.0, 12.0)),
        wave_phases=tuple(float(v) for v in rng.uniform(0, 2 * np.pi, 6)),
        lesion=_draw_lesion(rng, participant, levels_mm),
    )


def _draw_lesion(rng: np.random.Generator, participant: Participant, levels_mm: Axis) -> Lesion | None:
    if participant.lesion == "none":
        return None
    span_mm = float(levels_mm[-1] - levels_mm[0])
    share = rng.uniform(0.1, 0.2) if participant.lesion == "focal" else rng.uniform(0.35, 0.7)
    return Lesion(
        centre_mm=float(levels_mm[0] + span_mm * rng.uniform(0.2, 0.8)),
        half_length_mm=float(max(10.0, share * span_mm)),
        swelling=float(1.3 + 1.7 * rng.beta(1.2, 3.5)),
        signal_gain=float(rng.uniform(1.2, 1.7)),
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


def _affine(spec: CohortSpec, rng: np.random.Generator) -> Affine:
    """RAS axes turned by a degree or so, the middle of the volume near the isocentre."""
    about_x, about_y = np.deg2rad(rng.normal(0.0, 1.5, 2))
    turn_x = np.array([[1, 0, 0], [0, np.cos(about_x), -np.sin(about_x)], [0, np.sin(about_x), np.cos(about_x)]])
    turn_y = np.array([[np.cos(about_y), 0, np.sin(about_y)], [0, 1, 0], [-np.sin(about_y), 0, np.cos(about_y)]])
    affine = np.eye(4)
    affine[:3, :3] = turn_y @ turn_x @ np.diag(spec.spacing_mm)
    middle = (np.array([*spec.matrix, spec.slices]) - 1) / 2
    affine[:3, 3] = rng.normal(0.0, 10.0, 3) - affine[:3, :3] @ middle
    return affine
