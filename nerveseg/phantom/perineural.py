"""Perineural changes: contrast of the nerve with its surroundings, which scar and oedema reduce in patients.

A healthy nerve lies in bright fat. Where its bed is scarred or oedematous, this tissue is as bright and as uneven as
the nerve, the rim vanishes, and outlines must be inferred from the slices above and below. The degree varies between
patients and along the nerve, and is higher towards the knee ("sometimes very limited on distal image slices"; paper,
section 4). Only pictures change: raters know the nerve's course, and their errors are calibrated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nerveseg.phantom.fields import Axis, Plane, WaveField
from nerveseg.phantom.specification import CohortSpec, Participant, subject_generator

HIP_MM = 400.0
"""Level at which the second value of `CohortSpec.patient_conspicuity` holds; the first is the popliteal crease's."""

PERSON_SD, STRETCH_SD = 1.2, 1.5
"""Standard deviations of the log odds of the loss: over patients, and along one nerve (assumed)."""

STRETCH_MM = 22.0
"""Correlation length of the loss along the nerve (assumed): a stretch is some 5 to 10 cm long."""

REACH_MM = (3.0, 3.5)
"""Mean and standard deviation of the reach of scar and oedema around the nerve; negative values are none."""


@dataclass(frozen=True)
class Perineural:
    """Scar and oedema around the nerve of one patient.

    Attributes:
        conspicuity: Contrast left in the median patient at the popliteal crease and at `HIP_MM`.
        person: Deviation of this patient, in log odds.
        stretches: Field of the variation along the nerve.
        reach: Field of the reach from the nerve.
        oedema: Field of the brightness.
    """

    conspicuity: tuple[float, float]
    person: float
    stretches: WaveField
    reach: WaveField
    oedema: WaveField

    def loss(self, level_mm: float) -> float:
        """Return the share of the contrast that is lost at a level, 0 to 1."""
        left = float(np.interp(level_mm, (0.0, HIP_MM), self.conspicuity))
        odds = np.log((1.0 - left + 1e-6) / (left + 1e-6)) + self.person
        odds += STRETCH_SD * self.stretches.at(0.0, 0.0, level_mm)
        return float(1.0 / (1.0 + np.exp(-odds)))

    def cover(self, nerve: Plane, lateral_mm: Axis, anterior_mm: Axis, level_mm: float, voxel_mm: float) -> Plane:
        """Return the share of every voxel that looks like nerve: the nerve and the changed tissue around it.

        Args:
            nerve: Signed distance to the nerve in mm.
            lateral_mm: Lateral coordinates of the voxels in mm.
            anterior_mm: Anterior coordinates of the voxels in mm.
            level_mm: Level in mm above the popliteal crease.
            voxel_mm: In-plane size of a voxel in mm; the change ends less sharply than a tissue.
        """
        mean_mm, sd_mm = REACH_MM
        reach_mm = np.maximum(0.0, mean_mm + sd_mm * self.reach.plane(lateral_mm, anterior_mm, level_mm))
        share = np.clip(0.5 - (nerve - reach_mm) / np.float32(2.0 * voxel_mm), 0.0, 1.0)
        return np.asarray(np.float32(self.loss(level_mm)) * share, dtype=np.float32)

    def unevenness(self, lateral_mm: Axis, anterior_mm: Axis, level_mm: float) -> Plane:
        """Return the signal of the changed tissue relative to the nerve's."""
        return np.asarray(1.0 + 0.15 * self.oedema.plane(lateral_mm, anterior_mm, level_mm), dtype=np.float32)


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
