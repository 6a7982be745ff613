from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from nerveseg.errors import ConfigurationError
from nerveseg.networks.fc_densenet import FCDenseNet

NETWORKS = Path(__file__).parents[2] / "conf" / "network"
NAMES = ["tiramisu", "tiramisu_small", "fc_densenet56", "fc_densenet67", "fc_densenet103"]
NAMES_3D = ["tiramisu_3d", "tiramisu_3d_small"]


def from_config(name, **arguments):
    return instantiate(OmegaConf.load(NETWORKS / f"{name}.yaml"), **arguments)


def small(**arguments):
    torch.manual_seed(0)
    return FCDenseNet(**({"first_filters": 6, "growth_rate": 4, "layers_per_block": 2, "transitions": 2} | arguments))


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def counted(inputs, classes, first, growth, layers):
    """Weights and biases by Jegou et al. 2017, Tables 1 and 2, written down as sums of feature maps."""

    def convolution(a, b, kernel):
        return a * b * kernel**2 + b

    def block(maps, count):
        return sum(2 * (maps + i * growth) + convolution(maps + i * growth, growth, 3) for i in range(count))

    depth = len(layers) // 2
    into = [first + growth * sum(layers[:level]) for level in range(depth + 1)]  # feature maps entering each down block
    total = convolution(inputs, first, 3) + sum(block(into[level], layers[level]) for level in range(depth + 1))
    total += sum(2 * maps + convolution(maps, maps, 1) for maps in into[1:])
    for step in range(depth):
        new = growth * layers[depth + step]
        joined = new + into[depth - step]
        total += convolution(new, new, 3) + block(joined, layers[depth + 1 + step])
    return total + convolution(joined + growth * layers[-1], classes, 1)


# Jegou et al., Table 2 (growth rate, layers) and their count in millions, with how far it may be off: the 1.5 given for
# the smallest is rough (the architecture of their Table 1 makes 1.38), the other two are exact to about a per cent.
PUBLISHED = {
    "fc_densenet56": (12, [4] * 11, 1.5e6, 0.1),
    "fc_densenet67": (16, [5] * 11, 3.5e6, 0.015),
    "fc_densenet103": (16, [4, 5, 7, 10, 12, 15, 12, 10, 7, 5, 4], 9.4e6, 0.015),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_networks_have_their_published_size(name):
    growth, layers, published, tolerance = PUBLISHED[name]
    network = from_config(name, in_channels=3, classes=12)
    assert parameters(network) == counted(3, 12, 48, growth, layers)
    assert parameters(network) == pytest.approx(published, rel=tolerance)


def test_the_papers_network_has_a_million_parameters():
    network = from_config("tiramisu", in_channels=1, classes=2)
    assert parameters(network) == counted(1, 2, 48, 12, [4] * 9)
    assert parameters(network) == pytest.approx(0.98e6, rel=0.01)
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    assert shapes == {name: value.shape for name, value in FCDenseNet().state_dict().items()}, "the paper"


def test_the_papers_bottleneck_sees_twenty_by_twenty_pixels():
    network = FCDenseNet().eval()
    seen = []
    network.bottleneck.register_forward_hook(lambda _module, inputs, output: seen.append((inputs[0], output)))
    with torch.no_grad():
        logits = network(torch.zeros(1, 1, 320, 320))
    assert logits.shape == (1, 2, 320, 320)
    assert seen[0][0].shape == (1, 48 + 4 * 48, 20, 20)
    assert seen[0][1].shape == (1, 48, 20, 20)


@pytest.mark.parametrize("name", NAMES)
def test_every_configured_network_runs_forwards_and_backwards(name):
    network = from_config(name, in_channels=2, classes=2)
    logits = network(torch.randn(2, 2, 64, 64))
    assert logits.shape == (2, 2, 64, 64)
    logits.square().mean().backward()
    gradients = {key: parameter.grad for key, parameter in network.named_parameters()}
    assert [key for key, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()] == []
    assert all(gradient.abs().sum() > 0 for key, gradient in gradients.items() if key.endswith("weight"))


@pytest.mark.parametrize("name", NAMES_3D)
def test_every_configured_network_of_three_dimensions_runs_forwards_and_backwards(name):
    network = from_config(name, in_channels=2, classes=3)
    logits = network(torch.randn(1, 2, 32, 16, 3))
    assert logits.shape == (1, 3, 32, 16, 3)
    logits.square().mean().backward()
    gradients = {key: parameter.grad for key, parameter in network.named_parameters()}
    assert [key for key, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()] == []


def within_the_slice(**arguments):
    return small(dimensions=3, kernel_size=3 * [[3, 3, 1]], pooling=2 * [[2, 2, 1]], **arguments)


@pytest.mark.parametrize("training", [False, True])
def test_with_kernels_within_the_slice_a_volume_is_a_batch_of_slices(training):
    """The slices of a volume take the places of a batch, also in the statistics of the normalisation."""
    plane, volume = small(dropout=0.0).train(training), within_the_slice(dropout=0.0).train(training)
    weights = {key: value.unsqueeze(-1) if value.ndim == 4 else value for key, value in plane.state_dict().items()}
    volume.load_state_dict(weights)
    image = torch.randn(1, 1, 21, 16, 5)
    slices = plane(image[0].permute(3, 0, 1, 2))
    torch.testing.assert_close(volume(image)[0].permute(3, 0, 1, 2), slices, atol=1e-4, rtol=1e-4)


def test_a_slice_reaches_as_far_as_the_kernels_of_the_levels():
    """One kernel of three slices at the bottleneck, which has two layers: two slices on each side."""
    network = small(dimensions=3, kernel_size=[[3, 3, 1], [3, 3, 1], 3], pooling=2 * [[2, 2, 1]]).eval()
    image = torch.randn(1, 1, 16, 16, 11)
    changed = image.clone()
    changed[..., 5] += 1
    with torch.no_grad():
        differs = (network(image) - network(changed)).abs().amax(dim=(0, 1, 2, 3)) > 0
    assert differs.nonzero().flatten().tolist() == [3, 4, 5, 6, 7]


@pytest.mark.parametrize("size", [(16, 16, 8), (17, 15, 5), (5, 7, 1), (4, 4, 3)])
def test_any_size_of_a_volume_comes_back(size):
    network = small(dimensions=3, kernel_size=[[3, 3, 1], 3, 3], pooling=[[2, 2, 1], 2]).eval()
    assert network.reduction == 4
    with torch.no_grad():
        assert network(torch.randn(2, 1, *size)).shape == (2, 2, *size)


def test_the_reduction_is_that_of_the_plane():
    assert small(dimensions=3, pooling=[[2, 2, 1], [3, 2, 1]]).reduction == 12
    assert FCDenseNet().reduction == 16


@pytest.mark.parametrize("size", [(16, 16), (17, 16), (31, 19), (5, 7), (1, 1), (40, 3)])
@pytest.mark.parametrize(("in_channels", "classes"), [(1, 2), (3, 5)])
def test_any_size_comes_back_with_one_logit_per_class(size, in_channels, classes):
    network = small(in_channels=in_channels, classes=classes).eval()
    with torch.no_grad():
        logits = network(torch.randn(2, in_channels, *size))
    assert logits.shape == (2, classes, *size)
    assert logits.isfinite().all()


def test_no_transitions_leave_one_dense_block():
    network = small(transitions=0, layers_per_block=3)
    assert network(torch.randn(1, 1, 9, 9)).shape == (1, 2, 9, 9)


def test_the_output_is_logits():
    with torch.no_grad():
        logits = small().eval()(10 * torch.randn(1, 1, 24, 24))
    assert logits.min() < 0
    assert not torch.allclose(logits.sum(dim=1), torch.ones(1, 24, 24))


def test_saved_weights_and_arguments_rebuild_the_network(tmp_path):
    arguments = {"in_channels": 2, "layers_per_block": [1, 2, 3, 2, 1]}
    network = small(**arguments)
    network(torch.randn(4, 2, 16, 16))  # moves the running statistics
    torch.save(network.state_dict(), tmp_path / "network.pt")
    again = small(**arguments)
    again.load_state_dict(torch.load(tmp_path / "network.pt", weights_only=True))
    image = torch.randn(1, 2, 21, 16)
    with torch.no_grad():
        assert torch.equal(network.eval()(image), again.eval()(image))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_bfloat16_stays_close_to_float32(memory_format):
    network = small().eval().to(memory_format=memory_format)
    image = torch.randn(1, 1, 32, 32).to(memory_format=memory_format)
    with torch.no_grad():
        exact = network(image)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = network(image)
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, atol=0.05 * float(exact.abs().max()), rtol=0)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_checkpointing_changes_no_gradient_no_statistic_and_no_random_number(dropout):
    image = torch.randn(3, 1, 19, 16)
    results = []
    for checkpointing in (False, True):
        network = small(checkpointing=checkpointing, dropout=dropout).train()
        torch.manual_seed(7)
        logits = network(image)
        logits.square().mean().backward()
        gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
        results.append({"logits": logits.detach(), **gradients, **dict(network.named_buffers())})
        results[-1]["next random number"] = torch.rand(1)
    plain, recomputed = results
    assert plain.keys() == recomputed.keys()
    assert [name for name, value in plain.items() if not torch.equal(value, recomputed[name])] == []
    assert int(plain["bottleneck.layers.0.0.num_batches_tracked"]) == 1


def test_checkpointing_computes_every_dense_block_twice_in_training_only():
    network, calls = small(checkpointing=True), []
    network.bottleneck.register_forward_pre_hook(lambda *_arguments: calls.append("bottleneck"))
    network(torch.randn(1, 1, 16, 16)).sum().backward()
    assert len(calls) == 2
    with torch.no_grad():
        network.eval()(torch.randn(1, 1, 16, 16))
    assert len(calls) == 3


def test_dropout_acts_in_training_only():
    network, image = small(dropout=0.5), torch.randn(1, 1, 16, 16)
    assert not torch.equal(network(image), network(image))
    network.eval()
    assert torch.equal(network(image), network(image))


def test_a_shift_by_the_pooling_steps_shifts_the_output():
    """A network of convolutions and two poolings commutes with shifts by four pixels, away from the border."""
    network = small().eval()
    image = torch.zeros(1, 1, 96, 96)
    image[..., 40:50, 44:52] = torch.randn(10, 8)
    with torch.no_grad():
        still, moved = network(image), network(image.roll((8, -4), dims=(2, 3)))
    middle = (..., slice(32, 64), slice(32, 64))
    torch.testing.assert_close(moved[middle], still.roll((8, -4), dims=(2, 3))[middle], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"in_channels": 0}, "in_channels"),
        ({"classes": 0}, "classes"),
        ({"first_filters": -1}, "first_filters"),
        ({"growth_rate": 0}, "growth_rate"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": -0.1}, "dropout"),
        ({"transitions": -1}, "transitions"),
        ({"layers_per_block": 0}, "layers_per_block"),
        ({"layers_per_block": [2, 2, 2]}, "layers_per_block"),
        ({"layers_per_block": []}, "layers_per_block"),
        ({"layers_per_block": [2, 2, 0, 2, 2]}, "layers_per_block"),
        ({"dimensions": 1}, "dimensions"),
        ({"kernel_size": 2}, "kernel_size"),
        ({"kernel_size": [3, 3]}, "kernel_size"),
        ({"kernel_size": [[3, 3, 1], 3, 3]}, "kernel_size"),
        ({"dimensions": 3, "kernel_size": [[3, 3], 3, 3]}, "kernel_size"),
        ({"pooling": 0}, "pooling"),
        ({"pooling": [2, 2, 2]}, "pooling"),
    ],
)
def test_impossible_networks_are_refused_by_name(arguments, named):
    with pytest.raises(ConfigurationError) as caught:
        small(**arguments)
    assert f"network.{named} " in caught.value.rule
    assert str(caught.value.found).startswith(str(arguments[named]))
