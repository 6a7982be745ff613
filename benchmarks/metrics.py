"""Time of all metrics of one pair of masks, against MONAI's Dice and HD95 alone, in turn in one process.

`python benchmarks/metrics.py` prints the median ratio with the smallest and the largest; the target is 3. The pair is
384 x 330 x 60 voxels: the real sciatic mask of the shared data (NERVESEG_DATA names the folder) or, without it, a tube
that forks; the prediction is the same nerve shifted and partly swollen, alone or with a far false positive, which
stretches the box that both masks lie in. MONAI gets its tensors ready-made, which leaves their making out of its time.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")

import platform
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from scipy.ndimage import binary_dilation

from nerveseg.evaluation.metrics.pair_scores import score_pair
from nerveseg.types import Mask, SpacingMm

try:
    from monai.metrics import compute_dice, compute_hausdorff_distance
except ModuleNotFoundError:
    sys.exit("This benchmark measures against MONAI, which is not installed. Remedy: pip install monai")

SPACING_MM: SpacingMm = (200 / 384, 200 / 384, 4.4)
SHARED_DATA = Path(os.environ.get("NERVESEG_DATA", Path(__file__).parents[2] / "shared" / "data"))
TARGET = 3.0
ROUNDS = 15


def main() -> None:
    """Measure both pairs and print a line for each."""
    warnings.filterwarnings("ignore", category=FutureWarning, module="monai")
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    name, reference = nerve()
    print(f"{name}, {reference.shape}, {np.count_nonzero(reference)} voxels; {ROUNDS} rounds in turn, ", end="")
    print(f"{os.environ['OMP_NUM_THREADS']} OpenMP threads, {os.cpu_count()} CPUs, {platform.machine()}")
    near = prediction_of(reference)
    far = near.copy()
    far[20:26, 30:36, 10:14] = True
    for title, prediction in (("nerve shifted and swollen", near), ("with a far false positive", far)):
        print(f"{title}: {compare(reference, prediction)}")


def nerve() -> tuple[str, Mask]:
    """The real sciatic mask, or a tube that forks in its middle."""
    path = SHARED_DATA / "sciatic_reference" / "EXAMPLE_GROUND_TRUTH.mha"
    if path.is_file():
        import SimpleITK

        array = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
        return "real sciatic nerve", np.ascontiguousarray(array.transpose(2, 1, 0) > 0)
    mask = np.zeros((384, 330, 60), dtype=np.bool_)
    x, y = np.ogrid[:384, :330]
    for level in range(60):
        apart = 1.2 * max(0, level - 20)
        for centre in (180 - apart, 180 + apart):
            mask[..., level] |= (x - centre) ** 2 + (y - 150 - level / 2) ** 2 <= 7**2
    return "synthetic nerve", mask


def prediction_of(reference: Mask) -> Mask:
    """The nerve shifted by two pixels and one, and swollen in four slices."""
    prediction = np.roll(reference, (2, 1, 0), axis=(0, 1, 2))
    prediction[..., 30:34] = binary_dilation(prediction[..., 30:34], np.ones((3, 3, 1)))
    return prediction


def compare(reference: Mask, prediction: Mask) -> str:
    """Time both in turn, after one untimed round, and check that they measured the same."""
    first, second = (torch.from_numpy(mask)[None, None].float() for mask in (reference, prediction))

    def monai() -> tuple[float, float]:
        overlap = compute_dice(second, first, include_background=True)
        distance = compute_hausdorff_distance(second, first, include_background=True, percentile=95, spacing=SPACING_MM)
        return float(overlap), float(distance)

    scores, theirs = score_pair(reference, prediction, SPACING_MM), monai()
    np.testing.assert_allclose(theirs, (scores.dice, scores.hd95_mm), rtol=1e-5)
    pairs = [(seconds(monai), seconds(lambda: score_pair(reference, prediction, SPACING_MM))) for _ in range(ROUNDS)]
    ratios = [monai_s / ours_s for monai_s, ours_s in pairs]
    verdict = "reached" if median(ratios) >= TARGET else "MISSED"
    return (
        f"MONAI {1e3 * median(p[0] for p in pairs):.0f} ms (Dice, HD95), "
        f"nerveseg {1e3 * median(p[1] for p in pairs):.0f} ms (all metrics), "
        f"ratio {median(ratios):.1f} (min {min(ratios):.1f}, max {max(ratios):.1f}); target {TARGET:g}: {verdict}"
    )


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
