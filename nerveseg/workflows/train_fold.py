"""Train and test one fold: split, slices, training, bundle, prediction, scores.

Each step writes files, the scores last, so a fold with scores is complete. Test subjects are predicted with the last
epoch's weights, through the bundle and by the function that `segment` calls.
"""

import time
from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger
from torch.utils import deterministic

from nerveseg.console import say
from nerveseg.dashboards.publish import open_dashboards
from nerveseg.errors import ConfigurationError, RunError
from nerveseg.files import check_writable_folder, exclusive_lock, remove_unfinished, writing_below
from nerveseg.inference.bundle import save_bundle
from nerveseg.targets import TARGET, find_target, instantiate_target
from nerveseg.training.checkpoint_files import Resumption, VerifiedCheckpoints, find_resumption
from nerveseg.training.checkpointed_loggers import MetricsCsv
from nerveseg.training.compilation import wants_compiling
from nerveseg.training.devices import Device, choose_device
from nerveseg.training.distributed import Processes, training_processes
from nerveseg.training.epoch_checkpoint import EpochCheckpoint
from nerveseg.training.losses import check_loss
from nerveseg.training.progress import FoldProgress
from nerveseg.training.segmenter import Segmenter, fit_interruptible, init_classifier_bias
from nerveseg.training.throughput import Throughput
from nerveseg.workflows.config import TrainConfig
from nerveseg.workflows.failures import FAILURE, explain_full_disk, explain_out_of_memory, record_failure
from nerveseg.workflows.fold_description import describe_fold
from nerveseg.workflows.made_samples import check_samples
from nerveseg.workflows.prepare_study import FoldInput, load_fold
from nerveseg.workflows.run_folder import add_training_time, initialise_run_folder
from nerveseg.workflows.starting_weights import begin_with_init, load_starting_weights
from nerveseg.workflows.test_fold import evaluate_fold
from nerveseg.workflows.training_job import TrainingJob, check_unchanged, is_finished
from nerveseg.workflows.training_objects import build_callbacks, build_datamodule, build_network, build_segmenter

TRAINER_DEFAULTS: dict[str, Any] = {"deterministic": "warn", "enable_model_summary": False, "log_every_n_steps": 1}
"""Keywords of `pl.Trainer` where the configuration gives no other value: `metrics.csv` has a row for each step."""

LOCK = ".training"  # name of the lock file in the folder of a fold


def run_recorded_fold(job: TrainingJob) -> None:
    """Train and test one fold; if it fails, write the error to its folder."""
    path = job.folder.path
    with record_failure(path / FAILURE), explain_full_disk(path), explain_out_of_memory(path):
        run_fold(job)


def run_fold(job: TrainingJob) -> None:
    """Train and test one fold, or continue it; raise `NervesegError` for a wrong option, study or folder."""
    check_unchanged(job)
    if is_finished(job):
        say(f"{job.title} is complete: {job.folder.path}")
        return
    processes = training_processes()
    if not processes.is_first:
        _train_and_test(job, processes)
        return
    with exclusive_lock(job.folder.path / LOCK, "a fold is trained by one command at a time"):
        remove_unfinished(job.folder.path)
        _train_and_test(job, processes)
        if not job.folder.is_complete:
            raise RunError(
                "the files of a fold stay while it is trained",
                found="weights, metrics or scores are gone",
                path=job.folder.path,
                remedy="the same command trains what is missing",
            )


def _train_and_test(job: TrainingJob, processes: Processes) -> None:
    """Train in all processes; write the files and test in the first."""
    config = job.config
    processes.check_batch(config.optimization.batch_size)
    device = choose_device(config.trainer.accelerator, config.trainer.precision)
    device = replace(device, description=device.description + processes.description)
    loaded = load_fold(job)
    network = build_network(config)
    alone = processes.count == 1  # trying a compiled step would disturb what DDP counts of the first step
    compiled = alone and wants_compiling(config.trainer.compile, device.accelerator)
    segmenter = build_segmenter(config, network.module, compiled)
    start = begin_with_init(job, network, loaded, warn=processes.is_first)
    shares = loaded.store.part_shares(loaded.training_ids, config.study.class_table)
    if config.optimization.class_prior_bias and start is None:
        init_classifier_bias(network.module, shares, config.in_channels, config.context.depth)
    resumption = find_resumption(job.folder.checkpoints, set_aside=processes.is_first)
    if resumption and resumption.warning:
        say(f"warning: {resumption.warning}")
    if processes.is_first:
        initialise_run_folder(job, loaded.store.key, device, segmenter, resumption, start)
    train, test = loaded.fold.train, loaded.fold.test
    say(f"{job.title}: {len(train)} training, {len(test)} test subjects; {device.description}")
    with open_dashboards(job.values, loaded.store, job.folder.path, "train", [job.title]) as dashboards:
        loggers = [MetricsCsv(job.folder.metrics), *dashboards.loggers]
        epochs = _train(job, loaded, segmenter, device, processes, loggers, resumption)
        if not processes.is_first:
            return
        save_bundle(job.folder.model, network.module, describe_fold(config, loaded, network.spec, epochs, start))
        with writing_below(job.folder.path):
            evaluate_fold(job, loaded, device, dashboards)


def check_configuration(config: TrainConfig, begins: bool = True) -> None:
    """Build every object that a configuration names, to raise `ConfigurationError` before files are read or written.

    The model of `init` is opened where a training `begins`, and not for a fold that has its weights.
    """
    for name, section in config.logger.targets.items():
        find_target(section[TARGET], f"logger.{name}", config.plugins)
    choose_device(config.trainer.accelerator, config.trainer.precision)
    check_writable_folder(config.output_root, "output_root")
    check_samples(config)
    network = build_network(config)
    if begins:
        load_starting_weights(config, network)
    segmenter = build_segmenter(config, network.module)
    check_loss(segmenter.loss, config.out_classes, soft=config.target == "raters")
    try:
        segmenter.configure_optimizers()
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            "optimizer and schedule take the options of optimization",
            found=error,
            remedy="see the file of conf/optimization/ that you chose",
        ) from error
    instantiate_target(config.augmentation, "augmentation", config.plugins)
    build_callbacks(config)


def _train(
    job: TrainingJob,
    loaded: FoldInput,
    segmenter: Segmenter,
    device: Device,
    processes: Processes,
    loggers: list[Logger],
    resumption: Resumption | None,
) -> int:
    """Train, and return the number of epochs after which the network has its weights."""
    if resumption:
        say(f"{job.title} goes on from its last checkpoint")
    config, folder = job.config, job.folder
    trainer = pl.Trainer(
        accelerator=device.accelerator,
        precision=device.precision,
        max_epochs=config.optimization.epochs,
        logger=loggers,
        callbacks=[
            *build_callbacks(config, folder.best),
            EpochCheckpoint(folder.checkpoints, config.trainer.checkpoint_every_n_epochs, job.values["optimization"]),
            Throughput(),
            FoldProgress(job.title, job.jobs_after),
        ],
        plugins=[VerifiedCheckpoints(), processes.environment()],
        default_root_dir=folder.path,
        **(TRAINER_DEFAULTS | config.trainer.keywords),
        **processes.trainer_options(device.accelerator),
    )
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # would write every new tensor once more
    started = time.monotonic()
    data = build_datamodule(config, loaded.store, loaded.fold, processes)
    fit_interruptible(trainer, segmenter, data, resumption.checkpoint if resumption else None)
    processes.shut_down()
    epochs = _restore_best_weights(trainer, segmenter)
    if processes.is_first:
        add_training_time(job, time.monotonic() - started)
    return epochs


def _restore_best_weights(trainer: pl.Trainer, segmenter: Segmenter) -> int:
    """Load the weights that a monitoring `ModelCheckpoint` found best, else keep the last; return their epochs."""
    epochs = trainer.current_epoch
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor and callback.best_model_path:
            checkpoint = torch.load(callback.best_model_path, map_location=segmenter.device, weights_only=True)
            segmenter.load_state_dict(checkpoint["state_dict"])
            score = f"{callback.monitor} {callback.best_model_score:.3f}"
            epochs = checkpoint["epoch"] + 1
            say(f"the weights of epoch {epochs} are tested, the best with {score}")
    return epochs
