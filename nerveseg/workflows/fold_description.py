"""Describe the model of a fold: `model.json`, from what its network was trained on."""

from dataclasses import dataclass, field
from math import sqrt

import numpy as np

from nerveseg.data.classes import NERVE
from nerveseg.data.preprocessing import Preprocessing
from nerveseg.inference.bundle import ModelDescription
from nerveseg.inference.training_intensity import IntensityRange, intensity_percentiles
from nerveseg.inference.training_record import ScanRanges, TrainingRecord
from nerveseg.networks import registry
from nerveseg.runs import StartRecord, package_versions
from nerveseg.types import SpacingMm
from nerveseg.workflows.config import TrainConfig
from nerveseg.workflows.made_samples import RANGES
from nerveseg.workflows.prepare_study import FoldInput


@dataclass(frozen=True)
class _Source:
    """Data that a network was trained on."""

    spacing_mm: SpacingMm
    preprocessing: Preprocessing  # with the spacing as a number
    synthetic: bool
    subjects: dict[str, dict[str, str]] = field(default_factory=dict)
    voxels: dict[str, str] = field(default_factory=dict)
    intensity: dict[str, IntensityRange] = field(default_factory=dict)
    samples: int = 0
    ranges: ScanRanges | None = None
    result_classes: list[str] = field(default_factory=list)


def describe_fold(
    config: TrainConfig,
    loaded: FoldInput | None,
    network: registry.NetworkSpec,
    epochs: int,
    start: StartRecord | None = None,
) -> ModelDescription:
    """Return the description of a fold's model.

    Args:
        config: Configuration of the training.
        loaded: Data of the fold; of samples made on the fly nothing is read from them.
        network: Network and its arguments.
        epochs: Number of epochs after which the network has its weights.
        start: Record of the model that the training began with.
    """
    if config.samples is not None:
        source = _made(config, epochs)
    else:
        assert loaded is not None
        source = _subjects(config, loaded)
    before = start.model_dump(exclude={"samples", "init_synthetic"}) if start else {}
    return ModelDescription(
        architecture=network,
        channels=list(config.study.images),
        optional=list(config.study.optional_channels),
        spacing_mm=source.spacing_mm,
        preprocessing=source.preprocessing,
        registration=config.study.registration,
        context=config.context,
        prediction=config.inference,
        classes=config.study.classes,
        terms=config.study.terms,
        result_classes=source.result_classes,
        training=TrainingRecord(
            study=config.study.name,
            synthetic=source.synthetic,
            subjects=source.subjects,
            **before | {"voxels": before.get("voxels", {}) | source.voxels},
            fold=config.fold,
            epochs=epochs,
            seed=config.seed,
            folds_seed=config.folds.seed,
            samples=source.samples + (start.samples if start else 0),
            init_synthetic=start is not None and (start.init_synthetic or start.samples > 0),
            target=config.target,
        ),
        intensity=source.intensity,
        ranges=source.ranges,
        versions=package_versions(),
    )


def _subjects(config: TrainConfig, loaded: FoldInput) -> _Source:
    """Return the source of a network that learnt from the training subjects of a study."""
    stored = [loaded.store.subject(subject_id) for subject_id in loaded.training_ids]
    x, y, z = (float(np.median([subject.spacing_mm[axis] for subject in stored])) for axis in range(3))
    preprocessing = loaded.store.index.preprocessing
    if isinstance(preprocessing.spacing_mm, tuple):
        x, y = preprocessing.spacing_mm
    return _Source(
        spacing_mm=(x, y, z),
        preprocessing=preprocessing,
        synthetic=loaded.study.description.synthetic,
        subjects={subject.id: subject.sha256 for subject in stored},
        voxels={subject.id: subject.voxels for subject in stored},
        intensity={
            channel: IntensityRange.over(
                intensity_percentiles(loaded.store.images(subject.id)[:, number])
                for subject in stored
                if channel in subject.sha256
            )
            for number, channel in enumerate(config.study.images)
            if any(channel in subject.sha256 for subject in stored)
        },
    )


def _made(config: TrainConfig, epochs: int) -> _Source:
    """Return the source of a network that learnt from samples made on the fly, and saw none of the study's subjects."""
    assert config.samples is not None
    assert isinstance(config.preprocessing.spacing_mm, tuple)
    return _Source(
        spacing_mm=(*config.preprocessing.spacing_mm, round(sqrt(RANGES.step_mm[0] * RANGES.step_mm[1]), 1)),
        preprocessing=config.preprocessing,
        synthetic=True,
        samples=epochs * config.samples.per_epoch,
        ranges=RANGES,
        result_classes=[NERVE],  # the other classes teach what the nerve is not
    )
