"""A subject's page: what it draws is what the masks, the image and the profile hold."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path as Line
from PIL import Image as Picture

from nerveseg.biomarkers.course import follow_nerves
from nerveseg.biomarkers.norms import Norm
from nerveseg.biomarkers.profile import nerve_profile
from nerveseg.biomarkers.quality import Flag
from nerveseg.biomarkers.signals import Signals
from nerveseg.biomarkers.summary import summarise
from nerveseg.data.legs import Leg
from nerveseg.errors import GeometryError
from nerveseg.reporting.slice_pictures import MOST_PICTURE_BYTES, scale_of
from nerveseg.reporting.slice_pictures import slice_pictures as encoded_slices
from nerveseg.reporting.subject_charts import close_looks, outlines
from nerveseg.reporting.subject_page import subject_html, write_subject_page
from nerveseg.reporting.subject_view import SubjectView, facts_of

SPACING_MM = (0.5, 0.7, 4.0)
NUMBERS = [15, 14, 13, 12, 11, 10]
"""A file that counts its slices from the head."""


@pytest.fixture(scope="module")
def view():
    """A rod in the patient's right posterior quarter, missing in RAS slice 4; twice the area in slice 1."""
    image = np.random.default_rng(0).uniform(0, 100, (60, 40, 6)).astype(np.float32)
    nerve = np.zeros(image.shape, dtype=bool)
    nerve[40:46, 10:14] = True
    nerve[40:46, 14:18, 1] = True
    nerve[:, :, 4] = False
    lesion = np.zeros_like(nerve)
    lesion[40:46, 14:18, 1] = True
    affine = np.diag([*SPACING_MM, 1.0])
    courses = follow_nerves(nerve, affine, [Leg("right", slice(0, 60))])
    channels = {"T2": image}
    profile = nerve_profile(courses, NUMBERS, Signals(channels, lesion=lesion))
    return SubjectView(
        name="P07", title="sciatic nerve", warning="SYNTHETIC STUDY", image=image, spacing_mm=SPACING_MM,
        slice_numbers=NUMBERS, masks={"Auto": nerve, "GT": nerve.copy(), "lesion": lesion},
        profiles={"Auto": profile}, facts=facts_of([summarise(profile, courses[0], channels, True)]),
        flags=[Flag("empty_slices", "the nerve is interrupted", None, (11,)), Flag("unlike", "an odd scan")],
        scores={"dice": 0.8614, "hd95_mm": float("nan"), "unknown": 1.0}, study="phantom",
    )  # fmt: skip


def data_of(html):
    return json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])


def decoded(uri):
    return np.asarray(Picture.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("L")).astype(float)


def slice_pictures(view):
    return encoded_slices(view, view.image, scale_of(view.image))[0]


def filled(rings, height, width):
    """Pixels whose centre lies inside an odd number of rings."""
    rows, columns = np.mgrid[:height, :width]
    centres = np.column_stack([columns.ravel() + 0.5, rows.ravel() + 0.5])
    inside = np.zeros(len(centres), dtype=bool)
    for ring in rings:
        inside ^= Line(np.reshape(ring, (-1, 2)) / 2, closed=False).contains_points(centres)
    return inside.reshape(height, width)


@given(arrays(bool, (7, 6, 1), elements=st.booleans()))
def test_filling_the_outlines_gives_the_mask_back(mask):
    (rings,) = outlines(mask, [0])
    picture = filled(rings, 6, 7)
    for x, y in np.ndindex(7, 6):
        assert picture[6 - 1 - y, 7 - 1 - x] == mask[x, y, 0], "right is on the left, anterior is up"


def test_slices_stand_in_the_order_of_the_file_and_upright(view):
    spots = np.zeros_like(view.image)
    spots[50:58, 2:10, 0] = 1.0  # right, posterior, at the feet: the file's last slice
    spots[3:11, 28:36, 5] = 1.0  # left, anterior, at the head
    pictures = [decoded(uri) > 127 for uri in slice_pictures(replace(view, image=spots))]
    rows, columns = np.nonzero(pictures[-1])
    assert (rows.mean(), columns.mean()) == pytest.approx((39 - 5.5, 59 - 53.5), abs=0.3)
    rows, columns = np.nonzero(pictures[0])
    assert (rows.mean(), columns.mean()) == pytest.approx((39 - 31.5, 59 - 6.5), abs=0.3)
    assert not np.any(pictures[1:-1])
    assert view.order == [5, 4, 3, 2, 1, 0]


def test_one_window_serves_all_slices(view):
    image = np.full_like(view.image, 100.0)
    image[:, :, 2] = 200.0
    image[:, :, 3] = 0.0
    means = [decoded(uri).mean() for uri in slice_pictures(replace(view, image=image))]
    assert np.allclose(means, [128, 128, 0, 255, 128, 128], atol=2)


def test_a_grey_value_stands_for_an_intensity_of_each_channel(view):
    """Lossless pictures give every value back to half a step; the range of a channel is its own."""
    t2_map = (20 + 200 * np.random.default_rng(3).random(view.image.shape)).astype(np.float32)
    t2_map[:5] = np.nan
    page = data_of(subject_html(replace(view, channel="T2", channels={"T2map": t2_map}), assets="folder"))
    assert [channel["name"] for channel in page["channels"]] == ["T2", "T2map"]
    assert [channel["partial"] for channel in page["channels"]] == [False, True]
    for channel, image in zip(page["channels"], (view.image, t2_map), strict=True):
        plane = image[:, :, view.order[2]][::-1, ::-1].T
        read = channel["low"] + channel["step"] * decoded(channel["pictures"][2])
        inside = (plane >= channel["low"]) & (plane <= channel["low"] + 255 * channel["step"])
        assert inside.sum() > 0.95 * np.isfinite(plane).sum()
        assert np.abs(read - plane)[inside].max() <= channel["error"] * (1 + 1e-4)
        assert channel["error"] == pytest.approx(channel["step"] / 2)
        assert channel["window"] == pytest.approx(np.nanpercentile(image, (1, 99.5)).tolist())


def test_the_error_of_compressed_values_is_that_of_the_pictures(view):
    noise = replace(view, image=np.random.default_rng(2).rayleigh(50, view.image.shape).astype(np.float32))
    scale = scale_of(noise.image)
    lossless, _ = encoded_slices(noise, noise.image, scale)
    pictures, error = encoded_slices(noise, noise.image, scale, sum(map(len, lossless)) * 3 // 4)
    planes = np.stack([noise.image[:, :, index][::-1, ::-1].T for index in noise.order])
    differences = np.abs(scale.low + scale.step * np.stack([decoded(uri) for uri in pictures]) - planes)
    assert error > scale.step / 2
    assert np.mean(differences <= error) == pytest.approx(0.95, abs=0.02)


def test_the_place_of_a_pixel_is_that_of_its_voxel(view):
    affine = np.array([[0.5, 0.1, 0, -30], [-0.1, 0.7, 0.2, 5], [0, 0, 4.0, -90], [0, 0, 0, 1]])
    place = data_of(subject_html(replace(view, affine=affine), assets="folder"))["place"]
    corner, across, down = (np.array(place[name]) for name in ("corners", "across", "down"))
    for x, y, z in ((0, 0, 0), (59, 39, 5), (13, 30, 2)):
        found = corner[view.order.index(z)] + (59 - x) * across + (39 - y) * down
        assert found == pytest.approx((affine @ (x, y, z, 1))[:3], abs=2e-3)


@pytest.mark.parametrize("shape", [(384, 330, 60), (512, 512, 16)])
def test_pictures_of_pure_noise_stay_within_their_bytes(view, shape):
    image = np.empty(shape, np.float32)
    image[...] = np.random.default_rng(1).rayleigh(50, shape[:2]).astype(np.float32)[:, :, None]
    empty = np.zeros(shape, dtype=bool)
    noise = replace(view, image=image, masks={"Auto": empty}, profiles={}, slice_numbers=list(range(shape[2])))
    assert sum(map(len, slice_pictures(noise))) <= MOST_PICTURE_BYTES


def test_the_areas_are_those_of_the_mask_in_the_files_order(view):
    (area,) = data_of(subject_html(view))["areas"]
    (line,) = (line for line in area["lines"] if line["branch"] == "total")
    pixels = [int(view.masks["Auto"][:, :, index].sum()) for index in (5, 4, 3, 2, 1, 0)]
    assert pixels == [24, 0, 24, 24, 48, 24]
    assert line["slice"] == pytest.approx([count * 0.5 * 0.7 for count in pixels])
    (lesion,) = data_of(subject_html(view))["lesions"]
    assert lesion["share"] == [0, None, 0, 0, 0.5, 0]


def test_norms_are_bands_of_two_sd_behind_their_own_curves(view):
    norms = {"mean_csa_mm2": (50.0, 6.0), "mean_signal.T2map": (43.0, 2.5), "volume_mm3": (900.0, 80.0)}
    norms = {name: Norm(quantity=name, mean=mean, sd=sd) for name, (mean, sd) in norms.items()}
    given = replace(view, norms=norms, channels={"T2map": view.image})
    assert data_of(subject_html(given, assets="folder"))["norms"] == {
        "slice": [38.0, 62.0],
        "signal T2map": [38.0, 48.0],
    }
    assert data_of(subject_html(view, assets="folder"))["norms"] == {}


def test_the_surface_lies_where_the_mask_lies_in_mm(view):
    nerve, _, lesion = data_of(subject_html(view))["surfaces"]
    assert (min(nerve["x"]), max(nerve["x"])) == pytest.approx((39.5 * 0.5, 45.5 * 0.5), abs=0.3)
    assert (min(nerve["y"]), max(nerve["y"])) == pytest.approx((9.5 * 0.7, 17.5 * 0.7), abs=0.5)
    assert (min(nerve["z"]), max(nerve["z"])) == pytest.approx((-2.0, 22.0), abs=1.5)
    assert min(lesion["y"]) > 13.5 * 0.7 - 1.0
    assert max(map(max, (nerve["i"], nerve["j"], nerve["k"]))) == len(nerve["x"]) - 1


def test_a_closer_look_follows_the_nerve_through_slices_without_it(view):
    (look,) = close_looks(view)
    assert look["mm"] == 50.0
    assert look["centres"] == [[17.0, 28.0]] * 4 + [[17.0, 26.0], [17.0, 28.0]]
    both = replace(view, sides={"left": slice(0, 30), "right": slice(30, 60)})
    assert [look["side"] for look in close_looks(both)] == ["right"], "no closer look where there is nothing"


def test_the_page_says_what_it_is_given(view):
    html = subject_html(view, back="../report.html")
    for text in (
        '<html lang="en">', "<title>P07: sciatic nerve</title>", "SYNTHETIC STUDY", "Not a medical device",
        'href="../report.html"', "the nerve is interrupted", 'data-slice="11"', "an odd scan", "0.861",
    ):  # fmt: skip
        assert text in html
    assert "NaN" not in html.partition('id="data">')[2].partition("</script>")[0]
    assert data_of(html)["numbers"] == [10, 11, 12, 13, 14, 15]
    assert data_of(html)["numbers"][data_of(html)["first"]] == 14, "the slice with most nerve"


def test_text_from_a_study_stays_text(view):
    html = subject_html(replace(view, name="<b>&", title="</script><i>", facts=[("<u>", "1 < 2")]), assets="folder")
    assert not re.search(r"<b>|<i>|<u>", html)
    assert data_of(html)["name"] == "<b>&"


def test_a_page_names_nothing_outside_its_folder(view, tmp_path):
    write_subject_page(tmp_path / "subjects" / "P07.html", view, assets="folder")
    html = (tmp_path / "subjects" / "P07.html").read_text(encoding="utf-8")
    assert str(tmp_path) not in html
    assert set(re.findall(r'(?:src|href)="([^"]{1,60})', html)) == {"../assets/plotly.min.js"}
    assert [path.name for path in (tmp_path / "subjects").iterdir()] == ["P07.html"]


def test_a_page_without_nerve_profile_or_scores(view):
    empty = {"Auto": np.zeros(view.image.shape, dtype=bool)}
    bare = replace(
        view, masks=empty, profiles={}, facts=(), flags=(), scores=None, warning="", image=view.image * np.nan
    )
    html = subject_html(bare, assets="folder")
    assert 'class="banner"' not in html
    assert 'id="charts"' not in html
    assert "Zoom on" not in html
    assert data_of(html)["surfaces"] == data_of(html)["areas"] == []
    assert data_of(html)["first"] == 3


def test_a_review_stays_with_the_outlines_it_was_given_for(view):
    moved = replace(view, masks=view.masks | {"Auto": np.roll(view.masks["Auto"], 1)})
    without_lesion = replace(view, masks={name: mask for name, mask in view.masks.items() if name != "lesion"})
    assert view.digest == without_lesion.digest != moved.digest
    assert data_of(subject_html(view))["scan"] == f"phantom:{view.name}"
    assert data_of(subject_html(replace(view, study="")))["scan"] == view.digest


def test_what_does_not_belong_together_is_refused(view):
    with pytest.raises(GeometryError) as caught:
        replace(view, masks={"Auto": np.zeros((2, 2, 2), dtype=bool)}, profiles={})
    assert "{'Auto': (2, 2, 2)}" in caught.value.found
    assert caught.value.subject == "P07"
    with pytest.raises(GeometryError) as caught:
        replace(view, slice_numbers=NUMBERS[:5])
    assert caught.value.found.endswith(" 5 slice numbers")
    assert caught.value.subject == "P07"
    with pytest.raises(GeometryError) as caught:
        replace(view, profiles={"OS": pd.DataFrame()})
    assert "['OS']" in caught.value.found
    assert caught.value.subject == "P07"


def test_facts_in_words(view):
    facts = dict(view.facts)
    voxels = int(view.masks["Auto"].sum())
    assert facts["volume"] == f"{voxels * 0.5 * 0.7 * 4.0:,.0f} mm³"
    assert facts["slices with nerve"] == "5 of 6"
    assert facts["largest area"] == f"{48 * 0.35:.1f} mm² in slice 14"
    assert facts["lesion"].startswith("17% of the nerve")
    assert "exploratory" in facts["lesion"]
