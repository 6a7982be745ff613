"""What goes into a page comes out of it again, and cannot break out of its place."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError
from PIL import Image as Picture
from plotly.offline import get_plotlyjs

from nerveseg.reporting.page_assets import (
    css,
    data_uri,
    json_for_script,
    plotly_inline,
    plotly_linked,
    render,
    script,
    write_plotly,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(), inside, max_size=4),
)


@given(JSON)
def test_data_in_a_script_is_the_same_data_and_cannot_end_the_script(data):
    text = str(json_for_script(data))
    assert json.loads(text) == data
    assert not set("<>&\u2028\u2029") & set(text)


def test_numbers_that_json_does_not_know_are_null():
    numbers = {"a": np.array([1.5, np.nan]), "b": float("inf"), "c": np.int64(3), 4: (np.bool_(True),)}
    assert json.loads(json_for_script(numbers)) == {"a": [1.5, None], "b": None, "c": 3, "4": [True]}


def test_the_chart_library_comes_out_of_the_page_as_it_was():
    packed = re.search(r'type="text/plain">([^<]*)</script>', plotly_inline())[1]
    assert gzip.decompress(base64.b64decode(packed)).decode() == get_plotlyjs()
    assert len(packed) < 2_500_000


def test_the_chart_library_is_written_once(tmp_path):
    path = write_plotly(tmp_path)
    assert path == tmp_path / "assets" / "plotly.min.js"
    assert path.read_text(encoding="utf-8") == get_plotlyjs()
    before = path.stat()
    assert write_plotly(tmp_path).stat().st_mtime_ns == before.st_mtime_ns
    path.write_text("half a fi")
    assert write_plotly(tmp_path).stat().st_size == before.st_size


def test_a_link_to_the_library_cannot_leave_its_attribute():
    assert 'src="../assets/plotly.min.js"' in plotly_linked("..")
    assert '"><b>' not in plotly_linked('"><b>')


@pytest.mark.parametrize("name", ["study.html.j2", "subject.html.j2"])
def test_a_name_that_a_template_lacks_is_an_error(name):
    with pytest.raises(UndefinedError):
        render(name)


def test_no_style_and_no_script_points_anywhere():
    texts = [css("page.css", "subject.css"), *map(script, ("subject.js", "subject_viewer.js", "subject_charts.js"))]
    assert not [text for text in texts if re.search(r"https?:|@import|url\(|</script", text)]


@pytest.mark.parametrize("form", ["jpeg", "webp"])
def test_a_picture_is_the_same_picture(form):
    ramp = np.add.outer(np.arange(40) * 3, np.arange(30) * 2).astype(np.uint8)
    for picture in (ramp, np.stack([ramp, ramp[::-1], ramp], axis=2)):
        head, _, packed = data_uri(picture, form).partition(",")
        shown = np.asarray(Picture.open(io.BytesIO(base64.b64decode(packed))).convert("RGB")).astype(int)
        expected = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
        assert head.startswith(f"data:image/{form}")
        assert shown.shape == expected.shape
        assert np.abs(shown - expected).mean() <= 12
