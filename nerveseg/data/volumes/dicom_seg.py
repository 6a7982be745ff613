"""Writing of a mask as a DICOM segmentation object that refers to the scanner's own instances (DICOM PS3.3, A.51).

Every slice of the source has a frame, with or without nerve, so that an examined empty slice differs from one that was
not examined, and an empty mask is a valid object. Unlike every other file that nerveseg writes, this one **keeps the
patient's name, ID, birth date and sex and the study's date and numbers**, by which the standard identifies patient and
study: only a de-identified source gives a de-identified segmentation.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool
from numpy.typing import NDArray

from nerveseg import __version__
from nerveseg.errors import ConfigurationError, GeometryError, VolumeError
from nerveseg.files import atomic_write
from nerveseg.notices import SYNTHETIC

MaskOfSlices: TypeAlias = Bool[np.ndarray[Any, Any], "column row slice"]
"""Nerve mask in the scanner's order of a series, not in RAS order."""

NEEDED = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID",
    "Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient",
)  # fmt: skip
MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
"""Type 2 elements of the standard: present but possibly empty. De-identified files often lack them."""

ORIENTATION_TOLERANCE = 1e-3
"""Tolerance of direction cosines and of pixel sizes in mm; scanners round each file separately."""


def write_dicom_seg(
    path: Path,
    mask_of_slices: MaskOfSlices,
    source_files: Sequence[Path],
    *,
    algorithm: str,
    synthetic: bool,
    model_sha256: str,
) -> None:
    """Write a nerve mask atomically as a binary DICOM segmentation of one segment.

    The segment is a peripheral nerve (SNOMED CT 84782009, of context group 7167), made automatically by nerveseg; its
    parameters name the model and the model's hash. Study, patient and frame of reference are the source's.

    Args:
        path: File to write, `.dcm`; an existing one is replaced.
        mask_of_slices: Nerve mask; axes (column, row, slice) as SimpleITK's x, y, z, slices as `source_files`.
        source_files: Single-frame instances of one series, ordered by position.
        algorithm: Description of the model, for example its architecture and run.
        synthetic: Flag of a model trained on synthetic data, stated in the descriptions.
        model_sha256: SHA-256 of the model; also the serial number of the "device".

    Raises:
        ConfigurationError: highdicom or pydicom is not installed.
        VolumeError: A source is not a readable single-frame DICOM image with a geometry, or mask and series differ in
            size.
        GeometryError: The sources are not the parallel, ordered slices of one series.
    """
    highdicom, pydicom = _library("highdicom"), _library("pydicom")
    description = f"{SYNTHETIC}: nerve (nerveseg)" if synthetic else "Nerve (nerveseg)"
    with _silent():
        sources = [_source(pydicom, file) for file in source_files]
        _check_size(mask_of_slices, sources, path)
        try:
            _correct_step(sources, _slice_step_mm(sources, source_files))
            segmentation = highdicom.seg.Segmentation(
                source_images=sources,
                pixel_array=np.ascontiguousarray(mask_of_slices.transpose(2, 1, 0)).astype(np.uint8),
                segmentation_type="BINARY",
                segment_descriptions=[_nerve(highdicom, algorithm, model_sha256)],
                omit_empty_frames=False,
                series_instance_uid=pydicom.uid.generate_uid(),
                sop_instance_uid=pydicom.uid.generate_uid(),
                series_number=int(sources[0].get("SeriesNumber") or 0) + 1000,
                instance_number=1,
                manufacturer="nerveseg",
                manufacturer_model_name="nerveseg",
                software_versions=__version__,
                device_serial_number=model_sha256[:64],
                content_label="NERVE",
                content_description=description,
                series_description=description,
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise VolumeError(
                "a DICOM segmentation takes over the patient and study of its source, as the standard defines them",
                found=f"{type(error).__name__}; its text is left out because it may quote the patient",
                path=source_files[0].parent,
                remedy="take the mask as NIfTI, or export the series again",
            ) from None
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            segmentation.save_as(file)


def _nerve(highdicom: Any, algorithm: str, model_sha256: str) -> Any:
    codes = import_module("pydicom.sr.codedict").codes
    identification = highdicom.AlgorithmIdentificationSequence(
        name="nerveseg",
        family=codes.cid7162.ArtificialIntelligence,
        version=__version__,
        parameters={"model": algorithm, "model_sha256": model_sha256},
    )
    return highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label="Nerve",
        segmented_property_category=codes.cid7150.AnatomicalStructure,
        segmented_property_type=codes.cid7167.PeripheralNerve,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=identification,
        tracking_uid=highdicom.UID(),
        tracking_id="Nerve",
    )


def _correct_step(sources: Sequence[Any], step_mm: float | None) -> None:
    """Replace the headers' step between slices, which is often wrong, by that of the positions."""
    for source in sources:
        source.pop("SpacingBetweenSlices", None)
        if step_mm is not None:
            source.SpacingBetweenSlices = round(step_mm, 6)
            source.SliceThickness = source.get("SliceThickness") or round(step_mm, 6)


def _source(pydicom: Any, file: Path) -> Any:
    """Read a source's header and add empty values for missing elements of type 2."""
    try:
        header = pydicom.dcmread(file, stop_before_pixels=True)
        missing = [name for name in NEEDED if header.get(name) in (None, "")]
        frames = int(header.get("NumberOfFrames") or 1)
    except (pydicom.errors.InvalidDicomError, OSError, ValueError, EOFError) as error:
        raise VolumeError(
            "the source of a DICOM segmentation is a readable DICOM file", found=type(error).__name__, path=file
        ) from None
    if missing or frames > 1:
        raise VolumeError(
            "the source of a DICOM segmentation is a single-frame image with a position in the patient",
            found=f"no {', '.join(missing)}" if missing else f"{frames} frames in one file",
            path=file,
            remedy="take the mask as NIfTI",
        )
    for name in MAY_BE_EMPTY:
        if name not in header:
            setattr(header, name, "")
    return header


def _check_size(mask: NDArray[Any], sources: Sequence[Any], path: Path) -> None:
    sizes = {(int(source.Columns), int(source.Rows)) for source in sources}
    if sizes != {mask.shape[:2]} or mask.shape[2] != len(sources):
        raise VolumeError(
            "a mask has the columns, rows and slices of its source series",
            found=f"mask of {mask.shape}, {len(sources)} files of {' and '.join(map(str, sorted(sizes)))}",
            path=path,
        )


def _slice_step_mm(sources: Sequence[Any], files: Sequence[Path]) -> float | None:
    """Return the mean distance in mm between neighbouring, parallel slices of a series; None for a single slice."""
    first = sources[0]
    for source, file in zip(sources, files, strict=True):
        other = [name for name in ("SeriesInstanceUID", "FrameOfReferenceUID") if source[name] != first[name]]
        for name in ("ImageOrientationPatient", "PixelSpacing"):
            if not np.allclose(_numbers(source, name), _numbers(first, name), rtol=0, atol=ORIENTATION_TOLERANCE):
                other.append(name)
        if other:
            raise GeometryError(
                "the sources of a DICOM segmentation are parallel slices of one series",
                found=f"another {' and '.join(other)} than in {files[0].name}",
                path=file,
            )
    orientation = _numbers(first, "ImageOrientationPatient")
    normal = np.cross(orientation[:3], orientation[3:])
    steps = np.diff([_numbers(source, "ImagePositionPatient") @ normal for source in sources])
    if steps.size and not (np.all(steps > 0) or np.all(steps < 0)):
        raise GeometryError(
            "the sources of a DICOM segmentation are ordered by their positions, each of which occurs once",
            found="steps of both signs, or of none, between neighbouring files",
            path=files[0].parent,
            remedy="order the files by position, not by name",
        )
    return float(np.abs(steps).mean()) if steps.size else None


def _numbers(source: Any, name: str) -> NDArray[Any]:
    return np.array([float(value) for value in source[name].value])


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigurationError(
            "a DICOM segmentation is written with the packages highdicom and pydicom",
            found=f"{name} cannot be imported",
            remedy="pip install 'nerveseg[dicom]'",
        ) from error


@contextmanager
def _silent() -> Iterator[None]:
    """Suppress warnings and logs of the DICOM libraries, which quote the source's values."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            warnings.filterwarnings("ignore", category=DeprecationWarning, module="highdicom")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
