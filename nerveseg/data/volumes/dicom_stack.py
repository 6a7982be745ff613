"""The slices of a DICOM series as one grid: ordered by position, the step from positions.

A slice's place is its ImagePositionPatient; along the stack that is its part along the normal, the cross product of the
two directions in ImageOrientationPatient. SliceThickness leaves out the gap between slices and SpacingBetweenSlices is
often wrong, so neither is read. File names and instance numbers follow the order of acquisition or of export.

A stack is even when every slice lies within 0.1 mm, or 2 % of the step where that is more, of evenly spaced places
between the first and the last. Positions rounded to 0.1 mm pass (0.05 mm on either side); one missing slice leaves
others half a step or more away. Across the normal 0.1 mm is allowed, the tolerance between a mask and its image.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nerveseg.data.volumes.dicom_files import DicomSlice
from nerveseg.data.volumes.grids import CORNER_TOLERANCE_MM, ItkFrame
from nerveseg.errors import GeometryError, VolumeError

STEP_TOLERANCE = 0.02
NAMED = 3
"""Gaps or pairs of files that an error names."""


def places_mm(slices: Sequence[DicomSlice]) -> NDArray[np.float64]:
    """Signed distance of each slice from the plane through the scanner's centre, along the first slice's normal."""
    return np.array([float(one.position_mm @ slices[0].direction[:, 2]) for one in slices])


def ordered(slices: Sequence[DicomSlice]) -> list[DicomSlice]:
    """By position; slices without one by instance number, then by name."""
    by_number = sorted(slices, key=lambda one: (one.instance_number, one.path.name))
    if not all(one.placed for one in by_number):
        return by_number
    return [by_number[index] for index in np.argsort(places_mm(by_number), kind="stable")]


def stack_frame(slices: Sequence[DicomSlice], folder: Path, subject: str | None = None) -> ItkFrame:
    """The grid (column, row, slice) of slices in their order.

    Args:
        slices: As `ordered` gives them.
        folder: Named in errors.
        subject: Named in errors.

    Raises:
        VolumeError: Several frames in a file, colour, one slice only, or several images at one position.
        GeometryError: Slices without position, of different size or orientation, missing, unevenly spaced or shifted
            against each other.
    """
    _check_kind(slices, folder, subject)
    _check_alike(slices, folder, subject)
    _check_positions(slices, folder, subject)
    first = slices[0]
    step = (slices[-1].position_mm - first.position_mm) / (len(slices) - 1)
    step_mm = float(np.linalg.norm(step))
    direction = np.column_stack([first.direction[:, :2], step / step_mm])
    return ItkFrame(
        (float(first.spacing_mm[0]), float(first.spacing_mm[1]), step_mm),
        tuple(map(float, first.position_mm)),
        tuple(map(float, direction.ravel())),
    )


def _check_kind(slices: Sequence[DicomSlice], folder: Path, subject: str | None) -> None:
    """One grey slice in each file, and two files or more."""
    for one in slices:
        if one.frames > 1 or one.is_enhanced or one.is_mosaic:
            kind = "a mosaic" if one.is_mosaic else "an Enhanced image" if one.is_enhanced else "a multi-frame image"
            raise VolumeError(
                "each DICOM file holds one slice (Enhanced MR and other multi-frame files are not read)",
                found=f"{kind} of {one.frames} frames in {one.path.name}",
                subject=subject,
                path=folder,
                remedy="convert the series to NIfTI with dcm2niix, and give that file",
            )
        if one.samples > 1:
            raise VolumeError(
                "pixels are plain numbers",
                found=f"a colour image ({one.samples} samples in each pixel) in {one.path.name}",
                subject=subject,
                path=folder,
                remedy="give the scanner's own series, not a screenshot or a fused picture",
            )
    if len(slices) < 2:
        raise VolumeError(
            "a volume has at least 2 slices",
            found=f"{slices[0].path.name} only",
            subject=subject,
            path=folder,
            remedy="put all files of the series into the folder",
        )


def _check_alike(slices: Sequence[DicomSlice], folder: Path, subject: str | None) -> None:
    """One size, one orientation, one pixel size: the far corner lies at the same place within each slice."""
    first = slices[0]
    for one in slices:
        if not one.placed:
            raise GeometryError(
                "each slice says where it lies (ImagePositionPatient, ImageOrientationPatient, PixelSpacing)",
                found=f"no such place in {one.path.name}",
                subject=subject,
                path=folder,
                remedy="give the scanner's own series; screenshots and reports have no place",
            )
        moved = np.linalg.norm(_far_corner(one) - _far_corner(first)) if one.size == first.size else np.inf
        if moved > CORNER_TOLERANCE_MM or (one.direction[:, 2] @ first.direction[:, 2]) < 0:
            raise GeometryError(
                "the slices of a series have one size, pixel spacing and orientation",
                found=f"{_shape(first)} in {first.path.name}, {_shape(one)} in {one.path.name}",
                subject=subject,
                path=folder,
                remedy="export the series again; scouts in several planes are no volume",
            )


def _far_corner(one: DicomSlice) -> NDArray[np.float64]:
    return np.asarray(one.direction[:, :2] @ (one.spacing_mm * one.size), dtype=np.float64)


def _shape(one: DicomSlice) -> str:
    normal = ", ".join(f"{part:.3f}" for part in one.direction[:, 2])
    return f"{one.size[0]} x {one.size[1]} of {one.spacing_mm[0]:.4g} x {one.spacing_mm[1]:.4g} mm, normal ({normal})"


def _check_positions(slices: Sequence[DicomSlice], folder: Path, subject: str | None) -> None:
    places = places_mm(slices)
    steps = np.diff(places)
    if (steps < CORNER_TOLERANCE_MM).any():
        raise _same_place_error(slices, np.flatnonzero(steps < CORNER_TOLERANCE_MM), folder, subject)
    off = np.abs(places - np.linspace(places[0], places[-1], len(places)))
    usual = float(np.median(steps))
    tolerance = max(CORNER_TOLERANCE_MM, STEP_TOLERANCE * usual)
    if off.max() > tolerance:
        raise _uneven_error(slices, places, tolerance, folder, subject)
    offsets = np.array([one.position_mm - slices[0].position_mm for one in slices])
    normal = slices[0].direction[:, 2]
    across = np.linalg.norm(offsets - np.outer(offsets @ normal, normal), axis=1)
    if across.max() > CORNER_TOLERANCE_MM:
        worst = int(across.argmax())
        raise GeometryError(
            f"slices lie straight above each other (within {CORNER_TOLERANCE_MM} mm)",
            found=f"{slices[worst].path.name} is shifted by {across[worst]:.2f} mm against {slices[0].path.name}",
            subject=subject,
            path=folder,
            remedy="a tilted gantry or a moved slice: resample the series, for example with dcm2niix",
        )


def _same_place_error(
    slices: Sequence[DicomSlice], indices: NDArray[np.intp], folder: Path, subject: str | None
) -> VolumeError:
    pairs = [(slices[index], slices[index + 1]) for index in indices]
    if all(one.instance_uid == other.instance_uid for one, other in pairs):
        difference, remedy = "the same image twice", "remove the copies"
    else:
        kinds = [kind for kind in pairs[0][0].kind if len({one.kind[kind] for pair in pairs for one in pair}) > 1]
        difference = f"they differ in {', '.join(kinds)}" if kinds else "nothing in the header tells them apart"
        remedy = "sort echoes, time points and diffusion directions into folders of their own, and give one of them"
    places = places_mm(slices)
    named = ", ".join(
        f"{slices[index].path.name} and {slices[index + 1].path.name} at {places[index]:.2f} mm"
        for index in indices[:NAMED]
    )
    more = f" and {len(indices) - NAMED} more" if len(indices) > NAMED else ""
    return VolumeError(
        "a series has one image at each position",
        found=f"{named}{more}: {difference}",
        subject=subject,
        path=folder,
        remedy=remedy,
    )


def _uneven_error(
    slices: Sequence[DicomSlice], places: NDArray[np.float64], tolerance: float, folder: Path, subject: str | None
) -> GeometryError:
    steps = np.diff(places)
    usual = float(np.median(steps))
    wrong = np.flatnonzero(np.abs(steps - usual) > tolerance)
    if len(wrong) == 0:
        wrong = np.array([int(np.abs(steps - usual).argmax())])
    named = ", ".join(
        f"{steps[index]:.2f} mm between {slices[index].path.name} (slice {index}, at {places[index]:.2f} mm) and "
        f"{slices[index + 1].path.name} (slice {index + 1}, at {places[index + 1]:.2f} mm)"
        + _missing(steps[index], usual)
        for index in wrong[:NAMED]
    )
    more = f", and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
    return GeometryError(
        f"the slices of a series are complete and evenly spaced (within {tolerance:.2g} mm)",
        found=f"{named}{more}; the usual step is {usual:.2f} mm",
        subject=subject,
        path=folder,
        remedy="copy the missing files, or export the series again",
    )


def _missing(step: float, usual: float) -> str:
    count = round(step / usual) - 1
    return f", {count} missing" if count > 0 and abs(step / usual - count - 1) < 0.1 else ""
