"""Writing of masks as a DICOM segmentation object that refers to the scanner's own instances (DICOM PS3.3, A.51).

Every slice of the source has a frame, with or without nerve, so that an examined empty slice differs from one that was
not examined. Unlike every other file that nerveseg writes, this one **keeps the patient's name, ID, birth date and sex
and the study's date and numbers**: only a de-identified source gives a de-identified segmentation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool
from numpy.typing import NDArray

from nerveseg import __version__
from nerveseg.data.classes import NERVE_TERM, Term
from nerveseg.data.legs import Side
from nerveseg.data.volumes.dicom_enhanced import frames_of
from nerveseg.data.volumes.dicom_files import read_slice
from nerveseg.data.volumes.dicom_seg_reading import BRANCHES_LABEL
from nerveseg.data.volumes.dicom_stack import ordered, stack_frame
from nerveseg.data.volumes.guard import atomic_volume_write, library_errors, optional_library
from nerveseg.errors import GeometryError, VolumeError
from nerveseg.notices import SYNTHETIC

MaskOfSlices: TypeAlias = Bool[np.ndarray[Any, Any], "column row slice"]
"""Mask in the scanner's order of a series, not in RAS order."""

CLASSES_LABEL = "NERVE"  # content label of a segmentation of the classes of a study

WITHOUT = "dicom_seg=false and dicom_sr=false: take the mask as NIfTI, the numbers from summary.json"
"""Remedy for a source to which no object of DICOM can refer."""

NEEDED = ("SOPClassUID", "SOPInstanceUID", "Rows", "Columns")
PLACE = ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient")
"""Elements of a single-frame image; those of an Enhanced file stand in its frames."""

LATERALITY = {"left": Term(value="7771000", meaning="Left"), "right": Term(value="24028007", meaning="Right")}
"""Coded sides, of context group 244."""

OF_META = {"SOPClassUID": "MediaStorageSOPClassUID", "SOPInstanceUID": "MediaStorageSOPInstanceUID"}
"""Elements of the first group that repeat an element of the image."""

MADE = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
"""Elements that get a new UID, the same in all slices, if the source lacks them (DICOM PS3.5, 9.1)."""

MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
"""Type 2 elements of the standard: present but possibly empty. De-identified files often lack them."""

ORIENTATION_TOLERANCE = 1e-3
"""Tolerance of direction cosines and of pixel sizes in mm; scanners round each file separately."""


@dataclass(frozen=True)
class SegmentMask:
    """Mask of one structure, for a segment."""

    name: str  # label of the segment
    mask: MaskOfSlices  # its voxels; axes (column, row, slice) as SimpleITK's x, y, z
    term: Term  # coded term of the structure
    side: Side = "unknown"  # side of the body; unknown: not stated
    colour: tuple[int, int, int] | None = None  # recommended red, green and blue, 0 to 255; None: not stated


def write_dicom_seg(
    path: Path,
    segments: Sequence[SegmentMask],
    source_files: Sequence[Path],
    *,
    algorithm: str,
    synthetic: bool,
    model_sha256: str,
    are_branches: bool = False,
) -> None:
    """Write masks atomically as a binary DICOM segmentation with a segment for each.

    The segments are anatomical structures, made automatically by nerveseg; their parameters name the model and the
    model's hash. Study, patient and frame of reference are the source's.

    Args:
        path: File to write, `.dcm`; an existing one is replaced.
        segments: Masks, with slices as `source_files`, their names and terms; masks of nested classes overlap.
        source_files: Single-frame instances of one series, ordered by position, or one Enhanced file of one stack.
        algorithm: Description of the model, for example its architecture and run.
        synthetic: Flag of a model trained on synthetic data, stated in the descriptions.
        model_sha256: SHA-256 of the model; also the serial number of the "device".
        are_branches: Flag of segments that are the sides and branches of one nerve, which are read back as that nerve.

    Raises:
        ConfigurationError: highdicom or pydicom is not installed.
        VolumeError: A source is not a readable single-frame DICOM image with a geometry, or mask and series differ in
            size.
        GeometryError: The sources are not the parallel, ordered slices of one series.
    """
    description = f"{SYNTHETIC}: nerve (nerveseg)" if synthetic else "Nerve (nerveseg)"
    with library_errors(source_files[0].parent):
        sources, frames = read_sources(source_files)
        expected = (int(sources[0].Columns), int(sources[0].Rows), len(frames))
        pixels = np.zeros((*expected[::-1], len(segments)), dtype=np.uint8)
        for number, segment in enumerate(segments):
            if segment.mask.shape != expected:
                rule = "a mask has the columns, rows and slices of its source series"
                raise VolumeError(rule, found=f"mask of {segment.mask.shape}, series of {expected}", path=path)
            pixels[frames, ..., number] = segment.mask.transpose(2, 1, 0)
        made = _segments(segments, algorithm, model_sha256)
        label = BRANCHES_LABEL if are_branches else CLASSES_LABEL
        folder = source_files[0].parent
        segmentation = _segmentation(sources, pixels, made, model_sha256, description, folder, label)
    with atomic_volume_write(path) as temporary, temporary.open("wb") as file:
        segmentation.save_as(file)


def check_sources(source_files: Sequence[Path]) -> None:
    """Make an empty segmentation of a series without writing it, to raise its errors before there is a mask."""
    with library_errors(source_files[0].parent):
        sources, frames = read_sources(source_files)
        columns, rows = int(sources[0].Columns), int(sources[0].Rows)
        empty = [SegmentMask("Nerve", np.zeros((columns, rows, len(frames)), dtype=np.bool_), NERVE_TERM)]
        pixels = np.zeros((len(frames), rows, columns, 1), dtype=np.uint8)
        _segmentation(sources, pixels, _segments(empty, "", "0" * 64), "0" * 64, "", source_files[0].parent)


def _segmentation(
    sources: Sequence[Any],
    pixels: NDArray[np.uint8],
    segments: Sequence[Any],
    model_sha256: str,
    description: str,
    folder: Path,
    label: str = CLASSES_LABEL,
) -> Any:
    highdicom, pydicom = optional_library("highdicom"), optional_library("pydicom")
    try:
        return highdicom.seg.Segmentation(
            source_images=sources,
            pixel_array=pixels,
            segmentation_type="BINARY",
            segment_descriptions=segments,
            omit_empty_frames=False,
            series_instance_uid=pydicom.uid.generate_uid(),
            sop_instance_uid=pydicom.uid.generate_uid(),
            series_number=int(sources[0].get("SeriesNumber") or 0) + 1000,
            instance_number=1,
            manufacturer="nerveseg",
            manufacturer_model_name="nerveseg",
            software_versions=__version__,
            device_serial_number=model_sha256[:64],
            content_label=label,
            content_description=description,
            series_description=description,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        rule = "a DICOM segmentation takes over the patient and study of its source, as the standard defines them"
        found = f"{type(error).__name__}; its text is left out because it may quote the patient"
        remedy = f"{WITHOUT}; or export the series again"
        raise VolumeError(rule, found=found, path=folder, remedy=remedy) from None


def _segments(segments: Sequence[SegmentMask], algorithm: str, model_sha256: str) -> list[Any]:
    highdicom = optional_library("highdicom")
    codes = import_module("pydicom.sr.codedict").codes
    identification = highdicom.AlgorithmIdentificationSequence(
        name="nerveseg",
        family=codes.cid7162.ArtificialIntelligence,
        version=__version__,
        parameters={"model": algorithm, "model_sha256": model_sha256},
    )
    return [_described(number, segment, identification) for number, segment in enumerate(segments, 1)]


def _described(number: int, segment: SegmentMask, identification: Any) -> Any:
    """Return the description of a segment: its term, with the side as a modifier, and its colour."""
    highdicom = optional_library("highdicom")
    described = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.name,
        segmented_property_category=import_module("pydicom.sr.codedict").codes.cid7150.AnatomicalStructure,
        segmented_property_type=concept_of(segment.term),
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=identification,
        tracking_uid=highdicom.UID(),
        tracking_id=segment.name,
        display_color=segment.colour and highdicom.color.CIELabColor.from_rgb(*segment.colour),
    )
    if segment.side in LATERALITY:
        kind = described.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [concept_of(LATERALITY[segment.side])]
    return described


def concept_of(term: Term) -> Any:
    """Return a term as a coded concept of highdicom."""
    return optional_library("highdicom").sr.CodedConcept(term.value, term.scheme, term.meaning)


def read_sources(files: Sequence[Path]) -> tuple[list[Any], list[int]]:
    """Return the headers with a correct step of the slices, and the position of each slice among the sources' frames.

    A single-frame file is a source of its own; of an Enhanced file, frames are ordered by position.
    """
    optional_library("highdicom")
    pydicom = optional_library("pydicom")
    sources = [_source(pydicom, file) for file in files]
    for name in MADE:
        uid = pydicom.uid.generate_uid(entropy_srcs=[name, sources[0].SOPInstanceUID])
        for source in sources:
            source[name] = pydicom.DataElement(name, "UI", source.get(name) or uid)
    if not _is_enhanced(sources[0]):
        _correct_step(sources, _slice_step_mm(sources, files))
        return sources, list(range(len(files)))
    one = read_slice(files[0])
    slices = frames_of(one) if one else []
    if len(files) > 1 or not slices or len({frame.stack for frame in slices}) > 1:
        rule = "the source of a DICOM segmentation is a series of single frames, or one Enhanced file of one stack"
        found = f"{len(files)} Enhanced files, the first of {len({frame.stack for frame in slices})} stacks"
        raise VolumeError(rule, found=found, path=files[0], remedy=WITHOUT)
    slices = ordered(slices)
    _correct_step(sources, stack_frame(slices).spacing_mm[2])
    return sources, [frame.frame for frame in slices]


def _is_enhanced(source: Any) -> bool:
    return "PerFrameFunctionalGroupsSequence" in source


def _correct_step(sources: Sequence[Any], step_mm: float | None) -> None:
    """Replace the headers' step between slices, which is often wrong, by that of the positions."""
    places = list(sources)
    if _is_enhanced(sources[0]):
        groups = [*sources[0].PerFrameFunctionalGroupsSequence, *sources[0].SharedFunctionalGroupsSequence]
        places = [group.PixelMeasuresSequence[0] for group in groups if "PixelMeasuresSequence" in group]
    for place in places:
        place.pop("SpacingBetweenSlices", None)
        if step_mm is not None:
            place.SpacingBetweenSlices = round(step_mm, 6)
            place.SliceThickness = place.get("SliceThickness") or round(step_mm, 6)


def _source(pydicom: Any, file: Path) -> Any:
    """Read a source's header and add what it repeats elsewhere, and empty values for missing elements of type 2."""
    try:
        header = pydicom.dcmread(file, stop_before_pixels=True)
        for name, of_meta in OF_META.items():
            if not header.get(name) and header.file_meta.get(of_meta):
                setattr(header, name, header.file_meta[of_meta].value)
        needed = NEEDED if _is_enhanced(header) else (*NEEDED, *PLACE)
        missing = [name for name in needed if header.get(name) in (None, "")]
        frames = int(header.get("NumberOfFrames") or 1)
    except (pydicom.errors.InvalidDicomError, OSError, ValueError, EOFError) as error:
        rule = "the source of a DICOM segmentation is a readable DICOM file"
        raise VolumeError(rule, found=type(error).__name__, path=file) from None
    if missing or (frames > 1 and not _is_enhanced(header)):
        rule = "the source of a DICOM segmentation has its identifiers and a position in the patient, frame by frame"
        found = f"no {', '.join(missing)}" if missing else f"{frames} frames in one file"
        raise VolumeError(rule, found=found, path=file, remedy=WITHOUT)
    for name in MAY_BE_EMPTY:
        if name not in header:
            setattr(header, name, "")
    return header


def _slice_step_mm(sources: Sequence[Any], files: Sequence[Path]) -> float | None:
    """Return the mean distance in mm between neighbouring, parallel slices of a series; None for a single slice."""
    first = sources[0]
    for source, file in zip(sources, files, strict=True):
        other = [name for name in ("SeriesInstanceUID", "FrameOfReferenceUID") if source[name] != first[name]]
        for name in ("ImageOrientationPatient", "PixelSpacing"):
            if not np.allclose(_numbers(source, name), _numbers(first, name), rtol=0, atol=ORIENTATION_TOLERANCE):
                other.append(name)
        if other:
            rule = "the sources of a DICOM segmentation are parallel slices of one series"
            raise GeometryError(rule, found=f"another {' and '.join(other)} than in {files[0].name}", path=file)
    orientation = _numbers(first, "ImageOrientationPatient")
    normal = np.cross(orientation[:3], orientation[3:])
    steps = np.diff([_numbers(source, "ImagePositionPatient") @ normal for source in sources])
    if steps.size and not (np.all(steps > 0) or np.all(steps < 0)):
        rule = "the sources of a DICOM segmentation are ordered by their positions, each of which occurs once"
        found = "steps of both signs, or of none, between neighbouring files"
        raise GeometryError(rule, found=found, path=files[0].parent, remedy="order the files by position, not by name")
    return float(np.abs(steps).mean()) if steps.size else None


def _numbers(source: Any, name: str) -> NDArray[Any]:
    return np.array([float(value) for value in source[name].value])
