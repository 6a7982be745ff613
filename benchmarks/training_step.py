"""One step of training, compiled by `torch.compile` against eager, in turn in one process.

`python benchmarks/training_step.py [--device cpu|cuda] [--size demo|paper|tiny] [--slices N] [--rounds N]`

Both are what `nerveseg.train` does on that device with `trainer.compile=true` and `false`: channels last, bfloat16
autocast on a GPU that has it. A step is forwards, backwards and Adam. The note gives the seconds that compiling took.

On a GPU the note also gives the share of the memory-bandwidth limit: the bytes that a step has to move, counted below,
by the time of the step, over the bandwidth of a copy on the same device.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from rows import RESULTS, Row, compared, this_machine, write_rows
from torch import nn

from nerveseg.networks.fc_densenet import FCDenseNet
from nerveseg.training.compilation import compile_or_explain
from nerveseg.training.devices import choose_device

SIZES: dict[str, tuple[tuple[int, int], dict[str, int | float]]] = {
    "paper": ((320, 320), {}),
    "demo": (
        (112, 96),
        {"first_filters": 16, "growth_rate": 8, "layers_per_block": 2, "transitions": 3, "dropout": 0.1},
    ),
    "tiny": ((32, 32), {"first_filters": 6, "growth_rate": 4, "layers_per_block": 2, "transitions": 2}),
}
"""In-plane size, and options of the network other than the paper's; demo is conf/network/tiramisu_small.yaml."""

WARM_UP = 2


@dataclass(frozen=True)
class Setting:
    """Step that is measured.

    Attributes:
        device: Name of the device, cpu or cuda.
        size: Key of `SIZES`.
        slices: Number of slices in a batch.
    """

    device: str
    size: str
    slices: int


def main() -> None:
    """Measure, print a line, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--size", default="paper", choices=SIZES)
    parser.add_argument("--slices", type=int, default=8, help="in a batch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="default: below outputs/bench/")
    options = parser.parse_args()
    on_gpu = options.device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        raise SystemExit("training_step: --device cuda needs a GPU that PyTorch can use; found: none. Try --device cpu")
    torch.set_num_threads(options.threads)
    row = measure(Setting(options.device, options.size, options.slices), options.rounds)
    print(row)
    name = "training_step_gpu" if on_gpu else "training_step"
    machine = torch.cuda.get_device_name() if on_gpu else this_machine()
    folder = RESULTS / options.size if options.size == "tiny" else RESULTS
    write_rows([row], options.json or folder / f"{name}.json", machine)


def measure(setting: Setting, rounds: int) -> Row:
    """Return the times of compiled and eager steps, taken in turn."""
    device = torch.device(setting.device)
    eager = training_step(setting, compiled=False)
    started_at = time.perf_counter()
    compiled = training_step(setting, compiled=True)
    compiled()  # compiles Adam's first step and whatever the trial left
    compiling_s = time.perf_counter() - started_at
    for _ in range(WARM_UP):
        eager()
        compiled()
    baseline, ours = zip(*[(timed(eager, device), timed(compiled, device)) for _ in range(rounds)], strict=True)
    title = f"training step, {'GPU' if setting.device == 'cuda' else 'CPU'}, {setting.size}, compiled against eager"
    note = f"{setting.slices} slices, {setting.slices / median(ours):.3g} slices/s; compiling took {compiling_s:.0f} s"
    if setting.device == "cuda":
        note += f"; {bandwidth_share(setting, median(ours)):.0%} of the memory-bandwidth limit"
    return compared(title, ours, baseline, "1 where compiling pays", note)


def training_step(setting: Setting, compiled: bool) -> Callable[[], None]:
    """Return a step of training, on noise."""
    shape, arguments = SIZES[setting.size]
    device = torch.device(setting.device)
    torch.manual_seed(0)
    network = FCDenseNet(**arguments).to(device).train()  # type: ignore[arg-type]
    network.to(memory_format=torch.channels_last)
    image = torch.randn(setting.slices, 1, *shape, device=device).contiguous(memory_format=torch.channels_last)
    label = (torch.rand(setting.slices, *shape, device=device) < 0.01).long()
    choice = choose_device("gpu" if setting.device == "cuda" else "cpu", "auto")
    bfloat16 = choice.precision == "bf16-mixed"
    forward: nn.Module = network
    if compiled:
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


def bandwidth_share(setting: Setting, step_s: float) -> float:
    """Share of the device's copy bandwidth that the bytes of `least_bytes` would take in the time of a step."""
    shape, arguments = SIZES[setting.size]
    moved = least_bytes(FCDenseNet(**arguments), shape, setting.slices, bytes_each=2)
    return moved / step_s / copy_bandwidth(torch.device(setting.device))


def least_bytes(network: FCDenseNet, shape: tuple[int, int], slices: int, bytes_each: int) -> int:
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
        network.eval()(torch.zeros(1, network.first.in_channels, *shape))
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
