"""Read the records in a fold's folder: its configuration and the origin of its results."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from nerveseg.errors import RunError
from nerveseg.runs import FoldFolder, Provenance
from nerveseg.workflows.config import RunConfig, TrainConfig
from nerveseg.yaml_files import read_yaml, yaml_error

Record = TypeVar("Record", bound=BaseModel)


def read_run_config(fold: FoldFolder) -> dict[str, Any]:
    """Read the configuration of a fold; raise `RunError` if it is missing or damaged."""
    config = read_yaml(fold.config, RunError)
    if not isinstance(config, dict):
        raise yaml_error(fold.config, f"a {type(config).__name__} instead of options", RunError)
    if isinstance(config.get("folds"), dict):  # folds of earlier versions lack some options
        config["folds"].setdefault("validation_fraction", 0)
        config.setdefault("context", {"neighbours": 0})
        config.setdefault("target", "consensus")
        config.setdefault("init", None)
        config.setdefault("samples", None)
        if (loss := config.get("loss") or {}).get("_target_") == "nerveseg.training.losses.DiceCrossEntropy":
            loss.setdefault("logarithm", False)
        if isinstance(study := config.get("study"), dict):
            study.setdefault("terms", {})
            if isinstance(simulated := study.get("simulate"), dict):
                simulated.setdefault("varied", False)
        if isinstance(inference := config.get("inference"), dict):
            inference.setdefault("mirrored_views", False)
            inference.setdefault("nerve_odds", 1.0)
            if isinstance(cleanup := inference.get("postprocessing"), dict):
                cleanup.setdefault("follow_path", False)
    return config


def parse_run_config(fold: FoldFolder) -> RunConfig:
    """Return what an evaluation needs of a fold's configuration; raise `RunError` if it is missing or damaged."""
    return _parsed(fold, RunConfig)


def parse_train_config(fold: FoldFolder) -> TrainConfig:
    """Return the configuration of a fold's training; raise `RunError` if it is missing or damaged."""
    return _parsed(fold, TrainConfig)


def _parsed(fold: FoldFolder, record: type[Record]) -> Record:
    try:
        return record.model_validate(read_run_config(fold))
    except ValidationError as error:
        first = error.errors()[0]
        raise RunError(
            "a fold has the config.yaml that it was trained with",
            found=f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            path=fold.config,
            remedy="restore the file, or train the fold again",
        ) from error


def read_provenance(fold: FoldFolder) -> Provenance:
    """Read the record of the origin of a fold's results; raise `RunError` if it is missing or damaged."""
    try:
        return Provenance.model_validate_json(fold.provenance.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # pydantic's and Unicode's errors are ValueErrors
        raise RunError(
            "a fold has its provenance.json",
            found=str(error).splitlines()[0],
            path=fold.provenance,
            remedy="delete the fold's folder and train it again",
        ) from error


def read_seconds(fold: FoldFolder) -> dict[str, float]:
    """Read each test subject's prediction time in s, if the file exists; raise `RunError` if it is damaged."""
    if not fold.seconds.exists():
        return {}
    try:
        return TypeAdapter(dict[str, float]).validate_json(fold.seconds.read_bytes())
    except (OSError, ValidationError) as error:
        raise RunError(
            "seconds.json holds a number of seconds for each subject",
            found=error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror,
            path=fold.seconds,
            remedy="delete the file: the tables then have no times of this fold",
        ) from error


def check_data(fold: FoldFolder, key: str) -> None:
    """Raise `RunError` if a fold was begun on other data than those of the study's present slice store, by its key."""
    trained_on = read_provenance(fold).data
    if trained_on != key:
        raise RunError(
            "a fold is evaluated on the data it was trained on",
            found=f"data {key}, trained on {trained_on}",
            path=fold.path,
            remedy="restore the study's files, or train again under another name=",
        )


def differences(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the differences between two nested configurations, as `key: before -> after`."""
    changes = []
    for key in sorted(set(before) | set(after)):
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            changes += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            changes.append(f"{prefix}{key}: {old} -> {new}")
    return changes
