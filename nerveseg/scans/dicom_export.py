"""DICOM objects of a segmented series, written only if asked for: the standard requires the patient's name in them."""

from pathlib import Path

import numpy as np

from nerveseg.data.classes import NERVE, NERVE_TERM, TISSUE_TERM
from nerveseg.data.volumes.dicom import series_files
from nerveseg.data.volumes.volume import is_dicom_scan
from nerveseg.errors import ConfigurationError
from nerveseg.scans.request import ScanFiles
from nerveseg.scans.results import ResultOptions
from nerveseg.scans.segmentation import Segmentation


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
    """Write `mask.dcm`, a DICOM segmentation of the series, and return its name."""
    from nerveseg.data.volumes.dicom_seg import SegmentMask, write_dicom_seg

    prediction, terms, grid = segmentation.prediction, segmentation.model.description.terms, segmentation.scan.grid
    classes = prediction.classes
    segments = [
        SegmentMask(
            name.capitalize() if name == NERVE else name,
            np.asarray(grid.from_ras(classes.mask(prediction.labels, name)), dtype=np.bool_),
            terms.get(name, NERVE_TERM if classes.is_nerve(name) else TISSUE_TERM),
        )
        for name in classes.names
    ]
    write_dicom_seg(
        folder / "mask.dcm",
        segments,
        segmentation.scan.image.files,
        algorithm=segmentation.model.name,
        synthetic=segmentation.synthetic,
        model_sha256=segmentation.model.sha256,
    )
    return ["mask.dcm"]
