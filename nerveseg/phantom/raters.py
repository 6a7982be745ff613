"""Three raters and how they differ (`OS`, `BW`, `LG` of the paper; parameters assumed, see `RATERS`).

A rater's outline is the true one moved outward by the rater's bias plus smooth noise, larger where the image shows
little contrast. Gross events come on top, more often in patients: a thin distal branch is lost, an end of the stack
is left undrawn, a vein near the nerve is taken for nerve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32
from scipy import ndimage

from nerveseg.types import Image, Mask, SpacingMm

NOISE_LENGTH_MM = 2.5
"""Correlation length of the outline's error in the plane."""
NOISE_LENGTH_SLICES = 0.7
"""The same along the stack."""


@dataclass(frozen=True)
class Rater:
    """One rater.

    Attributes:
        name: Initials.
        bias_mm: Mean outward shift of the outline, (volunteers, patients).
        event_rate: Chance of a gross event per subject, (volunteers, patients).
    """

    name: str
    bias_mm: tuple[float, float]
    event_rate: tuple[float, float]


RATERS = (
    Rater("OS", (-0.06, -0.05), (0.0, 0.08)),
    Rater("BW", (0.17, 0.05), (0.0, 0.10)),
    Rater("LG", (-0.05, 0.0), (0.10, 0.15)),
)


@dataclass(frozen=True)
class Outline:
    """What there is to draw, and what there is to confuse it with.

    Attributes:
        distance_mm: Signed distance to the true outline, averaged through the slice.
        branch: The peroneal part below the split.
        near_veins: Veins beside the nerve.
        spacing_mm: Voxel spacing.
        split_first: Number of slices from the distal end that show two nerves.
    """

    distance_mm: Float32[np.ndarray[Any, Any], "x y z"]
    branch: Bool[np.ndarray[Any, Any], "x y z"]
    near_veins: Bool[np.ndarray[Any, Any], "x y z"]
    spacing_mm: SpacingMm
    split_first: int


@dataclass(frozen=True)
class Difficulty:
    """How uncertain the outline of one subject is.

    Attributes:
        patient: Whether the rates for patients hold.
        noise_mm: Standard deviation of the outline's error.
        bias_sd_mm: Standard deviation of a rater's bias over subjects.
    """

    patient: bool
    noise_mm: float
    bias_sd_mm: float


def draw_difficulty(rng: np.random.Generator, patient: bool, noise_scale: float) -> Difficulty:
    """Draw one subject's difficulty; `noise_scale` scales the outline errors (1: as measured on the paper's grid)."""
    median_mm, log_sd, bias_sd_mm = (0.32, 0.35, 0.16) if patient else (0.24, 0.12, 0.07)
    noise_mm = float(median_mm * np.exp(log_sd * rng.standard_normal()))
    return Difficulty(patient, noise_scale * noise_mm, noise_scale * bias_sd_mm)


def rate(outline: Outline, image: Image, rater: Rater, difficulty: Difficulty, rng: np.random.Generator) -> Mask:
    """One rater's mask.

    Args:
        outline: The truth and its surroundings.
        image: What the rater saw.
        rater: Who draws.
        difficulty: The subject's.
        rng: Generator of this subject and rater.
    """
    box = _box(outline)
    bias_mm = rater.bias_mm[difficulty.patient] + difficulty.bias_sd_mm * rng.standard_normal()
    noise = _smooth_noise(rng, outline.distance_mm[box].shape, outline.spacing_mm)
    shift_mm = bias_mm + difficulty.noise_mm * _uncertainty(image[box], outline.distance_mm[box]) * noise
    mask = np.zeros(outline.distance_mm.shape, dtype=bool)
    mask[box] = outline.distance_mm[box] < shift_mm
    if rng.random() < rater.event_rate[difficulty.patient]:
        mask = _gross_event(mask, outline, rng)
    return mask


def _box(outline: Outline) -> tuple[slice, slice, slice]:
    """The part of the plane within 6 mm of the nerve, whole along the stack."""
    near = np.asarray((outline.distance_mm < 6.0).any(axis=2))
    spans = [np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))]
    x, y = (slice(int(s[0]), int(s[-1]) + 1) if s.size else slice(0, 1) for s in spans)
    return x, y, slice(None)


def _smooth_noise(
    rng: np.random.Generator, shape: tuple[int, ...], spacing_mm: SpacingMm
) -> Float32[np.ndarray[Any, Any], "x y z"]:
    """Gaussian field of unit variance."""
    sigma = (NOISE_LENGTH_MM / spacing_mm[0], NOISE_LENGTH_MM / spacing_mm[1], NOISE_LENGTH_SLICES)
    padding = [int(np.ceil(3 * s)) for s in sigma]
    white = rng.standard_normal([n + 2 * p for n, p in zip(shape, padding, strict=True)], dtype=np.float32)
    smooth = ndimage.gaussian_filter(white, sigma, mode="wrap", truncate=3.0)
    inner = smooth[tuple(slice(p, p + n) for n, p in zip(shape, padding, strict=True))]
    return np.asarray(inner / smooth.std(), dtype=np.float32)


def _uncertainty(image: Image, distance_mm: Image) -> Float32[np.ndarray[Any, Any], "x y z"]:
    """Outline error relative to its mean: half the usual at sharp borders, up to twice where the border is faint."""
    gradient = np.hypot(ndimage.gaussian_filter1d(image, 1.0, 0, 1), ndimage.gaussian_filter1d(image, 1.0, 1, 1))
    gradient = ndimage.gaussian_filter(gradient, (1.5, 1.5, 0.5))
    border = np.abs(distance_mm) < 1.0
    if not border.any():
        return np.ones_like(distance_mm)
    factor = np.clip(np.sqrt(np.median(gradient[border]) / (gradient + 1e-3)), 0.5, 2.0)
    return np.asarray(factor / factor[border].mean(), dtype=np.float32)


def _gross_event(mask: Mask, outline: Outline, rng: np.random.Generator) -> Mask:
    """One of the events that are possible in this subject."""
    possible = ["end"]
    if outline.branch.any():
        possible.append("branch")
    if outline.near_veins.any():
        possible.append("vein")
    event = possible[rng.integers(len(possible))]
    slices = mask.shape[2]
    if event == "branch":
        return _without_branch(mask, outline, rng)
    if event == "end":
        missing = max(1, round(slices * rng.uniform(0.05, 0.33)))
        undrawn = slice(0, missing) if rng.random() < 0.5 else slice(slices - missing, slices)
        mask = mask.copy()
        mask[:, :, undrawn] = False
        return mask
    length = max(2, round(slices * rng.uniform(0.15, 0.5)))
    levels = np.flatnonzero(outline.near_veins.any(axis=(0, 1)))
    first = int(rng.choice(levels))
    span = slice(max(0, first - length // 2), first + (length + 1) // 2)
    mask = mask.copy()
    mask[:, :, span] |= outline.near_veins[:, :, span]
    return mask


def _without_branch(mask: Mask, outline: Outline, rng: np.random.Generator) -> Mask:
    """Lose the peroneal nerve from somewhere below the split to the distal end."""
    last = max(1, round(outline.split_first * rng.uniform(0.6, 1.0)))
    kept = mask.copy()
    kept[:, :, :last] &= ~outline.branch[:, :, :last]
    return kept
