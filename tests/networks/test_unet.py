from itertools import pairwise

import torch

from nerveseg.networks.inspection import find_reduction
from nerveseg.networks.registry import build_network, load_network
from nerveseg.networks.unet import UNet

FILTERS = [4, 6, 8]


def counted(inputs, classes, filters):
    """Weights of two convolutions and normalisations a level, and of a transposed convolution between levels."""

    def block(a, b):
        return 9 * a * b + 9 * b * b + 4 * b

    pairs = list(pairwise(filters))
    down = block(inputs, filters[0]) + sum(block(*pair) for pair in pairs)
    return down + sum(4 * a * b + block(2 * a, a) for a, b in pairs) + filters[0] * classes + classes


def test_the_number_of_weights_and_the_reduction_are_those_of_the_levels():
    network = UNet(5, 7, FILTERS)
    assert sum(weights.numel() for weights in network.parameters()) == counted(5, 7, FILTERS)
    assert network.reduction == find_reduction(network, 5) == 4


def test_logits_have_the_size_of_the_images_and_every_weight_a_finite_gradient():
    torch.manual_seed(0)
    network = UNet(3, 2, FILTERS)
    logits = network(torch.randn(2, 3, 24, 16))
    assert logits.shape == (2, 2, 24, 16)
    logits.square().mean().backward()
    assert all(weights.grad.isfinite().all() and weights.grad.any() for weights in network.parameters())


def test_a_bundle_names_it_and_loads_its_weights():
    built = build_network({"_target_": "nerveseg.networks.unet.UNet", "filters": FILTERS}, 2, 3)
    assert built.spec.name == "UNet"
    loaded = load_network(built.spec)
    loaded.load_state_dict(built.module.state_dict())
    images = torch.randn(1, 2, 16, 16)
    assert torch.equal(loaded.eval()(images), built.module.eval()(images))
