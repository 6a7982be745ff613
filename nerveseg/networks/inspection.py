"""Properties of a network that are found by running it once on tensors without data (PyTorch's meta device).

A network of another package has no attributes for the factor by which it divides the in-plane size, the convolution
that makes its logits and the shape of its output. One forward pass of a copy on the meta device computes shapes only,
takes a fraction of a second and needs no memory for feature maps.
"""

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from nerveseg.errors import ConfigurationError

PROBE_SIDE = 256  # side of the image with which the reduction is found, in pixels

Classifier: TypeAlias = nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d

ForwardPass: TypeAlias = tuple[Any, list[tuple[str, Tensor]]]
"""Output of a network, and the names and outputs of its modules in the order of the computation."""


def memory_layout(axes: int) -> torch.memory_format:
    """Return the layout in which convolutions of slices (2 axes), or of patches (3 axes), are fastest.

    On a CPU channels last makes a training step of patches half as slow again.
    """
    return torch.contiguous_format if axes == 3 else torch.channels_last


def arranged(images: Tensor) -> Tensor:
    """Return slices (batch, channel, x, y), or patches with a last axis z, in their `memory_layout`."""
    return images.contiguous(memory_format=memory_layout(images.ndim - 2))


def check_network(network: nn.Module, in_channels: int, classes: int, size: Sequence[int]) -> None:
    """Raise `ConfigurationError` unless a network returns one tensor of logits for a size (x, y) or (x, y, z)."""
    expected = (2, classes, *size)
    for training in (True, False):
        result, _ = _run(network, (2, in_channels, *size), training)
        found = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        if found != expected:
            raise ConfigurationError(
                f"a network returns logits of the shape {expected} for images of {(2, in_channels, *size)}",
                found=f"{found} in {'training' if training else 'evaluation'}",
                remedy="switch off deep supervision (network.deep_supervision=false) and every other additional output",
            )


def find_reduction(network: nn.Module, in_channels: int, depth: int | None = None) -> int:
    """Return the factor by which a network divides the in-plane size, of which its inputs have to be multiples.

    A network of three dimensions is tried with volumes of `depth` slices, one of two dimensions with slices.

    It is the network's own integer attribute `reduction` if it has one. Otherwise it is the size of a probe over the
    smallest feature map larger than one pixel, doubled until odd multiples of it are accepted: for a U-Net the product
    of its strides.

    Raises:
        ConfigurationError: The network takes no image of a size other than its own.
    """
    own = getattr(network, "reduction", None)
    if isinstance(own, int):
        return own
    slices = () if depth is None else (depth,)
    _, outputs = _run(network, (1, in_channels, PROBE_SIDE, PROBE_SIDE, *slices))
    maps = [output.shape[2:4] for _, output in outputs if output.ndim == 4 + len(slices)]
    sides = [min(size) for size in maps if min(size) > 1]
    reduction = PROBE_SIDE // min([*sides, PROBE_SIDE])
    while reduction < PROBE_SIDE:
        size = (3 * reduction, 5 * reduction, *slices)
        try:
            result, _ = _run(network, (1, in_channels, *size))
        except ConfigurationError:
            result = None
        if isinstance(result, Tensor) and tuple(result.shape[2:]) == size:
            return reduction
        reduction *= 2
    raise ConfigurationError(
        "a network takes every in-plane size that is a multiple of its reduction",
        found=type(network).__name__,
        remedy=f"give it an integer attribute reduction of at most {PROBE_SIDE}, or take another network",
    )


def find_classifier(network: nn.Module, in_channels: int, classes: int, depth: int | None = None) -> Classifier:
    """Return the convolution with a bias that makes the logits; raise `ConfigurationError` if there is none.

    A network of three dimensions is run with `depth` slices.
    """
    slices = () if depth is None else (depth,)
    logits, outputs = _run(network, (1, in_channels, PROBE_SIDE, PROBE_SIDE, *slices))
    for name, output in reversed(outputs):
        module = network.get_submodule(name)
        if not isinstance(module, Classifier) or output is not logits:
            continue
        if module.out_channels == classes and module.bias is not None:
            return module
    raise ConfigurationError(
        "the class prior is written into the bias of a convolution whose output is the network's output",
        found=f"no such convolution in {type(network).__name__}",
        remedy="optimization.class_prior_bias=false",
    )


def _run(network: nn.Module, shape: tuple[int, ...], training: bool = False) -> ForwardPass:
    """Run a copy of a network on the meta device; on the CPU where an operation has no meta kernel."""
    try:
        return _run_on("meta", network, shape, training)
    except NotImplementedError:
        return _run_on("cpu", network, shape, training)
    except Exception as error:  # whatever a network raises about a size
        volume = len(shape) == 5
        axes, sizes = (
            ("x, y, z", "context.size and context.depth") if volume else ("x, y", "preprocessing.size and context.size")
        )
        raise ConfigurationError(
            f"{type(network).__name__} takes images (batch, channel, {axes}) of the shape {shape}",
            found=" ".join(f"{type(error).__name__}: {error}".split())[:300],
            remedy=f"{sizes} in multiples of what the network divides by; a network of three dimensions takes"
            " context=volume, one of two dimensions the other contexts",
        ) from error


def _run_on(device: str, network: nn.Module, shape: tuple[int, ...], training: bool) -> ForwardPass:
    copied = copy.deepcopy(network).to(device).train(training)
    outputs: list[tuple[str, Tensor]] = []

    def record(name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            outputs.append((name, output))

    for name, module in copied.named_modules():
        module.register_forward_hook(partial(record, name))
    with torch.no_grad():
        return copied(torch.zeros(shape, device=device)), outputs
