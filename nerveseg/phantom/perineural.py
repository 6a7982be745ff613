"""How far the nerve stands out from what surrounds it: in patients scar and oedema efface the fat around it.

A healthy nerve lies in bright fat. Where its bed is scarred or oedematous, the tissue there is as bright and as uneven
as the nerve, the rim vanishes, and outlines have to be guessed from the slices above and below. Patients have this to
different degrees, in stretches along the nerve, and sooner towards the knee ("sometimes very limited on distal image
slices"; paper, section 4). It changes pictures only: raters know the nerve's course, and their errors are calibrated.
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
"""How far scar and oedema reach from the nerve, mean and standard deviation round it; nowhere where negative."""


@dataclass(frozen=True)
class Perineural:
    """One patient's scar and oedema around the nerve.

    Attributes:
        conspicuity: Contrast left in the median patient at the popliteal crease and at `HIP_MM`.
        person: This patient's departure from that, in log odds.
        stretches: Along the nerve.
        reach: How far the change reaches from the nerve, direction by direction.
        oedema: Where it is brighter.
    """

    conspicuity: tuple[float, float]
    person: float
    stretches: WaveField
    reach: WaveField
    oedema: WaveField

    def loss(self, level_mm: float) -> float:
        """Share of the contrast that is lost at a level, 0 to 1."""
        left = float(np.interp(level_mm, (0.0, HIP_MM), self.conspicuity))
        odds = np.log((1.0 - left + 1e-6) / (left + 1e-6)) + self.person
        odds += STRETCH_SD * self.stretches.at(0.0, 0.0, level_mm)
        return float(1.0 / (1.0 + np.exp(-odds)))

    def cover(self, nerve: Plane, lateral_mm: Axis, anterior_mm: Axis, level_mm: float, voxel_mm: float) -> Plane:
        """Share of every place that looks like nerve although it need not be: the nerve and what is changed around it.

        Args:
            nerve: Signed distance to the nerve in millimetres.
            lateral_mm: Of the places.
            anterior_mm: Of the places.
            level_mm: Above the popliteal crease.
            voxel_mm: In-plane size of a voxel; the change ends less sharply than a tissue does.
        """
        mean_mm, sd_mm = REACH_MM
        reach_mm = np.maximum(0.0, mean_mm + sd_mm * self.reach.plane(lateral_mm, anterior_mm, level_mm))
        share = np.clip(0.5 - (nerve - reach_mm) / np.float32(2.0 * voxel_mm), 0.0, 1.0)
        return np.asarray(np.float32(self.loss(level_mm)) * share, dtype=np.float32)

    def unevenness(self, lateral_mm: Axis, anterior_mm: Axis, level_mm: float) -> Plane:
        """Signal of the changed tissue relative to the nerve's."""
        return np.asarray(1.0 + 0.15 * self.oedema.plane(lateral_mm, anterior_mm, level_mm), dtype=np.float32)


def draw_perineural(spec: CohortSpec, participant: Participant) -> Perineural | None:
    """One patient's; none in volunteers, or where the cohort asks for full conspicuity."""
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
