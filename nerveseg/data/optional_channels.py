"""Optional channels, which some scans lack: zeros in place of a missing one, and a presence plane (1 or 0) for each.

The network sees the channels of the study in order, then the presence planes; with a context, those of each slice. In
training a channel that a subject has is dropped at random, so that the network learns to do without it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from nerveseg.types import Image

_DROPPING = 1  # number that makes the seed of the dropping another than that of the augmentation


def missing_channel(like: Image) -> Image:
    """Return the array of a missing channel, before normalisation: NaN in every voxel."""
    return np.full_like(like, np.nan)


def is_missing(channel: Image) -> bool:
    """Return true for the array of a missing channel; other channels have finite values only."""
    return bool(np.isnan(channel.flat[0]) and np.isnan(channel).all())


def with_presence(
    channels: Float32[np.ndarray, "channel *grid"], optional: Sequence[int], present: Sequence[bool]
) -> NDArray[Any]:
    """Append the presence planes to normalised channels, whose missing ones become zeros.

    Args:
        channels: Normalised channels.
        optional: Positions of the optional channels.
        present: Flag of each optional channel: false where it is missing or dropped.

    Returns:
        Array float32 (channel and optional channel, *grid); without optional channels the array itself.
    """
    if not optional:
        return channels
    planes = np.empty((len(optional), *channels.shape[1:]), dtype=np.float32)
    planes[:] = np.reshape(present, (-1, *[1] * (channels.ndim - 1)))
    result = np.concatenate([channels, planes])
    result[[number for number, is_present in zip(optional, present, strict=True) if not is_present]] = 0
    return result


def keep_some(present: Sequence[bool], probabilities: Sequence[float], seed: int) -> list[bool]:
    """Return the flags of the channels that stay; each present one is dropped with its probability, by the seed."""
    draws = np.random.default_rng([seed, _DROPPING]).random(len(probabilities))
    return [
        one and bool(draw >= probability) for one, draw, probability in zip(present, draws, probabilities, strict=True)
    ]
