"""Thighs of a variety far beyond that of a study, in images of any contrast (`CohortSpec.varied`).

Thin and obese, trained and atrophied legs; nerves of 20 to 110 mm2, round and flat, deep in fat and between touching
muscles, divided at any level. All ranges are assumed.
"""

from dataclasses import replace

import numpy as np

from nerveseg.phantom.anatomy import NearVein, Thigh
from nerveseg.phantom.grid import WaveField
from nerveseg.phantom.nerve import Nerve
from nerveseg.phantom.tissues import T2, TIRM, MrSequence

# The factor `nerve` is relative to fascicles of a T2 signal near 2, `vein` to blood of one near 3, as in `tissues`.
SEQUENCES = (
    T2,
    TIRM,
    MrSequence("T1w", fat=4.5, marrow=4.2, bone=0.1, artery=0.3, fascia=0.7, skin=1.5, nerve_fat=3.0, nerve=0.5,
               vein=0.35, oedema=0.0),
    MrSequence("PDw", fat=1.8, marrow=1.7, bone=0.1, artery=0.2, fascia=0.6, skin=1.0, nerve_fat=1.6, nerve=0.6,
               vein=0.45, oedema=0.3),
    MrSequence("water", fat=0.12, marrow=0.12, bone=0.05, artery=2.0, fascia=0.5, skin=0.8, nerve_fat=0.2, nerve=0.45,
               vein=0.5, oedema=0.3),
    MrSequence("fat", fat=10.0, marrow=9.0, bone=0.3, artery=0.6, fascia=3.0, skin=2.5, nerve_fat=7.0, nerve=0.8,
               vein=0.3, oedema=0.0),
)  # fmt: skip
"""Signals relative to healthy muscle; but for T2 and TIRM assumed, of the order seen at 3 T. In the image of fat
the signal of healthy muscle is that of its few per cent of fat."""

RANDOM_SHARE = 0.3  # of the scans whose signals follow no sequence
SPREAD = 0.15  # SD of the logarithm of each signal, from scan to scan


def draw_sequence(rng: np.random.Generator) -> MrSequence:
    """Draw the contrast of one scan, of a sequence or of none."""
    base = SEQUENCES[int(rng.integers(len(SEQUENCES)))]
    names = ("fat", "marrow", "bone", "artery", "fascia", "skin", "nerve_fat", "nerve", "vein")
    factors = np.exp(rng.normal(0.0, SPREAD, len(names)))
    values = {name: getattr(base, name) * float(factor) for name, factor in zip(names, factors, strict=True)}
    random = {name: float(np.exp(rng.uniform(np.log(0.1), np.log(6.0)))) for name in names}
    random |= {
        "marrow": random["fat"],
        "nerve_fat": random["fat"],
        "vein": random["vein"] / 3,
        "nerve": random["nerve"] / 2,
    }
    chosen = rng.random() < RANDOM_SHARE
    return replace(base, **random, name="random") if chosen else replace(base, **values)


def draw_varied_thigh(rng: np.random.Generator) -> Thigh:
    """Draw the shape of one thigh."""
    atrophied = rng.random() < 0.35
    size = float(np.exp(rng.normal(0.0, 0.09)))
    return Thigh(
        size=size,
        muscularity=float(rng.uniform(-1.2, 0.8) if atrophied else rng.uniform(1.0, 4.5)),
        fat_mm=float(np.exp(rng.uniform(np.log(3.0), np.log(36.0 if size < 1.1 else 20.0)))),
        fat_bed_mm=float(rng.uniform(0.0, 3.5)),
        bend=(WaveField.draw(rng, (22.0, 22.0, 90.0), 20), WaveField.draw(rng, (22.0, 22.0, 90.0), 20)),
        bend_mm=float(rng.uniform(1.5, 5.5)),
        wrinkle=(WaveField.draw(rng, (7.0, 7.0, 40.0), 40), WaveField.draw(rng, (7.0, 7.0, 40.0), 40)),
        wrinkle_mm=float(rng.uniform(0.2, 1.0)),
        septa=WaveField.draw(rng, (9.0, 9.0, 40.0), 32),
        nerve=_draw_nerve(rng),
        nerve_shift_mm=(float(rng.normal(0.0, 4.0)), float(rng.normal(0.0, 3.0))),
        near_veins=tuple(_draw_vein(rng) for _ in range(int(rng.integers(0, 4)))),
    )


def _draw_nerve(rng: np.random.Generator) -> Nerve:
    return Nerve(
        area_mm2=float(np.clip(np.exp(rng.normal(np.log(48.0), 0.4)), 20.0, 110.0)),
        split_mm=float(np.clip(rng.normal(85.0, 55.0), -20.0, 280.0)),
        divergence=float(rng.uniform(0.15, 0.4)),
        flatness=float(rng.uniform(1.0, 2.4)),
        tilt_deg=float(rng.normal(15.0, 25.0)),
        wave_phases=tuple(float(v) for v in rng.uniform(0, 2 * np.pi, 6)),
        lesion=None,
    )


def _draw_vein(rng: np.random.Generator) -> NearVein:
    return NearVein(
        direction_rad=float(rng.uniform(0.0, 2.0 * np.pi)),
        gap_mm=float(rng.uniform(0.3, 6.0)),
        radius_mm=float(rng.uniform(1.0, 2.6)),
        phase=float(rng.uniform(0, 2 * np.pi)),
    )
