"""Headings, units and meanings of the metrics for tables, figures and pages; `metrics` has the definitions."""

from dataclasses import dataclass
from typing import Literal

TABLE_METRICS = ("dice", "hd95_paper_mm", "hd95_mm", "vs")
"""Metrics of Table 1 and of everything that is compared with it, in order."""


@dataclass(frozen=True)
class MetricWords:
    """Presentation of a metric of `scores.csv`."""

    key: str  # name in `scores.csv`
    label: str  # heading on pages
    unit: str  # unit, "mm" or "mm³"; empty for a pure number
    better: Literal["high", "low"]  # end of the scale that is good
    digits: int  # number of decimals shown
    meaning: str  # explanation in one or two sentences, for readers of MR images who do not program

    @property
    def heading(self) -> str:
        """Heading of a table's column, at most two lines."""
        first, _, second = self.label.partition(" ")
        return self.label if not self.unit else f"{first} {self.unit}\n{second}"

    @property
    def axis_label(self) -> str:
        """Label of a figure's axis."""
        return f"{self.label} ({self.unit or 'no unit'})"


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
"""The metrics that a page shows, the most informative first; the tables hold more."""

BY_KEY = {metric.key: metric for metric in METRICS}


def label_of(key: str) -> str:
    """Return the heading of a metric; for a metric that no page explains, its name in `scores.csv`."""
    return BY_KEY[key].label if key in BY_KEY else key


def number_in_words(key: str, value: float) -> str:
    """Format a score as on a page: "0.861", "12.3"; a dash where it is undefined."""
    return "–" if value != value else f"{value:.{BY_KEY[key].digits}f}"
