"""Time of augmenting slices in plain torch, against TorchIO with the same options, in turn in one process.

`python benchmarks/augmentation.py [--rounds N] [--json FILE]` tells the median ratio with the smallest and the largest
for one slice at a time, as a worker of the loader takes them, and for batches of eight; the target is 20. Slices are
320 x 320 with two channels, the options those of conf/augmentation/paper.yaml, and everything runs on one core: torch
and ITK are held to one thread. Times are processor seconds, which other work on the machine disturbs less than it does
the clock.

`--device cuda` times a batch there instead, in turn with a training step of the paper's network on the same batch
(bfloat16, channels last; `--compile` compiles it), and tells the share, which should be under 5 %. `--device cpu
--size 32` does the same in a second, to see that it runs.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import SimpleITK
import torch
import yaml
from rows import RESULTS, Row, compared, this_machine, write_rows

from nerveseg.data.augmentation import TensorAugmentation, TorchioAugmentation
from nerveseg.networks.fc_densenet import FCDenseNet

CONF = Path(__file__).parents[1] / "conf" / "augmentation"
SIZE = 320
CHANNELS = 2
SPACING_MM = (200 / 384, 200 / 384)
BATCH = 8
TARGET = 20.0
SHARE_TARGET = 0.05
WARM_UP = 3


def main() -> None:
    """Compare with TorchIO on one core, or with a training step on the device that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", type=torch.device, help="cuda: the share of a training step")
    parser.add_argument("--size", type=int, default=SIZE, help="pixels along each side of a slice")
    parser.add_argument("--compile", action="store_true", help="the training step's network, with --device")
    arguments = parser.parse_args()
    options = yaml.safe_load((CONF / "paper.yaml").read_text(encoding="utf-8"))
    del options["_target_"]
    device, machine = arguments.device, this_machine()
    if device is None:
        torch.set_num_threads(1)
        SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
        rows = compare(options, arguments.size, arguments.rounds)
    else:
        machine = torch.cuda.get_device_name(device) if device.type == "cuda" else machine
        rows = [share(TensorAugmentation(**options), device, arguments.size, arguments.rounds, arguments.compile)]
    print(machine)
    for row in rows:
        print(row)
    name = "augmentation.json" if device is None else f"augmentation_{device.type}.json"
    write_rows(rows, arguments.json or RESULTS / name, machine)


def compare(options: dict[str, Any], size: int, rounds: int) -> list[Row]:
    """Time both in turn, after one untimed round."""
    images, labels = slices(size)
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
    note = "processor seconds of a slice; baseline: TorchIO"
    return [
        compared("augmentation on one core, a slice at a time", alone, baseline, TARGET, note),
        compared(f"augmentation on one core, batches of {BATCH}", together, baseline, TARGET, note),
    ]


def slices(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise, and a disc as its label: neither side looks at the values."""
    images = torch.randn(BATCH, CHANNELS, size, size, generator=torch.Generator().manual_seed(1))
    x, y = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    disc = ((x - 0.53 * size) ** 2 + (y - 0.44 * size) ** 2 < (0.04 * size) ** 2).to(torch.uint8)
    return images, disc.expand(BATCH, -1, -1).contiguous()


def share(augment: TensorAugmentation, device: torch.device, size: int, rounds: int, compiled: bool) -> Row:
    """Seconds of a batch that is on the device already, the drawing of its movements included, and of a step on it."""
    images, labels = (part.to(device) for part in slices(size))
    step = training_step(device, compiled)
    augment_s, step_s = [], []
    for seed in range(rounds + WARM_UP):
        moved: list[torch.Tensor] = []
        seeds = range(seed * BATCH, (seed + 1) * BATCH)

        def move(seeds: range = seeds, moved: list[torch.Tensor] = moved) -> None:
            moved.extend(augment.augment_batch(images, labels, [SPACING_MM] * BATCH, seeds))

        augment_s.append(clock_seconds(move, device))
        step_s.append(clock_seconds(lambda moved=moved: step(*moved), device))
    shares = [ours / whole for ours, whole in zip(augment_s[WARM_UP:], step_s[WARM_UP:], strict=True)]
    return Row(
        f"augmentation on {device.type}, share of a training step",
        f"{1e3 * median(augment_s[WARM_UP:]):.3g} ms a batch of {BATCH}",
        f"{1e3 * median(step_s[WARM_UP:]):.3g} ms a step",
        median(shares),
        min(shares),
        max(shares),
        f"under {SHARE_TARGET:g}",
        unit="of a step",
        note=f"{size} x {size}" + (", compiled" if compiled else ""),
        reached=median(shares) < SHARE_TARGET,
    )


def training_step(device: torch.device, compiled: bool) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """Forward, backward and Adam on the paper's network."""
    network = FCDenseNet(in_channels=CHANNELS, classes=2).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters())
    forward = torch.compile(network) if compiled else network

    def step(images: torch.Tensor, labels: torch.Tensor) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = forward(images.contiguous(memory_format=torch.channels_last))
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(logits.float(), labels.long()).backward()
        optimizer.step()

    return step


def clock_seconds(work: Callable[[], object], device: torch.device) -> float:
    """By the clock, until the device has done it."""
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call, over all threads of the process."""
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
