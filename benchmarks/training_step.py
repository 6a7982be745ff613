"""One step of training the paper's network: ours against the plain one in single precision, in turn.

`python benchmarks/training_step.py [--device cpu|cuda] [--size paper|tiny] [--slices N] [--rounds N] [--json FILE]`

Baseline: the network as published, eager, single precision, channels first, `nn.BatchNorm2d`, `nn.Dropout` and
`torch.cat`. Ours: what `nerveseg.train` does on that device. Each lives in a process of its own, so that neither has
the other's memory or settings, and takes a step when it is told to. A step is forwards, backwards and Adam.

On a GPU the share of the memory-bandwidth limit is told too: the bytes that a step has to move, counted below, by the
time of the step, over the bandwidth of a copy on the same device.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import torch
from rows import RESULTS, Row, compared, this_machine, write_rows
from torch import nn

from nerveseg.networks.fc_densenet import FCDenseNet
from nerveseg.training.allocation import keep_freed_memory
from nerveseg.training.compilation import compile_or_explain, wants_compiling
from nerveseg.training.devices import choose_device

SIZES: dict[str, tuple[int, dict[str, int]]] = {
    "paper": (320, {}),
    "tiny": (32, {"first_filters": 6, "growth_rate": 4, "layers_per_block": 2, "transitions": 2}),
}
"""In-plane size, and what the network has that is not the paper's."""

CPU_TARGET, GPU_TARGET = 2.5, 8.0
WARM_UP = 2
WAIT_POLICY = "OMP_WAIT_POLICY"


@dataclass(frozen=True)
class Setting:
    """What is measured.

    Attributes:
        device: cpu or cuda.
        size: A key of `SIZES`.
        slices: In a batch.
        threads: Of the CPU.
    """

    device: str
    size: str
    slices: int
    threads: int


def main() -> None:
    """Measure, print a line, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--size", default="paper", choices=SIZES)
    parser.add_argument("--slices", type=int, help="in a batch; default 1 on a CPU, 8 on a GPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="default: below outputs/bench/")
    options = parser.parse_args()
    on_gpu = options.device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        raise SystemExit("training_step: --device cuda needs a GPU that PyTorch can use; found: none. Try --device cpu")
    slices = options.slices or (8 if on_gpu else 1)
    setting = Setting(options.device, options.size, slices, options.threads)
    row = measure(setting, options.rounds)
    print(row)
    name = "training_step_gpu" if on_gpu else "training_step"
    machine = torch.cuda.get_device_name() if on_gpu else this_machine()
    folder = RESULTS if options.size == "paper" else RESULTS / options.size
    write_rows([row], options.json or folder / f"{name}.json", machine)


def measure(setting: Setting, rounds: int) -> Row:
    """Steps of both, in turn."""
    both = [Runner(setting, ours) for ours in (False, True)]
    try:
        times = [[runner.step() for runner in both] for _ in range(rounds)]
        memory = [runner.memory_mib() for runner in both]
    finally:
        for runner in both:
            runner.close()
    baseline, ours = zip(*times, strict=True)
    title = f"training step, {'GPU' if setting.device == 'cuda' else 'CPU'}, {setting.slices} slices"
    target: float | str = GPU_TARGET if setting.device == "cuda" else CPU_TARGET
    note = f"{setting.slices / median(ours):.3g} slices/s, {memory[1]:.0f} MiB against {memory[0]:.0f}"
    if setting.size != "paper":
        target = f"{target:g} at the paper's size"
        note = f"{setting.size}; {note}"
    if setting.device == "cuda":
        note += f"; {bandwidth_share(setting, median(ours)):.0%} of the memory-bandwidth limit"
    return compared(title, ours, baseline, target, note)


class Runner:
    """A process that takes a step when it is told to."""

    def __init__(self, setting: Setting, ours: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, setting, ours), daemon=True)
        with waiting_threads_asleep() if ours else nullcontext():  # as for a training; the plain step is slower so
            self.process.start()
        theirs.close()
        self.pipe.recv()

    def step(self) -> float:
        """Seconds of a step by the clock."""
        self.pipe.send("step")
        return float(self.pipe.recv())

    def memory_mib(self) -> float:
        """Most memory that the process, or the device for it, has held."""
        self.pipe.send("memory")
        return float(self.pipe.recv())

    def close(self) -> None:
        """End the process."""
        self.pipe.close()
        self.process.join(timeout=10)


@contextmanager
def waiting_threads_asleep() -> Iterator[None]:
    """What `nerveseg.train` tells OpenMP, for processes that start meanwhile."""
    before = os.environ.get(WAIT_POLICY)
    os.environ.setdefault(WAIT_POLICY, "PASSIVE")
    try:
        yield
    finally:
        if before is None:
            del os.environ[WAIT_POLICY]


def serve(pipe: Connection, setting: Setting, ours: bool) -> None:
    """Steps on demand, until the other end is closed."""
    torch.set_num_threads(setting.threads)
    if ours and setting.device == "cpu":
        keep_freed_memory()  # as a training does
    device = torch.device(setting.device)
    step = made_step(setting, ours)
    for _ in range(WARM_UP):
        step()
    pipe.send("ready")
    while True:
        try:
            question = pipe.recv()
        except EOFError:
            return
        pipe.send(timed(step, device) if question == "step" else peak_mib(device))


def made_step(setting: Setting, ours: bool) -> Callable[[], None]:
    """A step of training, on noise."""
    pixels, arguments = SIZES[setting.size]
    device = torch.device(setting.device)
    torch.manual_seed(0)
    network = FCDenseNet(**arguments).to(device).train()
    network.lean_training = None if ours else False
    image = torch.randn(setting.slices, 1, pixels, pixels, device=device)
    label = (torch.rand(setting.slices, pixels, pixels, device=device) < 0.01).long()
    choice = choose_device("gpu" if setting.device == "cuda" else "cpu", "auto" if ours else "32-true")
    forward: nn.Module = network
    bfloat16 = choice.precision == "bf16-mixed"
    if ours:
        network.to(memory_format=torch.channels_last)
        image = image.contiguous(memory_format=torch.channels_last)
        if wants_compiling("auto", choice.accelerator):
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                forward = compile_or_explain(network, image, print)
    optimizer = torch.optim.Adam(network.parameters())

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            logits = forward(image)
        torch.nn.functional.cross_entropy(logits.float(), label).backward()
        optimizer.step()

    return step


def timed(action: Callable[[], object], device: torch.device) -> float:
    """Seconds of an action by the clock, to the end of what it started on the device."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    started_at = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started_at


def peak_mib(device: torch.device) -> float:
    """Peak memory of this process, or of the device for it."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def bandwidth_share(setting: Setting, step_s: float) -> float:
    """Share of the device's copy bandwidth that the bytes of `least_bytes` would take in the time of a step."""
    pixels, arguments = SIZES[setting.size]
    moved = least_bytes(FCDenseNet(**arguments), pixels, setting.slices, 2 if setting.device == "cuda" else 4)
    return moved / step_s / copy_bandwidth(torch.device(setting.device))


def least_bytes(network: FCDenseNet, pixels: int, slices: int, bytes_each: int) -> int:
    """Bytes of a step in which every convolution reads its input and writes its output, and nothing else moves.

    Forwards: input and output once. Backwards: the gradient of the output and the input once, the gradient of the input
    once. What normalisation, dropout or joining add is not counted, so the share is what remains of perfection.
    """
    moved = 0

    def count(_module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal moved
        moved += (3 * inputs[0].numel() + 2 * output.numel()) * bytes_each * slices

    hooks = [
        module.register_forward_hook(count)
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    ]
    with torch.no_grad():
        network.eval()(torch.zeros(1, network.first.in_channels, pixels, pixels))
    for hook in hooks:
        hook.remove()
    return moved


def copy_bandwidth(device: torch.device) -> float:
    """Bytes per second of a large copy on the device, read and written."""
    source = torch.ones(2**28 if device.type == "cuda" else 2**24, device=device)
    target = torch.empty_like(source)
    seconds = min(timed(lambda: target.copy_(source), device) for _ in range(5))
    return 2 * source.numel() * source.element_size() / seconds


if __name__ == "__main__":
    main()
