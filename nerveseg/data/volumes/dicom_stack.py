"""Grid of the slices of a DICOM series: ordered by position, with the step computed from positions.

A slice's position is its ImagePositionPatient, projected on the normal of the slices: the cross product of the two
directions in ImageOrientationPatient. SliceThickness leaves out the gap between slices and SpacingBetweenSlices is
often wrong, so neither is read; file names and instance numbers follow the order of acquisition or of export.

A stack is even when every slice lies within 0.1 mm, or 2 % of the step where that is more, of evenly spaced positions
between the first and the last. Across the normal 0.1 mm is allowed, the tolerance between a mask and its image.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nerveseg.data.volumes.dicom_files import DicomSlice
from nerveseg.data.volumes.grids import CORNER_TOLERANCE_MM, ItkFrame
from nerveseg.errors import GeometryError, VolumeError

STEP_TOLERANCE = 0.02
ONE_CONTRAST = ("image type", "echo time", "inversion time", "b value")
"""Elements with one value in a volume; time points and acquisitions may differ where slices are interleaved."""

NAMED = 3  # largest number of gaps or of pairs of files that an error names


def positions_mm(slices: Sequence[DicomSlice]) -> NDArray[np.float64]:
    """Return the signed distance in mm of each slice from the scanner's centre, along the first slice's normal."""
    return np.array([float(one.position_mm @ slices[0].direction[:, 2]) for one in slices])


def ordered(slices: Sequence[DicomSlice]) -> list[DicomSlice]:
    """Sort slices by position; by instance number and name if any slice has no position."""
    by_number = sorted(slices, key=lambda one: (one.instance_number, one.path.name))
    if not all(one.placed for one in by_number):
        return by_number
    return [by_number[index] for index in np.argsort(positions_mm(by_number), kind="stable")]


def stack_frame(slices: Sequence[DicomSlice]) -> ItkFrame:
    """Compute the grid (column, row, slice) of slices as `ordered` returns them.

    Raises:
        VolumeError: A file has several frames or colour, a position has several images, or there is one slice only.
        GeometryError: Slices have no position, differ in size or orientation, are missing, unevenly spaced or shifted
            against each other.
    """
    _check_kind(slices)
    _check_alike(slices)
    _check_positions(slices)
    _check_contrast(slices)
    first = slices[0]
    step = (slices[-1].position_mm - first.position_mm) / (len(slices) - 1)
    step_mm = float(np.linalg.norm(step))
    direction = np.column_stack([first.direction[:, :2], step / step_mm])
    return ItkFrame(
        (float(first.spacing_mm[0]), float(first.spacing_mm[1]), step_mm),
        tuple(map(float, first.position_mm)),
        tuple(map(float, direction.ravel())),
    )


def _check_kind(slices: Sequence[DicomSlice]) -> None:
    """Check for one grey slice per file, and at least two files."""
    for one in slices:
        if one.frames > 1 or one.is_mosaic:
            rule = "each DICOM file holds one slice, or is an Enhanced image"
            found = f"{'a mosaic' if one.is_mosaic else f'{one.frames} frames'} in {one.path.name}"
            raise VolumeError(rule, found=found, remedy="convert the series to NIfTI with dcm2niix, and give that file")
        if one.samples > 1:
            found = f"a colour image ({one.samples} samples in each pixel) in {one.path.name}"
            remedy = "give the scanner's own series, not a screenshot or a fused picture"
            raise VolumeError("pixels are plain numbers", found=found, remedy=remedy)
    if len(slices) < 2:
        remedy = "put all files of the series into the folder"
        raise VolumeError("a volume has at least 2 slices", found=f"{slices[0].path.name} only", remedy=remedy)


def _check_alike(slices: Sequence[DicomSlice]) -> None:
    """Check for one size, orientation and pixel size: the far corner has the same position within each slice."""
    first = slices[0]
    for one in slices:
        if not one.placed:
            raise GeometryError(
                "each slice has a position, two directions and a pixel spacing above 0 (ImagePositionPatient, "
                "ImageOrientationPatient, PixelSpacing)",
                found=f"none in {one.path.name}",
                remedy="give the scanner's own series; screenshots and reports have no position",
            )
        distance_mm = np.linalg.norm(_far_corner(one) - _far_corner(first)) if one.size == first.size else np.inf
        if distance_mm > CORNER_TOLERANCE_MM or (one.direction[:, 2] @ first.direction[:, 2]) < 0:
            raise GeometryError(
                "the slices of a series have one size, pixel spacing and orientation",
                found=f"{_shape(first)} in {first.path.name}, {_shape(one)} in {one.path.name}",
                remedy="export the series again; scouts in several planes are no volume",
            )


def _far_corner(one: DicomSlice) -> NDArray[np.float64]:
    return np.asarray(one.direction[:, :2] @ (one.spacing_mm * one.size), dtype=np.float64)


def _shape(one: DicomSlice) -> str:
    normal = ", ".join(f"{part:.3f}" for part in one.direction[:, 2])
    return f"{one.size[0]} x {one.size[1]} of {one.spacing_mm[0]:.4g} x {one.spacing_mm[1]:.4g} mm, normal ({normal})"


def _check_positions(slices: Sequence[DicomSlice]) -> None:
    positions = positions_mm(slices)
    steps = np.diff(positions)
    if (steps < CORNER_TOLERANCE_MM).any():
        raise _same_position_error(slices, np.flatnonzero(steps < CORNER_TOLERANCE_MM))
    off = np.abs(positions - np.linspace(positions[0], positions[-1], len(positions)))
    usual = float(np.median(steps))
    tolerance = max(CORNER_TOLERANCE_MM, STEP_TOLERANCE * usual)
    if off.max() > tolerance:
        raise _uneven_error(slices, positions, tolerance)
    offsets = np.array([one.position_mm - slices[0].position_mm for one in slices])
    normal = slices[0].direction[:, 2]
    across = np.linalg.norm(offsets - np.outer(offsets @ normal, normal), axis=1)
    if across.max() > CORNER_TOLERANCE_MM:
        worst = int(across.argmax())
        raise GeometryError(
            f"slices lie straight above each other (within {CORNER_TOLERANCE_MM} mm)",
            found=f"{slices[worst].path.name} is shifted by {across[worst]:.2f} mm against {slices[0].path.name}",
            remedy="a tilted gantry or a moved slice: resample the series, for example with dcm2niix",
        )


def _check_contrast(slices: Sequence[DicomSlice]) -> None:
    """Check for one contrast: slices of two echoes at alternating positions are no volume."""
    first = slices[0]
    for one in slices:
        for name in ONE_CONTRAST:
            if one.contrast[name] != first.contrast[name]:
                found = f"{first.contrast[name]} in {first.path.name}, {one.contrast[name]} in {one.path.name}"
                remedy = "sort echoes, phase images and derived images into folders of their own, and give one of them"
                raise VolumeError(f"the slices of a series have one {name}", found=found, remedy=remedy)


def _same_position_error(slices: Sequence[DicomSlice], indices: NDArray[np.intp]) -> VolumeError:
    pairs = [(slices[index], slices[index + 1]) for index in indices]
    if all(one.instance_uid == other.instance_uid for one, other in pairs):
        difference, remedy = "the same image twice", "remove the copies"
    else:
        involved = [one for pair in pairs for one in pair]
        names = [name for name in involved[0].contrast if len({one.contrast[name] for one in involved}) > 1]
        difference = f"they differ in {', '.join(names)}" if names else "their headers do not differ"
        remedy = "sort echoes, time points and diffusion directions into folders of their own, and give one of them"
    places = positions_mm(slices)[indices]
    named = ", ".join(
        f"{one.path.name} and {other.path.name} at {place:.2f} mm"
        for (one, other), place in list(zip(pairs, places, strict=True))[:NAMED]
    )
    more = f" and {len(indices) - NAMED} more" if len(indices) > NAMED else ""
    return VolumeError("a series has one image at each position", found=f"{named}{more}: {difference}", remedy=remedy)


def _uneven_error(slices: Sequence[DicomSlice], positions: NDArray[np.float64], tolerance: float) -> GeometryError:
    steps = np.diff(positions)
    usual = float(np.median(steps))
    wrong = np.flatnonzero(np.abs(steps - usual) > tolerance)
    if len(wrong) == 0:
        wrong = np.array([int(np.abs(steps - usual).argmax())])
    named = ", ".join(
        f"{steps[index]:.2f} mm between {slices[index].path.name} (slice {index}, at {positions[index]:.2f} mm) and "
        f"{slices[index + 1].path.name} (slice {index + 1}, at {positions[index + 1]:.2f} mm)"
        + _missing(steps[index], usual)
        for index in wrong[:NAMED]
    )
    more = f", and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
    rule = f"the slices of a series are complete and evenly spaced (within {tolerance:.2g} mm)"
    found = f"{named}{more}; the usual step is {usual:.2f} mm"
    return GeometryError(rule, found=found, remedy="copy the missing files, or export the series again")


def _missing(step: float, usual: float) -> str:
    count = round(step / usual) - 1
    return f", {count} missing" if count > 0 and abs(step / usual - count - 1) < 0.1 else ""
