"""The seed of one slice in one epoch, from which all its random parameters follow."""

from __future__ import annotations

import numpy as np


def slice_seed(seed: int, epoch: int, index: int) -> int:
    """The seed of one slice in one epoch: independent of the order in which slices are read, and of who reads them."""
    return int(np.random.SeedSequence([seed, epoch, index]).generate_state(1)[0])
