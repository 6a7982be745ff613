"""The list of classes on the pages of a study and of a subject: by mouse and keyboard, from a disk, with contours."""

from dataclasses import replace

import numpy as np
import pytest

from nerveseg.reporting.page_assets import write_plotly
from nerveseg.reporting.study_page import write_study_page
from nerveseg.reporting.subject_page import write_subject_page
from nerveseg.reporting.subject_view import SubjectView
from tests.helpers.example_study import analysis_of, view_of

pytestmark = pytest.mark.browser

CLASSES = {"tibial": "report.html", "peroneal": "report-peroneal.html"}


def subject_view(label, column):
    """A subject with a square mask in other columns for each class."""
    mask = np.zeros((60, 60, 5), dtype=bool)
    mask[column : column + 10, 20:30] = True
    image = np.random.default_rng(1).normal(100, 20, mask.shape).astype(np.float32)
    pages = {name: f"../{name}/V01.html" for name in CLASSES}
    return SubjectView(
        name="V01", title=f"demo, V01, {label}", warning="SYNTHETIC STUDY", image=image, spacing_mm=(0.5, 0.5, 4.0),
        slice_numbers=[7, 8, 9, 10, 11], masks={"Auto": mask, "GT": mask}, profiles={}, study=f"demo, {label}",
        classes=pages, label=label,
    )  # fmt: skip


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    for column, (label, page) in zip((10, 40), CLASSES.items(), strict=True):
        analysis = replace(analysis_of(5, 6), structure=label, classes=tuple(CLASSES))
        view = view_of(analysis, classes=CLASSES, name=f"demo, {label}", title=f"Study demo, {label}")
        cards = {name: replace(card, page=f"subjects/{label}/V01.html") for name, card in view.cards.items()}
        write_study_page(folder / page, replace(view, cards=cards))
        options = {"assets": "folder", "back": f"../../{page}", "above": "../.."}
        write_subject_page(folder / "subjects" / label / "V01.html", subject_view(label, column), **options)
    write_plotly(folder)
    return folder / "report.html"


def drawn(page):
    page.tab.wait_for_selector("body[data-drawn=yes]")
    return page


def heading(page):
    return page.tab.locator("h1").inner_text()


def test_the_list_leads_to_the_other_class_and_back(report, open_page):
    page = drawn(open_page(report))
    assert heading(page) == "Study demo, tibial"
    assert page.tab.locator("#table1-heading").inner_text() == "Table 1, tibial"
    with page.tab.expect_navigation():
        page.tab.get_by_label("Class").select_option("peroneal")
    assert heading(drawn(page)) == "Study demo, peroneal"
    assert page.tab.locator("#class option:checked").inner_text() == "peroneal"
    page.tab.go_back()
    assert heading(page) == "Study demo, tibial"
    assert page.tab.locator("#class option:checked").inner_text() == "tibial", "the list says which class is shown"
    assert page.errors == []
    assert page.requests == []


def test_the_keyboard_reaches_the_list_and_stays_on_it(report, open_page):
    page = open_page(report)
    for _ in range(3):
        page.tab.keyboard.press("Tab")
        if page.tab.evaluate("document.activeElement.id") == "class":
            break
    assert page.tab.evaluate("document.activeElement.id") == "class"
    with page.tab.expect_navigation():
        page.tab.keyboard.press("ArrowDown")
    assert heading(page) == "Study demo, peroneal"
    page.until("document.activeElement.id === 'class'")
    with page.tab.expect_navigation():
        page.tab.keyboard.press("ArrowUp")
    assert heading(page) == "Study demo, tibial"


def middle_of_the_contour(page):
    """Mean column of the automatic mask's contour, as a share of the picture's width."""
    return page.tab.evaluate(
        """async () => {
          await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)));
          const canvas = document.getElementById("overlay"), {width, height} = canvas;
          const values = canvas.getContext("2d").getImageData(0, 0, width, height).data;
          let [sum, found] = [0, 0];
          for (let i = 0; i < values.length; i += 4) {
            const green = [130, 230, 60].every((value, c) => Math.abs(values[i + c] - value) < 30);
            if (!green || values[i + 3] < 200) continue;
            sum += (i / 4) % width / width;
            found += 1;
          }
          return sum / found;
        }"""
    )


def test_a_subject_has_the_contours_of_the_chosen_class_in_the_same_slice(report, open_page):
    page = drawn(open_page(report))
    with page.tab.expect_navigation():
        page.tab.locator("#subject-table tbody th a").first.click()
    page.tab.locator("#next").click()
    number = page.tab.inner_text("#number")
    assert 0.6 < middle_of_the_contour(page) < 0.8, "columns 10 to 19 of 60; the patient's right is on the left"
    page.until("Boolean(window.Plotly)")
    with page.tab.expect_navigation():
        page.tab.get_by_label("Class").select_option("peroneal")
    page.until(f"document.getElementById('number').textContent === '{number}'")
    assert 0.2 < middle_of_the_contour(page) < 0.4, "columns 40 to 49"
    page.until("Boolean(window.Plotly)")
    with page.tab.expect_navigation():
        page.tab.get_by_text("Back to the study").click()
    assert heading(page) == "Study demo, peroneal", "the study's page is that of the same class"
    assert page.errors == []


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", ["report.html", "subjects/tibial/V01.html"])
def test_the_list_fits_and_can_be_read(report, open_page, faint_texts, name, width):
    page = open_page(report.parent / name, width=width)
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= width
    assert faint_texts(page) == []
    box = page.tab.locator("#class").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert box["height"] >= 24, "a target of at least 24 pixels (WCAG 2.2)"
