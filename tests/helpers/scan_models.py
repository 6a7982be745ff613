"""Bundles with random weights, whose masks are large enough for everything that follows the network."""

import torch

from nerveseg.data.classes import Classes
from nerveseg.data.preprocessing import Preprocessing
from nerveseg.inference.bundle import ModelDescription, TrainingRecord, save_bundle
from nerveseg.networks.fc_densenet import FCDenseNet
from nerveseg.networks.registry import NetworkSpec


def write_model(
    folder,
    seed,
    subjects,
    fold=0,
    channels=("T2",),
    synthetic=True,
    optional=(),
    classes=None,
    terms=None,
    voxels=None,
    result_classes=(),
    init_synthetic=False,
    ranges=None,
):
    """A bundle that marks the brightest part of a slice: enough of a mask for everything after the network."""
    torch.manual_seed(seed)
    inputs = len(channels) + len(optional)
    parts = Classes.of(classes).count
    options = dict(
        in_channels=inputs, classes=parts + 1, first_filters=4, growth_rate=3, layers_per_block=1, transitions=1
    )
    network = FCDenseNet(**options)
    network(torch.randn(8, inputs, 16, 16))
    with torch.no_grad():
        network.classifier.weight *= 4
        network.classifier.bias[:] = torch.tensor([1.0, *parts * [-1.0]])
    record = TrainingRecord(
        study="tiny",
        synthetic=synthetic,
        subjects=subjects,
        voxels=voxels or {},
        fold=fold,
        epochs=1,
        seed=1,
        folds_seed=1,
        init_synthetic=init_synthetic,
    )
    description = ModelDescription(
        architecture=NetworkSpec("FCDenseNet", options),
        channels=list(channels),
        optional=list(optional),
        spacing_mm=(1.7, 1.7, 17.6),
        preprocessing=Preprocessing(size=(48, 48)),
        classes=classes,
        terms=terms or {},
        result_classes=list(result_classes),
        ranges=ranges,
        training=record,
        versions={},
    )
    save_bundle(folder, network, description)
    return folder
