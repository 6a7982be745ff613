"""The files of one scan on one grid: the image, further channels and maps brought onto it, the hash of each file.

A further channel on the image's own grid is taken as it is. On another grid it is registered (rigidly, by mutual
information) or, with `registration=none`, resampled where its header says it lies. Quantitative maps are always taken
where their headers say, because their contrast may be anything; a zero in a map stands for a voxel that was masked out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from nerveseg.data.registration import Registration, register_rigidly
from nerveseg.data.resample_to_grid import resample_onto
from nerveseg.data.volumes.dicom import series_files
from nerveseg.data.volumes.grids import Grid
from nerveseg.data.volumes.volume import Geometry, Volume, read_image, read_mask
from nerveseg.errors import GeometryError
from nerveseg.files import file_sha256
from nerveseg.scans.request import ScanFiles
from nerveseg.types import Channels, Image, Mask


@dataclass(frozen=True)
class LoadedScan:
    """All that was read of one scan, in RAS order on the image's grid.

    Attributes:
        image: The model's first channel.
        channels: Further channels; NaN outside their field of view.
        maps: Quantitative maps; NaN likewise.
        muscle: Mask of a muscle that the nerve does not supply.
        registrations: How each registered channel was moved.
        sources: Files of the DICOM series, by position; empty for other formats.
    """

    image: Volume
    channels: dict[str, Image]
    maps: dict[str, Image]
    muscle: Mask | None
    registrations: dict[str, Registration]
    sources: tuple[Path, ...]

    @property
    def grid(self) -> Grid:
        """The grid of the image, in which the mask is written."""
        return self.image.grid

    def network_channels(self, names: Sequence[str]) -> Channels:
        """Channels as a network takes them, (channel, x, y, z); outside its field of view one is as dark as it gets.

        Args:
            names: Of the channels, in the network's order; the first is the image whatever its name.
        """
        further = [self.channels[name] for name in names[1:]]
        filled = [np.where(np.isnan(array), np.nanmin(array), array) for array in further]
        return np.stack([self.image.array, *filled])


def read_scan(files: ScanFiles, geometry: Geometry, registration: Literal["rigid", "none"]) -> LoadedScan:
    """Read everything of a scan.

    Raises:
        VolumeError: A file is no readable image.
        GeometryError: The muscle's mask lies on another grid, or a channel or map nowhere near the image.
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
    maps = {name: _map(path, image.grid, geometry, name) for name, path in files.maps.items()}
    muscle = read_mask(files.muscle, image.grid, geometry=geometry) if files.muscle else None
    return LoadedScan(image, channels, maps, muscle, registrations, image.files)


def input_sha256(files: ScanFiles) -> dict[str, str]:
    """Hash of each input by what it is; of a DICOM series that of its files' hashes, in the order of position.

    Raises:
        VolumeError: A folder holds no series, or several.
    """
    return {what: _sha256(path, files.series if what == "image" else None) for what, path in files.paths.items()}


def image_sha256(files: ScanFiles) -> str:
    """Hash of the image alone, as `input_sha256` has it: it tells whether a member of a model was trained on it.

    Raises:
        VolumeError: A folder holds no series, or several.
    """
    return _sha256(files.paths["image"], files.series)


def _map(path: Path, grid: Grid, geometry: Geometry, name: str) -> Image:
    sampled = resample_onto(read_image(path, geometry=geometry, allow_nan=True), grid, missing=0.0)
    _check_overlap(sampled, path, f"the map {name}")
    return sampled


def _check_overlap(array: Image, path: Path, what: str) -> None:
    if np.isnan(array).all():
        raise GeometryError(
            f"{what} shows the same place as the image",
            found="no common voxel",
            path=path,
            remedy="take the series of the same examination; see that no header was changed",
        )


def _sha256(path: Path, series: str | None) -> str:
    if not path.is_dir():
        return file_sha256(path) if path.is_file() else ""
    return hashlib.sha256("".join(map(file_sha256, series_files(path, series))).encode()).hexdigest()
