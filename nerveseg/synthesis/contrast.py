"""Random contrast: the signal of every tissue in an image that no protocol, or any protocol, has made.

Half of the images follow the physics of spin echo (T1, PD, T2, with and without fat suppression or inversion) and
spoiled gradient echo (Dixon water and fat), with tissue values of 3 T that vary between persons; in the others the
signal of every tissue is random (Billot et al. 2023, SynthSeg, arXiv:2107.09559). A tissue is a mixture of water and
fat, so that infiltrated muscle, marrow and the nerve's fat follow the contrast of the image.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32

from nerveseg.phantom.atlas import MUSCLES
from nerveseg.synthesis.anatomies import (
    AIR,
    ARTERIAL,
    BED,
    BESIDE,
    CORTEX,
    FASCIA,
    FIRST_MUSCLE,
    MARROW,
    NERVOUS,
    NODE,
    SEPTUM,
    SHEATH,
    SKIN,
    SUBCUTANEOUS,
    TISSUES,
    VENOUS,
)

PHYSICS_SHARE = 0.5  # share of the images that follow the physics
FAT = [SUBCUTANEOUS, SEPTUM, SHEATH, BED]
MUSCLE = slice(FIRST_MUSCLE, TISSUES)
FAT_T1_MS, FAT_T2_MS = 370.0, 100.0  # in an echo train

Values = Float32[np.ndarray[Any, Any], " tissue"]


@dataclass(frozen=True)
class Contrast:
    """Signal of every tissue, by its label in the bank; the brightest of muscle, fat and nerve has about 1."""

    water: Values  # signal of the tissue's water
    fat: float  # signal of fat
    fat_share: Values  # share of fat in the tissue
    uneven: Values  # SD of the texture of the water's signal
    streaks: Values  # SD of the texture of the share of fat

    @property
    def signal(self) -> Values:
        """Mean signal of every tissue."""
        return np.asarray(self.water + self.fat_share * (np.float32(self.fat) - self.water), dtype=np.float32)


def draw_contrast(rng: np.random.Generator) -> Contrast:
    """Draw the contrast of one image."""
    share = _draw_fat_shares(rng)
    if rng.random() < PHYSICS_SHARE:
        water, fat = _physics(rng)
    else:
        water, fat = _random(rng)
    water[MUSCLE] *= np.exp(rng.normal(0.0, 0.05, len(MUSCLES)))
    uneven = 0.03 + 0.07 * rng.random(TISSUES)
    uneven[NERVOUS] += 0.12 * rng.random()
    streaks = np.zeros(TISSUES)
    streaks[MUSCLE] = 0.02 + 0.5 * np.sqrt(share[MUSCLE] * (1.0 - share[MUSCLE])) * rng.uniform(0.2, 1.4)
    streaks[NERVOUS] = rng.uniform(0.0, 0.15)
    uneven[AIR] = streaks[AIR] = 0.0
    whole = water + share * (fat - water)
    brightest = max(fat * 0.9, float(np.mean(whole[MUSCLE])), float(whole[NERVOUS]), 1e-3)
    return Contrast(
        water=(water / brightest).astype(np.float32),
        fat=float(fat / brightest),
        fat_share=share.astype(np.float32),
        uneven=(uneven * water / brightest).astype(np.float32),
        streaks=streaks.astype(np.float32),
    )


def _draw_fat_shares(rng: np.random.Generator) -> Any:
    """Draw the share of fat in every tissue, of muscles in health, in mild and in severe disease."""
    share = np.zeros(TISSUES)
    share[FAT] = np.clip(rng.normal(0.94, 0.04, len(FAT)), 0.7, 1.0)
    share[BED] = 0.94 if rng.random() < 0.75 else rng.uniform(0.4, 0.95)  # scar and oedema
    share[MARROW] = rng.uniform(0.85, 0.97) if rng.random() < 0.8 else rng.uniform(0.4, 0.85)
    share[NERVOUS] = rng.uniform(0.02, 0.4)
    share[SKIN] = rng.uniform(0.0, 0.4)
    state = rng.random()
    if state < 0.45:
        muscles = rng.uniform(0.0, 0.06, len(MUSCLES))
    elif state < 0.65:
        muscles = rng.uniform(0.0, 0.35, len(MUSCLES))
    else:
        ill = rng.random(len(MUSCLES)) < rng.uniform(0.2, 1.0)
        muscles = np.where(ill, rng.uniform(0.2, 0.98, len(MUSCLES)), rng.uniform(0.0, 0.3, len(MUSCLES)))
    share[MUSCLE] = muscles
    return share


def _physics(rng: np.random.Generator) -> tuple[Any, float]:
    density, t1_ms, t2_ms = (np.full(TISSUES, value) for value in (0.8, 1400.0, 36.0))
    density[AIR] = 0.0
    for tissue, values in {
        SKIN: (0.7, 1000, 35), FASCIA: (0.5, 800, 15), CORTEX: (0.12, 500, 2), NODE: (0.85, 1300, 70),
        NERVOUS: (0.76, 1150, 56), VENOUS: (0.85, 1750, 75), BESIDE: (0.85, 1750, 75), ARTERIAL: (0.85, 1750, 100),
        SUBCUTANEOUS: (0.7, 1200, 40), SEPTUM: (0.7, 1200, 40), SHEATH: (0.7, 1200, 40), BED: (0.8, 1200, 60),
        MARROW: (0.8, 1100, 50),
    }.items():  # fmt: skip
        density[tissue], t1_ms[tissue], t2_ms[tissue] = values
    t1_ms *= np.exp(rng.normal(0.0, 0.1, TISSUES)) * rng.uniform(0.7, 1.05)  # 1.5 T to 3 T
    t2_ms *= np.exp(rng.normal(0.0, 0.15, TISSUES))
    oedema = rng.random(len(MUSCLES)) < 0.25 * (rng.random() < 0.4)
    t2_ms[MUSCLE] *= np.where(oedema, rng.uniform(1.0, 1.9, len(MUSCLES)), 1.0)
    density[BESIDE] *= rng.uniform(0.6, 1.2)
    fat_t1_ms, fat_t2_ms = FAT_T1_MS * np.exp(rng.normal(0.0, 0.1)), FAT_T2_MS * np.exp(rng.normal(0.0, 0.2))
    kind = rng.choice(["t1", "pd", "t2", "gradient"], p=[0.22, 0.13, 0.3, 0.35])
    flow = rng.uniform(0.0, 0.25)
    if kind == "gradient":
        tr, angle = rng.uniform(4.0, 20.0), np.deg2rad(rng.uniform(3.0, 25.0))

        def signal(t1: Any, t2: Any) -> Any:
            return np.sin(angle) * (1 - np.exp(-tr / t1)) / (1 - np.cos(angle) * np.exp(-tr / t1)) * np.exp(-3.0 / t2)

        flow = rng.uniform(0.3, 4.0)  # inflow
        density[[VENOUS, BESIDE]] *= rng.uniform(0.7, 3.0)
    else:
        spans = {"t1": ((400, 900), (7, 20)), "pd": ((2000, 5000), (8, 40)), "t2": ((2500, 7000), (45, 110))}[str(kind)]
        tr, te = (rng.uniform(*span) for span in spans)
        ti = rng.uniform(150, 230) if kind != "t1" and rng.random() < 0.2 else None

        def signal(t1: Any, t2: Any) -> Any:
            prepared = 1 - np.exp(-tr / t1) if ti is None else np.abs(1 - 2 * np.exp(-ti / t1) + np.exp(-tr / t1))
            return prepared * np.exp(-te / t2)

    water = density * signal(t1_ms, t2_ms)
    water[ARTERIAL] *= flow
    fat = float(0.9 * signal(fat_t1_ms, fat_t2_ms)) * rng.uniform(0.8, 1.3)
    separated = rng.random()
    if separated < (0.4 if kind == "gradient" else 0.35):  # suppressed, or a water image
        fat *= rng.uniform(0.02, 0.25)
    elif separated < (0.75 if kind == "gradient" else 0.45):  # a fat image
        water = water * rng.uniform(0.01, 0.12)
    return water, fat


def _random(rng: np.random.Generator) -> tuple[Any, float]:
    water = rng.random(TISSUES)
    water[AIR] = 0.0
    water[MUSCLE] = rng.random()
    if rng.random() < 0.7:
        water[BESIDE] = np.clip(water[VENOUS] + rng.normal(0.0, 0.1), 0.0, 1.2)
    if rng.random() < 0.8:
        water[CORTEX] *= 0.2
    fat = float(rng.random())
    while abs(fat - water[NERVOUS]) < 0.12 and abs(water[MUSCLE][0] - water[NERVOUS]) < 0.12:
        water[NERVOUS], fat = rng.random(), float(rng.random())
    return water, fat
