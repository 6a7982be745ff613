"""The page of many scans in a browser: it sorts, filters, and keeps, shows and exports verdicts."""

import csv

import numpy as np
import pytest

from nerveseg.biomarkers.quality import Flag
from nerveseg.reporting.page_assets import data_uri
from nerveseg.reporting.segmentations_page import ReviewCell, ScanRow, segmentations_html
from nerveseg.scans.verdicts import read_verdicts

pytestmark = pytest.mark.browser
PICTURE = data_uri(np.random.default_rng(1).integers(0, 255, (116, 116, 3), dtype=np.uint8), "jpeg")
REVIEWED = """Object.fromEntries([...document.querySelectorAll('tr[data-verdict]')]
  .filter(row => row.dataset.verdict).map(row => [row.dataset.name, row.dataset.verdict]))"""
SHOWN = "[...document.querySelectorAll('#scan-table tbody tr')].filter(row => !row.hidden).map(row => row.dataset.name)"


def scan(number):
    """One of 200 scans, of which each tenth is not usable and each fifth has a flag."""
    level = ("not usable", "usable", "usable", "usable", "usable", "check", "usable", "usable", "usable", "usable")
    flags = [Flag("area_jump", "the area jumps in slice 3", slices=(3,))] if number % 5 == 0 else []
    return ScanRow(
        f"s{number}", page=f"s{number}/report.html", picture=PICTURE, caption="slice 3, most doubt",
        level=level[number % 10], reason="a reason", expected=0.5 + number / 500,
        expected_words=f"{0.5 + number / 500:.2f} (0.40 to 0.95)", origin="automatic", flags=flags,
        scan_sha256="d" * 64, mask_sha256=f"{number:064x}", model_sha256="e" * 64,
        review=ReviewCell("accept", "good", "CD", "2026-01-02T08:00:00.000Z") if number == 7 else None,
        earlier=ReviewCell("correct", "", "CD", "2026-01-01") if number == 8 else None,
    )  # fmt: skip


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    rows = [*map(scan, range(200)), ScanRow("broken", error="expected: a volume; found: nothing")]
    html = segmentations_html(rows, "SYNTHETIC TRAINING DATA", [("demo", "e" * 64)], ["0.1"])
    (folder / "s15").mkdir()
    (folder / "s15" / "report.html").write_text("<!doctype html><title>s15</title><link rel=icon href=data:,>")
    (folder / "segmentations.html").write_text(html, encoding="utf-8")
    return folder / "segmentations.html"


def test_the_worst_stand_first_and_headings_and_filters_work_from_the_keyboard(page_file, open_page):
    page = open_page(page_file)
    assert (page.errors, page.requests) == ([], [])
    shown = page.tab.evaluate(SHOWN)
    assert (len(shown), shown[:3]) == (201, ["broken", "s0", "s10"])
    page.tab.locator("thead button", has_text="expected Dice").focus()
    page.tab.keyboard.press("Enter")
    page.tab.keyboard.press("Enter")
    assert page.tab.evaluate(SHOWN)[0] == "s199"
    assert page.tab.evaluate(SHOWN)[-1] == "broken"
    page.tab.select_option("#filter-grade", "check")
    page.tab.select_option("#filter-flag", "area_jump")
    page.tab.fill("#filter-text", "s15")
    assert page.tab.evaluate(SHOWN) == ["s155", "s15"]
    with page.tab.expect_navigation():
        page.tab.locator("tr[data-name=s15] th a").press("Enter")
    assert page.tab.title() == "s15"
    page.tab.go_back()
    assert page.tab.evaluate(SHOWN) == ["s155", "s15"], "kept while one looks at a scan"
    page.tab.click("button[type=reset]")
    page.tab.wait_for_selector("#count:text-is('201 of 201 scans')")


def test_verdicts_are_kept_and_exported_with_those_that_were_read(page_file, open_page):
    page = open_page(page_file)
    assert page.tab.evaluate(REVIEWED) == {"s7": "accept"}
    page.tab.fill("#reviewer", "AB")
    page.tab.select_option("#filter-verdict", "none")
    page.tab.check("tr[data-name=s9] input[value=reject]")
    page.tab.fill("tr[data-name=s9] .note", '=vein; "not" nerve')
    page.tab.locator("tr[data-name=s9] .note").blur()
    assert "s9" in page.tab.evaluate(SHOWN), "a row stays while one writes the note"
    entry = {"verdict": "correct", "note": "", "reviewer": "AB", "date": "2026-01-03"}
    for mask in (f"{11:064x}", "of before"):
        page.tab.evaluate("args => reviews.keep('d'.repeat(64), ...args)", [mask, entry])
    page.tab.reload()
    assert page.tab.evaluate(REVIEWED) == {"s7": "accept", "s9": "reject", "s11": "correct"}
    assert page.tab.locator("tr[data-earlier]").get_attribute("data-name") == "s8"
    page.tab.select_option("#filter-verdict", "reject")
    assert page.tab.evaluate(SHOWN) == ["s9"]
    with page.tab.expect_download() as download:
        page.tab.click("#export")
    assert download.value.suggested_filename == "verdicts.csv"
    found = {each.scan: each for each in read_verdicts(download.value.path())}
    assert {name: each.verdict for name, each in found.items()} == {"s7": "accept", "s9": "reject", "s11": "correct"}
    assert (found["s9"].note, found["s9"].reviewer) == ('=vein; "not" nerve', "AB")
    assert (found["s9"].mask_sha256, found["s9"].model_sha256) == (f"{9:064x}", "e" * 64)
    with open(download.value.path(), encoding="utf-8-sig", newline="") as file:
        notes = {row["scan"]: row["note"] for row in csv.DictReader(file)}
    assert notes["s9"].startswith("'=vein"), "no formula for a spreadsheet"
    page.tab.click("tr[data-name=s9] .undo")
    page.tab.select_option("#filter-verdict", "")
    assert page.tab.evaluate(REVIEWED) == {"s7": "accept", "s11": "correct"}


def test_without_storage_verdicts_last_until_the_page_is_closed(page_file, open_page):
    page = open_page(page_file)
    page.tab.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('denied'); }})"
    )
    page.tab.reload()
    page.tab.check("tr[data-name=s9] input[value=reject]")
    page.tab.check("tr[data-name=s10] input[value=correct]")
    assert page.tab.evaluate(REVIEWED) == {"s7": "accept", "s9": "reject", "s10": "correct"}
    assert page.tab.locator("#lost").is_visible()
    with page.tab.expect_download() as download:
        page.tab.click("#export")
    assert {each.scan for each in read_verdicts(download.value.path())} == {"s7", "s9", "s10"}


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_layout_holds_and_every_text_can_be_read(page_file, open_page, faint_texts, width, scheme):
    page = open_page(page_file, width=width, colour_scheme=scheme)
    page.tab.evaluate("document.querySelector('details').open = true")
    page.tab.fill("#filter-text", "s1")
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= width
    assert faint_texts(page) == []
    ends = "[...document.querySelectorAll('td, th')].map(cell => cell.getBoundingClientRect().right)"
    assert max(page.tab.evaluate(ends)) <= width
