"""Time of augmenting slices in plain torch, against TorchIO with the same options, in turn in one process.

`python benchmarks/augmentation.py [--rounds N] [--json FILE]` prints the median ratio with the smallest and the largest
for one slice at a time, as a worker of the loader takes them, and for batches of eight; the target is 20. Slices are
320 x 320 with two channels, the options those of conf/augmentation/paper.yaml, and everything runs on one core: torch
and ITK are held to one thread. Times are processor seconds, which other work on the machine disturbs less than it does
the clock. What a GPU makes of a batch is measured with `--device cuda`, by the clock and against nothing.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import SimpleITK
import torch
import yaml

from nerveseg.data.augmentation import TensorAugmentation, TorchioAugmentation

CONF = Path(__file__).parents[1] / "conf" / "augmentation"
SIZE = (320, 320)
CHANNELS = 2
SPACING_MM = (200 / 384, 200 / 384)
BATCH = 8
TARGET = 20.0


@dataclass(frozen=True)
class Row:
    """One comparison: seconds per slice of both, and their ratio over the rounds."""

    row: str
    baseline_s: float
    ours_s: float
    ratio: float
    smallest: float
    largest: float
    target: float = TARGET

    def __str__(self) -> str:
        """The line that is printed."""
        verdict = "reached" if self.ratio >= self.target else "MISSED"
        return (
            f"{self.row}: TorchIO {1e3 * self.baseline_s:.1f} ms, torch {1e3 * self.ours_s:.2f} ms a slice, "
            f"ratio {self.ratio:.0f} (min {self.smallest:.0f}, max {self.largest:.0f}); "
            f"target {self.target:g}: {verdict}"
        )


def main() -> None:
    """Measure on one core, or a batch on the device that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="file to write the rows to")
    parser.add_argument("--device", default="cpu", help="cpu compares with TorchIO; cuda times batches alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    options = yaml.safe_load((CONF / "paper.yaml").read_text(encoding="utf-8"))
    del options["_target_"]
    if arguments.device != "cpu":
        batch_s = batch_on(torch.device(arguments.device), TensorAugmentation(**options), arguments.rounds)
        print(f"a batch of {BATCH} on {arguments.device}: {1e3 * batch_s:.2f} ms")
        return
    print(f"{SIZE[0]} x {SIZE[1]}, {CHANNELS} channels; {arguments.rounds} rounds in turn, one thread, ", end="")
    print(f"{os.cpu_count()} CPUs, {platform.machine()}, load {os.getloadavg()[0]:.1f}")
    rows = compare(options, arguments.rounds)
    for row in rows:
        print(row)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")


def compare(options: dict[str, Any], rounds: int) -> list[Row]:
    """Time both in turn, after one untimed round."""
    images, labels = slices()
    slow, fast = TorchioAugmentation(**options), TensorAugmentation(**options)
    spacings_mm = [SPACING_MM] * BATCH

    def single(augment: TorchioAugmentation | TensorAugmentation, seed: int) -> Callable[[], object]:
        index = seed % BATCH
        return lambda: augment(images[index], labels[index], SPACING_MM, seed)

    def batch(seed: int) -> Callable[[], object]:
        return lambda: fast.augment_batch(images, labels, spacings_mm, range(seed, seed + BATCH))

    times = [
        (
            seconds(single(slow, seed)),
            median(seconds(single(fast, seed + other)) for other in range(BATCH)),
            seconds(batch(seed)) / BATCH,
        )
        for seed in range(rounds + 1)
    ][1:]
    baseline, alone, together = zip(*times, strict=True)
    return [row("one at a time", baseline, alone), row(f"in batches of {BATCH}", baseline, together)]


def row(title: str, baseline: tuple[float, ...], ours: tuple[float, ...]) -> Row:
    """The medians of a comparison, and its spread."""
    ratios = [slow / fast for slow, fast in zip(baseline, ours, strict=True)]
    return Row(title, median(baseline), median(ours), median(ratios), min(ratios), max(ratios))


def slices() -> tuple[torch.Tensor, torch.Tensor]:
    """Noise, and a disc as its label: neither side looks at the values."""
    images = torch.randn(BATCH, CHANNELS, *SIZE, generator=torch.Generator().manual_seed(1))
    x, y = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")
    disc = ((x - 170) ** 2 + (y - 140) ** 2 < 12**2).to(torch.uint8)
    return images, disc.expand(BATCH, -1, -1).contiguous()


def batch_on(device: torch.device, augment: TensorAugmentation, rounds: int) -> float:
    """Wall-clock seconds of a batch that is on the device already; the drawing of its movements is in it."""
    images, labels = (part.to(device) for part in slices())
    times = []
    for seed in range(rounds + 3):
        start = time.perf_counter()
        moved, _ = augment.augment_batch(images, labels, [SPACING_MM] * BATCH, range(seed, seed + BATCH))
        float(moved.sum())  # waits for the device
        times.append(time.perf_counter() - start)
    return median(times[3:])


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call, over all threads of the process."""
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
