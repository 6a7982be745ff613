"""Pictures of scans for the page of many: small whatever they show, and of the slice that the network doubts most."""

import io

import numpy as np
import pytest
from PIL import Image

from nerveseg.reporting.thumbnail import draw_slice
from nerveseg.scans.list_picture import MOST_BYTES, MOST_PIXELS, choose_slice, read_list_picture, small_jpeg


@pytest.mark.parametrize("shape", [(512, 512, 3), (700, 90, 3), (30, 30, 3)])
def test_even_noise_is_small(shape):
    file = small_jpeg(np.random.default_rng(1).integers(0, 255, shape, dtype=np.uint8))
    assert len(file) <= MOST_BYTES
    assert max(Image.open(io.BytesIO(file)).size) <= min(MOST_PIXELS, max(shape))


def test_the_slice_is_that_of_most_doubt_or_else_of_the_largest_area():
    nerve = np.zeros((80, 60, 6), dtype=bool)
    nerve[50:60, 20:30, 1:5] = True
    nerve[10:14, 20:24, 4] = True
    probability = nerve.astype(np.float32) * np.float32(0.95)
    probability[8:18, 18:28, 0] = 0.5  # missed in the other leg
    legs = [slice(0, 40), slice(40, 80)]
    spacing_mm = (1.0, 1.0, 4.0)
    assert choose_slice(nerve, legs, probability, spacing_mm) == (legs[0], 0, "most doubt")
    assert choose_slice(nerve, legs, None, spacing_mm) == (legs[1], 1, "largest area")
    assert choose_slice(np.zeros_like(nerve), legs, None, spacing_mm) == (slice(None), 3, "middle")


def test_a_file_of_another_kind_is_no_picture(tmp_path):
    assert read_list_picture(tmp_path) is None
    (tmp_path / "thumbnail.jpg").write_bytes(b"<svg/>")
    assert read_list_picture(tmp_path) is None
    (tmp_path / "thumbnail.jpg").write_bytes(b"\xff\xd8\xff" + bytes(MOST_BYTES))
    assert read_list_picture(tmp_path) is None


@pytest.mark.parametrize("spacing_mm", [(0.5, 1.0, 4.0), (1.2, 0.7, 4.0), (0.6, 0.6, 4.0)])
def test_a_disc_is_round_whatever_the_pixels(spacing_mm):
    x_mm, y_mm = (axis * step for axis, step in zip(np.indices((200, 200)), spacing_mm[:2], strict=True))
    disc = np.hypot(x_mm - 50, y_mm - 60) <= 10
    rgb = draw_slice(np.zeros(disc.shape, np.float32), {"Auto": disc}, spacing_mm)
    assert np.ptp(rgb.shape[:2]) <= 0.02 * max(rgb.shape)
    rows, columns = np.nonzero(rgb.any(axis=2))
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), rel=0.06)
