"""Which values the plain options of `train` may have; what they mean stands beside them in conf/."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt

from nerveseg.dashboards.privacy import SubjectIds
from nerveseg.training.compilation import Compile
from nerveseg.training.devices import Accelerator, Precision

Reference = Literal["paper"] | None
"""A published table to show beside ours."""


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class TrainerOptions(_Options):
    """`conf/trainer/`."""

    accelerator: Accelerator
    precision: Precision
    compile: Compile
    workers: NonNegativeInt
    checkpoint_every_n_epochs: PositiveInt
    slices_per_batch: PositiveInt


class OptimizationOptions(_Options):
    """`conf/optimization/`; the last two are built, see `configuration.build`."""

    epochs: PositiveInt
    batch_size: PositiveInt
    class_prior_bias: bool
    optimizer: dict[str, Any]
    schedule: dict[str, Any]


class FoldsOptions(_Options):
    """`conf/folds/`."""

    count: int = Field(ge=2)
    seed: NonNegativeInt
    minimum_per_cohort: dict[str, NonNegativeInt]
    validation_fraction: float = Field(ge=0, lt=1)


class LoggerOptions(BaseModel):
    """`conf/logger/`: loggers beside `metrics.csv`, each a section of its own name with a `_target_`."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)
    __pydantic_extra__: dict[str, dict[str, Any]]

    subject_ids: SubjectIds = "plain"


class SimulateOptions(_Options):
    """What `conf/simulate.yaml` has besides the cohort."""

    output: str = Field(min_length=1)
    workers: PositiveInt


class TrainOptions(_Options):
    """What `conf/train.yaml` has besides the sections that become records or objects of their own."""

    seed: NonNegativeInt
    reference_table: Reference
    report: bool
    resume: Literal["auto", "force"]
    trainer: TrainerOptions
    optimization: OptimizationOptions
    folds: FoldsOptions
    logger: LoggerOptions
