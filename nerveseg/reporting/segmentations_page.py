"""Page of many segmented scans: the worst first, with a picture, the grade, numbers, flags and the reviewer's verdict.

The order is that in which a person should look: scans that failed, masks that are not usable, masks to check, usable
ones; among equals, the lowest expected Dice first. One HTML file that opens from disk without a network, and leads to
each scan's own page. It holds no path and no name except those of the scans.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from urllib.parse import quote

from nerveseg.biomarkers.quality import Flag
from nerveseg.biomarkers.summary import NerveSummary
from nerveseg.notices import NOTICE
from nerveseg.reporting.page_assets import render
from nerveseg.reporting.subject_view import VERDICTS

FAILED, UNGRADED = "failed", "not graded"
LEVELS = (FAILED, "not usable", UNGRADED, "check", "usable")
"""Levels in the order of the page; results of earlier versions are not graded."""

MOST_FLAGS = 3  # largest number of flags that a row shows at once


@dataclass(frozen=True)
class ReviewCell:
    """Verdict of a reviewer, as it was read from a table."""

    verdict: str  # accept, correct or reject; empty of a note alone
    note: str
    reviewer: str  # initials
    date: str  # date and time, as the reviewer's page wrote it


@dataclass(frozen=True)
class ScanRow:
    """Row of one scan."""

    name: str
    error: str = ""  # reason of a failure; empty of a scan with a result
    page: str = ""  # path of the scan's own page, relative to this page; empty without one
    picture: str | None = None  # data URI of its picture
    caption: str = ""  # description of the picture
    level: str = ""  # grade: usable, check, or not usable; empty if it failed or is not graded
    reason: str = ""  # reason of the grade, a clause without a full stop
    expected: float | None = None  # smallest Dice that is expected of a class; None if unknown
    expected_words: str = ""  # the same with its interval
    origin: str = ""  # automatic, corrected or drawn
    nerves: Sequence[NerveSummary] = ()
    flags: Sequence[Flag] = ()
    scan_sha256: str = ""  # hash of the image, under which browsers keep verdicts
    mask_sha256: str = ""
    model_sha256: str = ""
    review: ReviewCell | None = None  # verdict on this mask
    earlier: ReviewCell | None = None  # verdict on a mask that the scan had before

    @property
    def shown_level(self) -> str:
        """Level in words, also of a scan without a grade."""
        return FAILED if self.error else self.level or UNGRADED

    @property
    def address(self) -> str:
        """Address of the scan's own page."""
        return quote(self.page)


def worst_first(rows: Sequence[ScanRow]) -> list[ScanRow]:
    """Return the rows in the order in which a person should look at them."""

    def place(row: ScanRow) -> tuple[int, float, int, str]:
        # An unknown expectation, of a scan unlike the training or of a person's mask, comes before every known one.
        return (
            LEVELS.index(row.shown_level),
            -inf if row.expected is None else row.expected,
            -len(row.flags),
            row.name,
        )

    return sorted(rows, key=place)


def segmentations_html(
    rows: Sequence[ScanRow], warning: str, models: Sequence[tuple[str, str]], versions: Sequence[str]
) -> str:
    """Render the page.

    Args:
        rows: Rows of the scans, in any order.
        warning: Warning "SYNTHETIC TRAINING DATA", or empty.
        models: Name and SHA-256 of each model that made a mask.
        versions: Versions of nerveseg that wrote the results.
    """
    ordered = worst_first(rows)
    levels = Counter(row.shown_level for row in ordered)
    flags = Counter(code for row in ordered for code in {flag.code for flag in row.flags})
    return render(
        "segmentations.html.j2",
        rows=ordered,
        warning=warning,
        notice=NOTICE,
        verdicts=VERDICTS,
        most_flags=MOST_FLAGS,
        levels={level: levels[level] for level in LEVELS if levels[level]},
        flags=dict(sorted(flags.items())),
        by_hand=any(row.origin in ("corrected", "drawn") for row in ordered),
        expects=any(row.expected is not None for row in ordered),
        models=models,
        versions=versions,
    )
