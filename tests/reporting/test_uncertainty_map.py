"""The map of uncertainty and the ranking of slices show the probability."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image as Picture
from scipy.stats import entropy

from nerveseg.reporting.subject_page import subject_html
from nerveseg.reporting.subject_view import SubjectView
from nerveseg.reporting.uncertainty_map import RANKED, entropy_bits, entropy_pictures, uncertain_slices

SHAPE, SPACING_MM = (20, 30, 8), (0.5, 0.7, 4.0)
NUMBERS = list(range(17, 9, -1))


@pytest.fixture(scope="module")
def view():
    random = np.random.default_rng(0)
    probability = random.uniform(size=SHAPE).astype(np.float32)
    probability[..., 3] = 1.0
    probability[..., 6] = 0.5
    return SubjectView(
        name="a", title="a scan", warning="", image=random.uniform(size=SHAPE).astype(np.float32),
        spacing_mm=SPACING_MM, slice_numbers=NUMBERS, masks={"Auto": probability > 0.5}, profiles={},
        probability=probability,
    )  # fmt: skip


def opacity(uri):
    encoded = base64.b64decode(uri.partition("base64,")[2])
    return np.asarray(Picture.open(io.BytesIO(encoded)).convert("RGBA"))[..., 3] / 255


def test_the_entropy_is_that_of_scipy():
    probability = np.linspace(0, 1, 11)
    expected = entropy([probability, 1 - probability], base=2)
    np.testing.assert_allclose(entropy_bits(probability), expected, atol=1e-12)


def test_a_pixel_is_as_opaque_as_its_entropy(view):
    pictures = entropy_pictures(view)
    assert len(pictures) == SHAPE[2]
    for picture, index in zip(pictures, reversed(range(SHAPE[2])), strict=True):  # the file counts from the head
        shown = opacity(picture)[:, ::-1][::-1].T  # from the patient's right and anterior to RAS order
        np.testing.assert_allclose(shown, entropy_bits(view.probability[..., index]), atol=0.04)


def test_slices_are_ranked_by_the_area_expected_to_be_wrong(view):
    ranked = uncertain_slices(view)
    wrong = np.minimum(view.probability, 1 - view.probability).sum(axis=(0, 1)) * 0.35
    order = sorted(range(SHAPE[2]), key=lambda index: -wrong[index])[:RANKED]
    assert [number for number, _ in ranked] == [NUMBERS[index] for index in order]
    assert [float(area) for _, area in ranked] == pytest.approx(wrong[order], abs=0.05)


def test_certain_slices_are_not_ranked(view):
    assert NUMBERS[3] not in [number for number, _ in uncertain_slices(view)]


def test_the_page_has_a_switch_and_a_list_only_with_a_probability(view):
    page = subject_html(view)
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    assert data["uncertainty"]["pictures"] == entropy_pictures(view)
    assert 'id="uncertainty"' in page
    assert page.count('class="flag" data-slice') == RANKED
    without = subject_html(SubjectView(**{**vars(view), "probability": None}))
    assert 'id="uncertainty"' not in without
    assert 'class="flag" data-slice' not in without
