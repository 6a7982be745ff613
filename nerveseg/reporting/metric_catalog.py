"""What each metric is, in words for somebody who reads MR images and no code; the definitions stand in `metrics`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class MetricWords:
    """How a metric of `scores.csv` is shown.

    Attributes:
        key: Its name in `scores.csv`.
        label: A heading.
        unit: "mm", "mm³", or "" for a pure number.
        better: Which end of the scale is good.
        digits: Decimals shown.
        meaning: One or two sentences.
    """

    key: str
    label: str
    unit: str
    better: Literal["high", "low"]
    digits: int
    meaning: str


METRICS: tuple[MetricWords, ...] = (
    MetricWords(
        "dice", "Dice", "", "high", 3,
        "Dice coefficient: overlap of two masks, twice their common volume divided by the sum of their volumes. 1 is"
        " the same mask, 0 is no overlap. Thin structures score lower than thick ones for the same error at the"
        " outline.",
    ),
    MetricWords(
        "hd95_mm", "HD95 surface", "mm", "low", 1,
        "95 % Hausdorff distance between the surfaces, as usually reported: 95 % of each outline lies within this"
        " distance of the other one. A false piece far from the nerve, or a missed end, makes it large.",
    ),
    MetricWords(
        "hd95_paper_mm", "HD95 paper's rule", "mm", "low", 1,
        "95 % Hausdorff distance by the rule behind the paper's table, over all voxels of both masks. It is 0 as soon"
        " as Dice exceeds about 0.95, and hides small mistakes far away; it is here for comparison with the paper.",
    ),
    MetricWords(
        "vs", "VS", "", "high", 3,
        "Volumetric similarity: whether the two volumes are equally large, wherever they lie. 1 is equal.",
    ),
    MetricWords(
        "cldice", "clDice", "", "high", 3,
        "Centreline Dice: how much of each nerve's centreline runs inside the other mask. It asks whether the course is"
        " followed without gaps, and ignores thickness.",
    ),
    MetricWords(
        "surface_dice_052", "surface Dice 1 px", "", "high", 3,
        "Share of both outlines that lie within 0.52 mm (one pixel of the paper's protocol) of each other.",
    ),
    MetricWords(
        "assd_mm", "mean surface distance", "mm", "low", 2,
        "Average distance between the two outlines, both ways.",
    ),
    MetricWords(
        "branch_sensitivity", "branches found", "", "high", 3,
        "Share of the reference's cross-sections (of the nerve and its branches, slice by slice) that the other mask"
        " touches.",
    ),
    MetricWords(
        "fp_components_mm3", "false pieces", "mm³", "low", 0,
        "Volume of the pieces of the automatic mask that touch no nerve in the reference, often vessels.",
    ),
)  # fmt: skip
"""The metrics that a page shows, the most telling first; others are in the tables."""

BY_KEY = {metric.key: metric for metric in METRICS}


def number_in_words(key: str, value: float) -> str:
    """A score as a page shows it: "0.861", "12.3"; a dash where it does not exist."""
    return "–" if value != value else f"{value:.{BY_KEY[key].digits}f}"
