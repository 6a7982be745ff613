"""Noise-free signal of one plane in one or more MR sequences, from its tissues: texture and partial volume.

A healthy nerve lies in bright fat. Where a patient's is scarred or oedematous, this tissue is as bright and as uneven
as the nerve. The degree varies between patients and along the nerve, and is higher towards the knee ("sometimes very
limited on distal image slices"; paper, section 4). Only pictures change: raters' errors are calibrated.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float32

from nerveseg.phantom.anatomy import Section
from nerveseg.phantom.grid import Axis, Plane, WaveField
from nerveseg.phantom.population import SimulatedPerson
from nerveseg.phantom.specification import CohortSpec, Participant, subject_generator
from nerveseg.phantom.tissues import Appearance, MrSequence

HIP_MM = 400.0  # level of the second value of `CohortSpec.patient_conspicuity`; the first is the popliteal crease's
PERSON_SD, STRETCH_SD = 1.2, 1.5  # of the log odds of the loss: over patients, and along one nerve (assumed)
STRETCH_MM = 22.0  # correlation length of the loss along the nerve (assumed): a stretch is some 5 to 10 cm long
REACH_MM = (3.0, 3.5)  # mean and SD of the reach of scar and oedema around the nerve; negative values are none
SKIN_MM = 1.5  # thickness of the skin (assumed)
VESSEL_FAT_MM = 0.5  # thickness of the fat around vessels (assumed)
PERIOSTEUM_MM = 1.0  # distance from bone at which scar around the nerve ends (assumed)

Pictures: TypeAlias = Float32[np.ndarray[Any, Any], "sequence x y"]


@dataclass(frozen=True)
class Perineural:
    """Scar and oedema around the nerve of one patient."""

    conspicuity: tuple[float, float]  # contrast left in the median patient at the popliteal crease and at `HIP_MM`
    person: float  # deviation of this patient, in log odds
    stretches: WaveField  # variation along the nerve
    reach: WaveField  # reach from the nerve
    oedema: WaveField  # brightness

    def loss(self, level_mm: float) -> float:
        """Return the share of the contrast that is lost at a level, 0 to 1."""
        left = float(np.interp(level_mm, (0.0, HIP_MM), self.conspicuity))
        odds = np.log((1.0 - left + 1e-6) / (left + 1e-6)) + self.person
        odds += STRETCH_SD * self.stretches.at(0.0, 0.0, level_mm)
        return float(1.0 / (1.0 + np.exp(-odds)))

    def cover(self, nerve: Plane, lateral_mm: Axis, anterior_mm: Axis, level_mm: float, voxel_mm: float) -> Plane:
        """Return the share of every voxel that looks like nerve: the nerve and the changed tissue around it.

        `nerve` is the signed distance to the nerve in mm; the change ends less sharply than a tissue.
        """
        mean_mm, sd_mm = REACH_MM
        reach_mm = np.maximum(0.0, mean_mm + sd_mm * self.reach.plane(lateral_mm, anterior_mm, level_mm))
        share = np.clip(0.5 - (nerve - reach_mm) / np.float32(2.0 * voxel_mm), 0.0, 1.0)
        return np.asarray(np.float32(self.loss(level_mm)) * share, dtype=np.float32)


def draw_perineural(spec: CohortSpec, participant: Participant) -> Perineural | None:
    """Draw the changes of one patient; None for volunteers, or for a cohort with full conspicuity."""
    if participant.cohort != "patient" or min(spec.patient_conspicuity) >= 1.0:
        return None
    rng = subject_generator(spec, participant.group, "perineural")
    return Perineural(
        conspicuity=spec.patient_conspicuity,
        person=float(PERSON_SD * rng.standard_normal()),
        stretches=WaveField.draw(rng, (1.0, 1.0, STRETCH_MM), 24),
        reach=WaveField.draw(rng, (4.0, 4.0, 20.0), 32),
        oedema=WaveField.draw(rng, (4.0, 4.0, 30.0), 32),
    )


def render(
    section: Section,
    person: SimulatedPerson,
    voxel_mm: float,
    sequences: Sequence[MrSequence],
    perineural: Perineural | None = None,
) -> Pictures:
    """Render the noise-free signal of one plane, painted from the skin inwards, one picture per sequence.

    `voxel_mm`, the in-plane size of a voxel, is the width of the border between two tissues.
    """
    look, axes_mm, level_mm = person.look, section.axes_mm, section.level_mm
    lobules = look.lobules.plane(*axes_mm, level_mm)
    coarse = 1.0 + 0.05 * lobules - 0.22 * _ridges(lobules, 0.05)
    streaks = _ridges(look.streaks.plane(*axes_mm, level_mm), 0.16)
    patches = np.clip(0.75 + 0.45 * look.patches.plane(*axes_mm, level_mm), 0.0, 1.4)
    nerve = section.nerve_box
    axes_near = axes_mm[0][nerve[0]], axes_mm[1][nerve[1]]
    pattern = look.fascicles.plane(*axes_near, level_mm)
    pictures = np.zeros((len(sequences), *section.skin.shape), dtype=np.float32)

    paint, paint_nerve = _brush(pictures, voxel_mm), _brush(pictures[:, *nerve], voxel_mm)
    paint(section.skin, [s.skin for s in sequences])
    paint(section.skin + np.float32(SKIN_MM), [s.fat * coarse for s in sequences])
    paint(np.abs(section.fascia) - np.float32(0.05), [s.fascia for s in sequences])
    paint(section.muscle, [_muscle_signal(section, look, patches, streaks, s) for s in sequences])
    paint(section.bone, [s.bone for s in sequences])
    paint(section.marrow, [s.marrow * (1.0 + 0.04 * lobules) for s in sequences])
    paint_nerve(section.nerve[nerve] - np.float32(person.thigh.fat_bed_mm), [0.97 * s.fat for s in sequences])
    vessels = np.minimum(np.minimum(section.arteries, section.veins), section.near_veins)
    paint(vessels - np.float32(VESSEL_FAT_MM), [0.7 * s.fat for s in sequences])
    paint(section.arteries, [s.fascia for s in sequences])
    paint(section.arteries + np.float32(0.5), [s.artery for s in sequences])
    paint(section.veins, [look.vein * s.vein for s in sequences])
    paint(section.near_veins, [look.near_vein * s.vein for s in sequences])
    paint(section.nodes, [look.near_vein * s.vein for s in sequences])
    paint_nerve(section.nerve[nerve] - np.float32(0.25), [s.fascia for s in sequences])
    gain = person.thigh.nerve.signal_gain_at(level_mm)
    signals = [_nerve_signal(look, pattern, gain, s) for s in sequences]
    paint_nerve(section.nerve[nerve], signals)
    if perineural is not None:
        cover = perineural.cover(section.nerve[nerve], *axes_near, level_mm, voxel_mm)
        kept_mm = np.minimum(vessels, section.bone - np.float32(PERIOSTEUM_MM))[nerve]
        cover *= np.clip(0.5 + kept_mm / np.float32(voxel_mm), 0.0, 1.0)
        uneven = 1.0 + 0.15 * perineural.oedema.plane(*axes_near, level_mm)  # signal relative to the nerve's
        for picture, signal in zip(pictures[:, *nerve], signals, strict=True):
            picture += cover * (uneven * signal - picture)
    return pictures


def _brush(pictures: Pictures, voxel_mm: float) -> Callable[[Plane, Sequence[Any]], None]:
    """Return a function that paints inside a border, one signal (number or plane) per picture, with partial volume."""

    def paint(distance_mm: Plane, signals: Sequence[Any]) -> None:
        share = np.clip(0.5 - distance_mm / np.float32(voxel_mm), 0.0, 1.0)
        for picture, signal in zip(pictures, signals, strict=True):
            picture += share * (signal - picture)

    return paint


def _muscle_signal(section: Section, look: Appearance, patches: Plane, streaks: Plane, sequence: MrSequence) -> Plane:
    """Return the signal of muscle, increased by oedema, crossed by fat lines, and partly replaced by fat."""
    muscle, oedema, infiltration = (
        np.asarray(values, dtype=np.float32)[section.muscle_index]
        for values in (look.muscle, look.oedema, look.infiltration)
    )
    water = muscle + sequence.oedema * oedema * patches
    fat_share = np.clip(0.18 * streaks + infiltration * (0.4 + patches + 0.8 * streaks), 0.0, 0.9)
    return np.asarray(water + fat_share * (np.float32(sequence.fat) - water), dtype=np.float32)


def _nerve_signal(look: Appearance, pattern: Plane, gain: float, sequence: MrSequence) -> Plane:
    """Return the signal of fascicles in epineurial fat, which is about a quarter of the area."""
    fat_share = 1.0 / (1.0 + np.exp((pattern + np.float32(0.75)) / np.float32(0.25)))
    fascicle = np.float32(look.fascicle * gain * sequence.nerve)
    return np.asarray(fascicle + fat_share * (np.float32(sequence.nerve_fat) - fascicle), dtype=np.float32)


def _ridges(field: Plane, width: float) -> Plane:
    """Return thin bright lines along a field's zero crossings."""
    return np.clip(1.0 - np.abs(field) / np.float32(width), 0.0, 1.0)
