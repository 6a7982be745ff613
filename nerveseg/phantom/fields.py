"""Smooth random fields in closed form: sums of plane waves, so that any slice can be evaluated alone.

A field with a Gaussian spectrum is a Gaussian field whose correlation is a Gaussian of the given length. Because it is
a formula in millimetres, no slice depends on the grid or on the slices computed before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float

Plane: TypeAlias = Float[np.ndarray[Any, Any], "x y"]
Axis: TypeAlias = Float[np.ndarray[Any, Any], " _"]


@dataclass(frozen=True)
class WaveField:
    """Stationary random field of mean 0 and variance 1 over (lateral, anterior, level).

    Attributes:
        wave_numbers: Angular wave numbers in radians per millimetre, (wave, 3).
        phases: Phases of the waves, in radians.
    """

    wave_numbers: Float[np.ndarray[Any, Any], "wave 3"]
    phases: Float[np.ndarray[Any, Any], " wave"]

    @classmethod
    def draw(cls, rng: np.random.Generator, lengths_mm: tuple[float, float, float], waves: int = 24) -> WaveField:
        """Draw a field with the given correlation lengths (standard deviations of the covariance) along the axes."""
        numbers = rng.standard_normal((waves, 3)) / np.asarray(lengths_mm)
        return cls(numbers, rng.uniform(0, 2 * np.pi, waves))

    def plane(self, lateral_mm: Axis, anterior_mm: Axis, level_mm: float) -> Plane:
        """Evaluate the field over a slice; cos(a + b) = cos a cos b - sin a sin b makes this one matrix product."""
        along_lateral = np.outer(lateral_mm, self.wave_numbers[:, 0]) + self.wave_numbers[:, 2] * level_mm + self.phases
        along_anterior = np.outer(self.wave_numbers[:, 1], anterior_mm)
        left = np.hstack([np.cos(along_lateral), -np.sin(along_lateral)]) * np.sqrt(2 / len(self.phases))
        right = np.vstack([np.cos(along_anterior), np.sin(along_anterior)])
        return np.asarray(left.astype(np.float32) @ right.astype(np.float32))

    def at(self, lateral_mm: float, anterior_mm: float, level_mm: float) -> float:
        """Evaluate the field at one point."""
        angles = self.wave_numbers @ np.array([lateral_mm, anterior_mm, level_mm]) + self.phases
        return float(np.cos(angles).sum() * np.sqrt(2 / len(self.phases)))
