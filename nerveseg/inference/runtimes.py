"""Run the networks of a model: in OpenVINO on a CPU if it is installed, else in torch.

Both give the same numbers within rounding (1e-4 at most, tested); only the time differs. OpenVINO is for FC-DenseNet,
whose graph `openvino_graph` builds; every other network runs in torch.
"""

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, reduce
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from nerveseg.errors import ConfigurationError
from nerveseg.inference.bundle import Bundle
from nerveseg.inference.prediction_settings import Runtime
from nerveseg.networks.fc_densenet import FCDenseNet
from nerveseg.networks.inspection import arranged
from nerveseg.types import LabelMap, Probabilities

Runner = Callable[[Float32[Tensor, "slice channel *size"]], Float32[Tensor, "slice part *size"]]
"""Function from preprocessed slices or windows to the probability of each part, the mean of the members; on the CPU."""

SINGLE_PRECISION = {"INFERENCE_PRECISION_HINT": "f32"}
"""Property of a compiled model; by default OpenVINO uses half precision on a chip that has it."""


def make_runner(members: Sequence[Bundle], runtime: Runtime = "auto", device: str = "cpu") -> Runner:
    """Return the function from preprocessed slices to the members' mean probability of each part, by a torch device.

    OpenVINO cannot pool feature maps that are one pixel wide, so slices smaller than the reductions run in torch.
    """
    networks = [member.network.to(device) for member in members]
    openvino = find_runtime(members, runtime, device) == "openvino"
    reductions = [network.reductions for network in networks if isinstance(network, FCDenseNet)]
    smallest = [max(of_axis) for of_axis in zip(*reductions, strict=True)]

    def run(slices: Tensor) -> Tensor:
        if openvino and all(pixels >= least for pixels, least in zip(slices.shape[2:], smallest, strict=True)):
            return _mean([torch.from_numpy(_compiled(network)(slices.numpy())[0]) for network in networks])
        with torch.inference_mode(), _single_precision(device):
            on_device = slices.to(device)
            return _mean([part_probabilities(network, on_device) for network in networks])

    return run


def with_mirrored_views(engine: Runner) -> Runner:
    """Return a runner whose probabilities are the mean over the given slices or patches and their mirror images.

    Slices are mirrored left to right, along the first axis of the plane. A leg and the leg of the other side are mirror
    images, so both views are as likely.
    """

    def run(slices: Tensor) -> Tensor:
        return (engine(slices) + engine(slices.flip(2)).flip(2)) / 2

    return run


def find_runtime(members: Sequence[Bundle], runtime: Runtime, device: str) -> Literal["openvino", "torch"]:
    """Return the runtime for a model's networks on a device; raise `ConfigurationError` if OpenVINO cannot run them."""
    settled = settled_runtime(runtime, device)
    others = [type(member.network).__name__ for member in members if not isinstance(member.network, FCDenseNet)]
    if others and runtime == "openvino":
        raise ConfigurationError("runtime=openvino runs FCDenseNet", found=others[0], remedy="runtime=auto")
    return "torch" if others else settled


@contextmanager
def _single_precision(device: str) -> Iterator[None]:
    """Switch off autocast, TensorFloat-32 and algorithms chosen by timing, which a training may have switched on."""
    exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with torch.autocast(torch.device(device).type, enabled=False), exact:
        yield


def settled_runtime(runtime: Runtime, device: str) -> Literal["openvino", "torch"]:
    """Return the runtime that `auto` stands for on a device; raise `ConfigurationError` if it has no OpenVINO."""
    installed = importlib.util.find_spec("openvino") is not None
    if runtime == "openvino" and (device != "cpu" or not installed):
        raise ConfigurationError(
            "runtime=openvino computes on a CPU and is an extra of its own",
            found=f"device {device}, OpenVINO {'installed' if installed else 'not installed'}",
            remedy="runtime=auto" if installed else "pip install 'nerveseg[openvino]', or runtime=torch",
        )
    return "openvino" if runtime != "torch" and device == "cpu" and installed else "torch"


THREADS = "NERVESEG_OPENVINO_THREADS"
"""Environment variable with the number of threads of OpenVINO, which does not heed OMP_NUM_THREADS."""

_COMPILED: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
"""Compiled models by network, since compiling takes as long as a few slices."""


def _compiled(network: nn.Module) -> Any:
    if network not in _COMPILED:
        from nerveseg.inference.openvino_graph import probability_graph

        assert isinstance(network, FCDenseNet)
        threads = {"INFERENCE_NUM_THREADS": _threads()}
        _COMPILED[network] = _core().compile_model(probability_graph(network), "CPU", SINGLE_PRECISION | threads)
    return _COMPILED[network]


def _threads() -> int:
    """Return the number of threads that the environment names, 0 for as many as there are cores.

    Raises:
        ConfigurationError: The value is no such number.
    """
    text = os.environ.get(THREADS, "0")
    if not (text.isascii() and text.isdigit()):
        rule, remedy = f"{THREADS} is a number of threads", f"{THREADS}=4, or 0 for as many as there are cores"
        raise ConfigurationError(rule, found=text, remedy=remedy)
    return int(text)


@cache
def _core() -> Any:
    """Return OpenVINO's runtime, cached so that the CPU's library stays loaded after the last network."""
    import openvino

    return openvino.Core()


def _mean(probabilities: Sequence[Tensor]) -> Tensor:
    return reduce(torch.add, probabilities) / len(probabilities)


def part_probabilities(
    network: nn.Module, slices: Float32[Tensor, "slice channel *size"]
) -> Float32[Tensor, "slice part *size"]:
    """Return the softmax probabilities of all classes but background, on the CPU, of a network in evaluation mode."""
    logits = network(arranged(slices))
    return torch.softmax(logits.float(), dim=1)[:, 1:].cpu()


THRESHOLD = 0.5  # probability above which a voxel is of the one part, the likelier of two classes (paper, 2.4.2)


def most_likely(probabilities: Probabilities, favoured: Sequence[int] = (), odds: float = 1.0) -> LabelMap:
    """Return the most probable part of each voxel, or 0 where background is at least as probable (paper, 2.4.2).

    Args:
        probabilities: Probability of each part but background.
        favoured: Numbers of parts, from 1, whose probability is multiplied before the comparison.
        odds: Factor of theirs.
    """
    if len(probabilities) == 1 and odds == 1:
        return np.asarray(probabilities[0] > THRESHOLD, dtype=np.uint8)
    best = np.zeros(probabilities.shape[1:], dtype=np.uint8)
    highest = 1 - probabilities.sum(axis=0)
    for part, probability in enumerate(probabilities, 1):
        weighted = probability * np.float32(odds) if part in favoured else probability
        better = weighted > highest
        best[better] = part
        np.maximum(highest, weighted, out=highest)
    return best
