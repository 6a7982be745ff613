"""Three simulated raters (`OS`, `BW`, `LG` of the paper; parameters calibrated, see docs/phantom.md).

A rater's outline is the true one moved outward by the rater's bias plus smooth noise, larger where the image shows
little contrast. Gross events come on top, more often in patients and in those whose nerve has low contrast: a thin
distal branch is lost, an end of the stack is not drawn, or a vein is drawn as nerve, more likely a near one. Naming the
nerves comes after drawing: it labels the voxels of a rater's own mask and changes none.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32
from scipy import ndimage

from nerveseg.phantom.outline import PERONEAL, SCIATIC, TIBIAL, Outline, VeinTrack, vein_mask
from nerveseg.types import LabelMap, Mask, SpacingMm

NOISE_LENGTH_MM = 2.0  # correlation length of the outline's error in the plane
NOISE_LENGTH_SLICES = 0.7  # correlation length of the outline's error along the stack
TREMOR_SHARE = 0.5  # share of the error's variance that is independent between voxels, because raters paint voxels
SPLIT_SD_MM = 3.0  # standard deviation of the level at which a rater sees the split (assumed)
VEIN_REACH_MM = 15.0  # distance from the nerve at which a vein is a third as likely to be drawn as beside it (assumed)


@dataclass(frozen=True)
class Rater:
    """Parameters of one rater; pairs are for volunteers and patients."""

    name: str  # initials
    bias_mm: tuple[float, float]  # mean outward shift of the outline
    noise: tuple[float, float]  # outline noise relative to the subject's
    event_rate: tuple[float, float]  # probability of a gross event per subject of usual difficulty
    event_size: tuple[float, float]  # length of gross events relative to the usual


RATERS = (
    Rater("OS", (-0.06, -0.05), (1.0, 0.90), (0.0, 0.17), (1.0, 0.8)),
    Rater("BW", (0.20, 0.06), (1.0, 0.97), (0.0, 0.18), (1.0, 1.3)),
    Rater("LG", (-0.05, 0.0), (1.0, 1.21), (0.10, 0.26), (1.7, 1.35)),
)

NOISE_MM = (0.34, 0.405)  # median standard deviation of the outline's error at a border of usual contrast
NOISE_LOG_SD = (0.08, 0.35)  # standard deviation of its logarithm over subjects
BIAS_SD_MM = (0.08, 0.25)  # standard deviation of a rater's bias over subjects


@dataclass(frozen=True)
class Difficulty:
    """Uncertainty of the outline of one subject."""

    patient: bool  # true for the rates of patients
    noise_mm: float  # standard deviation of the outline's error
    bias_sd_mm: float  # standard deviation of a rater's bias over subjects
    relative: float = 1.0  # noise relative to the usual subject of the cohort


def draw_difficulty(rng: np.random.Generator, patient: bool, noise_scale: float) -> Difficulty:
    """Draw one subject's difficulty; `noise_scale` scales the outline errors (1: calibrated on the paper's grid)."""
    relative = float(np.exp(NOISE_LOG_SD[patient] * rng.standard_normal()))
    return Difficulty(patient, noise_scale * NOISE_MM[patient] * relative, noise_scale * BIAS_SD_MM[patient], relative)


def rate(outline: Outline, rater: Rater, difficulty: Difficulty, rng: np.random.Generator) -> Mask:
    """Draw the mask of one rater, on the grid of the whole scan; `rng` is of this subject and rater."""
    bias_mm = rater.bias_mm[difficulty.patient] + difficulty.bias_sd_mm * rng.standard_normal()
    noise_mm = rater.noise[difficulty.patient] * difficulty.noise_mm
    noise = _outline_noise(rng, outline.distance_mm.shape, outline.grid.spacing_mm)
    drawn = outline.distance_mm < np.float32(bias_mm) + np.float32(noise_mm) * outline.uncertainty * noise
    chance = rater.event_rate[difficulty.patient] * min(difficulty.relative, 2.0)
    if rng.random() >= chance:
        return np.asarray(outline.whole(drawn))
    return _gross_event(drawn, outline, difficulty.patient, rater.event_size[difficulty.patient], rng)


def name_nerves(
    mask: Mask, outline: Outline, rater: Rater, difficulty: Difficulty, rng: np.random.Generator
) -> LabelMap:
    """Name the nerve of every voxel of a rater's mask: `TIBIAL` or `PERONEAL` below the split, `SCIATIC` above it.

    The rater sees the split up to a slice away from the true one. Below it a voxel belongs to the nearest part of the
    true nerve; in each slice the rater shifts the border between the parts by an error of the size of the outline's.
    """
    levels_mm, step_mm = outline.grid.levels_mm, outline.grid.spacing_mm[2]
    split_mm = outline.split_mm + np.clip(SPLIT_SD_MM * rng.standard_normal(), -step_mm, step_mm)
    shift_mm = rater.noise[difficulty.patient] * difficulty.noise_mm * rng.standard_normal(len(levels_mm))
    peroneal = outline.peroneal_mm < shift_mm.astype(np.float32) * outline.uncertainty
    below = np.where(peroneal, np.uint8(PERONEAL), np.uint8(TIBIAL))
    labels = np.where(levels_mm < split_mm, below, np.uint8(SCIATIC))
    return np.asarray(outline.extended(labels) * mask)


def _outline_noise(
    rng: np.random.Generator, shape: tuple[int, ...], spacing_mm: SpacingMm
) -> Float32[np.ndarray[Any, Any], "x y z"]:
    """Draw a Gaussian field of unit variance: smooth, with a share of white noise."""
    sigma = (NOISE_LENGTH_MM / spacing_mm[0], NOISE_LENGTH_MM / spacing_mm[1], NOISE_LENGTH_SLICES)
    padding = [int(np.ceil(3 * s)) for s in sigma]
    white = rng.standard_normal([n + 2 * p for n, p in zip(shape, padding, strict=True)], dtype=np.float32)
    smooth = ndimage.gaussian_filter(white, sigma, mode="wrap", truncate=3.0)
    inner = smooth[tuple(slice(p, p + n) for n, p in zip(shape, padding, strict=True))] / smooth.std()
    tremor = rng.standard_normal(shape, dtype=np.float32)
    return np.asarray(np.sqrt(1 - TREMOR_SHARE) * inner + np.sqrt(TREMOR_SHARE) * tremor, dtype=np.float32)


def _gross_event(drawn: Any, outline: Outline, patient: bool, size: float, rng: np.random.Generator) -> Mask:
    """Apply one of the gross events that the anatomy allows; in volunteers only a vein beside the nerve is drawn."""
    tracks = [track for track in outline.veins if patient or track.beside]
    vein_weights = np.array([_vein_weight(track) for track in tracks])
    offers = {"vein": min(1.2, vein_weights.sum())}
    if patient:
        offers |= {"end": 1.0, "branch": 1.5 if outline.branch.any() else 0.0}
    weights = np.array(list(offers.values()))
    event = list(offers)[rng.choice(len(offers), p=weights / weights.sum())]
    slices = drawn.shape[2]
    if event == "branch":
        lost = max(1, round(outline.split_first * rng.uniform(0.6, 1.0) * min(size, 1.0)))
        kept = drawn & ~(outline.branch & (np.arange(slices) < lost))
        return np.asarray(outline.whole(kept))
    if event == "end":
        missing = max(1, round(slices * size * rng.uniform(0.12, 0.4)))
        undrawn = np.arange(slices) < missing if rng.random() < 0.5 else np.arange(slices) >= slices - missing
        return np.asarray(outline.whole(drawn & ~undrawn))
    track = tracks[rng.choice(len(vein_weights), p=vein_weights / vein_weights.sum())]
    length = max(2, round(slices * size * rng.uniform(0.25, 0.6)))
    middle = int(rng.choice(np.flatnonzero(track.radius_mm)))
    first = max(0, min(middle - length // 2, slices - length))
    return np.asarray(outline.whole(drawn) | vein_mask(track, outline.grid, first, first + length))


def _vein_weight(track: VeinTrack) -> float:
    """Return the weight of a vein among the veins that may be drawn as nerve; near veins weigh more."""
    seen = track.radius_mm > 0
    return float(np.exp(-track.gap_mm[seen] / VEIN_REACH_MM).mean()) if seen.any() else 0.0
