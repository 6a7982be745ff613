"""Open and close the loggers that a configuration names, with the run's label and without facts about the machine.

An offline W&B file and TensorBoard's event files cannot be rewound, so a process that resumes a run begins them anew
with the whole history. A run of W&B's or MLflow's server is continued: steps that the server has are not sent again.
"""

import inspect
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning.loggers import MLFlowLogger, TensorBoardLogger, WandbLogger
from pytorch_lightning.loggers.logger import Logger

from nerveseg.errors import ConfigurationError
from nerveseg.files import write_text
from nerveseg.targets import TARGET, find_target, instantiate_target

JobType = Literal["train", "evaluate"]
RUN_ID = "dashboard-id"  # file in a run's folder that holds the run's id
MLFLOW_TAG = "nerveseg.run"
WANDB_STEP = "trainer/global_step"  # name under which `WandbLogger` logs the step
LONGEST_TAG = 64  # longest tag that W&B takes, in characters

# Settings of W&B that record nothing about the machine, the user, the console or the command line.
WANDB_SETTINGS = {
    "console": "off", "silent": True, "disable_git": True, "save_code": False, "disable_job_creation": True, "host": "",
    "program": "nerveseg", "x_disable_machine_info": True, "x_disable_meta": True, "x_disable_stats": True,
    "x_save_requirements": False,
}  # fmt: skip


@dataclass(frozen=True)
class RunLabel:
    """Names by which a run is found among others; a dashboard shows all of them."""

    group: str  # the cross-validation's, as `paper`
    name: str  # the run's, as `paper/fold-0`
    job_type: JobType
    tags: tuple[str, ...]  # words to filter by
    config: dict[str, Any]  # configuration in plain types, without paths


def run_id(folder: Path) -> str:
    """Return the id of a folder's run: random digits, drawn once, that contain no name and no path."""
    path = folder / RUN_ID
    if not path.is_file():
        write_text(path, f"{uuid.uuid4().hex[:12]}\n")
    return path.read_text(encoding="utf-8").strip()


def open_logger(
    name: str, values: Mapping[str, Any], label: RunLabel, folder: Path, output_root: Path, plugins: Sequence[str] = ()
) -> Logger:
    """Open the logger `logger.<name>` of a configuration and connect it to its backend.

    The section's values, `_target_` and keywords of the constructor, win over those that are added here. Local files
    lie in the run's folder, MLflow's database in the root of all runs. `plugins` are packages that `_target_` may name.

    Raises:
        ConfigurationError: The class may not be named, its package is missing, or its server or key is.
    """
    key = f"logger.{name}"
    cls = find_target(str(values.get(TARGET)), key, plugins)
    try:
        arguments = _run_arguments(cls, values, label, folder, output_root)
        added = {word: value for word, value in arguments.items() if values.get(word) is None or word == "settings"}
        logger: Logger = instantiate_target(values, key, plugins, **added)
        _connect(logger, label)
    except Exception as error:  # whatever a backend raises
        raise _one_line(error, name) from error
    return logger


def last_logged_step(logger: Logger) -> int:
    """Return the last step that a logger's backend has from earlier processes; -1 if there is none."""
    if isinstance(logger, WandbLogger):
        return int(logger.experiment.summary.get(WANDB_STEP, -1))
    if isinstance(logger, MLFlowLogger):
        client, run = logger.experiment, str(logger.run_id)
        histories = [client.get_metric_history(run, metric) for metric in client.get_run(run).data.metrics]
        return max((int(value.step) for history in histories for value in history), default=-1)
    return -1


def close_logger(logger: Logger, failed: bool) -> None:
    """End a run, and mark it as failed or finished where the backend knows the difference."""
    logger.finalize("failed" if failed else "success")
    if isinstance(logger, WandbLogger):
        logger.experiment.finish(exit_code=int(failed))
    if isinstance(logger, TensorBoardLogger):  # its files' names hold the machine's: events.out.tfevents.<time>.<host>
        for number, path in enumerate(sorted(Path(logger.log_dir).glob("events.out.tfevents.*"))):
            path.rename(path.with_name(".".join([*path.name.split(".")[:4], str(number)])))


def _run_arguments(
    factory: Callable[..., Any], values: Mapping[str, Any], label: RunLabel, folder: Path, output_root: Path
) -> dict[str, Any]:
    """Return the keywords of a logger's constructor that come from the run and not from the configuration."""
    cls = factory if isinstance(factory, type) else object
    if issubclass(cls, MLFlowLogger):
        return _mlflow_arguments(values, label, folder, output_root)
    if issubclass(cls, TensorBoardLogger):
        shutil.rmtree(folder / "tensorboard", ignore_errors=True)
        return {"save_dir": folder, "name": "tensorboard", "version": ""}
    tags = [tag[:LONGEST_TAG] for tag in label.tags]
    named = {"name": label.name, "group": label.group, "job_type": label.job_type, "tags": tags, "save_dir": folder}
    if issubclass(cls, WandbLogger):
        return {**named, **_wandb_arguments(values, folder)}
    accepted = inspect.signature(factory).parameters
    if "save_dir" in accepted:  # such a logger makes a folder `name` in it
        del named["name"]
    return {word: value for word, value in named.items() if word in accepted}


def _wandb_arguments(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return arguments of `wandb.init`; without `resume`, a synced offline file overwrites the server's run."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    is_offline = bool(values.get("offline", False))
    return {
        "id": run_id(folder),
        "mode": "offline" if is_offline else "online",
        "resume": None if is_offline else "allow",
        "reinit": "finish_previous",
        "settings": {**(values.get("settings") or {}), **WANDB_SETTINGS},
    }


def _mlflow_arguments(values: Mapping[str, Any], label: RunLabel, folder: Path, output_root: Path) -> dict[str, Any]:
    """Return address and run id; `MLFlowLogger` would create a run whose tags name user, script and commit."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    for package in ("mlflow", "alembic"):
        logging.getLogger(package).setLevel(logging.WARNING)
    local = f"sqlite:///{(output_root / 'mlflow.db').resolve()}"
    uri = values.get("tracking_uri") or os.environ.get("MLFLOW_TRACKING_URI") or local
    client: Any = MlflowClient(uri)
    name = values.get("experiment_name", "nerveseg")
    experiment = client.get_experiment_by_name(name)
    files = (output_root / "mlflow-files").resolve().as_uri() if uri.startswith("sqlite:") else None
    number = experiment.experiment_id if experiment else client.create_experiment(name, artifact_location=files)
    tag = run_id(folder)
    if earlier := client.search_runs([number], filter_string=f"tags.`{MLFLOW_TAG}` = '{tag}'"):
        run = earlier[0]
        client.update_run(run.info.run_id, status="RUNNING")
    else:
        tags = {MLFLOW_TAG: tag, "group": label.group, "job_type": label.job_type, "tags": ", ".join(label.tags)}
        run = client.create_run(number, run_name=label.name, tags=tags)
    return {"tracking_uri": uri, "run_id": run.info.run_id, "tags": None}


def _connect(logger: Logger, label: RunLabel) -> None:
    """Start the run, log its configuration, and remove offline W&B files that an open run replaces."""
    if isinstance(logger, WandbLogger):
        import wandb

        wandb.setup(wandb.Settings(silent=True))  # or W&B warns of an argument that Lightning passes
        wandb.finish()  # or the logger would go on with a run that this process has open
        current = Path(logger.experiment.dir).parent
        for earlier in current.parent.glob("offline-run-*"):
            if earlier != current:
                shutil.rmtree(earlier)
    is_known = isinstance(logger, MLFlowLogger) and bool(logger.experiment.get_run(str(logger.run_id)).data.params)
    if not is_known:  # MLflow refuses to change a parameter
        logger.log_hyperparams(label.config)


def _one_line(error: Exception, name: str) -> ConfigurationError:
    cause = error.__cause__ if isinstance(error, ConfigurationError) else error
    if isinstance(cause, ModuleNotFoundError):
        return ConfigurationError(
            f"logger={name} has the package that it needs",
            found=str(cause).splitlines()[0],
            remedy=f"pip install 'nerveseg[{name}]', or logger=csv",
        )
    if isinstance(error, ConfigurationError):
        return error
    return ConfigurationError(
        f"logger.{name} reaches its server, with a key where it needs one",
        found=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}",
        remedy="wandb login, or logger.wandb.offline=true and wandb sync later"
        if "wandb" in type(error).__module__
        else f"start the server, correct logger.{name}, or logger=csv",
    )
