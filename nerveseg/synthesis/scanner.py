"""Image of a scanner from a noise-free signal: resolution, coil, ghosts, noise, gain of each slice.

All parameters are drawn for one sample; the planes of a sample are the slices of one scan, with one coil and one
resolution, but with a noise and a ghost of their own. Ranges are assumed, wider than those of clinical scans.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor
from torch.nn.functional import interpolate

PIXELS_MM = (0.5, 1.6)  # least and greatest in-plane pixel

Stack: TypeAlias = Float32[Tensor, "slice x y"]


@dataclass(frozen=True)
class Scanner:
    """Parameters of one scan."""

    pixel_mm: float  # in-plane pixel of the scan
    blur: float  # SD of the point spread in pixels of the scan
    log_bias: Any  # logarithm of the coil's sensitivity at control points (x, y)
    gains: Any  # factor of each slice
    noise: float  # SD of each receiver component, relative to the brightest tissue
    rician: bool  # flag: magnitude of a complex signal, else Gaussian noise
    ghost: float  # strength of the ghosts
    ghost_shift: float  # their shift, as a share of the field
    gamma: float  # exponent of the intensities
    floor: float  # value below which the scanner's software writes 0, as of water images without fat


def draw_scanner(rng: np.random.Generator, slices: int) -> Scanner:
    """Draw the scanner of one sample."""
    dim = rng.random() < 0.25  # stacks reach beyond the coil
    masked = rng.random() < 0.12
    return Scanner(
        pixel_mm=float(np.exp(rng.uniform(*np.log(PIXELS_MM)))),
        blur=float(rng.uniform(0.2, 0.7)),
        log_bias=rng.normal(0.0, rng.uniform(0.0, 0.45), (4, 4)).astype(np.float32),
        gains=np.exp(np.cumsum(rng.normal(0.0, 0.25 if dim else 0.05, slices))).astype(np.float32),
        noise=float(np.exp(rng.uniform(np.log(0.004), np.log(0.12)))),
        rician=bool(rng.random() < 0.8),
        ghost=float(rng.uniform(0.0, 0.12)) if rng.random() < 0.3 else 0.0,
        ghost_shift=float(rng.uniform(0.15, 0.5)),
        gamma=float(np.exp(rng.normal(0.0, 0.2))) if rng.random() < 0.4 else 1.0,
        floor=float(rng.uniform(0.05, 0.3)) if masked else 0.0,
    )


def acquire(signal: Stack, scanner: Scanner, rng: np.random.Generator) -> Stack:
    """Return the image of a signal on the scanner's own grid."""
    slices, x, y = signal.shape
    field = interpolate(torch.from_numpy(scanner.log_bias)[None, None], (x, y), mode="bicubic", align_corners=True)
    seen = signal * field[0].exp() * torch.from_numpy(scanner.gains / scanner.gains[slices // 2])[:, None, None]
    if scanner.ghost:
        shift = max(1, round(scanner.ghost_shift * y))
        signs = torch.from_numpy(np.sin(rng.uniform(0, 6.3, slices)).astype(np.float32))[:, None, None]
        seen = seen + scanner.ghost * signs * (seen.roll(shift, 2) - seen.roll(-shift, 2))
    if scanner.rician:
        both = torch.from_numpy(rng.standard_normal((2, slices, x, y), dtype=np.float32)) * scanner.noise
        seen = torch.hypot(seen + both[0], both[1])
    else:
        seen = seen + scanner.noise * torch.from_numpy(rng.standard_normal((slices, x, y), dtype=np.float32))
    if scanner.floor:
        seen = seen * (seen > scanner.floor)
    if scanner.gamma != 1.0:
        # Not by torch, whose power differs in the last bit with the number of threads.
        seen = torch.from_numpy(np.power(seen.clamp(min=0).numpy(), np.float32(scanner.gamma)))
    return seen
