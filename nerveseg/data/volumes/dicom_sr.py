"""Writing of measurements as a DICOM structured report: the Measurement Report of TID 1500 (DICOM PS3.16).

Each structure has a group of measurements with its site and side. A group with a segment (TID 1411) refers to the
segment of a DICOM segmentation and has its tracking identifiers; any other (TID 1501) refers to the images. The report
is not verified: a person answers for that. As in a segmentation, the patient and study are the source's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, TypeAlias

from nerveseg import __version__
from nerveseg.data.classes import Term
from nerveseg.data.legs import Side
from nerveseg.data.volumes.dicom_seg import LATERALITY, concept_of, read_sources
from nerveseg.data.volumes.guard import atomic_volume_write, library_errors, optional_library
from nerveseg.errors import VolumeError
from nerveseg.notices import NOTICE, SYNTHETIC

Unit: TypeAlias = Literal["mm", "mm2", "mm3", "ms", "1"]

UNITS: Mapping[Unit, Term] = {
    "mm": Term(value="mm", meaning="millimeter", scheme="UCUM"),
    "mm2": Term(value="mm2", meaning="square millimeter", scheme="UCUM"),
    "mm3": Term(value="mm3", meaning="cubic millimeter", scheme="UCUM"),
    "ms": Term(value="ms", meaning="millisecond", scheme="UCUM"),
    "1": Term(value="1", meaning="no units", scheme="UCUM"),
}
VOLUME = Term(value="118565006", meaning="Volume")
LENGTH = Term(value="410668003", meaning="Length")
AREA = Term(value="42798000", meaning="Area")
SIGNAL = Term(value="110852", meaning="MR signal intensity", scheme="DCM")
MEAN = Term(value="373098007", meaning="Mean")
MAXIMUM = Term(value="56851009", meaning="Maximum")
RELAXATION = {
    "t1": Term(value="113063", meaning="T1", scheme="DCM"),
    "t2": Term(value="113065", meaning="T2", scheme="DCM"),
    "t2*": Term(value="113064", meaning="T2*", scheme="DCM"),
}
"""Terms of relaxation times, which are in ms (context group 7469)."""

OWN_SCHEME = "99NERVESEG"  # coding scheme of the grade, which has no code of others
GRADE = Term(value="grade", meaning="Grade of the mask", scheme=OWN_SCHEME)
OF_LIBRARY = ("PixelSpacing", "SliceThickness")  # elements of each image that highdicom lists in the report's library


@dataclass(frozen=True)
class Quantity:
    """Measured value of a structure."""

    name: Term  # what was measured
    value: float  # value in its unit
    unit: Unit  # unit, by UCUM
    derivation: Term | None = None  # mean or maximum; None for a value of the whole structure
    source: str = ""  # name of the channel or map that was measured; empty for a size


@dataclass(frozen=True)
class MeasuredStructure:
    """Structure with its measurements."""

    name: str  # name, of a segment its label
    term: Term  # coded term of the structure, which is also the site
    side: Side  # side of the body
    quantities: tuple[Quantity, ...]  # measurements
    grade: str  # grade of the mask in one word or two
    segment: int | None = None  # number of its segment in the segmentation, from 1; None for none


def write_dicom_sr(
    path: Path,
    structures: Sequence[MeasuredStructure],
    source_files: Sequence[Path],
    segmentation: Path | None,
    *,
    algorithm: str,
    synthetic: bool,
    model_sha256: str,
) -> None:
    """Write a report atomically.

    Args:
        path: File to write, `.dcm`; an existing one is replaced.
        structures: Structures with their measurements.
        source_files: Files of the series that was segmented, as of `dicom_seg.write_dicom_seg`.
        segmentation: DICOM segmentation with the structures' segments; None if there is none.
        algorithm: Name of the model.
        synthetic: Flag of a model trained on synthetic data, stated in the descriptions.
        model_sha256: SHA-256 of the model.

    Raises:
        ConfigurationError: highdicom or pydicom is not installed.
        VolumeError, GeometryError: The sources are not the readable slices of one series, or no report can be made of
            their patient and study.
    """
    highdicom, pydicom = optional_library("highdicom"), optional_library("pydicom")
    with library_errors(source_files[0].parent):
        sources, _ = read_sources(source_files)
        masks = None if segmentation is None else highdicom.seg.segread(segmentation)
        parameters = [f"model: {algorithm}", f"SHA-256 of the model: {model_sha256}"]
        parameters += [SYNTHETIC] if synthetic else []
        method = highdicom.sr.AlgorithmIdentification("nerveseg", __version__, parameters)
        groups = [_group(each, sources, masks, method) for each in structures]
        description = f"{SYNTHETIC}: measurements of nerves" if synthetic else "Measurements of nerves (nerveseg)"
        try:
            report = highdicom.sr.ComprehensiveSR(
                evidence=[*sources, *([] if masks is None else [masks])],
                content=_content(groups, sources, model_sha256, synthetic)[0],
                series_instance_uid=pydicom.uid.generate_uid(),
                series_number=int(sources[0].get("SeriesNumber") or 0) + 1001,
                sop_instance_uid=pydicom.uid.generate_uid(),
                instance_number=1,
                manufacturer="nerveseg",
                is_complete=True,
                series_description=description,
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            rule = "a DICOM report takes over the patient and study of its source, as the standard defines them"
            found = f"{type(error).__name__}; its text is left out because it may quote the patient"
            remedy = "dicom_sr=false: take the numbers from summary.json; or export the series again"
            raise VolumeError(rule, found=found, path=source_files[0].parent, remedy=remedy) from None
        report.ManufacturerModelName = "nerveseg"
        report.SoftwareVersions = __version__
        report.CodingSchemeIdentificationSequence = [_own_scheme(pydicom)]
    with atomic_volume_write(path) as temporary, temporary.open("wb") as file:
        report.save_as(file)


def _content(groups: Sequence[Any], sources: Sequence[Any], model_sha256: str, synthetic: bool) -> Any:
    highdicom, pydicom = optional_library("highdicom"), optional_library("pydicom")
    sr, codes = highdicom.sr, import_module("pydicom.sr.codedict").codes
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=pydicom.uid.generate_uid(entropy_srcs=["nerveseg", __version__, model_sha256]),
        name=f"nerveseg ({SYNTHETIC}). {NOTICE}" if synthetic else f"nerveseg. {NOTICE}",
        manufacturer_name="nerveseg",
        model_name="nerveseg",
        serial_number=model_sha256,
    )
    context = sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    has_geometry = all(name in each for each in sources for name in OF_LIBRARY)  # else it is an Enhanced file
    return sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=context),
        procedure_reported=codes.LN.MRIUnspecifiedBodyRegion,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=sources if has_geometry else None,
    )


def _group(structure: MeasuredStructure, sources: Sequence[Any], masks: Any, method: Any) -> Any:
    """Return the group of measurements of a structure."""
    sr, pydicom = optional_library("highdicom").sr, optional_library("pydicom")
    segment = None if masks is None or structure.segment is None else structure.segment
    described = None if segment is None else masks.get_segment_description(segment)
    uid = described.tracking_uid if described else pydicom.uid.generate_uid()
    term, side = concept_of(structure.term), LATERALITY.get(structure.side)
    options: dict[str, Any] = {
        "tracking_identifier": sr.TrackingIdentifier(uid=uid, identifier=structure.name),
        "finding_type": term,
        "finding_sites": [sr.FindingSite(term, laterality=side and concept_of(side))],
        "algorithm_id": method,
        "measurements": [_measurement(quantity) for quantity in structure.quantities],
        "qualitative_evaluations": [sr.QualitativeEvaluation(concept_of(GRADE), _grade(structure.grade))],
    }
    if segment is not None:  # not `from_segmentation`, which fails for a segmentation of a single segment
        images = [sr.SourceImageForSegmentation(each.SOPClassUID, each.SOPInstanceUID) for each in sources]
        reference = sr.ReferencedSegment(masks.SOPClassUID, masks.SOPInstanceUID, segment, source_images=images)
        return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=reference, **options)
    images = [sr.SourceImageForMeasurementGroup(each.SOPClassUID, each.SOPInstanceUID) for each in sources]
    return sr.MeasurementsAndQualitativeEvaluations(source_images=images, **options)


def _measurement(quantity: Quantity) -> Any:
    sr, pydicom = optional_library("highdicom").sr, optional_library("pydicom")
    named = {}
    if quantity.source:
        named["tracking_identifier"] = sr.TrackingIdentifier(
            uid=pydicom.uid.generate_uid(), identifier=f"channel {quantity.source}"
        )
    return sr.Measurement(
        name=concept_of(quantity.name),
        value=float(f"{quantity.value:.6g}"),
        unit=concept_of(UNITS[quantity.unit]),
        derivation=quantity.derivation and concept_of(quantity.derivation),
        **named,
    )


def _grade(grade: str) -> Any:
    return concept_of(Term(value=grade.replace(" ", "_"), meaning=grade, scheme=OWN_SCHEME))


def _own_scheme(pydicom: Any) -> Any:
    """Return what the standard asks of a coding scheme of one's own (PS3.3, C.12.1.4)."""
    scheme = pydicom.Dataset()
    scheme.CodingSchemeDesignator = OWN_SCHEME
    scheme.CodingSchemeName = "Grades of nerveseg: usable, check, not usable"
    scheme.CodingSchemeResponsibleOrganization = "nerveseg"
    return scheme
