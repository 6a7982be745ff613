"""Typed configuration of each command but `segment`, into which a composed configuration is parsed once.

Each record refuses keys that it does not know. Sections that name a class by `_target_` stay plain mappings and are
instantiated by `nerveseg.targets` where they are used.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, NonNegativeInt, PositiveInt, Strict

from nerveseg.data import consensus
from nerveseg.data.classes import Declared
from nerveseg.data.context import Context
from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.study_layout import StudyLayout
from nerveseg.evaluation.margins import Margins
from nerveseg.inference.model_folder import ModelPath
from nerveseg.inference.prediction_settings import PredictionSettings
from nerveseg.names import FolderPath
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


class Section(BaseModel, frozen=True, extra="forbid", strict=True):
    """Base of the records: frozen, without unknown keys, without conversions between types."""


class StudyConfig(StudyLayout):
    """Section `study`: the layout of a study, and the options of a synthetic one."""

    # Options of the cohort that is simulated where the study's folder does not exist.
    simulate: CohortSpec | None = None

    @property
    def layout(self) -> StudyLayout:
        """Layout of the study, without the options of the simulation."""
        return StudyLayout.model_validate({name: getattr(self, name) for name in StudyLayout.model_fields})


class TrainerConfig(BaseModel, frozen=True, extra="allow", strict=True):
    """Section `trainer`: keys of nerveseg, and keywords of `pl.Trainer`, which are passed on."""

    accelerator: Literal["auto", "gpu", "cpu"]  # device type; "auto" takes a GPU where there is one
    # Number format; "auto" is bfloat16 autocast on a GPU that has it.
    precision: Literal["auto", "32-true", "bf16-mixed"]
    compile: Literal["auto"] | bool  # flag of `torch.compile`; "auto" compiles where it pays
    workers: NonNegativeInt  # number of processes that augment
    checkpoint_every_n_epochs: PositiveInt  # epochs from one checkpoint to the next
    slices_per_batch: PositiveInt  # slices that go through the network at a time in prediction

    @property
    def keywords(self) -> dict[str, Any]:
        """Keywords of `pl.Trainer` that the configuration gives; those that are null are left to Lightning."""
        return {name: value for name, value in (self.model_extra or {}).items() if value is not None}


class OptimizationConfig(Section):
    """Section `optimization`."""

    epochs: PositiveInt  # number of epochs
    batch_size: PositiveInt  # slices, or patches, per step
    class_prior_bias: bool  # flag: the last layer starts at the share of each class among the training pixels
    optimizer: Target  # optimizer, waiting for the parameters
    schedule: Target | None  # learning-rate schedule, waiting for the optimizer; null keeps the rate
    schedule_interval: Literal["epoch", "step"] = "epoch"  # interval between two steps of the schedule
    schedule_monitor: str | None = None  # name of the logged value that `ReduceLROnPlateau` follows


class FoldsConfig(Section):
    """Section `folds`."""

    count: int = Field(ge=2)  # number of folds
    seed: NonNegativeInt  # seed of the split
    minimum_per_cohort: dict[str, NonNegativeInt]  # least number of test subjects of a cohort in each fold
    # Share of the training subjects held out to choose settings by.
    validation_fraction: float = Field(ge=0, lt=1, default=0)


class SamplesConfig(Section):
    """Section `samples`: training samples made on the fly in place of the study's slices (`nerveseg.synthesis`)."""

    people: PositiveInt  # number of anatomies
    per_epoch: PositiveInt  # number of samples in an epoch


class LoggerConfig(BaseModel, frozen=True, extra="allow", strict=True):
    """Section `logger`: dashboards by name beside `metrics.csv`."""

    __pydantic_extra__: dict[str, Target]

    # Form of subjects' ids on dashboards: "plain", or "hashed" with a key made of the study's files.
    subject_ids: Literal["plain", "hashed"] = "plain"

    @property
    def targets(self) -> dict[str, dict[str, Any]]:
        """Sections of the loggers by name."""
        return dict(self.model_extra or {})


class ReportConfig(Section):
    """Options of the evaluation and of its presentation; part of `train` and `evaluate`."""

    margins: Margins = Field(default_factory=Margins)  # margins of non-inferiority
    reference_table: Literal["paper"] | None = None  # published table to show beside ours
    report: bool = True  # flag: pages and figures are written beside the tables


class RunConfig(ReportConfig, frozen=True, extra="ignore", strict=True):
    """Part of a trained fold's `config.yaml` that its evaluation needs."""

    name: str = Field(min_length=1)  # folder of the run below `output_root`
    output_root: FolderPath  # folder of all outputs
    seed: NonNegativeInt  # seed of the training
    study: StudyConfig  # study that the fold was trained on
    preprocessing: Preprocessing  # preprocessing of its slices
    folds: FoldsConfig  # split into folds


class TrainConfig(RunConfig, frozen=True, extra="forbid", strict=True):
    """Configuration of `train`."""

    fold: int  # number of the test fold
    resume: Literal["auto", "force"]  # "force" goes on with a run whose configuration changed
    plugins: Annotated[tuple[str, ...], Strict(False)]  # packages of the user's own whose classes `_target_` may name
    init: ModelPath | None  # model whose weights the training begins with; null draws them from the seed
    context: Context  # part of a stack that the network sees at a time
    # What the network learns: "consensus" of the raters, or "raters", the share of them who drew each part.
    target: consensus.Target
    samples: SamplesConfig | None  # samples made on the fly; null trains with the study's slices
    augmentation: Target  # augmentation of the training slices
    inference: PredictionSettings  # everything that changes the mask of a scan; stored with the model
    network: Target  # network; its number of input channels and the classes are added
    loss: Target  # loss of logits and labels
    optimization: OptimizationConfig  # epochs, batch, optimizer and schedule
    trainer: TrainerConfig  # device and `pl.Trainer`'s keywords
    callbacks: dict[str, Target]  # Lightning callbacks by name
    logger: LoggerConfig  # dashboards

    @property
    def in_channels(self) -> int:
        """Number of channels that the network sees, with presence planes: those of every slice of the context."""
        return (len(self.study.images) + len(self.study.optional_channels)) * self.context.slices

    @property
    def out_classes(self) -> int:
        """Number of classes that the network tells apart: background, and the parts of the study's classes."""
        return self.study.class_table.count + 1


class EvaluateConfig(ReportConfig):
    """Configuration of `evaluate`."""

    run: FolderPath | None  # folder of a finished sweep
    study: StudyConfig | None = None  # study whose raters, or predicted masks, are evaluated
    prediction: str | None  # folder of masks of any origin, or a path template with `{id}`
    # Label values of each class in these masks. Null: the study's own where it has several classes, else every label
    # above zero.
    prediction_classes: Declared | None
    missing_predictions: Literal["refuse", "skip"]  # treatment of subjects without a mask: "refuse" or "skip"
    output: FolderPath | None  # folder of the tables
    output_root: FolderPath  # folder of all outputs
    plugins: Annotated[tuple[str, ...], Strict(False)]  # packages of the user's own whose loggers may be named
    logger: LoggerConfig  # dashboards that show the evaluation of a sweep


class SimulateConfig(Section):
    """Configuration of `simulate`."""

    output: FolderPath  # folder of the study
    output_root: FolderPath  # folder of all outputs
    workers: PositiveInt  # number of processes
    cohort: CohortSpec  # options of the cohort


class CheckConfig(Section):
    """Configuration of `check`."""

    study: StudyConfig  # study to check
    preprocessing: Preprocessing  # preprocessing whose crop should hold the nerve
    output_root: FolderPath  # folder of all outputs
