"""Segmentations of 3D Slicer (`.seg.nrrd`): named segments, in layers where they overlap, on an extent of their own.

The header names each segment's value and layer ("Segment0_LabelValue", "Segment0_Layer"). The label of a segment is its
value where all values differ, and its number from 1 up otherwise, as in files with a layer for each segment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerveseg.data.volumes.grids import CORNER_TOLERANCE_MM, Grid, corner_distance_mm
from nerveseg.data.volumes.guard import check_regular_file
from nerveseg.data.volumes.itk import read_itk
from nerveseg.data.volumes.itk_header import header_fields, is_metaimage
from nerveseg.data.volumes.labels import whole_labels
from nerveseg.errors import GeometryError, VolumeError


@dataclass(frozen=True)
class Segment:
    """Segment of a header."""

    name: str
    value: int  # value of its voxels in the file
    layer: int  # index of its layer
    label: int  # label that distinguishes it from all other segments


def read_segments(path: Path) -> tuple[Segment, ...]:
    """Return the segments that an NRRD file's header names; none of a file that is not a segmentation."""
    check_regular_file(path)
    fields, _ = header_fields(path)
    numbers = list(takewhile(lambda index: f"segment{index}_id" in fields, count()))
    layered = fields["dimension"] == "4"
    values = [int(fields.get(f"segment{index}_labelvalue", 1 if layered else index + 1)) for index in numbers]
    layers = [int(fields.get(f"segment{index}_layer", index if layered else 0)) for index in numbers]
    names = [fields.get(f"segment{index}_name", "").encode("latin-1").decode("utf-8", "replace") for index in numbers]
    labels = values if len(set(values)) == len(values) else [index + 1 for index in numbers]
    return tuple(Segment(*one) for one in zip(names, values, layers, labels, strict=True))


def is_segmentation(path: Path) -> bool:
    """Return true for an NRRD file with segments."""
    is_nrrd = path.name.lower().endswith((".nrrd", ".nhdr")) and not is_metaimage(path)
    return is_nrrd and bool(read_segments(path))


def read_segmentation(path: Path, declared: Sequence[int]) -> tuple[NDArray[np.int64], Grid]:
    """Read the labels of a segmentation in RAS order, with the `declared` ones above others, and its own grid.

    Raises:
        VolumeError: Several segments have voxels and none is chosen, or a layer is missing.
    """
    segments = read_segments(path)
    array, grid = read_itk(path, layered=True)
    layers = whole_labels(array)
    faulty = [one for one in segments if not 0 <= one.layer < layers.shape[3] or one.value < 1]
    if faulty:
        rule = "each segment has a layer of the file and a value above 0"
        found = f"value {faulty[0].value} in layer {faulty[0].layer} of {layers.shape[3]}"
        raise VolumeError(rule, found=found, remedy="save the segmentation again in 3D Slicer")
    masks = {segment: layers[..., segment.layer] == segment.value for segment in segments}
    base = np.zeros(grid.shape, dtype=np.int64) if layers.shape[3] > 1 else layers[..., 0]
    return grid.to_ras(label_segments(masks, base, declared)), grid


def label_segments(
    masks: Mapping[Segment, NDArray[np.bool_]], base: NDArray[np.int64], declared: Sequence[int]
) -> NDArray[np.int64]:
    """Return the labels of segments over those of a base, with the `declared` ones above others.

    Raises:
        VolumeError: Several segments have voxels and none is chosen.
    """
    segments = tuple(masks)
    drawn = [segment for segment in segments if masks[segment].any()]
    if len(drawn) > 1 and not declared:
        raise VolumeError(
            "a segmentation has one segment, or study.classes names the nerve's",
            found="segments " + ", ".join(f"{segment.label} ({segment.name})" for segment in segments),
            remedy=f"study.classes={{nerve: [{drawn[0].label}]}} (of measure segment={drawn[0].label}), or export the "
            "nerve's segment alone",
        )
    labels = base.copy()
    for segment in sorted(segments, key=lambda segment: segment.label in declared):
        labels[masks[segment]] = segment.label
    return labels


def place(labels: NDArray[np.int64], grid: Grid, like: Grid) -> NDArray[np.int64]:
    """Return labels of a smaller or larger extent on the grid of their image, both in RAS order, by world position.

    Raises:
        GeometryError: Spacing or axes differ, the voxels lie between those of the image, or labels lie outside it.
    """
    offset = (np.linalg.inv(like.ras_affine) @ grid.ras_affine[:, 3])[:3]
    start = np.rint(offset).astype(int)
    moved = like.ras_affine.copy()
    moved[:3, 3] += like.ras_affine[:3, :3] @ start
    distance_mm = corner_distance_mm(grid.ras_affine, moved, grid.ras_shape)
    if distance_mm > CORNER_TOLERANCE_MM:
        rule = f"a segmentation has the spacing and the axes of its image (corners within {CORNER_TOLERANCE_MM} mm)"
        remedy = "set the image as the source geometry of the segmentation in 3D Slicer, and save it again"
        raise GeometryError(rule, found=f"corners {distance_mm:.2f} mm from voxels of the image", remedy=remedy)
    low = np.clip(start, 0, like.ras_shape)
    high = np.clip(start + grid.ras_shape, low, like.ras_shape)
    inside: tuple[Any, ...] = tuple(slice(*ends) for ends in zip(low - start, high - start, strict=True))
    placed = np.zeros(like.ras_shape, dtype=np.int64)
    placed[tuple(slice(*ends) for ends in zip(low, high, strict=True))] = labels[inside]
    outside = np.count_nonzero(labels) - np.count_nonzero(placed)
    if outside:
        remedy = "give the image that the segmentation was drawn on"
        raise GeometryError("a segmentation lies inside its image", found=f"{outside} voxels outside", remedy=remedy)
    return placed
