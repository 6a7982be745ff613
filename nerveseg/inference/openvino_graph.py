"""Build FC-DenseNet as an OpenVINO graph: the same arithmetic in single precision, twice as fast on a CPU.

OpenVINO fuses each normalisation with its convolution and keeps the feature maps in the memory layout of its kernels,
where plain torch writes and reads every intermediate result (docs/speed.md). The graph is built from the network's
weights directly, which takes milliseconds. Other networks run in torch: OpenVINO's own conversion takes seconds for
each member of an ensemble, and it traces one input, so that a branch on the image is lost without an error.

OpenVINO is an optional dependency (`pip install 'nerveseg[openvino]'`); `runtimes` imports this module where it is
installed.
"""

from typing import Any

import numpy as np
import openvino
import torch
from openvino import opset13 as ops
from torch import Tensor, nn

from nerveseg.networks.fc_densenet import FCDenseNet

Node = Any  # node of a graph


def probability_graph(network: FCDenseNet) -> Any:
    """Return an `openvino.Model` from slices (slice, channel, x, y) of any size to the probabilities of the parts."""
    sizes = network.dimensions * [-1]
    slices = ops.parameter([-1, network.first.in_channels, *sizes], np.float32, name="slices")
    x = _convolution(slices, network.first)
    skips: list[Node] = []
    for block, down in zip(network.down_blocks, network.transitions_down, strict=True):
        x = ops.concat([x, *_new_features(x, block)], 1)
        skips.append(x)
        x = _transition_down(x, down)
    joined = new = _new_features(x, network.bottleneck)
    for block, up in zip(network.up_blocks, network.transitions_up, strict=True):
        x = _transition_up(ops.concat(new, 1), skips.pop(), up.convolution)
        new = _new_features(x, block)
        joined = [x, *new]
    logits = _convolution(ops.concat(joined, 1), network.classifier)
    start, end, step = (np.array([index]) for index in (1, network.classifier.out_channels, 1))
    parts = ops.slice(ops.softmax(logits, 1), start, end, step, np.array([1]))
    return openvino.Model([parts], [slices], type(network).__name__)


def _new_features(x: Node, block: Any) -> list[Node]:
    features = [x]
    for norm, _, convolution, _ in block.layers:
        features.append(_convolution(_norm_relu(ops.concat(features, 1), norm), convolution))
    return features[1:]


def _transition_down(x: Node, transition: Any) -> Node:
    norm, _, convolution, _, pool = transition
    x = _convolution(_norm_relu(x, norm), convolution)
    size = list(pool.kernel_size)
    ones, zeros = len(size) * [1], len(size) * [0]
    return ops.max_pool(x, size, ones, zeros, zeros, size, rounding_type="ceil").output(0)


def _transition_up(x: Node, skip: Node, convolution: Any) -> Node:
    """Multiply the size by the stride; cut off what is beyond the skip connection's size."""
    stride, padding = list(convolution.stride), list(convolution.padding)
    more = [step - 1 for step in stride]
    up = ops.convolution_backprop_data(
        x, _constant(convolution.weight), stride, pads_begin=padding, pads_end=padding, output_padding=more
    )
    up = ops.add(up, _per_channel(convolution.bias, len(stride)))
    axes = np.arange(2, 2 + len(stride))
    size = ops.gather(ops.shape_of(skip), axes, np.int64(0))
    up = ops.slice(up, np.zeros_like(axes), size, np.ones_like(axes), axes)
    return ops.concat([up, skip], 1)


def _convolution(x: Node, convolution: Any) -> Node:
    padding = [size // 2 for size in convolution.kernel_size]
    ones = len(padding) * [1]
    result = ops.convolution(x, _constant(convolution.weight), ones, padding, padding, ones)
    return ops.add(result, _per_channel(convolution.bias, len(padding)))


def _norm_relu(x: Node, norm: Any) -> Node:
    with torch.no_grad():
        scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
        shift = norm.bias.double() - norm.running_mean.double() * scale
    axes = 3 if isinstance(norm, nn.BatchNorm3d) else 2
    return ops.relu(ops.add(ops.multiply(x, _per_channel(scale, axes)), _per_channel(shift, axes)))


def _per_channel(values: Tensor, axes: int) -> Node:
    return _constant(values.reshape(1, -1, *axes * [1]))


def _constant(values: Tensor) -> Node:
    return ops.constant(np.ascontiguousarray(values.detach().cpu().float().numpy()))
