"""One fold from its configuration to its scores: split, slices, training, bundle, prediction, scores.

Each step leaves files, and the scores come last, so a fold with scores is complete. Test subjects are predicted with
the last epoch's weights and through the bundle: what is judged is what is shared.
"""

from __future__ import annotations

import hashlib
import json
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import yaml
from pytorch_lightning.callbacks import LearningRateMonitor
from pytorch_lightning.loggers import Logger, WandbLogger
from rich.console import Console

from nerveseg.data.datamodule import SliceDataModule
from nerveseg.data.folds import Fold, select_fold, split_folds
from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.slices import SliceStore
from nerveseg.data.study import Study
from nerveseg.errors import ConfigurationError
from nerveseg.inference.bundle import Architecture, ModelDescription, TrainingRecord, save_bundle
from nerveseg.inference.training_intensity import IntensityRange, intensity_percentiles
from nerveseg.launch.configuration import build, section
from nerveseg.launch.dashboard import without_roots
from nerveseg.launch.judging import judge_fold
from nerveseg.launch.options import TrainOptions
from nerveseg.launch.settings import TrainingJob, check_data, check_unchanged, read_provenance
from nerveseg.launch.studies import open_configured_study, prepared_slices, study_description
from nerveseg.networks.fc_densenet import FCDenseNet
from nerveseg.runs import Provenance, package_versions, write_text
from nerveseg.training.checkpoints import last_epoch_checkpoint
from nerveseg.training.devices import Device, choose_device
from nerveseg.training.loggers import MetricsFile, wandb_logger
from nerveseg.training.progress import FoldProgress
from nerveseg.training.segmenter import Segmenter, start_at_class_prior

CLASSES = 2
"""Background and nerve."""


@dataclass(frozen=True)
class FoldInput:
    """What a fold is trained and tested on.

    Attributes:
        study: The opened study.
        fold: Its training and test subjects.
        store: Its slices and consensus masks.
        preprocessing: How the slices were made.
    """

    study: Study
    fold: Fold
    store: SliceStore
    preprocessing: Preprocessing

    @property
    def training_ids(self) -> list[str]:
        """Ids of the training subjects."""
        return [subject.id for subject in self.fold.train]


def run_fold(job: TrainingJob, console: Console) -> None:
    """Train and test one fold, or continue it; a complete one is left alone.

    Raises:
        NervesegError: Anything about the configuration, the study or the folder that the user can mend.
    """
    check_unchanged(job)
    if job.folder.is_complete:
        console.print(f"{job.title} is complete: {job.folder.path}", highlight=False, soft_wrap=True)
        return
    device = choose_device(job.config["trainer"]["accelerator"], job.config["trainer"]["precision"])
    loaded = load_fold(job, console)
    network = build_network(job.config, len(loaded.study.description.images))
    segmenter = build_segmenter(job.config, network)
    share = loaded.store.foreground_share(loaded.training_ids)
    if job.config["optimization"]["class_prior_bias"]:
        start_at_class_prior(network, share)
    _begin_folder(job, loaded, device)
    train, test = loaded.fold.train, loaded.fold.test
    console.print(
        f"{job.title}: {len(train)} training, {len(test)} test subjects; {device.description}", highlight=False
    )
    loggers = _loggers(job)
    _train(job, loaded, segmenter, device, loggers, console)
    save_bundle(job.folder.model, network, _describe(job, loaded, network))
    wandb_run = next((logger.experiment for logger in loggers if isinstance(logger, WandbLogger)), None)
    judge_fold(job, loaded.study, loaded.fold, loaded.store, device, wandb_run, console)
    if wandb_run is not None:
        wandb_run.finish()


def check_configuration(config: dict[str, Any]) -> None:
    """Build everything that a configuration names, so that a slip shows before anything is read or written.

    Raises:
        ConfigurationError: An option is unknown, of the wrong kind or out of its range.
    """
    section(TrainOptions, {key: config[key] for key in TrainOptions.model_fields}, "")
    choose_device(config["trainer"]["accelerator"], config["trainer"]["precision"])
    section(Preprocessing, config["preprocessing"], "preprocessing")
    network = build_network(config, len(study_description(config["study"]).images))
    segmenter = build_segmenter(config, network)
    try:
        segmenter.configure_optimizers()
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            "optimizer and schedule take the options of optimization",
            found=error,
            remedy="see the file of conf/optimization/ that you chose",
        ) from error
    build(config["augmentation"], "augmentation")


def load_fold(job: TrainingJob, console: Console) -> FoldInput:
    """The study of a job, its split and its slices.

    Raises:
        NervesegError: The study cannot be read, or not be split so.
    """
    config = job.config
    preprocessing = section(Preprocessing, config["preprocessing"], "preprocessing")
    study = open_configured_study(config["study"], console)
    folds = split_folds(study.subjects, **config["folds"])
    fold = select_fold(folds, config["fold"])
    store = prepared_slices(study, preprocessing, Path(config["output_root"]), console)
    return FoldInput(study, fold, store, preprocessing)


def build_network(config: dict[str, Any], channels: int) -> FCDenseNet:
    """The untrained network, its weights drawn from the training's seed.

    Raises:
        ConfigurationError: The network does not take these options.
    """
    pl.seed_everything(config["seed"], workers=True, verbose=False)
    network = build(config["network"], "network", in_channels=channels, classes=CLASSES)
    assert isinstance(network, FCDenseNet)
    return network


def build_segmenter(config: dict[str, Any], network: FCDenseNet) -> Segmenter:
    """The network with its loss, optimizer and schedule.

    Raises:
        ConfigurationError: Optimizer or schedule do not exist or do not take these options.
    """
    optimization = config["optimization"]
    optimizer = build(optimization["optimizer"], "optimization.optimizer")
    schedule = build(optimization["schedule"], "optimization.schedule")
    return Segmenter(network, optimizer, schedule, config["seed"])


def build_datamodule(config: dict[str, Any], loaded: FoldInput) -> SliceDataModule:
    """Augmented batches of the training subjects' slices.

    Raises:
        ConfigurationError: The augmentation does not take these options.
    """
    return SliceDataModule(
        loaded.store,
        loaded.training_ids,
        augmentation=build(config["augmentation"], "augmentation"),
        batch_size=config["optimization"]["batch_size"],
        seed=config["seed"],
        workers=config["trainer"]["workers"],
    )


def _train(
    job: TrainingJob,
    loaded: FoldInput,
    segmenter: Segmenter,
    device: Device,
    loggers: list[Logger],
    console: Console,
) -> None:
    checkpoint = job.folder.last_checkpoint
    resumed = checkpoint if checkpoint.is_file() else None
    if resumed:
        console.print(f"{job.title} goes on from its last checkpoint", highlight=False)
    trainer = pl.Trainer(
        accelerator=device.accelerator,
        devices=1,
        precision=device.precision,
        max_epochs=job.config["optimization"]["epochs"],
        deterministic="warn",
        logger=loggers,
        callbacks=[
            last_epoch_checkpoint(job.folder.checkpoints, job.config["trainer"]["checkpoint_every_n_epochs"]),
            LearningRateMonitor(logging_interval="step"),
            FoldProgress(console, job.title),
        ],
        log_every_n_steps=1,
        enable_model_summary=False,
        default_root_dir=job.folder.path,
    )
    started = time.monotonic()
    _fit(trainer, segmenter, build_datamodule(job.config, loaded), resumed)
    provenance = read_provenance(job.folder)
    seconds = (provenance.training_seconds or 0) + time.monotonic() - started
    _write_provenance(job, provenance.model_copy(update={"training_seconds": round(seconds, 1)}))


def _fit(trainer: pl.Trainer, segmenter: Segmenter, slices: SliceDataModule, resumed: Path | None) -> None:
    """Train; Ctrl-C, which Lightning answers with the end of the process and a deaf ear, stays a KeyboardInterrupt."""
    try:
        trainer.fit(segmenter, slices, ckpt_path=resumed, weights_only=True)
    except SystemExit as end:
        if not trainer.interrupted:
            raise
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from end


def _begin_folder(job: TrainingJob, loaded: FoldInput, device: Device) -> None:
    """Say in the folder what it is, before anything is computed; what is there already has to say the same."""
    if job.folder.provenance.is_file():
        check_data(job.folder, loaded.store.key)
        return
    text = yaml.safe_dump(_with_absolute_roots(job.config), sort_keys=False, allow_unicode=True)
    provenance = Provenance(
        command=[Path(sys.argv[0]).name, *sys.argv[1:]],
        data=loaded.store.key,
        config_sha256=hashlib.sha256(text.encode()).hexdigest(),
        device=device.description,
    )
    write_text(job.folder.config, text)
    _write_provenance(job, provenance)


def _with_absolute_roots(config: dict[str, Any]) -> dict[str, Any]:
    """A run can be evaluated from any folder."""
    study = config["study"] | {"root": str(Path(config["study"]["root"]).resolve())}
    return config | {"study": study, "output_root": str(Path(config["output_root"]).resolve())}


def _write_provenance(job: TrainingJob, provenance: Provenance) -> None:
    write_text(job.folder.provenance, json.dumps(provenance.model_dump(), indent=1) + "\n")


def _loggers(job: TrainingJob) -> list[Logger]:
    settings = job.config["logger"]["wandb"]
    group = job.cross_validation.relative_to(job.config["output_root"]).as_posix()
    name = f"{group}/{job.folder.path.name}"
    wandb = wandb_logger(settings["mode"], settings["project"], group, name, job.folder.path, without_roots(job.config))
    return [MetricsFile(job.folder.path / "metrics.csv"), *([wandb] if wandb else [])]


def _describe(job: TrainingJob, loaded: FoldInput, network: FCDenseNet) -> ModelDescription:
    description, config = loaded.study.description, job.config
    stored = [loaded.store.subject(subject_id) for subject_id in loaded.training_ids]
    x, y, z = (float(np.median([subject.spacing_mm[axis] for subject in stored])) for axis in range(3))
    return ModelDescription(
        architecture=Architecture(name=type(network).__name__, arguments=network.arguments),
        channels=list(description.images),
        spacing_mm=(x, y, z),
        preprocessing=loaded.preprocessing,
        foreground=description.foreground,
        training=TrainingRecord(
            study=description.name,
            synthetic=description.synthetic,
            subjects={subject.id: subject.sha256 for subject in stored},
            fold=loaded.fold.number,
            epochs=config["optimization"]["epochs"],
            seed=config["seed"],
            folds_seed=config["folds"]["seed"],
        ),
        intensity={
            channel: IntensityRange.over(
                intensity_percentiles(loaded.store.images(subject.id)[:, number]) for subject in stored
            )
            for number, channel in enumerate(description.images)
        },
        versions=package_versions(),
    )
