"""The page of many scans: order, and texts from outside that stay texts."""

import random
import re

from nerveseg.biomarkers.quality import Flag
from nerveseg.reporting.segmentations_page import ReviewCell, ScanRow, segmentations_html, worst_first


def test_the_worst_stand_first():
    order = [
        ScanRow("failed", error="no file"),
        ScanRow("empty", level="not usable", expected=0.0),
        ScanRow("old"),
        ScanRow("unlike", level="check"),
        ScanRow("low", level="check", expected=0.55),
        ScanRow("flagged", level="check", expected=0.8, flags=[Flag("gap", "a"), Flag("jump", "b")]),
        ScanRow("a", level="check", expected=0.8, flags=[Flag("gap", "a")]),
        ScanRow("b", level="check", expected=0.8, flags=[Flag("gap", "a")]),
        ScanRow("good", level="usable", expected=0.7),
        ScanRow("best", level="usable", expected=0.95),
    ]
    shuffled = random.Random(1).sample(order, len(order))
    assert [row.name for row in worst_first(shuffled)] == [row.name for row in order]


def test_no_text_from_outside_becomes_markup():
    bad = "\"><script>alert('x')</script>"
    row = ScanRow(
        f"n{bad}", page=f"p{bad}/report.html", level="check", reason=bad, expected=0.5, expected_words="0.50 (0 to 1)",
        flags=[Flag("gap", bad, slices=(3,))], mask_sha256="a" * 64, review=ReviewCell("accept", bad, bad, bad),
        earlier=ReviewCell("reject", bad, bad, bad),
    )  # fmt: skip
    html = segmentations_html([row], "", [(bad, "b" * 64)], ["0"])
    assert html.count("<script>") == 1
    assert "alert('x')" not in html
    assert 'href="p%22%3E%3Cscript%3Ealert%28%27x%27%29%3C/script%3E/report.html#slice=3"' in html
    assert not re.search(r"(src|href)=\"(https?:|/)", html)
