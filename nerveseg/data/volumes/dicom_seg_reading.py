"""Reading of DICOM segmentations, of nerveseg and of others, with named segments that may overlap.

The frames may leave out empty slices, so that the extent is smaller than the image's; the position places them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerveseg.data.volumes.dicom_nesting import check_nesting
from nerveseg.data.volumes.grids import Grid
from nerveseg.data.volumes.guard import library_errors, optional_library
from nerveseg.data.volumes.labels import whole_labels
from nerveseg.data.volumes.slicer_seg import Segment, label_segments
from nerveseg.errors import VolumeError

BRANCHES_LABEL = "NERVE_BRANCHES"
"""Content label of a segmentation of the sides and branches of one nerve, which do not overlap."""


def read_dicom_segments(path: Path) -> tuple[Segment, ...]:
    """Return the segments that a DICOM segmentation names; raise `VolumeError` for another DICOM file."""
    return _segments(_dataset(path))


def read_dicom_segmentation(path: Path, declared: Sequence[int]) -> tuple[NDArray[np.int64], Grid]:
    """Read the labels of a segmentation in RAS order, with the `declared` ones above others, and its own grid.

    Raises:
        ConfigurationError: highdicom is not installed.
        VolumeError: The file is no segmentation, a FRACTIONAL one holds more than 0 and 1, or several segments have
            voxels, are not the sides and branches of one nerve as nerveseg writes them, and none is chosen.
    """
    dataset = _dataset(path)
    with library_errors(path):
        volume = dataset.get_volume(combine_segments=False)
    array, affine = np.asarray(volume.array), np.array(volume.affine, dtype=np.float64)
    if dataset.SegmentationType == "FRACTIONAL":  # highdicom rescales the values to fractions of 1
        array = whole_labels(array)
    affine[:2] *= -1
    x, y, z = array.shape[:3]
    grid = Grid.without_header((x, y, z), affine)
    segments = _segments(dataset)
    masks = {segment: array[..., segment.layer] > 0 for segment in segments}
    chosen = declared or _branches(dataset, segments)
    return grid.to_ras(label_segments(masks, np.zeros((x, y, z), dtype=np.int64), chosen)), grid


def _dataset(path: Path) -> Any:
    check_nesting(path)
    highdicom, pydicom = optional_library("highdicom"), optional_library("pydicom")
    with library_errors(path):
        dataset = pydicom.dcmread(path)
        if dataset.get("Modality") == "SEG":
            return highdicom.seg.Segmentation.from_dataset(dataset, copy=False)
    rule, found = "a mask of DICOM is a segmentation object (SEG)", dataset.get("Modality", "no modality")
    raise VolumeError(rule, found=found, path=path, remedy="export the segmentation as DICOM-SEG, NIfTI or NRRD")


def _segments(dataset: Any) -> tuple[Segment, ...]:
    described = [(str(one.SegmentLabel), int(one.SegmentNumber)) for one in dataset.SegmentSequence]
    return tuple(Segment(name, number, layer, number) for layer, (name, number) in enumerate(described))


def _branches(dataset: Any, segments: Sequence[Segment]) -> list[int]:
    """Return the labels of segments that are the sides and branches of one nerve, as nerveseg says; else none.

    Names alone would not do: the classes of a study may have those of branches, and be anything.
    """
    is_ours = dataset.get("ManufacturerModelName") == "nerveseg" and dataset.get("ContentLabel") == BRANCHES_LABEL
    return [segment.label for segment in segments] if is_ours else []
