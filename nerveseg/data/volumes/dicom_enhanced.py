"""Frames of an Enhanced (multi-frame) DICOM file, by its functional groups (DICOM PS3.3, C.7.6.16).

A value of a frame stands in the frame's own group, or in the group that all frames share. Frames of one StackID are a
volume. Where several frames of a stack lie at one position (echoes, time points, diffusion), each contrast is one.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nerveseg.data.volumes.dicom_files import DicomSlice, is_placed
from nerveseg.data.volumes.grids import CORNER_TOLERANCE_MM
from nerveseg.data.volumes.guard import library_errors, optional_library

CONTRAST = {
    "image type": ("MRImageFrameTypeSequence", "FrameType"),
    "echo time": ("MREchoSequence", "EffectiveEchoTime"),
    "inversion time": ("MRModifierSequence", "InversionTimes"),
    "b value": ("MRDiffusionSequence", "DiffusionBValue"),
    "time point": ("FrameContentSequence", "TemporalPositionIndex"),
}
"""Sequence and element of the values that distinguish frames at one position."""

Lookup = Callable[[str, str], Any]


def frames_of(file: DicomSlice) -> list[DicomSlice]:
    """Return the frames of an Enhanced file as slices; one that is not placed if the file does not describe each frame.

    Args:
        file: Header of the file, as `read_slice` returns it.

    Raises:
        ConfigurationError: pydicom is not installed.
        VolumeError: The header is damaged.
    """
    pydicom = optional_library("pydicom")
    with library_errors(file.path):
        header = pydicom.dcmread(file.path, stop_before_pixels=True)
        own = list(header.get("PerFrameFunctionalGroupsSequence") or [])
        shared = list(header.get("SharedFunctionalGroupsSequence") or [])[:1]
        if len(own) != file.frames:
            return [replace(file, frames=1, placed=False)]
        lookups = [_lookup([groups, *shared]) for groups in own]
        frames = [_frame(file, number, lookup, lookups[0]) for number, lookup in enumerate(lookups)]
        stacks = dict.fromkeys(frame.stack for frame in frames)
        return [one for stack in stacks for one in _by_contrast([frame for frame in frames if frame.stack == stack])]


def _lookup(groups: Sequence[Any]) -> Lookup:
    """Return a function that finds an element of a sequence in the first of the groups that has it."""

    def value(sequence: str, element: str) -> Any:
        items = [group.get(sequence)[0] for group in groups if group.get(sequence)]
        return next((item.get(element) for item in items if item.get(element) not in (None, "")), None)

    return value


def _frame(file: DicomSlice, number: int, value: Lookup, first: Lookup) -> DicomSlice:
    position = value("PlanePositionSequence", "ImagePositionPatient") or ()
    orientation = value("PlaneOrientationSequence", "ImageOrientationPatient") or ()
    spacing = value("PixelMeasuresSequence", "PixelSpacing") or ()
    frame = replace(
        file,
        frame=number,
        frames=1,
        instance_uid=f"{file.instance_uid}:{number}",
        instance_number=number,
        stack=str(value("FrameContentSequence", "StackID") or "1").strip(),
        contrast=file.contrast | {name: _text(value(*place)) for name, place in CONTRAST.items() if value(*place)},
        placed=is_placed(position, orientation, spacing),
        rescaling=_rescaling(value, first),
    )
    if not frame.placed:
        return frame
    row, column = np.reshape([float(part) for part in orientation], (2, 3))
    return replace(
        frame,
        position_mm=np.array([float(part) for part in position]),
        direction=np.column_stack([row, column, np.cross(row, column)]),
        spacing_mm=np.array([float(part) for part in spacing])[::-1],
    )


def _rescaling(value: Lookup, first: Lookup) -> tuple[float, float]:
    """Return the factor and offset from the first frame's rescaling, which GDCM applies to all, to the frame's own."""

    def of(lookup: Lookup) -> tuple[float, float]:
        slope, intercept = (
            lookup("PixelValueTransformationSequence", name) for name in ("RescaleSlope", "RescaleIntercept")
        )
        return float(1 if slope is None else slope), float(intercept or 0)

    (slope, intercept), (applied_slope, applied_intercept) = of(value), of(first)
    factor = slope / applied_slope
    return factor, intercept - factor * applied_intercept


def _by_contrast(stack: list[DicomSlice]) -> list[DicomSlice]:
    """Number the contrasts of a stack in its name, if several frames lie at one position."""
    if len(stack) < 2 or not all(frame.placed for frame in stack):
        return stack
    places = np.sort([float(frame.position_mm @ stack[0].direction[:, 2]) for frame in stack])
    contrasts = list(dict.fromkeys(tuple(frame.contrast.items()) for frame in stack))
    if len(contrasts) == 1 or np.diff(places).min() > CORNER_TOLERANCE_MM:
        return stack
    numbers = {contrast: number for number, contrast in enumerate(contrasts, 1)}
    return [replace(frame, stack=f"{frame.stack}.{numbers[tuple(frame.contrast.items())]}") for frame in stack]


def _text(value: Any) -> str:
    return "\\".join(map(str, value)) if isinstance(value, (list, tuple)) or hasattr(value, "append") else str(value)
