"""Masks that a person drew or corrected, read onto a scan's grid, compared with the automatic mask, and measured.

Any program may have written the mask (`data.volumes.volume.read_labels`). Its voxels are measured as those of a
model are; what judges a model, as the expected Dice or the likeness to its training data, does not apply.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nerveseg.data.classes import NERVE, Classes
from nerveseg.data.inputs import check_is_scan
from nerveseg.data.legs import find_legs
from nerveseg.data.volumes.grids import Grid
from nerveseg.data.volumes.labels import check_foreground
from nerveseg.data.volumes.nifti import Geometry
from nerveseg.data.volumes.volume import named_segments, read_labels
from nerveseg.errors import VolumeError, errors_about
from nerveseg.files import file_sha256
from nerveseg.names import folded
from nerveseg.scans.measuring import MeasuredScan, measure_scan
from nerveseg.scans.reading import read_scan
from nerveseg.scans.request import ScanFiles, SegmentOptions
from nerveseg.scans.results import GivenMask, MaskChanges, ScanSummary
from nerveseg.types import LabelMap


@dataclass(frozen=True)
class GivenFiles:
    """Files of a mask that a person drew or corrected, and how they are read."""

    mask: Path  # mask or label map
    automatic: Path | None  # automatic mask, or label map, that was corrected
    classes: Classes  # classes of both
    edited_there: bool = False  # flag: true if the mask is a result's own file, corrected in its folder
    segment: str | None = None  # name of the segment that is nerve, if both are chosen by it


@dataclass(frozen=True, kw_only=True)
class GivenScan(MeasuredScan):
    """Scan with a mask that a person drew or corrected, and its measurements."""

    given: GivenMask  # record of the mask
    automatic: LabelMap | None  # automatic label map, in RAS order, where it is known
    earlier: ScanSummary | None  # earlier result of the folder to write to, of which the mask was corrected

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Names and values of the mask's origin, as text."""
        changes = "not known" if self.given.changes is None else self.given.changes.in_words()
        return [
            ("mask", f"by a person, {self.given.source}"),
            ("SHA-256 of the mask", f"{self.given.sha256[:16]}..."),
            ("changes of the automatic mask", changes),
        ]


def measure_given(
    files: ScanFiles,
    mask: GivenFiles,
    channel: str,
    options: SegmentOptions,
    earlier: ScanSummary | None = None,
    synthetic: bool = False,
) -> GivenScan:
    """Read and measure a scan with a mask that a person drew or corrected.

    Args:
        files: Files of the scan.
        mask: Files of the mask.
        channel: Name of the image.
        options: Options of the measurement; further channels are registered unless they say otherwise.
        earlier: Result of which the mask was corrected, if the folder is to hold the new one.
        synthetic: Flag of a mask that began as that of a model trained on simulated data.

    Raises:
        NervesegError: A file cannot be read, or a mask does not lie on the scan's grid.
    """
    registration = options.registration or "rigid"
    options = options.model_copy(update={"registration": registration})
    scan = read_scan(files, options.geometry, registration)
    check_is_scan(scan.image, files.image)
    sha256 = file_sha256(mask.mask)  # before the mask is read, so that a later change is noticed
    labels = read_given(mask.mask, scan.grid, mask.classes, options.geometry)
    automatic = read_automatic(mask.automatic, mask, scan.grid, options.geometry) if mask.automatic else None
    changes = None if automatic is None else changes_of(labels, automatic, scan.grid)
    given = GivenMask(source=mask.mask.name, sha256=sha256, edited_there=mask.edited_there, changes=changes)
    legs = find_legs(scan.image.array, scan.grid.ras_spacing_mm)
    measured = measure_scan(scan, mask.classes.nerve(labels), legs, channel, files.person, options)
    said = f"the mask is a person's, {given.source}; changes of the automatic mask: "
    note = said + ("not known" if changes is None else changes.in_words())
    return GivenScan(
        **vars(replace(measured, notes=(note, *measured.notes))),
        files=files,
        options=options,
        channel=channel,
        scan=scan,
        labels=labels,
        classes=mask.classes.read_back(),
        synthetic=synthetic,
        given=given,
        automatic=automatic,
        earlier=earlier,
    )


def read_given(path: Path, grid: Grid, classes: Classes, geometry: Geometry = None) -> LabelMap:
    """Read a mask or label map of some classes onto the grid of a scan, as numbers of parts in RAS order.

    Raises:
        VolumeError: The file is no label map, holds none of the labels, or too many voxels for a nerve.
        GeometryError: The mask has another grid.
    """
    labels = read_labels(path, grid, geometry=geometry, declared=classes.values)
    with errors_about(path):
        parts = classes.encode(labels)
        if classes.only:
            check_foreground(parts > 0)
    return parts


def read_automatic(path: Path, mask: GivenFiles, grid: Grid, geometry: Geometry) -> LabelMap:
    """Read the automatic mask that was corrected: by the labels of the correction, unless it is a mask of one segment.

    Raises:
        VolumeError, GeometryError: As of `read_given` and `classes_of_segment`.
    """
    segments = named_segments(path)
    is_mask = len(segments) == 1 if segments else read_labels(path, grid, geometry=geometry).max() <= 1
    if mask.classes.only and is_mask:
        classes = mask.classes.read_back()
    else:
        classes = classes_of_segment(path, mask.segment) if mask.segment else mask.classes
    return read_given(path, grid, classes, geometry)


def changes_of(labels: LabelMap, automatic: LabelMap, grid: Grid) -> MaskChanges:
    """Return the difference of a label map from the automatic one, both in RAS order on one grid."""
    added, removed = (labels > 0) & (automatic == 0), (labels == 0) & (automatic > 0)
    differs = labels != automatic
    voxel_mm3 = float(np.prod(grid.ras_spacing_mm))
    counts = [int(np.count_nonzero(each)) for each in (added, removed, differs)]
    return MaskChanges(
        added_voxels=counts[0],
        removed_voxels=counts[1],
        relabelled_voxels=counts[2] - counts[0] - counts[1],
        volume_mm3=round((counts[0] - counts[1]) * voxel_mm3, 6),
        slices=sorted(grid.slice_number(int(index)) for index in np.flatnonzero(differs.any(axis=(0, 1)))),
    )


def classes_of_segment(path: Path, segment: int | str) -> Classes:
    """Return the one class, nerve, of a label value or of a segment that 3D Slicer or DICOM names.

    Raises:
        VolumeError: The file has no segment of this name.
    """
    if isinstance(segment, int):
        return Classes.of({NERVE: [segment]})
    with errors_about(path):
        segments = named_segments(path)
        found: Sequence[int] = [one.label for one in segments if folded(one.name) == folded(segment)]
        if len(found) != 1:
            names = ", ".join(f"{one.label} ({one.name})" for one in segments) or "no names of segments"
            raise VolumeError(f"the mask has a segment {segment}", found=names, remedy="segment=<number of its label>")
    return Classes.of({NERVE: found})
