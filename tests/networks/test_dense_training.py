"""The lean training pass against the network's plain one, against finite differences, and against itself."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nerveseg.networks import dense_training, strips
from nerveseg.networks.dense_training import dense_block, norm_relu_convolution
from nerveseg.networks.dropping import Dropping
from nerveseg.networks.fc_densenet import FCDenseNet, Layer, TransitionDown
from nerveseg.networks.strips import Statistics, statistics_of

SMALL = {"first_filters": 6, "growth_rate": 4, "layers_per_block": 2, "transitions": 2, "dropout": 0.0}


@pytest.fixture(params=[30, 200, 400_000])
def strip_values(request, monkeypatch):
    """Strips of one line, of some lines, and of several whole images."""
    monkeypatch.setattr(strips, "STRIP_VALUES", request.param)


def network_pair(kind=torch.float64, **arguments):
    """The same network twice, the second to be trained plainly."""
    torch.manual_seed(0)
    lean = FCDenseNet(**(SMALL | arguments)).to(kind).train()
    for module in lean.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.5)
            nn.init.normal_(module.bias)
    plain = copy.deepcopy(lean)
    lean.lean_training, plain.lean_training = True, False
    return lean, plain


def outcome(network, image):
    """Logits, gradients and running statistics of a step whose loss weighs every logit differently."""
    torch.manual_seed(7)
    logits = network(image)
    weights = torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype).view(logits.shape)
    network.zero_grad()
    (logits * weights + logits.square()).mean().backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    return {"logits": logits.detach()} | gradients | dict(network.named_buffers())


def assert_same(lean, plain, image, tolerance=1e-9):
    ours, expected = outcome(lean, image), outcome(plain, image)
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], value, rtol=tolerance, atol=tolerance, msg=lambda text, n=name: n + text)


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (8, 5), (40, 9)])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.usefixtures("strip_values")
def test_outputs_gradients_and_running_statistics_are_the_plain_networks(size, batch):
    lean, plain = network_pair()
    image = torch.randn(batch, 1, *size, dtype=torch.float64)
    assert_same(lean, plain, image)
    assert_same(lean, plain, image + 1)  # the running statistics move on


@pytest.mark.parametrize(
    "arguments",
    [
        {"layers_per_block": 1},
        {"layers_per_block": [1, 2, 3, 2, 1]},
        {"transitions": 0, "layers_per_block": 3},
        {"in_channels": 3, "classes": 4, "growth_rate": 1},
    ],
)
@pytest.mark.usefixtures("strip_values")
def test_any_architecture_trains_alike(arguments):
    lean, plain = network_pair(**arguments)
    assert_same(lean, plain, torch.randn(2, lean.first.in_channels, 12, 15, dtype=torch.float64))


@pytest.mark.parametrize("weight", [0.0, 1e-3, -1e-3, -2.0, 1e-2])
def test_a_normalisation_may_have_any_weight(weight):
    lean, plain = network_pair()
    for network in (lean, plain):
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.constant_(module.weight[::2], weight)
    assert_same(lean, plain, torch.randn(2, 1, 12, 12, dtype=torch.float64))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_papers_network_in_single_precision(memory_format):
    """Biases before a normalisation have a gradient of zero but for rounding; the others are compared."""
    lean, plain = network_pair(torch.float32, first_filters=48, growth_rate=12, layers_per_block=4, transitions=4)
    image = torch.randn(2, 1, 32, 32).contiguous(memory_format=memory_format)
    ours, expected = (outcome(network.to(memory_format=memory_format), image) for network in (lean, plain))
    for name, value in expected.items():
        if not name.endswith(("2.bias", "convolution.bias", "first.bias")):
            scale = float(value.abs().max())
            torch.testing.assert_close(ours[name], value, rtol=0, atol=2e-4 * scale, msg=lambda text, n=name: n + text)


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 2), st.integers(1, 4), st.integers(2, 4), st.integers(0, 2**31))
def test_gradients_are_finite_differences(batch, x, y, seed):
    torch.manual_seed(seed)
    layers = [Layer(3 + 2 * index, 2, 0.0).double() for index in range(2)]
    down = TransitionDown(7, 0.0).double()
    parts = [torch.randn(batch, channels, x, y, dtype=torch.float64, requires_grad=True) for channels in (1, 2)]
    parameters = [parameter for layer in [*layers, down] for parameter in layer.parameters()]

    def block(*tensors):
        maps, statistics = dense_block(tensors[:2], layers)
        return maps, norm_relu_convolution(maps, statistics, down)

    assert torch.autograd.gradcheck(block, (*parts, *parameters), eps=1e-7, atol=1e-4, rtol=1e-3, fast_mode=True)


class ReplayedDropout(nn.Module):
    """Dropout that draws as the lean way does."""

    def __init__(self, probability):
        super().__init__()
        self.probability = probability

    def forward(self, values):
        dropping = Dropping.of(values.permute(0, 2, 3, 1), self.probability)
        return values * dropping.kept.permute(0, 3, 1, 2) * dropping.factor


@pytest.mark.usefixtures("strip_values")
def test_dropout_falls_on_new_features_and_their_gradients():
    lean, plain = network_pair(dropout=0.3)
    for module in plain.modules():
        if isinstance(module, Layer | TransitionDown):
            module[3] = ReplayedDropout(0.3)
    assert_same(lean, plain, torch.randn(2, 1, 13, 12, dtype=torch.float64))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_step_is_repeated_bit_for_bit(threads, monkeypatch):
    monkeypatch.setattr(strips, "STRIP_VALUES", 3000)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        first, _ = network_pair(torch.float32, dropout=0.2)
        second, _ = network_pair(torch.float32, dropout=0.2)
        image = torch.randn(2, 1, 40, 24)
        one, other = outcome(first, image), outcome(second, image)
    finally:
        torch.set_num_threads(before)
    assert [name for name, value in one.items() if not torch.equal(value, other[name])] == []


def test_only_training_with_gradients_on_a_cpu_takes_the_lean_way(monkeypatch):
    lean, _ = network_pair()
    image = torch.randn(1, 1, 12, 12, dtype=torch.float64)
    taken = []
    monkeypatch.setattr(FCDenseNet, "_forward_leanly", lambda self, x: taken.append(x) or x)
    lean(image)
    assert len(taken) == 1
    lean.eval()(image)
    lean.train()
    with torch.no_grad():
        lean(image)
    lean.bottleneck.layers[0][0].eval()  # frozen statistics
    lean(image)
    lean.train()
    with torch.autocast("cpu", torch.bfloat16):
        lean.float()(image.float())
    assert len(taken) == 1


def test_it_is_taken_where_it_pays(monkeypatch):
    taken = []
    monkeypatch.setattr(FCDenseNet, "_forward_leanly", lambda self, x: taken.append(x.shape) or x)
    network = FCDenseNet(layers_per_block=1, first_filters=120, transitions=1)
    for size in (32, 160):
        network(torch.zeros(1, 1, size, size))
    assert taken == [(1, 1, 160, 160)]


def test_one_value_per_channel_cannot_be_normalised_either_way():
    for network in network_pair():
        with pytest.raises(ValueError, match="more than 1 value"):
            network(torch.randn(1, 1, 2, 3, dtype=torch.float64))


@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(1, 700))
def test_strips_cover_every_pixel_once(batch, x, y, values):
    before = strips.STRIP_VALUES
    strips.STRIP_VALUES = values
    try:
        seen = torch.zeros(batch, x, y, 2)
        for strip in strips.strips(seen, 2):
            strip.pixels(seen)[:] += 1
    finally:
        strips.STRIP_VALUES = before
    assert torch.equal(seen, torch.ones_like(seen))


@pytest.mark.usefixtures("strip_values")
def test_statistics_far_from_zero_keep_their_digits():
    """A thousand standard deviations from zero, where the mean of squares less the square of the mean is noise."""
    maps = 1000 + torch.randn(2, 30, 20, 5, generator=torch.Generator().manual_seed(3))
    variance, mean = torch.var_mean(maps.double(), dim=(0, 1, 2), correction=0)
    statistics = statistics_of(maps)
    torch.testing.assert_close(statistics.mean.double(), mean, rtol=1e-6, atol=0)
    torch.testing.assert_close(statistics.variance.double(), variance, rtol=1e-4, atol=0)


def test_nothing_but_the_block_and_what_fell_is_kept(monkeypatch):
    """The plain way keeps every normalised and every rectified map, too."""
    kept = []
    lean, _ = network_pair(dropout=0.2)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        maps, _ = dense_block([torch.randn(2, 6, 9, 9, dtype=torch.float64)], lean.down_blocks[0].layers)
    large = [tensor for tensor in kept if tensor.numel() >= maps.numel()]
    assert [tensor.data_ptr() for tensor in large] == [maps.data_ptr()]


def test_running_statistics_may_be_cumulative_or_absent():
    statistics = Statistics(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))
    maps, plain = torch.randn(2, 2, 3, 3), nn.BatchNorm2d(2, momentum=None)
    norm = nn.BatchNorm2d(2, momentum=None)
    for _ in range(3):
        maps = maps + 1
        plain(maps)
        found = torch.var_mean(maps, dim=(0, 2, 3), correction=0)
        dense_training._move(norm, Statistics(found[1], found[0]), maps)
    torch.testing.assert_close(norm.running_mean, plain.running_mean)
    torch.testing.assert_close(norm.running_var, plain.running_var)
    dense_training._move(nn.BatchNorm2d(2, track_running_stats=False), statistics, maps)
