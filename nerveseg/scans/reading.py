"""Read the files of one scan onto one grid: the image, further channels, maps, and the hash of each file.

A further channel on the image's own grid is taken as it is. On another grid it is registered (rigidly, by mutual
information) or, with `registration=none`, resampled at the position in its header. Quantitative maps are always
resampled at the position in their headers, because registration by their contrast is unreliable; a zero in a map is a
voxel that was masked out.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from nerveseg.data.registration import Registration, register_rigidly
from nerveseg.data.resample_to_grid import resample_onto
from nerveseg.data.volumes.dicom import series_files
from nerveseg.data.volumes.grids import Grid, Volume
from nerveseg.data.volumes.nifti import Geometry
from nerveseg.data.volumes.volume import read_image, read_mask
from nerveseg.errors import GeometryError
from nerveseg.files import file_sha256
from nerveseg.scans.request import ScanFiles
from nerveseg.types import Channels, Image, Mask


@dataclass(frozen=True)
class LoadedScan:
    """Images of one scan, in RAS order on the image's grid."""

    image: Volume  # image, the model's first channel
    channels: dict[str, Image]  # further channels by name; NaN outside their field of view
    maps: dict[str, Image]  # quantitative maps by name; NaN outside their field of view
    muscle: Mask | None  # mask of a muscle that the nerve does not supply
    registrations: dict[str, Registration]  # movement of each registered channel

    @property
    def grid(self) -> Grid:
        """Grid of the image, on which the mask is written."""
        return self.image.grid

    def network_channels(self, names: Sequence[str]) -> Channels:
        """Return the channels (channel, x, y, z), the image first; outside a field of view is the channel's minimum."""
        further = [self.channels[name] for name in names[1:]]
        filled = [np.where(np.isnan(array), np.nanmin(array), array) for array in further]
        return np.stack([self.image.array, *filled])


def read_scan(files: ScanFiles, geometry: Geometry, registration: Literal["rigid", "none"]) -> LoadedScan:
    """Read everything of a scan.

    Raises:
        VolumeError, GeometryError: A file is not a readable image, or lies on a grid that does not fit the image.
    """
    image = read_image(files.image, geometry=geometry, series=files.series)
    channels: dict[str, Image] = {}
    registrations: dict[str, Registration] = {}
    for name, path in files.channels.items():
        further = read_image(path, geometry=geometry, allow_nan=True)
        if further.grid.lies_on(image.grid):
            channels[name] = further.array
        elif registration == "rigid":
            registrations[name] = register_rigidly(further, image)
            channels[name] = registrations[name].array
        else:
            channels[name] = resample_onto(further, image.grid)
        _check_overlap(channels[name], path, f"the channel {name}")
    maps: dict[str, Image] = {}
    for name, path in files.maps.items():
        quantitative = read_image(path, geometry=geometry, allow_nan=True)
        maps[name] = resample_onto(quantitative, image.grid, missing=0.0)
        _check_overlap(maps[name], path, f"the map {name}")
    muscle = read_mask(files.muscle, image.grid, geometry=geometry) if files.muscle else None
    return LoadedScan(image, channels, maps, muscle, registrations)


def input_sha256(files: ScanFiles) -> dict[str, str]:
    """Return the hash of each input by its role; for a DICOM series, the hash of its files' hashes by position."""
    return {role: _sha256(path, files.series if role == "image" else None) for role, path in files.paths.items()}


def _check_overlap(array: Image, path: Path, name: str) -> None:
    if np.isnan(array).all():
        raise GeometryError(
            f"{name} overlaps with the image",
            found="no common voxel",
            path=path,
            remedy="take the series of the same examination; check that no header was changed",
        )


def _sha256(path: Path, series: str | None) -> str:
    if not path.is_dir():
        return file_sha256(path) if path.is_file() else ""
    return hashlib.sha256("".join(map(file_sha256, series_files(path, series))).encode()).hexdigest()
