"""Training samples of thighs of random shape and contrast, made on the fly.

A sample is a pure function of (seed, epoch, number), so that a resumed training sees what an uninterrupted one would
have seen. It replaces a stored, augmented sample (`nerveseg.data.context_samples`): slices at the network's spacing,
with those beside it, normalised as a whole volume of that scan would be. The label is that of the middle slice.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import Dataset

from nerveseg.phantom import structures
from nerveseg.synthesis.anatomies import AIR, NERVOUS, STEP_MM, STRUCTURES, TISSUES, Bank
from nerveseg.synthesis.contrast import Contrast, draw_contrast
from nerveseg.synthesis.scanner import Scanner, acquire, draw_scanner
from nerveseg.synthesis.scene import Patch, PatchLabels, draw_levels, draw_view

STREAM = 3  # number that makes these streams of random numbers others than those of augmentation
TEXTURE_SIZE = 512
TEXTURE_SDS = (0.7, 1.2, 2.0, 4.0)  # smoothness in pixels of the bank
SWIRL_SD, SWIRLS = 9.0, (5.0, 9.0)  # smoothness of the field whose level lines are swirls of fat, and their number


class ThighSamples(Dataset[dict[str, Any]]):
    """Samples of an epoch, indexed by (epoch, number).

    Args:
        bank: Anatomies.
        size: In-plane size of a sample in pixels.
        spacing_mm: In-plane spacing of the network.
        neighbours: Slices on each side.
        seed: Seed of all samples.
        per_epoch: Number of samples in an epoch.
    """

    def __init__(
        self,
        bank: Bank,
        size: tuple[int, int],
        spacing_mm: tuple[float, float],
        neighbours: int,
        seed: int,
        per_epoch: int,
    ) -> None:
        self.bank = bank
        self.size = size
        self.field_mm = (size[0] * spacing_mm[0], size[1] * spacing_mm[1])
        self.neighbours = neighbours
        self.seed = seed
        self.per_epoch = per_epoch

    def __len__(self) -> int:
        return self.per_epoch

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        """Return `image` float32 (slice, x, y) and `label` int64 (x, y), structures of `nerveseg.phantom`."""
        rng = np.random.default_rng([self.seed, *key, STREAM])
        planes = self.bank.planes(int(rng.integers(self.bank.people)))
        levels, _ = draw_levels(rng, self.neighbours)
        middle = levels[self.neighbours]
        view = draw_view(rng, planes, middle[len(middle) // 2], self.field_mm)
        contrast, scanner = draw_contrast(rng), draw_scanner(rng, len(levels))
        scan_size = (round(self.field_mm[0] / scanner.pixel_mm), round(self.field_mm[1] / scanner.pixel_mm))
        at_mm = view.positions_mm(scan_size)
        patch = Patch.around(at_mm)
        cuts = [[patch.read(planes[level], view) for level in slab] for slab in levels]
        signal = torch.from_numpy(np.stack([_signal(slab, contrast, rng) for slab in cuts]))
        seen = patch.sample(_blurred(signal, scanner, self.field_mm[0] / scan_size[0]), at_mm)
        image = acquire(seen, scanner, rng)
        image = interpolate(image[None], self.size, mode="bilinear", antialias=True, align_corners=False)[0]
        mean, sd = _volume_moments([planes[slab[0], ::6, ::6] for slab in levels], contrast, scanner, rng)
        label = _label(cuts[self.neighbours], patch, view.positions_mm(self.size))
        return {"image": (image - mean) / sd, "label": label}


def _signal(slab: list[PatchLabels], contrast: Contrast, rng: np.random.Generator) -> Float32[np.ndarray, "x y"]:
    """Return the signal of one slice, the mean over its planes; texture is that of the slice."""
    shape = slab[0].shape
    streak_signal = contrast.streaks * (np.float32(contrast.fat) - contrast.water)
    total: Any = sum(contrast.signal[labels] for labels in slab)
    total += sum(contrast.uneven[labels] for labels in slab) * _texture(shape, rng)
    streaks = np.float32(0.7) * (_texture(shape, rng) + _texture(shape, rng, swirls=True))
    total += sum(streak_signal[labels] for labels in slab) * streaks
    return np.asarray(total / np.float32(len(slab)), dtype=np.float32).clip(0)


@lru_cache(maxsize=1)
def _textures() -> Float32[np.ndarray, "kind x y"]:
    rng = np.random.default_rng(STREAM)
    white = rng.standard_normal((len(TEXTURE_SDS), TEXTURE_SIZE, TEXTURE_SIZE), dtype=np.float32)
    smooth = [ndimage.gaussian_filter(one, sd, mode="wrap") for one, sd in zip(white, TEXTURE_SDS, strict=True)]
    slow = ndimage.gaussian_filter(rng.standard_normal(white.shape[1:], dtype=np.float32), SWIRL_SD, mode="wrap")
    smooth += [np.cos(swirls * slow / slow.std()) for swirls in SWIRLS]
    return np.stack([np.tile(one / one.std(), (2, 2)) for one in smooth])


def _texture(shape: tuple[int, ...], rng: np.random.Generator, swirls: bool = False) -> Float32[np.ndarray, "x y"]:
    kinds = len(TEXTURE_SDS) + (len(SWIRLS) if swirls else 0)
    kind, x, y = rng.integers((kinds, TEXTURE_SIZE, TEXTURE_SIZE)).tolist()
    x, y = min(x, 2 * TEXTURE_SIZE - shape[0]), min(y, 2 * TEXTURE_SIZE - shape[1])
    part: Float32[np.ndarray, "x y"] = _textures()[kind, x : x + shape[0], y : y + shape[1]]
    return part


def _blurred(signal: Tensor, scanner: Scanner, pixel_mm: float) -> Tensor:
    sd = scanner.blur * pixel_mm / STEP_MM
    smooth = ndimage.gaussian_filter(signal.numpy(), (0.0, sd, sd), truncate=2.5, mode="nearest")
    return torch.from_numpy(smooth)


def _volume_moments(
    planes: list[Any], contrast: Contrast, scanner: Scanner, rng: np.random.Generator
) -> tuple[float, float]:
    """Return mean and SD that normalise the sample: those of its slices, with more or less air around."""
    counts = np.bincount(np.concatenate([np.asarray(plane).ravel() for plane in planes]), minlength=TISSUES).astype(
        float
    )
    counts[AIR] *= np.exp(rng.uniform(-1.5, 1.2))
    shares = counts / counts.sum()
    values = contrast.signal.astype(float).clip(0)
    values[AIR] = 1.25 * scanner.noise * scanner.rician
    values = values**scanner.gamma
    mean = float(shares @ values)
    sd = float(np.sqrt(shares @ (values - mean) ** 2) + 1e-3)
    return mean + sd * float(rng.normal(0.0, 0.1)), sd * float(np.exp(rng.normal(0.0, 0.15)))


def _label(slab: list[PatchLabels], patch: Patch, at_mm: Any) -> Any:
    """Return the structure of every pixel: nerve where it fills more than half, else that of the middle plane."""
    middle = slab[len(slab) // 2]
    others = STRUCTURES[middle]
    others[middle == NERVOUS] = structures.FAT
    label = patch.sample(torch.from_numpy(others.astype(np.float32))[None], at_mm, "nearest")[0].long()
    share = np.mean([labels == NERVOUS for labels in slab], axis=0, dtype=np.float32)
    nerve = patch.sample(torch.from_numpy(share)[None], at_mm)[0] > 0.5
    return label.masked_fill(nerve, structures.NERVE)
