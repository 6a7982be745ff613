"""The page of two dates in a browser: pictures and curves follow one position, on a screen and on paper."""

import numpy as np
import pytest
from PIL import Image as Picture

from nerveseg.files import write_text
from nerveseg.reporting.comparison_page import ComparedNerve, ComparisonView, Curve, comparison_html
from nerveseg.reporting.page_assets import data_uri

pytestmark = pytest.mark.browser

COUNT, GREY = 12, 20
"""Each picture has the grey value of its number, times 20."""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    z_mm = [4.0 * number for number in range(COUNT)]
    first, second = [50.0] * COUNT, [50.0 + 10 * (number in (7, 8)) for number in range(COUNT)]
    pictures = [data_uri(np.full((40, 40, 3), GREY * number, np.uint8), "webp", None) for number in range(COUNT)]
    nerve = ComparedNerve(
        side="left", verdict="changed", how="second scan shifted by +4.0 mm", stretches=["area beyond"],
        rows=[("mean area, mm²", "50", "51.7", "+1.67", "+3%", "1", True)] * 6,
        curves=[
            Curve("total", "area", "mm²", z_mm, first, second, 5.0),
            Curve("tibial", "signal", "", z_mm, first, first, None),
        ],
        positions=[(z, number, number + 1) for number, z in enumerate(z_mm)], first_shown=7,
        pictures={"first": pictures, "second": pictures},
    )  # fmt: skip
    path = tmp_path_factory.mktemp("comparison") / "comparison.html"
    write_text(path, comparison_html(ComparisonView(("V01", "V01r"), "SYNTHETIC TRAINING DATA", [nerve], ["a note"])))
    return path


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_pictures_and_curves_follow_the_position_on_screen_and_paper(
    page_file, open_page, faint_texts, tmp_path, width, scheme
):
    page = open_page(page_file, width=width, colour_scheme=scheme)
    page.tab.wait_for_selector("body[data-drawn=yes]")
    line = "cards[0].charts[0].layout.shapes[0].x0"
    assert page.tab.evaluate(line) == 28.0, "the largest difference is shown first"
    page.tab.fill(".position", "3")
    page.until(f"{line} === 12")
    assert [page.tab.inner_text(f"[data-slice={date}]") for date in ("first", "second")] == ["3", "4"]
    page.tab.locator("img[data-date=second]").screenshot(path=tmp_path / "shown.png")
    shown = np.asarray(Picture.open(tmp_path / "shown.png").convert("L"))
    assert np.median(shown) == pytest.approx(3 * GREY, abs=2)
    page.tab.click("summary")
    page.until("cards[0].charts.length === 2")
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= width
    assert faint_texts(page) == []

    page.tab.emulate_media(media="print")
    page.tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.tab.locator("input").is_hidden()
    assert page.tab.locator(".others img").count() == 8
    assert page.tab.evaluate("cards[0].charts[0].querySelector('.main-svg').clientWidth") <= 680
    assert faint_texts(page) == []
    page.tab.emulate_media(media="screen", color_scheme=scheme)
    page.tab.evaluate("dispatchEvent(new Event('afterprint'))")
    page.until(
        "Math.abs(cards[0].charts[0].querySelector('.main-svg').clientWidth - cards[0].charts[0].clientWidth) < 2"
    )
    assert page.errors == page.requests == []
