"""Context of a slice: the neighbouring slices that a network sees beside the one that it segments.

The neighbours are further channels: all channels of the lowest slice first. At the ends of a stack they are mirrored.
"""

import numpy as np
from jaxtyping import Int
from numpy.lib.stride_tricks import sliding_window_view
from pydantic import BaseModel, Field


class Context(BaseModel, frozen=True, extra="forbid", strict=True):
    """Slices that a network sees to segment one of them; the content of a file of `conf/context/`."""

    neighbours: int = Field(default=0, ge=0, le=32)  # number of slices on each side

    @property
    def slices(self) -> int:
        """Number of slices that the network sees."""
        return 2 * self.neighbours + 1

    def windows(self, slices: int) -> Int[np.ndarray, "slice window"]:
        """Return the numbers of the slices that the network sees for each slice of a stack, from below to above."""
        return sliding_window_view(np.pad(np.arange(slices), self.neighbours, mode="reflect"), self.slices)
