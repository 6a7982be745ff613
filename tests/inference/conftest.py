"""A model of our own architecture with random weights, in memory or as a bundle on disk."""

import pytest
import torch

from nerveseg.data.context import Context
from nerveseg.data.preprocessing import Preprocessing
from nerveseg.inference.bundle import Bundle, ModelDescription, TrainingRecord
from nerveseg.networks.fc_densenet import FCDenseNet
from nerveseg.networks.registry import NetworkSpec


@pytest.fixture(scope="session")
def random_bundle():
    """`random_bundle(seed=, size=, spacing_mm=, channels=, subjects=, fold=, synthetic=, transitions=)`."""

    def make(
        seed=3,
        size=(8, 6),
        spacing_mm=(1.0, 1.0, 4.4),
        channels=("T2",),
        subjects=None,
        fold=0,
        synthetic=True,
        neighbours=0,
        context=None,
        **network_options,
    ):
        torch.manual_seed(seed)
        options = {"first_filters": 4, "growth_rate": 3, "layers_per_block": 1, "transitions": 1} | network_options
        options["in_channels"] = len(channels) * (2 * neighbours + 1)
        network = FCDenseNet(**options)
        context = context or Context(neighbours=neighbours)
        network(torch.randn(8, options["in_channels"], *context.shape((16, 16))))
        with torch.no_grad():
            network.classifier.weight *= 5
        description = ModelDescription(
            architecture=NetworkSpec("FCDenseNet", options),
            channels=list(channels),
            spacing_mm=spacing_mm,
            preprocessing=Preprocessing(size=size),
            context=context,
            classes=None,
            training=TrainingRecord(
                study="x", synthetic=synthetic, subjects=subjects or {}, fold=fold, epochs=1, seed=1, folds_seed=1
            ),
            versions={},
        )
        return Bundle(network.eval(), description)

    return make
