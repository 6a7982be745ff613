"""DICOM objects of a segmented series, written only if asked for: the standard requires the patient's name in them.

mask.dcm           segmentation (`dicom_seg=true`)
measurements.dcm   structured report of the measurements (`dicom_sr=true`), which refers to the segments of the former
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from nerveseg.data.classes import NERVE, NERVE_TERM, TISSUE_TERM
from nerveseg.data.volumes.dicom import series_files
from nerveseg.data.volumes.volume import is_dicom_scan
from nerveseg.errors import ConfigurationError
from nerveseg.scans.dicom_report import OwnClass, Structure, structure_name, structure_term, structures_of
from nerveseg.scans.own_files import record
from nerveseg.scans.request import ScanFiles
from nerveseg.scans.results import ResultOptions
from nerveseg.scans.viewer_files import COLOURS, FIRST, PLACE, branch_map

if TYPE_CHECKING:
    from nerveseg.data.volumes.dicom_seg import SegmentMask
    from nerveseg.scans.segmentation import Segmentation

SEGMENTATION, REPORT = "mask.dcm", "measurements.dcm"


def check_exportable(files: ScanFiles, options: ResultOptions) -> None:
    """Raise `ConfigurationError` or `VolumeError` if DICOM is asked for and cannot be made of the input."""
    asked = [name for name in ("dicom_seg", "dicom_sr") if getattr(options, name)]
    if not asked:
        return
    if not is_dicom_scan(files.image):
        raise ConfigurationError(
            f"{asked[0]}=true needs a DICOM series, whose images it refers to",
            found=files.image.name,
            path=files.image,
            remedy=f"{asked[0]}=false, or give the DICOM series",
        )
    from nerveseg.data.volumes.dicom_seg import check_sources

    check_sources(series_files(files.image, files.series))


def export_dicom(folder: Path, segmentation: Segmentation, options: ResultOptions) -> tuple[list[str], list[str]]:
    """Write the DICOM objects that are asked for, unless the mask is not usable, to a marked folder.

    Returns:
        Names of the files, and notes for the reader of the result.
    """
    written: list[str] = []
    notes: list[str] = []
    segments: Mapping[Structure, int] = {}
    if _is_due(options.dicom_seg, "dicom_seg", SEGMENTATION, segmentation, notes):
        segments = write_dicom_mask(folder, segmentation)
        record(folder, SEGMENTATION)
        written.append(SEGMENTATION)
    if _is_due(options.dicom_sr, "dicom_sr", REPORT, segmentation, notes):
        from nerveseg.data.volumes.dicom_sr import write_dicom_sr

        structures, remarks = structures_of(segmentation, segments, _own_class(segmentation))
        write_dicom_sr(
            folder / REPORT,
            structures,
            segmentation.scan.image.files,
            folder / SEGMENTATION if written else None,
            algorithm=segmentation.model.name,
            synthetic=segmentation.synthetic,
            model_sha256=segmentation.model.sha256,
        )
        record(folder, REPORT)
        written.append(REPORT)
        notes += remarks
    return written, notes


def _is_due(
    option: bool | Literal["always"], name: str, file: str, segmentation: Segmentation, notes: list[str]
) -> bool:
    """Return true if a file is asked for and the mask is good enough for it; note a file that is left out."""
    if not option or option == "always" or segmentation.grade.level != "not usable":
        return bool(option)
    notes.append(f"no {file}, since the mask is not usable ({name}=always writes it all the same)")
    return False


def write_dicom_mask(folder: Path, segmentation: Segmentation) -> dict[Structure, int]:
    """Write `mask.dcm`, a DICOM segmentation of the series; return the number of the segment of each side and branch.

    Of a model of one class it has a segment for each side and branch (`viewer_files.branch_map`), and no strays; of
    several classes a segment for each class, none of which is a branch by itself.
    """
    from nerveseg.data.volumes.dicom_seg import write_dicom_seg

    branches = _of_branches(segmentation) if segmentation.classes.only else {}
    write_dicom_seg(
        folder / SEGMENTATION,
        list(branches.values()) or _of_classes(segmentation),
        segmentation.scan.image.files,
        algorithm=segmentation.model.name,
        synthetic=segmentation.synthetic,
        model_sha256=segmentation.model.sha256,
        are_branches=bool(branches),
    )
    return {structure: number for number, structure in enumerate(branches, 1)}


def _of_branches(segmentation: Segmentation) -> dict[Structure, SegmentMask]:
    """Return the segments of each side: the sciatic nerve, also if it is empty, and the branches that are there."""
    from nerveseg.data.volumes.dicom_seg import SegmentMask

    labels = segmentation.scan.grid.from_ras(branch_map(segmentation.courses))
    own = _own_class(segmentation)
    segments = {}
    for course in segmentation.courses:
        for branch, place in PLACE.items():
            value = FIRST[course.side] + place
            mask = np.asarray(labels == value, dtype=np.bool_)
            if mask.any() or place == 0:
                name, term = structure_name(course.side, branch, own), structure_term(branch, own)
                segments[course.side, branch] = SegmentMask(name, mask, term, course.side, COLOURS[value - 1])
    return segments


def _own_class(segmentation: Segmentation) -> OwnClass | None:
    """Return the class that is measured, unless it is one called nerve without a term: the sciatic nerve."""
    names, terms = segmentation.classes.names, segmentation.model.description.terms
    name = names[0] if segmentation.classes.only else NERVE
    if name == NERVE and NERVE in names and NERVE not in terms:
        return None
    return OwnClass(name, terms.get(name, NERVE_TERM))


def _of_classes(segmentation: Segmentation) -> list[SegmentMask]:
    from nerveseg.data.volumes.dicom_seg import SegmentMask

    classes, terms = segmentation.classes, segmentation.model.description.terms
    sides = {course.side for course in segmentation.courses}
    return [
        SegmentMask(
            name.capitalize() if name == NERVE else name,
            np.asarray(segmentation.scan.grid.from_ras(classes.mask(segmentation.labels, name)), dtype=np.bool_),
            terms.get(name, NERVE_TERM if classes.is_nerve(name) else TISSUE_TERM),
            next(iter(sides)) if len(sides) == 1 else "unknown",
            COLOURS[number % len(COLOURS)],
        )
        for number, name in enumerate(classes.names)
    ]
