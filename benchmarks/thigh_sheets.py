"""Apply a model of thighs to scans, and draw every slice at the size of the nerve, so that each can be judged by eye.

    python benchmarks/thigh_sheets.py <model> <output folder> <scan>...

Writes <scan>.png, with the whole slice and a crop of 70 mm about each leg's mask (or where the leg's middle is, without
one), and slices.csv with a row for each slice and leg, whose last column `judgement` is left for the reader. Prints for
each scan the area, the pieces, the slices with nerve, the length of the longest run of slices with nerve, and the Dice
between its mask and that of its mirror image, as the model is used and without the mean of both views. For scans on one
grid (water and fat image of one person) it prints the Dice between their masks.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from scipy import ndimage

from nerveseg.data.legs import find_legs
from nerveseg.data.volumes.volume import read_image
from nerveseg.evaluation.metrics.pair_scores import dice
from nerveseg.inference.bundle import Bundle
from nerveseg.inference.ensemble import open_model
from nerveseg.inference.predict import predict_volume

mpl.use("Agg")
import matplotlib.pyplot as plt

HALF_CROP_MM = 35.0
COLUMNS = 2  # slices in a row of the sheet


def main() -> None:
    """Judge every scan that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("scans", type=Path, nargs="+")
    parser.add_argument("--muscles", type=Path, help="folder of label maps <first part of a scan's name>.nii.gz")
    chosen = parser.parse_args()
    chosen.output.mkdir(parents=True, exist_ok=True)
    model = Model(open_model(chosen.model).bundles)
    rows: list[dict] = []
    masks: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # mask and affine of each scan
    for path in chosen.scans:
        scan, name = read_image(path), path.name.split(".")[0]
        image, spacing_mm = scan.array.astype(np.float32), scan.grid.ras_spacing_mm
        labels = model.mask(image, spacing_mm)
        masks[name] = labels, scan.grid.ras_affine
        legs = find_legs(image, spacing_mm)
        rows += (own := slice_rows(name, labels, legs, spacing_mm))
        found = [row for row in own if row["area_mm2"] > 0]
        both, single = (model.mirror_dice(image, spacing_mm, views) for views in (True, False))
        print(
            f"{name}: nerve in {len(found)} of {len(own)} slices of {len(legs)} legs, longest runs"
            f" {', '.join(str(longest_run(labels[leg.columns])) for leg in legs)}; median"
            f" {np.median([row['area_mm2'] for row in found] or [np.nan]):.0f} mm2; 20 to 110 mm2 in"
            f" {sum(20 <= row['area_mm2'] <= 110 for row in own)}; more than two pieces in"
            f" {sum(row['pieces'] > 2 for row in own)}; mirror Dice {both:.2f}, of one view {single:.2f}",
            flush=True,
        )
        if chosen.muscles and (muscles := chosen.muscles / f"{name.rsplit('_', 1)[0]}.nii.gz").is_file():
            inside = labels & (read_image(muscles).array > 0)
            print(f"  {inside.sum() / max(1, labels.sum()):.1%} of it inside the muscles of {muscles.name}")
        draw_sheet(image, labels, legs, spacing_mm, chosen.output / f"{name}.png")
    for (one, (first, grid)), (other, (second, other_grid)) in combinations(masks.items(), 2):
        if first.shape == second.shape and np.allclose(grid, other_grid, atol=1e-3):
            print(f"{one} and {other}: Dice {dice(first, second):.2f}")
    pd.DataFrame(rows).to_csv(chosen.output / "slices.csv", index=False)


@dataclass(frozen=True)
class Model:
    """Model, which segments every slice whole."""

    members: tuple[Bundle, ...]

    def mask(self, image: np.ndarray, spacing_mm: tuple[float, ...], views: bool = True) -> np.ndarray:
        """Return the mask of an image; without `views` no mirror image is averaged."""
        settings = self.members[0].description.prediction.model_copy(update={"accuracy": "exact"})
        if not views:
            settings = settings.model_copy(update={"mirrored_views": False})
        return predict_volume(self.members, image[None], spacing_mm, settings).mask

    def mirror_dice(self, image: np.ndarray, spacing_mm: tuple[float, ...], views: bool) -> float:
        """Return the Dice between the mask and that of the mirror image."""
        mirrored = self.mask(image[::-1].copy(), spacing_mm, views)[::-1]
        return dice(self.mask(image, spacing_mm, views), mirrored)


def longest_run(labels: np.ndarray) -> int:
    """Return the number of slices of the longest run of slices with nerve."""
    found = labels.any(axis=(0, 1))
    return max(np.bincount(np.cumsum(~found)[found], minlength=1), default=0)


def slice_rows(name: str, labels: np.ndarray, legs: tuple, spacing_mm: tuple[float, ...]) -> list[dict]:
    """Return a row of each slice and leg: area and number of pieces."""
    return [
        {
            "scan": name,
            "slice": number,
            "leg": leg.side,
            "area_mm2": round(float(labels[leg.columns, :, number].sum() * spacing_mm[0] * spacing_mm[1]), 1),
            "pieces": int(ndimage.label(labels[leg.columns, :, number], np.ones((3, 3)))[1]),
            "judgement": "",
        }
        for number in range(labels.shape[2])
        for leg in legs
    ]


def draw_sheet(image: np.ndarray, labels: np.ndarray, legs: tuple, spacing_mm: tuple[float, ...], path: Path) -> None:
    """Draw all slices: whole, and each leg's crop with and without the outline."""
    slices, wide = image.shape[2], 1 + 2 * len(legs)
    rows = -(-slices // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS * wide, figsize=(2.0 * COLUMNS * wide, 2.1 * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for number in range(slices):
        row, column = divmod(number, COLUMNS)
        own = axes[row, column * wide : (column + 1) * wide]
        body = np.argwhere(image[:, :, number] > 0.15 * np.percentile(image[:, :, number], 99))
        low, high = np.percentile(body, 0.5, axis=0).astype(int), np.percentile(body, 99.5, axis=0).astype(int)
        whole = (slice(low[0], high[0]), slice(low[1], high[1]))
        _show(own[0], image[*whole, number], labels[*whole, number], True)
        own[0].set_title(str(number), fontsize=8, pad=1)
        for position, leg in enumerate(legs):
            box = _crop(image[:, :, number], labels[:, :, number], leg, spacing_mm)
            for offset in (0, 1):
                _show(own[1 + 2 * position + offset], image[*box, number], labels[*box, number], bool(offset))
            own[1 + 2 * position].set_title(leg.side, fontsize=7, pad=1)
    figure.subplots_adjust(0, 0, 1, 0.985, 0.02, 0.07)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _crop(image: np.ndarray, labels: np.ndarray, leg: object, spacing_mm: tuple[float, ...]) -> tuple[slice, slice]:
    columns = leg.columns  # type: ignore[attr-defined]
    inside = labels[columns]
    if inside.any():
        centre = np.argwhere(inside).mean(axis=0)
    else:
        body = np.argwhere(image[columns] > 0.15 * np.percentile(image, 99))
        centre = body.mean(axis=0) - [0, 15 / spacing_mm[1]] if len(body) else np.array(inside.shape) / 2
    middle = (centre[0] + (columns.start or 0), centre[1])
    first = [max(0, round(at - HALF_CROP_MM / step)) for at, step in zip(middle, spacing_mm, strict=False)]
    size = [round(2 * HALF_CROP_MM / step) for step in spacing_mm[:2]]
    return slice(first[0], first[0] + size[0]), slice(first[1], first[1] + size[1])


def _show(axis: plt.Axes, picture: np.ndarray, mask: np.ndarray, outlined: bool) -> None:
    if not picture.size:
        return
    axis.imshow(picture.T, cmap="gray", origin="lower", vmin=np.percentile(picture, 1), vmax=np.percentile(picture, 99))
    if outlined and mask.any():
        axis.contour(mask.T, [0.5], colors="red", linewidths=0.8)


if __name__ == "__main__":
    main()
