"""Name the folder of a training job, and compare its configuration with the one that the folder was begun with.

A run's folder is named after the overrides that change the result. Overrides of the device, the dashboards and the
folders (`trainer.accelerator`, `logger`, `study.root`, `output_root`; `NON_RESULT_KEYS`) do not change it.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nerveseg.errors import ConfigurationError, RunError
from nerveseg.runs import FoldFolder, fold_folder
from nerveseg.workflows.config import TrainConfig
from nerveseg.workflows.job import Job
from nerveseg.workflows.run_records import differences, read_run_config

NON_RESULT_KEYS = (
    "fold", "name", "experiment", "output_root", "reference_table", "report", "resume", "margins", "logger", "hydra",
    "trainer.accelerator", "trainer.compile", "trainer.workers", "trainer.checkpoint_every_n_epochs",
    "trainer.slices_per_batch", "study.root",
)  # fmt: skip
"""Keys, with all keys below them, that do not change a fold's result."""

UNFORCED_KEYS = ("study", "samples", "preprocessing", "folds", "init")
"""Keys that `resume=force` may not change, because the weights might have been trained on a test subject."""

LONGEST_FOLDER_NAME = 200
"""Longest name, in bytes (file systems allow 255); a longer one is cut and gets a hash of the whole name."""


@dataclass(frozen=True)
class TrainingJob(Job[TrainConfig]):
    """Job of `train`: a fold, whose number and folder are checked."""

    @property
    def cross_validation(self) -> Path:
        """Folder of all folds with these settings."""
        return self.run / variant_name(self.overrides)

    @property
    def folder(self) -> FoldFolder:
        """Folder of this fold."""
        return fold_folder(self.cross_validation, self.config.fold)

    @property
    def title(self) -> str:
        """Name of the job on screen."""
        return f"fold {self.config.fold}"

    @property
    def run(self) -> Path:
        """Folder of the run, which holds all cross-validations of one name."""
        return self.config.output_root / self.config.name


def training_job(job: Job[TrainConfig]) -> TrainingJob:
    """Return the fold that a job trains; raise `ConfigurationError` for a wrong `fold` or `name`."""
    config = job.config
    if not 0 <= config.fold < config.folds.count:
        raise ConfigurationError(
            f"fold is a number from 0 to {config.folds.count - 1}",
            found=config.fold,
            remedy="fold=0..3 trains four folds; folds.count sets their number",
        )
    name = Path(config.name)
    if name.is_absolute() or ".." in name.parts:
        raise ConfigurationError(
            "name is a folder below output_root", found=config.name, remedy="output_root=<folder> name=<name>"
        )
    return TrainingJob(**vars(job))


def variant_name(overrides: Sequence[str]) -> str:
    """Return the name of the folder for the overrides that change the result; empty without any.

    >>> variant_name(["fold=0", "network.growth_rate=16", "trainer=cpu"])
    'network.growth_rate=16'
    """
    last = {override.lstrip("+~").partition("=")[0]: override for override in overrides}
    named = sorted(override.lstrip("+") for override in last.values() if not sets_no_result(override))
    name = re.sub(r"[^\w.,=+\-~@]+", "-", re.sub(r"[\[\]{}'\" ]", "", ",".join(named)))
    if len(name.encode()) <= LONGEST_FOLDER_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return name.encode()[: LONGEST_FOLDER_NAME - 9].decode(errors="ignore") + f"-{digest}"


def check_unchanged(job: TrainingJob) -> None:
    """Raise `RunError` if an option that changes the result differs from the folder's own, unless `resume=force`."""
    changes = changes_of(job)
    fixed = [change for change in changes if change.split(":")[0].split(".")[0] in UNFORCED_KEYS]
    is_forced = job.config.resume == "force"
    if not changes or (is_forced and not fixed):
        return
    force = "" if fixed else "resume=force goes on under the new one; "
    raise RunError(
        f"resume=force keeps the run's own {', '.join(UNFORCED_KEYS)}, so that no test subject is trained on"
        if is_forced
        else "a run is continued with the configuration it was begun with",
        found="; ".join(fixed if is_forced else changes),
        path=job.folder.path,
        remedy=f"{force}name=<another> begins a new run",
    )


def changes_of(job: TrainingJob) -> list[str]:
    """Return the changes of the configuration that a job's folder was begun with, as `key: old -> new`."""
    if not job.folder.config.is_file():
        return []
    return differences(_result_affecting(read_run_config(job.folder)), _result_affecting(job.values))


def is_finished(job: TrainingJob) -> bool:
    """Return true if the fold is trained and scored under this configuration."""
    return job.folder.is_complete and not changes_of(job)


def check_one_experiment(folds: Sequence[FoldFolder]) -> None:
    """Raise `RunError` for folds that differ by more than their number, or of which one is damaged."""
    first, *others = (_result_affecting(read_run_config(fold)) for fold in folds)
    for fold, config in zip(folds[1:], others, strict=True):
        changes = differences(first, config)
        if changes:
            raise RunError(
                "the folds of a cross-validation have one configuration but for their number",
                found="; ".join(changes),
                path=fold.path,
                remedy="train this fold again under another name=",
            )


def study_root_changed(job: TrainingJob) -> bool:
    """Return true if a fold was begun on a study in another folder, so that its data have to be compared."""
    if not job.folder.config.is_file():
        return False
    before = Path(read_run_config(job.folder)["study"]["root"])
    return before.resolve() != job.config.study.root.resolve()


def result_affecting_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that change the result, flat (`network.growth_rate`); lists as they are."""
    return dict(_flat(_result_affecting(config)))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _result_affecting(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the part of a configuration that changes the result."""
    return {
        key: _result_affecting(value, f"{prefix}{key}.") if isinstance(value, Mapping) else value
        for key, value in config.items()
        if not _affects_no_result(f"{prefix}{key}")
    }


def _affects_no_result(key: str) -> bool:
    return any(key == each or key.startswith((f"{each}.", f"{each}/")) for each in NON_RESULT_KEYS)


def sets_no_result(override: str) -> bool:
    """Return true for an override of an option that does not change a fold's result (`NON_RESULT_KEYS`)."""
    key = override.lstrip("+~").split("=")[0].split("@")[0]
    return key == "trainer" or _affects_no_result(key)
