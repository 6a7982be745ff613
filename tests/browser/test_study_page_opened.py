"""The study page in a browser: it opens without a network, sorts, filters, keeps reviews and draws its boxplots."""

import csv
import json
import runpy
import time
from pathlib import Path

import numpy as np
import pytest

from nerveseg.evaluation.tables.table1 import reference_table
from nerveseg.reporting.overlay import save_png
from nerveseg.reporting.study_page import write_study_page

EXAMPLE = runpy.run_path(str(Path(__file__).parents[1] / "helpers" / "example_study.py"))
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A study as large as the paper's, with two failures, and the page of one of them."""
    folder = tmp_path_factory.mktemp("evaluation")
    analysis = EXAMPLE["analysis_of"](10, 42, failed=("P07", "V03"))
    view = EXAMPLE["view_of"](
        analysis, warning="SYNTHETIC STUDY", reference=reference_table("paper"), figures=[EXAMPLE["FIGURE"]]
    )
    save_png(folder / "figures" / "comparison.png", np.zeros((300, 2000, 3), dtype=np.uint8))
    write_study_page(folder / "report.html", view)
    (folder / "subjects").mkdir()
    for row in view.subjects:
        (folder / "subjects" / f"{row.id}.html").write_text(
            f"<!doctype html><title>{row.id}</title><link rel=icon href=data:,>"
        )
    return folder / "report.html"


@pytest.fixture
def opened(report, open_page):
    def page(**options):
        page = open_page(report, **options)
        page.tab.wait_for_selector("body[data-drawn=yes]")
        return page

    return page


def column(page, name):
    """The texts of a column of the subjects that are shown."""
    headings = page.tab.locator("#subject-table thead th").all_inner_texts()
    place = next(number for number, text in enumerate(headings) if text.split() and text.split()[0] == name)
    return page.tab.evaluate(
        "place => [...document.querySelectorAll('#subject-table tbody tr')].filter(row => !row.hidden)"
        ".map(row => row.cells[place].innerText.trim())",
        place,
    )


def heading(page, name):
    return page.tab.locator("#subject-table thead th").filter(has_text=name).first


def test_it_opens_at_once_offline_and_without_a_complaint(report, open_page):
    begun = time.monotonic()
    page = open_page(report)
    page.tab.wait_for_selector("#subject-table tbody tr")
    assert time.monotonic() - begun < 10, "about 1 s on an idle machine"
    page.tab.wait_for_selector("body[data-drawn=yes]")
    assert page.errors == []
    assert page.requests == []
    assert page.tab.locator(".banner").inner_text() == "SYNTHETIC STUDY"
    assert page.tab.evaluate("document.documentElement.lang") == "en"


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_layout_holds_and_every_text_can_be_read(opened, faint_texts, width, scheme):
    page = opened(width=width, colour_scheme=scheme)
    page.tab.evaluate("document.querySelector('details').open = true")
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= width
    assert faint_texts(page) == []
    wide = page.tab.evaluate(
        "[...document.querySelectorAll('.scroll-box')].map(box => box.getBoundingClientRect().right)"
    )
    assert max(wide) <= width


def test_failures_come_first_until_a_heading_is_clicked(opened):
    page = opened()
    assert [name.split()[0] for name in column(page, "subject")[:2]] == ["sub-P07", "sub-V03"]
    dice = [float(text) for text in column(page, "Dice")]
    assert dice == sorted(dice)
    assert heading(page, "Dice").get_attribute("aria-sort") == "ascending"
    heading(page, "HD95 surface").locator("button").click()
    distances = column(page, "HD95")
    assert distances[-2:] == ["–", "–"], "what does not exist stands last"
    assert [float(text) for text in distances[:-2]] == sorted(float(text) for text in distances[:-2])
    heading(page, "HD95 surface").locator("button").click()
    distances = column(page, "HD95")
    assert distances[-2:] == ["–", "–"]
    assert [float(text) for text in distances[:-2]] == sorted((float(text) for text in distances[:-2]), reverse=True)
    assert heading(page, "HD95 surface").get_attribute("aria-sort") == "descending"
    assert page.tab.locator("[aria-sort]").count() == 1


def test_the_keyboard_alone_sorts_and_opens_a_subject(opened):
    page = opened()
    heading(page, "subject").locator("button").focus()
    page.tab.keyboard.press("Enter")
    assert [name.split()[0] for name in column(page, "subject")[:2]] == ["sub-P01", "sub-P02"]
    page.tab.locator("#subject-table tbody a:not([tabindex])").first.focus()
    with page.tab.expect_navigation():
        page.tab.keyboard.press("Enter")
    assert page.tab.title() == "P01"
    page.tab.go_back()
    assert column(page, "subject")[0] == "sub-P01", "the order is kept"


def test_filters_work_together_and_say_how_many_are_left(opened):
    page = opened()
    page.tab.select_option("#filter-cohort", "volunteer")
    assert page.tab.locator("#count").inner_text() == "10 of 52 subjects"
    page.tab.select_option("#filter-location", "medial")
    shown = column(page, "subject")
    assert [name.split()[0] for name in sorted(shown)] == ["sub-V02", "sub-V05", "sub-V08"]
    page.tab.fill("#filter-text", "v05")
    assert column(page, "subject") == ["sub-V05"]
    page.tab.fill("#filter-text", "nobody")
    assert page.tab.locator("#nothing").is_visible()
    page.tab.click("button[type=reset]")
    page.tab.wait_for_selector("#count:text-is('52 of 52 subjects')")
    page.tab.select_option("#filter-kind", "failed")
    assert len(column(page, "subject")) == 2
    page.tab.select_option("#filter-kind", "flagged")
    assert column(page, "subject") == ["sub-P02"]


def test_reviews_of_the_subject_pages_are_shown_and_exported(opened):
    page = opened()
    assert page.tab.locator("#export").is_disabled()
    review = {"verdict": "reject", "note": 'vein, not "nerve"\nsee slice 12', "reviewer": "OS", "date": "2026-01-02"}
    page.tab.evaluate("text => localStorage.setItem('nerveseg-review:demo:P07', text)", json.dumps(review))
    page.tab.evaluate("localStorage.setItem('nerveseg-review:other:P08', '{\"verdict\": \"accept\"}')")
    page.tab.reload()
    assert [text.split()[0] for text in column(page, "review") if text] == ["reject"]
    page.tab.select_option("#filter-kind", "reviewed")
    assert column(page, "subject")[0].startswith("sub-P07")
    with page.tab.expect_download() as download:
        page.tab.click("#export")
    assert download.value.suggested_filename == "verdicts-demo.csv"
    with open(download.value.path(), encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row == {"scan": "P07", "mask_sha256": "", "model_sha256": ""} | review


def test_a_review_of_other_outlines_does_not_count(opened):
    page = opened()
    page.tab.evaluate("document.querySelector('tr[data-id=P07]').dataset.mask = 'abc'")
    for mask, verdict in (("old", ""), ("abc", "accept")):
        page.tab.evaluate("mask => reviews.keep('demo:P07', mask, {verdict: 'accept'})", mask)
        page.tab.evaluate("dispatchEvent(new Event('storage'))")
        assert page.tab.get_attribute("tr[data-id=P07] td.review", "data-value") == verdict
        assert page.tab.locator("#export").is_disabled() == (mask == "old")


def test_the_boxplots_switch_their_metric_and_open_subjects(opened):
    page = opened()
    points = "() => document.getElementById('chart').data.map(trace => trace.y.length)"
    assert page.tab.evaluate(points) == [52 * 3, 52 * 3, 52]
    page.tab.select_option("#metric", label="HD95 surface, mm")
    page.tab.wait_for_selector("#chart .ytitle:text-is('HD95 surface (mm)')")
    assert page.tab.evaluate(points) == [52 * 3, 50 * 3, 50]
    note = page.tab.locator("#chart-note").inner_text()
    assert "1 of 10 Auto-GT (volunteer)" in note
    assert "3 of 126 Auto-R (patient)" in note
    dot = page.tab.locator("#chart .trace.boxes").last.locator("path.point").first
    dot.scroll_into_view_if_needed()
    box = dot.bounding_box()
    place = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.tab.mouse.move(*place)
    page.tab.wait_for_selector("#chart .hoverlayer .hovertext")
    hovered = page.tab.locator("#chart .hoverlayer .hovertext").first.text_content()
    assert "sub-" in hovered
    assert "Auto-GT" in hovered
    with page.tab.expect_navigation():
        page.tab.mouse.click(*place)
    assert f"sub-{page.tab.title()}," in hovered


def test_a_figure_is_shown_and_no_wider_than_the_page(opened):
    page = opened(width=400)
    figure = page.tab.locator("figure img")
    figure.scroll_into_view_if_needed()
    page.tab.wait_for_timeout(300)
    assert figure.evaluate("image => image.naturalWidth") == 2000
    assert figure.bounding_box()["width"] < 400


def test_without_the_library_the_rest_still_works(report, open_page, tmp_path):
    (tmp_path / "report.html").write_bytes(report.read_bytes())
    page = open_page(tmp_path / "report.html")
    page.tab.wait_for_selector("#chart:has-text('assets/plotly.min.js')")
    page.tab.select_option("#filter-kind", "failed")
    assert len(column(page, "subject")) == 2
