"""Read the files of one scan onto one grid: the image, further channels, maps, and the hash of each file.

A further channel or a quantitative map on another grid is registered or, with `registration=none`, resampled at the
position in its header (`data.further_channels`).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nerveseg.data.further_channels import RegistrationRule, fill_outside, place_channel, place_map
from nerveseg.data.optional_channels import missing_channel
from nerveseg.data.registration import Registration
from nerveseg.data.volumes.dicom import series_files
from nerveseg.data.volumes.grids import Grid, Volume
from nerveseg.data.volumes.nifti import Geometry
from nerveseg.data.volumes.volume import is_dicom_scan, read_image, read_mask
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
    registrations: dict[str, Registration]  # movement of each registered channel and map

    @property
    def grid(self) -> Grid:
        """Grid of the image, on which the mask is written."""
        return self.image.grid

    def network_channels(self, names: Sequence[str]) -> Channels:
        """Return the channels (channel, x, y, z), the image first.

        Outside its field of view a channel has its minimum; a channel that the scan lacks is NaN.
        """
        image = self.image.array
        further = [fill_outside(self.channels[name]) if name in self.channels else None for name in names[1:]]
        return np.stack([image, *(missing_channel(image) if array is None else array for array in further)])


def read_scan(files: ScanFiles, geometry: Geometry, registration: RegistrationRule) -> LoadedScan:
    """Read everything of a scan.

    Raises:
        VolumeError, GeometryError: A file is not a readable image, or lies on a grid that does not fit the image.
    """
    image = read_image(files.image, geometry=geometry, series=files.series)
    channels: dict[str, Image] = {}
    registrations: dict[str, Registration] = {}
    for name, path in files.channels.items():
        further = read_image(path, geometry=geometry, allow_nan=True)
        channels[name], registered = place_channel(further, image, registration, path, name)
        if registered:
            registrations[name] = registered
    maps: dict[str, Image] = {}
    for name, path in files.maps.items():
        quantitative = read_image(path, geometry=geometry, allow_nan=True)
        maps[name], registered = place_map(quantitative, image, registration, path, name)
        if registered:
            registrations[name] = registered
    muscle = read_mask(files.muscle, image.grid, geometry=geometry) if files.muscle else None
    return LoadedScan(image, channels, maps, muscle, registrations)


def input_sha256(files: ScanFiles) -> dict[str, str]:
    """Return the hash of each input by its role; for a DICOM series, the hash of its files' hashes by position."""
    return {role: _sha256(path, files.series if role == "image" else None) for role, path in files.paths.items()}


def _sha256(path: Path, series: str | None) -> str:
    if not is_dicom_scan(path):
        return file_sha256(path) if path.is_file() else ""
    return hashlib.sha256("".join(map(file_sha256, series_files(path, series))).encode()).hexdigest()
