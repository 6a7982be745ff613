"""The picture of docs/phantom.md: subjects of the synthetic cohort in rows.

`python benchmarks/phantom_picture.py docs/phantom.png` simulates four subjects of the shipped cohort, in half a minute.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from nerveseg.phantom.cohort import CohortSpec, participants, simulate_subject
from nerveseg.phantom.specification import Participant

COHORT = Path(__file__).parents[1] / "conf" / "cohort" / "paper.yaml"
PICTURED = ("V03", "P02", "P16", "P30")
"""A volunteer, and a patient of each location."""
RATER_COLOURS = {"OS": "#e69f00", "BW": "#56b4e9", "LG": "#f0e442"}
GREYS = 24
"""Of the whole picture, which keeps the file small."""
CLOSE_MM = 18.0
"""Half the width of the close view of the nerve."""


def draw(spec: CohortSpec, file: Path) -> None:
    """Subjects of the cohort in rows: slices at three heights, the second channel, and the raters close by."""
    rows = {row.id: row for row in participants(spec)}
    figure = Figure(figsize=(10, 7.6), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.03, hspace=0.02)
    grid = figure.subplots(len(PICTURED), 5)
    for panels, name in zip(grid, PICTURED, strict=True):
        draw_subject(panels, spec, rows[name])
    grid[0, 3].set_title("fat-suppressed", fontsize=8, loc="left")
    grid[0, 4].set_title("raters " + ", ".join(RATER_COLOURS), fontsize=8, loc="left")
    figure.supxlabel("SYNTHETIC: no human was imaged", fontsize=8)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    picture.quantize(palette=palette(), dither=Image.Dither.NONE).save(file, optimize=True)


def palette() -> Image.Image:
    """Greys, and the raters' colours in several strengths over grey."""
    greys = [[level] * 3 for level in np.linspace(0, 255, GREYS).round()]
    lines = [np.array(to_rgb(colour)) * 255 for colour in RATER_COLOURS.values()]
    mixed = [share * line + (1 - share) * grey for line in lines for share in (0.4, 0.7, 1.0) for grey in (60, 160)]
    colours = Image.new("P", (1, 1))
    colours.putpalette(np.concatenate([greys, mixed]).round().astype(int).ravel().tolist())
    return colours


def draw_subject(panels: Any, spec: CohortSpec, row: Participant) -> None:
    """One row; the patient's right is on the left and anterior is up."""
    subject = simulate_subject(spec, row)
    images, masks = subject.images, [subject.raters[name] for name in RATER_COLOURS]
    assert images is not None
    assert images.fat_suppressed is not None
    width, height, depth = subject.image.shape
    middle = depth // 2
    where = "mid-thigh" if row.cohort == "volunteer" else row.location
    panels[0].set_title(f"{row.id}: {row.cohort}, {where}", fontsize=8, loc="left")
    for panel, number in zip(panels, (depth // 8, middle, 7 * depth // 8), strict=False):
        show(panel, subject.image[..., number])
    show(panels[3], images.fat_suppressed.on_t2[..., middle])
    show(panels[4], subject.image[..., middle], interpolation="none")
    for mask, colour in zip(masks, RATER_COLOURS.values(), strict=True):
        panels[4].contour(mask[::-1, ::-1, middle].T, levels=[0.5], colors=[colour], linewidths=1.2)
    x, y = np.argwhere(sum(mask[..., middle].astype(int) for mask in masks) >= 2).mean(axis=0)
    half = CLOSE_MM / spec.spacing_mm[0]
    panels[4].set(xlim=(width - 1 - x - half, width - 1 - x + half))
    panels[4].set(ylim=(height - 1 - y + half * height / width, height - 1 - y - half * height / width))


def show(panel: Any, image: Any, interpolation: str = "antialiased") -> None:
    """A slice in RAS order as a radiologist looks at it."""
    panel.imshow(image[::-1, ::-1].T, cmap="gray", vmin=0, vmax=np.percentile(image, 99.7), interpolation=interpolation)
    panel.set_axis_off()


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("file", type=Path)
    draw(CohortSpec(**yaml.safe_load(COHORT.read_text(encoding="utf-8"))), parser.parse_args().file)


if __name__ == "__main__":
    main()
