"""Dropout from random bits: which values of a tensor fall, kept as one byte each.

`nn.Dropout` draws each value with a generator of its own and keeps a mask of floating-point numbers; here one draw of
64 bits decides about four values, so that a probability is a multiple of 2**-16 (0.2 becomes 0.199997). What remains is
divided by the probability that it is, as drawn, so that means stay what they were.

References:
    Srivastava N, et al. Dropout: a simple way to prevent neural networks from overfitting. JMLR 15, 2014.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

STEPS = 2**16
"""Values of a 16-bit number, each as likely as the others."""


@dataclass(frozen=True)
class Dropping:
    """Which values of a tensor remain, and by what they are multiplied.

    Attributes:
        kept: Boolean, of the tensor's shape; None where nothing falls.
        factor: 1 over the probability of remaining.
    """

    kept: Tensor | None
    factor: float

    @classmethod
    def of(cls, values: Tensor, probability: float) -> Dropping:
        """Draw for values in contiguous memory, from PyTorch's generator of the CPU.

        Args:
            values: Of any shape.
            probability: Of falling, below 1.
        """
        falling = min(round(probability * STEPS), STEPS - 1)
        if falling == 0:
            return cls(None, 1.0)
        bits = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        drawn = bits.view(torch.int16)[: values.numel()].view(values.shape)
        return cls(drawn >= falling - STEPS // 2, STEPS / (STEPS - falling))

    def apply(self, values: Tensor) -> None:
        """Drop in place: the values on the way forth, their gradient on the way back."""
        if self.kept is not None:
            values.mul_(self.kept).mul_(self.factor)
