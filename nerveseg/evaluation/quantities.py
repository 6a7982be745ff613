"""Quantities that clinicians take from a mask: the nerve's volume and its mean cross-sectional area.

The area of a slice is that of its nerve voxels in the plane of the slice; the mean is over slices that hold nerve. The
volume includes the gap between slices: voxels times in-plane area times slice step (in the paper 4.4 mm, not 4.0).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from nerveseg.evaluation.comparisons import CONSENSUS, SubjectMasks
from nerveseg.types import Mask, SpacingMm

QUANTITY_COLUMNS = ("subject", "cohort", "location", "side", "source", "quantity", "value")
VOLUME = "volume_mm3"
MEAN_AREA = "mean_cross_sectional_area_mm2"


def nerve_volume_mm3(mask: Mask, spacing_mm: SpacingMm) -> float:
    """Return the volume of the nerve in mm3; 0 for an empty mask.

    Args:
        mask: Mask (x, y, z) in RAS order.
        spacing_mm: Distance between voxel centres in mm; the last is the slice step.
    """
    return float(np.count_nonzero(mask) * np.prod(spacing_mm))


def mean_cross_sectional_area_mm2(mask: Mask, spacing_mm: SpacingMm) -> float:
    """Return the mean area of the nerve over the slices that hold it, in mm2; 0 for an empty mask.

    If empty masks were left out, a method would be judged only by the cases in which it found a nerve.

    Args:
        mask: Mask (x, y, z) in RAS order, slices along z.
        spacing_mm: Distance between voxel centres in mm.
    """
    voxels = np.count_nonzero(mask, axis=(0, 1))
    return float(voxels[voxels > 0].mean() * spacing_mm[0] * spacing_mm[1]) if voxels.any() else 0.0


def measure_masks(masks: SubjectMasks) -> pd.DataFrame:
    """Measure volume and mean area of every mask of a subject.

    Returns:
        Table with columns `QUANTITY_COLUMNS`; `source` is a rater, `GT` or `Auto`.
    """
    subject = (masks.subject, masks.cohort, masks.location, masks.side)
    sources = {name: mask for name, mask in masks.named().items() if name != CONSENSUS or len(masks.raters) > 1}
    rows = [
        (*subject, name, quantity, value)
        for name, mask in sources.items()
        for quantity, value in (
            (VOLUME, nerve_volume_mm3(mask, masks.spacing_mm)),
            (MEAN_AREA, mean_cross_sectional_area_mm2(mask, masks.spacing_mm)),
        )
    ]
    return pd.DataFrame(rows, columns=list(QUANTITY_COLUMNS))
