"""A further channel of a scan on the grid of its first channel: by one function for training and for `segment`.

On the grid of the first channel it is taken as it is. On another grid it is registered (rigidly, by mutual information)
or resampled at the position in its header. So is a quantitative map, in which a zero is a voxel that was masked out.
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from nerveseg.data.registration import Registration, register_rigidly
from nerveseg.data.resample_to_grid import resample_onto
from nerveseg.data.volumes.grids import Volume
from nerveseg.errors import GeometryError
from nerveseg.types import Image

RegistrationRule: TypeAlias = Literal["rigid", "none"]


def place_channel(
    channel: Volume, image: Volume, registration: RegistrationRule, path: Path, name: str
) -> tuple[Image, Registration | None]:
    """Return a channel in RAS order on the image's grid, NaN outside its field of view, and its registration, if any.

    Raises:
        GeometryError: The channel, read from a path and named so in the error, has no voxel in common with the image.
    """
    if channel.grid.lies_on(image.grid):
        array, registered = channel.array, None
    elif registration == "rigid":
        registered = register_rigidly(channel, image)
        array = registered.array
    else:
        array, registered = resample_onto(channel, image.grid), None
    check_overlap(array, path, f"the channel {name}")
    return array, registered


def place_map(
    quantitative: Volume, image: Volume, registration: RegistrationRule, path: Path, name: str
) -> tuple[Image, Registration | None]:
    """Return a quantitative map in RAS order on the image's grid, NaN where unknown, and its registration, if any.

    Raises:
        GeometryError: The map, read from a path and named so in the error, has no voxel in common with the image.
    """
    registered = None
    if registration == "rigid" and not quantitative.grid.lies_on(image.grid):
        registered = register_rigidly(replace(quantitative, array=np.nan_to_num(quantitative.array)), image)
    motion = None if registered is None else registered.motion
    array = resample_onto(quantitative, image.grid, missing=0.0, motion=motion)
    check_overlap(array, path, f"the map {name}")
    return array, registered


def check_overlap(array: Image, path: Path, name: str) -> None:
    """Raise `GeometryError` for an array, read from a path and named so, that is NaN on the whole grid of the image."""
    if np.isnan(array).all():
        rule, remedy = f"{name} overlaps with the image", "take the series of the same examination; check its header"
        raise GeometryError(rule, found="no common voxel", path=path, remedy=remedy)


def fill_outside(array: Image) -> Image:
    """Return an array with its smallest value, as of air, outside the field of view, where it is NaN."""
    return np.where(np.isnan(array), np.nanmin(array), array)
