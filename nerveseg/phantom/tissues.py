"""Appearance of the tissues: the signal table of two MR sequences, and the deviations of one person.

Signals are relative to healthy muscle (1). T2: TE 82 ms, TR 4690 ms, turbo spin echo without fat suppression (paper,
2.2). TIRM: TR 4500, TE 32, TI 210 ms, fat nulled, as the authors' fat-suppressed sequence. Values are from the
literature where available; the others are marked as assumed.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerveseg.phantom.atlas import MUSCLES
from nerveseg.phantom.grid import WaveField
from nerveseg.phantom.specification import CohortSpec


@dataclass(frozen=True)
class MrSequence:
    """Signal of every tissue in one sequence, relative to healthy muscle."""

    name: str  # in file names
    fat: float  # subcutaneous fat, and fat between and in muscles
    marrow: float  # fatty bone marrow
    bone: float  # cortical bone
    artery: float  # flow void
    fascia: float  # connective tissue sheets (assumed: short T2, thinner than a voxel)
    skin: float  # assumed
    nerve_fat: float  # epineurial fat with its septa (assumed somewhat below fat)
    nerve: float = 1.0  # fascicles, relative to their T2 signal
    vein: float = 1.0  # slowly flowing blood, relative to its T2 signal
    oedema: float = 1.0  # gain of denervated muscle, relative to its T2 gain


T2 = MrSequence("T2w", fat=6.0, marrow=5.6, bone=0.1, artery=0.15, fascia=0.8, skin=2.0, nerve_fat=4.2)
TIRM = MrSequence(
    "TIRM", fat=0.3, marrow=0.25, bone=0.05, artery=0.15, fascia=0.4, skin=0.8, nerve_fat=0.5, nerve=1.15, vein=1.2,
    oedema=1.3,
)  # fmt: skip
"""All values are assumed: fat nulled to a few per cent, long T2 brighter than in the T2 sequence."""


@dataclass(frozen=True)
class Appearance:
    """Appearance of one person's tissues."""

    muscle: tuple[float, ...]  # signal of every muscle, in the order of `atlas.MUSCLES`
    oedema: tuple[float, ...]  # additional signal of denervated muscle where it is full, per muscle
    infiltration: tuple[float, ...]  # share of fat in denervated muscle, per muscle
    fascicle: float  # signal of healthy nerve fascicles, 1.5 to 2.6 (T2 45 to 64 ms)
    vein: float  # signal of slowly flowing blood, 2 to 3.7 (T2 50 to 80 ms)
    near_vein: float  # signal of the veins beside the nerve
    streaks: WaveField  # fine fat lines in the muscles
    patches: WaveField  # strength of the oedema
    fascicles: WaveField  # pattern of the nerve's fascicles
    lobules: WaveField  # pattern of the fat's lobules


def draw_appearance(rng: np.random.Generator, spec: CohortSpec, patient: bool) -> Appearance:
    """Draw one person's tissues; the muscles of a patient's sciatic nerve are denervated by 0.25 to 1 (assumed)."""
    denervation = float(rng.uniform(0.25, 1.0)) if patient else 0.0
    chronic = float(rng.beta(1.0, 2.5)) * denervation
    muscle = tuple(float(v) for v in rng.normal(1.0, 0.07, len(MUSCLES)))
    taken = rng.uniform(0.3, 1.4, len(MUSCLES))
    fascicle = 1.0 + (float(np.clip(rng.normal(2.0, 0.2), 1.5, 2.6)) - 1.0) * spec.nerve_muscle_contrast
    near_vein = rng.normal((1.0 + spec.nerve_vein_contrast) * fascicle, 0.35)
    voxel_mm = spec.spacing_mm[0]
    return Appearance(
        muscle=muscle,
        oedema=_sciatic(1.5 * denervation * taken),
        infiltration=_sciatic(0.5 * chronic * taken),
        fascicle=fascicle,
        vein=float(rng.uniform(2.0, 3.7)),
        near_vein=float(np.clip(near_vein, 2.0, 4.5)),
        streaks=WaveField.draw(rng, (3.2, 4.5, 120.0), 96),
        patches=WaveField.draw(rng, (8.0, 8.0, 60.0), 32),
        fascicles=WaveField.draw(rng, (max(0.55, 0.5 * voxel_mm),) * 2 + (60.0,), 48),
        lobules=WaveField.draw(rng, (7.0, 7.0, 25.0), 64),
    )


def _sciatic(values: NDArray[Any]) -> tuple[float, ...]:
    """Return the values of muscles that the sciatic nerve supplies, 0 for others (vastus does not change)."""
    return tuple(float(value) if muscle.sciatic else 0.0 for muscle, value in zip(MUSCLES, values, strict=True))
