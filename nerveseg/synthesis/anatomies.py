"""Bank of anatomies: stacks of tissue labels of many thighs, made once from the phantom's anatomy.

The shapes are those of `nerveseg.phantom.variety`. A person is a function of the seed and the person's number.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from nerveseg.files import atomic_write
from nerveseg.phantom.anatomy import Section, Thigh, cut
from nerveseg.phantom.atlas import MUSCLES
from nerveseg.phantom.signal import SKIN_MM, VESSEL_FAT_MM
from nerveseg.phantom.structures import ARTERY, BACKGROUND, BONE, FAT, MUSCLE, NERVE, VEIN
from nerveseg.phantom.variety import draw_varied_thigh

VERSION = 2  # of the content of a bank; part of its folder's name
STEP_MM = 0.8  # in-plane pixel of the bank
SIZE = 360  # pixels along both axes; of 160 thighs none ends nearer than 8 mm to the border
CENTRE_MM = (-38.0, -26.0)  # middle of a plane from the femur's axis, lateral and anterior
LEVELS_MM = np.arange(-30.0, 431.0, 4.0)
"""Levels of the planes above the popliteal crease; the atlas is constant below 0 and above 400 mm."""

AIR, SKIN, SUBCUTANEOUS, SEPTUM, FASCIA, CORTEX, MARROW = range(7)
ARTERIAL, VENOUS, BESIDE, NODE, NERVOUS, BED, SHEATH = range(7, 14)
FIRST_MUSCLE = 16
TISSUES = FIRST_MUSCLE + len(MUSCLES)
"""Labels of the bank: `BESIDE` is a vein beside the nerve, `BED` the fat around the nerve, `SHEATH` that around
vessels, `SEPTUM` that between muscles; each muscle of the atlas has its own label, from `FIRST_MUSCLE`."""

STRUCTURES = np.zeros(TISSUES, np.uint8)
STRUCTURES[[AIR, SKIN, NODE]] = BACKGROUND
STRUCTURES[[SUBCUTANEOUS, SEPTUM, FASCIA, BED, SHEATH]] = FAT
STRUCTURES[[CORTEX, MARROW]] = BONE
STRUCTURES[ARTERIAL], STRUCTURES[[VENOUS, BESIDE]], STRUCTURES[NERVOUS] = ARTERY, VEIN, NERVE
STRUCTURES[FIRST_MUSCLE:] = MUSCLE
"""Structure (`nerveseg.phantom.structures`) of each tissue."""

Planes = UInt8[np.ndarray[Any, Any], "level x y"]


@dataclass(frozen=True)
class Bank:
    """Anatomies on disk, memory-mapped."""

    folder: Path  # folder of the bank, one file for each person
    people: int  # number of persons

    def planes(self, person: int) -> Planes:
        """Memory-map the tissue labels of a person; x rises laterally, y anteriorly, levels proximally."""
        labels: Planes = np.load(_file(self.folder, person), mmap_mode="r")
        return labels


def prepare_bank(root: Path, people: int, seed: int, progress: Callable[[int, int], None] | None = None) -> Bank:
    """Open the bank below a folder, and make the persons that it lacks, about two seconds each."""
    folder = root / f"thighs-{VERSION}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    for person in range(people):
        if not _file(folder, person).is_file():
            _write(_file(folder, person), label_stack(draw_varied_thigh(np.random.default_rng([seed, person]))))
        if progress is not None:
            progress(person + 1, people)
    return Bank(folder, people)


def _file(folder: Path, person: int) -> Path:
    return folder / f"{person:05d}.npy"


def _write(path: Path, labels: Planes) -> None:
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.save(file, labels)


def axes_mm() -> tuple[Any, Any]:
    """Return the lateral and anterior coordinates of a plane's pixels from the femur's axis."""
    steps = (np.arange(SIZE) - (SIZE - 1) / 2) * STEP_MM
    return steps + CENTRE_MM[0], steps + CENTRE_MM[1]


def label_stack(thigh: Thigh) -> Planes:
    """Return the tissue labels of a thigh at all levels."""
    axes = axes_mm()
    return np.stack([tissues_of(cut(thigh, *axes, float(level)), thigh.fat_bed_mm) for level in LEVELS_MM])


def tissues_of(section: Section, fat_bed_mm: float) -> UInt8[np.ndarray[Any, Any], "x y"]:
    """Return the tissue of every pixel of a plane, in the order in which `phantom.signal.render` paints."""
    veins = np.minimum(section.veins, section.near_veins)
    labels = np.full(section.skin.shape, AIR, np.uint8)
    labels[section.skin < 0] = SKIN
    labels[section.skin < -SKIN_MM] = SUBCUTANEOUS
    labels[section.fascia < 0] = SEPTUM
    labels[np.abs(section.fascia) < STEP_MM / 2] = FASCIA
    inside = section.muscle < 0
    labels[inside] = FIRST_MUSCLE + section.muscle_index[inside].astype(np.uint8)
    labels[section.bone < 0] = CORTEX
    labels[section.marrow < 0] = MARROW
    labels[section.nerve < fat_bed_mm] = BED
    labels[np.minimum(section.arteries, veins) < VESSEL_FAT_MM] = SHEATH
    labels[section.arteries < 0] = ARTERIAL
    labels[section.veins < 0] = VENOUS
    labels[section.near_veins < 0] = BESIDE
    labels[section.nodes < 0] = NODE
    labels[section.nerve < 0] = NERVOUS
    return labels
