"""Page of a comparison: both dates of a nerve side by side, and their curves on one axis with the detectable change.

The band around the first date's curve is its value plus and minus the smallest detectable change of one position.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from nerveseg.notices import NOTICE
from nerveseg.reporting.page_assets import json_for_script, render

FIRST, SECOND = "first", "second"


@dataclass(frozen=True)
class Curve:
    """Quantity along the nerve at both dates."""

    branch: str  # "total", "tibial" or "peroneal"
    name: str
    unit: str
    z_mm: list[float]  # positions in mm, as `z_mm` of the first scan
    first: list[float]  # values of the first date
    second: list[float]  # values of the second date
    limit: float | None  # smallest detectable change of one position


@dataclass(frozen=True)
class ComparedNerve:
    """Content of one nerve."""

    side: str
    verdict: str  # changed, unchanged, or not judged
    how: str  # explanation of the alignment
    rows: Sequence[tuple[str, str, str, str, str, str, bool]]  # quantity, first, second, difference, share, limit, flag
    stretches: Sequence[str]  # stretches of changed area, as text
    curves: Sequence[Curve]
    positions: Sequence[tuple[float, int, int]]  # position in mm of each pair of pictures, and its slices' numbers
    first_shown: int  # index of the position that is shown first: that of the largest difference in area
    pictures: dict[str, list[str]]  # data URIs of each date's close-ups; an empty list without its image


@dataclass(frozen=True)
class ComparisonView:
    """Content of the page."""

    names: tuple[str, str]  # names of the scans
    warning: str  # warning "SYNTHETIC TRAINING DATA", or empty
    nerves: Sequence[ComparedNerve]
    notes: Sequence[str]


def comparison_html(view: ComparisonView) -> str:
    """Render the page, which opens from a disk without a network."""
    content = [
        {"positions": nerve.positions, "pictures": nerve.pictures, "curves": [asdict(each) for each in nerve.curves]}
        for nerve in view.nerves
    ]
    return render("comparison.html.j2", view=view, notice=NOTICE, data=json_for_script(content))
