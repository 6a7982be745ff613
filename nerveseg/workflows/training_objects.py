"""Build the objects that a training's configuration names: network, Lightning module, callbacks and batches."""

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from torch import nn

from nerveseg.data.datamodule import SliceDataModule
from nerveseg.data.folds import Fold
from nerveseg.data.slice_store import SliceStore
from nerveseg.errors import ConfigurationError
from nerveseg.inference.prediction_settings import settle_accuracy
from nerveseg.inference.sliding_window import check_installed
from nerveseg.networks import registry
from nerveseg.networks.fc_densenet import FCDenseNet
from nerveseg.networks.inspection import check_network
from nerveseg.targets import TARGET, instantiate_target
from nerveseg.training.distributed import ALONE, Processes
from nerveseg.training.segmenter import Segmenter
from nerveseg.workflows.config import TrainConfig
from nerveseg.workflows.made_samples import thigh_samples


def build_network(config: TrainConfig) -> registry.BuiltNetwork:
    """Build the network, its weights drawn from the seed; raise `ConfigurationError` for wrong options."""
    pl.seed_everything(config.seed, workers=True, verbose=False)
    network = registry.build_network(config.network, config.in_channels, config.out_classes, config.plugins)
    _check_context(config, network)
    return network


def _check_context(config: TrainConfig, network: registry.BuiltNetwork) -> None:
    """Raise `ConfigurationError` unless a network takes what the context shows it of a crop."""
    context, crop = config.context, config.preprocessing.size
    shapes = {context.shape(crop)}
    if context.depth is not None:
        check_installed()
        settle_accuracy(config.inference.accuracy, "cpu", patches=True)
    if any(own > pixels for own, pixels in zip(context.size or crop, crop, strict=True)):
        rule = "context.size is at most preprocessing.size"
        raise ConfigurationError(rule, found=f"{list(context.size or ())}, of a crop of {list(crop)}")
    shapes.add(context.model_copy(update={"size": None}).shape(crop))  # validation shows whole crops
    if not isinstance(network.module, FCDenseNet):
        for shape in sorted(shapes):
            check_network(network.module, config.in_channels, config.out_classes, shape)
    elif {network.module.dimensions} != set(map(len, shapes)):
        raise ConfigurationError(
            "context=volume takes a network of three dimensions, the other contexts one of two",
            found=f"network.dimensions={network.module.dimensions} with context.depth={context.depth}",
            remedy="network=tiramisu for slices, network=tiramisu_3d for context=volume",
        )


def build_segmenter(config: TrainConfig, network: nn.Module, compiled: bool = False) -> Segmenter:
    """Build the network's Lightning module; raise `ConfigurationError` for a wrong loss, optimizer or schedule."""
    optimization, plugins = config.optimization, config.plugins
    optimizer = instantiate_target(optimization.optimizer, "optimization.optimizer", plugins)
    schedule = None
    if optimization.schedule is not None:
        schedule = instantiate_target(optimization.schedule, "optimization.schedule", plugins)
    loss = instantiate_target(config.loss, "loss", plugins)
    return Segmenter(
        network,
        optimizer,
        schedule,
        loss,
        interval=optimization.schedule_interval,
        monitor=optimization.schedule_monitor,
        seed=config.seed,
        compiled=compiled,
    )


def build_callbacks(config: TrainConfig, best: Path | None = None) -> list[Callback]:
    """Build the callbacks of a configuration, or raise `ConfigurationError`.

    A `ModelCheckpoint` that names no folder writes into `best`.
    """
    callbacks = []
    for name, section in config.callbacks.items():
        callback = instantiate_target(section, f"callbacks.{name}", config.plugins)
        if not isinstance(callback, Callback):
            raise ConfigurationError(
                f"callbacks.{name} is a callback of Lightning's",
                found=section[TARGET],
                remedy="derive the class from pytorch_lightning.Callback",
            )
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
            callback.dirpath = None if best is None else str(best)  # a Path could not be loaded again
        callbacks.append(callback)
    return callbacks


def build_datamodule(
    config: TrainConfig, store: SliceStore, fold: Fold, processes: Processes = ALONE
) -> SliceDataModule:
    """Return augmented batches of the training subjects' slices, or this process's share of them."""
    return SliceDataModule(
        store,
        [subject.id for subject in fold.train],
        [subject.id for subject in fold.validation],
        augmentation=instantiate_target(config.augmentation, "augmentation", config.plugins),
        context=config.context,
        optional=config.study.optional_channels,
        target=config.target,
        batch_size=config.optimization.batch_size,
        seed=config.seed,
        workers=config.trainer.workers,
        rank=processes.rank,
        processes=processes.count,
        samples=None if config.samples is None else thigh_samples(config),
    )
