import importlib.util

import numpy as np
import pytest
import torch

from nerveseg.data.context import Context
from nerveseg.errors import ConfigurationError
from nerveseg.inference import runtimes
from nerveseg.inference.runtimes import make_runner, settled_runtime
from nerveseg.networks.fc_densenet import FCDenseNet

HAS_OPENVINO = importlib.util.find_spec("openvino") is not None
needs_openvino = pytest.mark.skipif(not HAS_OPENVINO, reason="OpenVINO is an extra")


def in_double_precision(network, slices):
    """The network as it is written, in float64."""
    with torch.inference_mode():
        probability = torch.softmax(network.double()(slices.double()), dim=1)[:, 1:]
    network.float()
    return probability


def lively(network, seed=0):
    """Running statistics, scales and shifts that are not those of an untrained network."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
            for values, low, high in (
                (module.running_mean, -0.5, 0.5), (module.running_var, 0.3, 2.0), (module.weight, 0.5, 1.5),
                (module.bias, -0.3, 0.3),
            ):  # fmt: skip
                values.data.uniform_(low, high, generator=generator)
    return network.eval()


@needs_openvino
@pytest.mark.parametrize("runtime", ["openvino", "torch"])
@pytest.mark.parametrize("size", [(32, 32, 4), (37, 21, 5), (16, 9, 1), (3, 1, 2)])
@pytest.mark.parametrize("pooling", [2, [[2, 2, 1], [3, 2, 2]]])
def test_every_runtime_gives_a_network_of_three_dimensions_to_1e_4(pooling, size, runtime, random_bundle):
    options = {"dimensions": 3, "transitions": 2, "pooling": pooling, "kernel_size": [[3, 3, 1], [3, 5, 3], 3]}
    bundle = random_bundle(context=Context(depth=4), first_filters=6, **options)
    network = lively(bundle.network)
    windows = torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(1))
    expected = in_double_precision(network, windows)
    assert expected.std() > 0
    np.testing.assert_allclose(make_runner([bundle], runtime)(windows).numpy(), expected.numpy(), atol=1e-4)


@needs_openvino
@pytest.mark.parametrize("runtime", ["openvino", "torch"])
@pytest.mark.parametrize("size", [(32, 32), (37, 53), (16, 9), (3, 1)])
@pytest.mark.parametrize(
    "options",
    [
        {"in_channels": 1, "transitions": 4, "first_filters": 12, "growth_rate": 4, "layers_per_block": 2},
        {"in_channels": 2, "transitions": 0, "layers_per_block": 1, "first_filters": 5, "growth_rate": 3},
        {"in_channels": 2, "transitions": 2, "layers_per_block": [1, 2, 3, 2, 1], "first_filters": 8, "growth_rate": 5},
    ],
    ids=["deep", "flat", "uneven"],
)
def test_every_runtime_gives_the_network_in_double_precision_to_1e_4(options, size, runtime, random_bundle):
    options = dict(options)
    channels = tuple(f"c{number}" for number in range(options.pop("in_channels")))
    bundle = random_bundle(channels=channels, **options)
    network = lively(bundle.network)
    slices = torch.randn(3, len(channels), *size, generator=torch.Generator().manual_seed(1))
    expected = in_double_precision(network, slices)
    found = make_runner([bundle], runtime)(slices)
    assert found.dtype == torch.float32
    assert expected.std() > 0
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-4)


@needs_openvino
def test_the_papers_network_agrees_to_1e_4():
    torch.manual_seed(0)
    network = lively(FCDenseNet())
    slices = torch.randn(1, 1, 48, 64)
    expected = in_double_precision(network, slices)
    found = torch.from_numpy(runtimes._compiled(network)(slices.numpy())[0])
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-4)


@needs_openvino
def test_members_are_averaged_and_compiled_once(random_bundle, monkeypatch):
    members = [random_bundle(seed=seed) for seed in range(3)]
    slices = torch.randn(2, 1, 8, 6)
    alone = [make_runner([member], "openvino")(slices).double() for member in members]
    monkeypatch.setattr(runtimes, "_core", None)
    together = make_runner(members, "openvino")(slices)
    np.testing.assert_allclose(together, sum(alone) / 3, atol=1e-6)


def test_auto_is_openvino_only_on_a_cpu_that_has_it(monkeypatch):
    assert settled_runtime("auto", "cuda") == "torch"
    assert settled_runtime("torch", "cpu") == "torch"
    monkeypatch.setattr(runtimes.importlib.util, "find_spec", lambda name: None)
    assert settled_runtime("auto", "cpu") == "torch"
    with pytest.raises(ConfigurationError) as caught:
        settled_runtime("openvino", "cpu")
    assert "cpu" in caught.value.found
    assert "runtime=torch" in caught.value.remedy


def test_openvino_is_for_the_cpu():
    with pytest.raises(ConfigurationError) as caught:
        settled_runtime("openvino", "cuda")
    assert "cuda" in caught.value.found
    assert caught.value.remedy == "runtime=auto"


@pytest.mark.parametrize("text", ["x", "-1", "1.5", ""])
def test_the_number_of_threads_is_checked(text, monkeypatch):
    monkeypatch.setenv(runtimes.THREADS, text)
    with pytest.raises(ConfigurationError) as caught:
        runtimes._threads()
    assert caught.value.found == text
    monkeypatch.setenv(runtimes.THREADS, "3")
    assert runtimes._threads() == 3
