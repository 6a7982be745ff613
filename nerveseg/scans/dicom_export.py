"""DICOM objects of a segmented series, written only if asked for: the standard requires the patient's name in them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nerveseg.data.classes import NERVE, NERVE_TERM, TIBIAL_TERM, TISSUE_TERM
from nerveseg.data.volumes.dicom import series_files
from nerveseg.data.volumes.dicom_seg_reading import BRANCHES
from nerveseg.data.volumes.volume import is_dicom_scan
from nerveseg.errors import ConfigurationError
from nerveseg.scans.request import ScanFiles
from nerveseg.scans.results import ResultOptions
from nerveseg.scans.segmentation import Segmentation
from nerveseg.scans.viewer_files import COLOURS, FIRST, branch_map

if TYPE_CHECKING:
    from nerveseg.data.volumes.dicom_seg import SegmentMask

BRANCH_TERMS = (NERVE_TERM, TIBIAL_TERM, NERVE_TERM)
"""Terms of `BRANCHES`; sciatic and peroneal nerve have that of peripheral nerves, and are told by their labels."""


def check_exportable(files: ScanFiles, options: ResultOptions) -> None:
    """Raise `ConfigurationError` or `VolumeError` if DICOM-SEG is asked for and cannot be made of the input."""
    if not options.dicom_seg:
        return
    if not is_dicom_scan(files.image):
        raise ConfigurationError(
            "dicom_seg=true needs a DICOM series, whose images it refers to",
            found=files.image.name,
            path=files.image,
            remedy="dicom_seg=false, or give the DICOM series",
        )
    from nerveseg.data.volumes.dicom_seg import check_sources

    check_sources(series_files(files.image, files.series))


def write_dicom_mask(folder: Path, segmentation: Segmentation) -> list[str]:
    """Write `mask.dcm`, a DICOM segmentation of the series, and return its name.

    Of a model of one class it has a segment for each side and branch (`viewer_files.branch_map`), and no strays; of
    several classes a segment for each class.
    """
    from nerveseg.data.volumes.dicom_seg import write_dicom_seg

    write_dicom_seg(
        folder / "mask.dcm",
        _of_branches(segmentation) if segmentation.classes.only else _of_classes(segmentation),
        segmentation.scan.image.files,
        algorithm=segmentation.model.name,
        synthetic=segmentation.synthetic,
        model_sha256=segmentation.model.sha256,
    )
    return ["mask.dcm"]


def _of_branches(segmentation: Segmentation) -> list[SegmentMask]:
    """Return the segments of each side: the sciatic nerve, also if it is empty, and the branches that are there."""
    from nerveseg.data.volumes.dicom_seg import SegmentMask

    labels = segmentation.scan.grid.from_ras(branch_map(segmentation.courses))
    own = segmentation.model.description.terms.get(segmentation.classes.names[0])
    segments = []
    for course in segmentation.courses:
        for place, (name, term) in enumerate(zip(BRANCHES, BRANCH_TERMS, strict=True)):
            value = FIRST[course.side] + place
            mask = np.asarray(labels == value, dtype=np.bool_)
            if mask.any() or place == 0:
                label = name if course.side == "unknown" else f"{course.side} {name}"
                side, colour = course.side, COLOURS[value - 1]
                segments.append(SegmentMask(label.capitalize(), mask, own or term, side, colour))
    return segments


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
