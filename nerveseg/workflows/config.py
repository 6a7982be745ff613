"""Typed configuration of each command but `segment`, into which a composed configuration is parsed once.

Each record refuses keys that it does not know. Sections that name a class by `_target_` stay plain mappings and are
instantiated by `nerveseg.targets` where they are used.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, NonNegativeInt, PositiveInt, Strict

from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.study_layout import StudyLayout
from nerveseg.evaluation.hypotheses import Margins
from nerveseg.inference.prediction_settings import PredictionSettings
from nerveseg.phantom.specification import CohortSpec
from nerveseg.targets import TARGET

TRAINER_KEYWORDS = (
    "accumulate_grad_batches", "barebones", "benchmark", "check_val_every_n_epoch", "detect_anomaly", "deterministic",
    "enable_model_summary", "gradient_clip_algorithm", "gradient_clip_val", "inference_mode",
    "limit_train_batches", "limit_val_batches", "log_every_n_steps", "max_steps", "max_time", "min_epochs", "min_steps",
    "num_sanity_val_steps", "overfit_batches", "profiler", "sync_batchnorm", "val_check_interval",
)  # fmt: skip
"""Keywords of `pl.Trainer` that `trainer` passes on beside its own keys."""


def _require_target(section: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(section.get(TARGET), str):
        raise ValueError(f"a section with a {TARGET}")
    return section


Target = Annotated[dict[str, Any], AfterValidator(_require_target)]
"""Section that names a class by `_target_`, with the keyword arguments of its constructor."""

FolderPath = Annotated[Path, Strict(False)]
"""Path that a configuration gives as text."""


class Section(BaseModel, frozen=True, extra="forbid", strict=True):
    """Base of the records: frozen, without unknown keys, without conversions between types."""


class StudyConfig(StudyLayout):
    """Section `study`: the layout of a study, and the options of a synthetic one.

    Attributes:
        simulate: Options of the cohort that is simulated where the study's folder does not exist.
    """

    simulate: CohortSpec | None = None

    @property
    def layout(self) -> StudyLayout:
        """Layout of the study, without the options of the simulation."""
        return StudyLayout.model_validate({name: getattr(self, name) for name in StudyLayout.model_fields})


class TrainerConfig(BaseModel, frozen=True, extra="allow", strict=True):
    """Section `trainer`: keys of nerveseg, and keywords of `pl.Trainer`, which are passed on.

    Attributes:
        accelerator: Device type; "auto" takes a GPU where there is one.
        precision: Number format; "auto" is bfloat16 autocast on a GPU that has it.
        compile: Flag of `torch.compile`; "auto" compiles where it pays.
        workers: Number of processes that augment.
        checkpoint_every_n_epochs: Epochs from one checkpoint to the next.
        slices_per_batch: Slices that go through the network at a time in prediction.
    """

    accelerator: Literal["auto", "gpu", "cpu"]
    precision: Literal["auto", "32-true", "bf16-mixed"]
    compile: Literal["auto"] | bool
    workers: NonNegativeInt
    checkpoint_every_n_epochs: PositiveInt
    slices_per_batch: PositiveInt

    @property
    def keywords(self) -> dict[str, Any]:
        """Keywords of `pl.Trainer` that the configuration gives; those that are null are left to Lightning."""
        return {name: value for name, value in (self.model_extra or {}).items() if value is not None}


class OptimizationConfig(Section):
    """Section `optimization`.

    Attributes:
        epochs: Number of epochs.
        batch_size: Slices per step.
        class_prior_bias: Flag: the last layer starts at the share of nerve among the training pixels.
        optimizer: Optimizer, waiting for the parameters.
        schedule: Learning-rate schedule, waiting for the optimizer; null keeps the rate.
        schedule_interval: Interval between two steps of the schedule.
        schedule_monitor: Name of the logged value that `ReduceLROnPlateau` follows.
    """

    epochs: PositiveInt
    batch_size: PositiveInt
    class_prior_bias: bool
    optimizer: Target
    schedule: Target | None
    schedule_interval: Literal["epoch", "step"] = "epoch"
    schedule_monitor: str | None = None


class FoldsConfig(Section):
    """Section `folds`.

    Attributes:
        count: Number of folds.
        seed: Seed of the split.
        minimum_per_cohort: Least number of test subjects of a cohort in each fold.
        validation_fraction: Share of the training subjects held out to choose settings by.
    """

    count: int = Field(ge=2)
    seed: NonNegativeInt
    minimum_per_cohort: dict[str, NonNegativeInt]
    validation_fraction: float = Field(ge=0, lt=1, default=0)


class LoggerConfig(BaseModel, frozen=True, extra="allow", strict=True):
    """Section `logger`: dashboards by name beside `metrics.csv`.

    Attributes:
        subject_ids: Form of subjects' ids on dashboards: "plain", or "hashed" with a key made of the study's files.
    """

    __pydantic_extra__: dict[str, Target]

    subject_ids: Literal["plain", "hashed"] = "plain"

    @property
    def targets(self) -> dict[str, dict[str, Any]]:
        """Sections of the loggers by name."""
        return dict(self.model_extra or {})


class ReportConfig(Section):
    """Options of the evaluation and of its presentation; part of `train` and `evaluate`.

    Attributes:
        margins: Margins of non-inferiority.
        reference_table: Published table to show beside ours.
        report: Flag: pages and figures are written beside the tables.
    """

    margins: Margins = Field(default_factory=Margins)
    reference_table: Literal["paper"] | None = None
    report: bool = True


class RunConfig(ReportConfig, frozen=True, extra="ignore", strict=True):
    """Part of a trained fold's `config.yaml` that its evaluation needs.

    Attributes:
        name: Folder of the run below `output_root`.
        output_root: Folder of all outputs.
        seed: Seed of the training.
        study: Study that the fold was trained on.
        preprocessing: Preprocessing of its slices.
        folds: Split into folds.
    """

    name: str = Field(min_length=1)
    output_root: FolderPath
    seed: NonNegativeInt
    study: StudyConfig
    preprocessing: Preprocessing
    folds: FoldsConfig


class TrainConfig(RunConfig, frozen=True, extra="forbid", strict=True):
    """Configuration of `train`.

    Attributes:
        fold: Number of the test fold.
        resume: "force" goes on with a run whose configuration changed.
        plugins: Packages of the user's own whose classes `_target_` may name.
        augmentation: Augmentation of the training slices.
        inference: Everything that changes the mask of a scan; stored with the model.
        network: Network; the study's channels and the classes are added.
        loss: Loss of logits and labels.
        optimization: Epochs, batch, optimizer and schedule.
        trainer: Device and `pl.Trainer`'s keywords.
        callbacks: Lightning callbacks by name.
        logger: Dashboards.
    """

    fold: int
    resume: Literal["auto", "force"]
    plugins: Annotated[tuple[str, ...], Strict(False)]
    augmentation: Target
    inference: PredictionSettings
    network: Target
    loss: Target
    optimization: OptimizationConfig
    trainer: TrainerConfig
    callbacks: dict[str, Target]
    logger: LoggerConfig


class EvaluateConfig(ReportConfig):
    """Configuration of `evaluate`.

    Attributes:
        run: Folder of a finished sweep.
        study: Study whose raters, or predicted masks, are evaluated.
        prediction: Folder of masks of any origin, or a path template with `{id}`.
        prediction_foreground: Label values that are nerve in these masks; null is every label above zero.
        missing_predictions: Treatment of subjects without a mask: "refuse" or "skip".
        output: Folder of the tables.
        output_root: Folder of all outputs.
        plugins: Packages of the user's own whose loggers may be named.
        logger: Dashboards that show the evaluation of a sweep.
    """

    run: FolderPath | None
    study: StudyConfig | None = None
    prediction: str | None
    prediction_foreground: Annotated[tuple[int, ...], Strict(False)] | None
    missing_predictions: Literal["refuse", "skip"]
    output: FolderPath | None
    output_root: FolderPath
    plugins: Annotated[tuple[str, ...], Strict(False)]
    logger: LoggerConfig


class SimulateConfig(Section):
    """Configuration of `simulate`.

    Attributes:
        output: Folder of the study.
        output_root: Folder of all outputs.
        workers: Number of processes.
        cohort: Options of the cohort.
    """

    output: Annotated[Path, Strict(False)]
    output_root: FolderPath
    workers: PositiveInt
    cohort: CohortSpec


class CheckConfig(Section):
    """Configuration of `check`.

    Attributes:
        study: Study to check.
        preprocessing: Preprocessing whose crop should hold the nerve.
        output_root: Folder of all outputs.
    """

    study: StudyConfig
    preprocessing: Preprocessing
    output_root: FolderPath
