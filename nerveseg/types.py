"""Names of array shapes for annotations: volumes are (x, y, z) in RAS order, slices are (channel, x, y).

The names are checked at call time only under pytest (jaxtyping's import hook); elsewhere they are documentation.
Torch shapes are written where they are used, so that this module, the evaluation and the phantom do not import torch.
"""

from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, UInt8

Mask: TypeAlias = Bool[np.ndarray[Any, Any], "x y z"]  # foreground (nerve) of a volume
LabelMap: TypeAlias = UInt8[np.ndarray[Any, Any], "x y z"]  # number of each voxel's part (data/classes.py), 0: none
Image: TypeAlias = Float32[np.ndarray[Any, Any], "x y z"]  # one channel of a volume
Channels: TypeAlias = Float32[np.ndarray[Any, Any], "channel x y z"]  # all channels of a volume on one grid
Probability: TypeAlias = Float[np.ndarray[Any, Any], "x y z"]  # probability of nerve in [0, 1]
Probabilities: TypeAlias = Float[np.ndarray[Any, Any], "part x y z"]  # probability of each part in [0, 1]
Affine: TypeAlias = Float64[np.ndarray[Any, Any], "4 4"]  # matrix from voxel indices to mm, RAS+ (nibabel's convention)

SpacingMm: TypeAlias = tuple[float, float, float]
"""Distance between voxel centres along x, y, z in mm; along z the slice step (thickness plus gap)."""

Size2d: TypeAlias = tuple[int, int]  # size of a slice in pixels (x, y)
