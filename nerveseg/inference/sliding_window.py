"""Segmentation of a volume by a network of three dimensions: overlapping windows with Gaussian weights (MONAI's).

A window is as deep as the patches of the training. In the plane it is a patch of the training, or the whole slice where
the training showed whole crops, as long as the window has at most `LARGEST_WINDOW` voxels. Windows overlap by half, and
a voxel near the border of a window, which the network saw without its surroundings, counts less.

Memory: the feature maps of the network are those of a window, some four gigabytes at most or those of the training. The
rest are a few copies of the channels and the probabilities, of 4 bytes for each voxel on the model's grid, whose number
is at most `LARGEST_VOLUME`.
"""

import importlib.util
import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float32
from torch import Tensor

from nerveseg.data.context import Context
from nerveseg.errors import ConfigurationError, GeometryError
from nerveseg.inference.runtimes import Runner
from nerveseg.types import Size2d

LARGEST_WINDOW = 2048 * 2048
"""Largest number of voxels of a window of whole slices, as many as the largest slice has pixels."""

LARGEST_VOLUME = 2**28
"""Largest number of voxels of a scan on the model's grid: one gigabyte for each channel and part."""

OVERLAP = 0.5  # share of a window that the next one shows again


def sliding_window_probabilities(
    volume: Float32[Tensor, "channel x y z"],
    window: Sequence[int],
    engine: Runner,
    voxels_at_a_time: int,
    progress: Callable[[int, int], None] | None = None,
) -> Float32[Tensor, "part x y z"]:
    """Return the probability of each part, the weighted mean over the windows that show a voxel.

    Args:
        volume: Preprocessed scan on the model's grid, at least as large as a window.
        window: Size of a window (x, y, z).
        engine: Function from windows to probabilities.
        voxels_at_a_time: Voxels, of one or several whole windows, that go through the network together.
        progress: Function that is called with the number of slices done and of all slices.
    """
    from monai.inferers.utils import sliding_window_inference

    size, slices = volume.shape[1:], volume.shape[3]
    number = math.prod(
        1 + max(0, math.ceil((length - own) / max(1, int(own * (1 - OVERLAP)))))
        for length, own in zip(size, window, strict=True)
    )
    done = 0

    def run(windows: Tensor) -> Tensor:
        nonlocal done
        if progress:
            progress(done * slices // number, slices)
        done += len(windows)
        return engine(windows)

    at_a_time = max(1, voxels_at_a_time // math.prod(window))
    with torch.inference_mode():
        found = sliding_window_inference(volume[None], tuple(window), at_a_time, run, overlap=OVERLAP, mode="gaussian")
    assert isinstance(found, Tensor)
    if progress:
        progress(slices, slices)
    return found[0]


def window_size(context: Context, crop: Size2d, size: Size2d) -> tuple[int, int, int]:
    """Return the size of a window (x, y, z) for slices of a size, of a model trained with a crop."""
    assert context.depth is not None
    whole = context.size is None and size[0] * size[1] * context.depth <= LARGEST_WINDOW
    x, y = size if whole else context.size or crop
    return x, y, context.depth


def check_volume(size: Size2d, slices: int, scan: str | None = None) -> None:
    """Raise `GeometryError` for a scan that has more than `LARGEST_VOLUME` voxels on the model's grid."""
    voxels = size[0] * size[1] * slices
    if voxels > LARGEST_VOLUME:
        raise GeometryError(
            f"at the model's spacing a scan has at most {LARGEST_VOLUME:,} voxels for a model of context=volume",
            found=f"{size[0]} x {size[1]} x {slices} voxels",
            subject=scan,
            remedy="check that the file's spacing is in mm, cut the scan into parts, or use field_of_view=crop",
        )


def check_installed() -> None:
    """Raise `ConfigurationError` unless MONAI is installed, whose windows a model of context=volume needs."""
    if importlib.util.find_spec("monai") is None:
        raise ConfigurationError(
            "context=volume needs MONAI, which is an extra of its own",
            found="MONAI not installed",
            remedy="pip install 'nerveseg[monai]', or context=neighbours",
        )
