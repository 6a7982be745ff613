"""Picture of samples that are made for `experiment=thigh`, with the outline of the nerve. SYNTHETIC.

    python benchmarks/thigh_picture.py docs/thigh_samples.png [--root FOLDER] [--people N]

Makes the first N people of the bank in <root>/thighs, unless they are there, and draws the middle slices of the first
samples of the first epoch.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image

from nerveseg.phantom.structures import NERVE
from nerveseg.synthesis.anatomies import prepare_bank
from nerveseg.synthesis.thigh_samples import ThighSamples
from nerveseg.workflows.made_samples import BANK_SEED, BANKS

mpl.use("Agg")
import matplotlib.pyplot as plt

ROWS, COLUMNS = 3, 7
SIDE = 160  # pixels of 1 mm
SEED = 5
COLOURS = 40  # of the picture, which keeps the file small


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--root", type=Path, default=Path("outputs"))
    parser.add_argument("--people", type=int, default=40)
    chosen = parser.parse_args()
    bank = prepare_bank(chosen.root / BANKS, chosen.people, BANK_SEED)
    samples = ThighSamples(bank, (SIDE, SIDE), (1.0, 1.0), 2, SEED, ROWS * COLUMNS)
    figure, axes = plt.subplots(ROWS, COLUMNS, figsize=(2 * COLUMNS, 2 * ROWS), dpi=70)
    for number, axis in enumerate(axes.flat):
        sample = samples[0, number]
        image = sample["image"][len(sample["image"]) // 2].numpy()
        axis.imshow(image.T, cmap="gray", origin="lower", vmin=image.min(), vmax=np.percentile(image, 99.5))
        axis.contour((sample["label"] == NERVE).numpy().T, [0.5], colors="red", linewidths=0.7)
        axis.axis("off")
    figure.subplots_adjust(0, 0, 1, 1, 0.01, 0.01)
    figure.canvas.draw()
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(chosen.picture, optimize=True)


if __name__ == "__main__":
    main()
