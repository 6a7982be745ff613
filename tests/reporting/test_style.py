import os
import re
import subprocess
import sys

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from PIL import Image

from nerveseg.reporting.style import FILL, INK, LESION, LINE, NERVE, new_figure, save_figure, styled


@styled
def line(values=(1, 3, 2)):
    figure, body = new_figure(2.0, "SYNTHETIC line", [Line2D([], [], label="values")], "small print")
    body.subplots().plot(values)
    return figure


def luminance(colour):
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(first, second):
    high, low = sorted([luminance(first), luminance(second)], reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_same_figure_gives_the_same_files_without_date_or_version(tmp_path):
    first = [path.read_bytes() for path in save_figure(tmp_path / "a", "line", line())]
    second = [path.read_bytes() for path in save_figure(tmp_path / "b", "line", line())]
    assert first == second
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["line.pdf", "line.png"]
    assert not re.search(rb"CreationDate|Producer|Creator|[Mm]atplotlib v|\d{4}-\d\d-\d\d", b"".join(first))


DRAWN = """
import hashlib, pathlib, sys
from nerveseg.reporting.style import new_figure, save_figure
figure, body = new_figure(5.5, "SYNTHETIC panels")
for cell in body.subfigures(2, 3).ravel():
    cell.subplots().set_ylabel("length (mm)")
print([hashlib.sha256(path.read_bytes()).hexdigest() for path in save_figure(pathlib.Path(sys.argv[1]), "f", figure)])
"""


def test_two_processes_draw_the_same_bytes(tmp_path):
    environments = [os.environ | {"PYTHONHASHSEED": seed} for seed in ("1", "2")]
    command = [sys.executable, "-c", DRAWN, str(tmp_path)]
    first, second = (subprocess.run(command, env=e, capture_output=True, check=True).stdout for e in environments)
    assert first == second


def test_a_figure_is_as_wide_as_a_page_at_300_dots_per_inch(tmp_path):
    png, pdf = save_figure(tmp_path, "line", line())
    with Image.open(png) as picture:
        width, dots = picture.width, picture.info["dpi"]
    assert width == pytest.approx(7.2 * 300, abs=1)
    assert dots == pytest.approx((300, 300), abs=0.1)
    assert pdf.read_bytes().startswith(b"%PDF")


def test_drawing_leaves_the_users_own_settings_alone():
    before = dict(rcParams)
    line()
    assert dict(rcParams) == before


def test_lines_and_text_can_be_seen_on_white():
    assert all(contrast(colour, "white") > 4.5 for colour in (*LINE.values(), INK, LESION))


def test_what_is_told_apart_by_colour_differs_in_grey_too():
    assert contrast(FILL["manual"], FILL["automatic"]) > 2
    assert contrast(LESION, NERVE) > 4
