"""Parse a composed configuration into the typed record of its command; report the first fault in one line."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from nerveseg.errors import ConfigurationError

CONFIG_TYPES = {
    "simulate": "nerveseg.workflows.config.SimulateConfig",
    "check": "nerveseg.workflows.config.CheckConfig",
    "train": "nerveseg.workflows.config.TrainConfig",
    "evaluate": "nerveseg.workflows.config.EvaluateConfig",
    "segment": "nerveseg.workflows.segment_config.SegmentConfig",
    "measure": "nerveseg.workflows.segment_config.MeasureConfig",
    "compare": "nerveseg.workflows.compare_results.CompareConfig",
}
"""Dotted name of each command's record, which is imported when a configuration is parsed."""

OWNED_TRAINER_KEYS = {
    "max_epochs": "optimization.epochs",
    "logger": "logger",
    "callbacks": "callbacks",
    "plugins": "plugins, for packages of your own; Lightning's plugins are the framework's",
    "default_root_dir": "output_root and name",
    "enable_checkpointing": "trainer.checkpoint_every_n_epochs",
    "enable_progress_bar": "a redirected output, where no bar is drawn",
    "fast_dev_run": "name=trial optimization.epochs=1 trainer.limit_train_batches=1, which tries every later step too",
    "devices": "torchrun --nproc-per-node=<n> -m nerveseg.train, docs/cluster.md",
    "num_nodes": "torchrun --nnodes=<n>, docs/cluster.md",
    "strategy": "torchrun, docs/cluster.md",
    "use_distributed_sampler": "torchrun, docs/cluster.md",
    "reload_dataloaders_every_n_epochs": "nothing: the order of an epoch is a function of seed and epoch",
}
"""Keywords of `pl.Trainer` that other options set, and the names of these options."""

Record = TypeVar("Record", bound=BaseModel)


def parse_config(verb: str, values: Mapping[str, Any]) -> Any:
    """Parse a command's configuration, without the `hydra` node, into the record that `CONFIG_TYPES` names.

    Raises:
        ConfigurationError: An option is missing, unknown, or of the wrong type.
    """
    module, _, name = CONFIG_TYPES[verb].rpartition(".")
    config = parse_section(getattr(import_module(module), name), values)
    if isinstance(values.get("trainer"), Mapping):
        _check_trainer(config.trainer)
    return config


def parse_section(cls: type[Record], values: Mapping[str, Any]) -> Record:
    """Parse values into a record; raise `ConfigurationError` for a missing or unknown option or a wrong type."""
    try:
        return cls.model_validate(dict(values))
    except ValidationError as error:
        raise _in_one_line(error, cls) from error


def _in_one_line(error: ValidationError, cls: type[BaseModel]) -> ConfigurationError:
    """Return the first fault as an error; unknown keys come first, since a misspelt key is also reported as missing."""
    first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    parts = [str(part) for part in first["loc"]]
    option = ".".join(parts)
    section = option.rpartition(".")[0]
    fields = _fields(cls, parts[:-1])
    options = f"options of {section or 'this command'}: {', '.join(fields)}"
    choice = f"{option}=<name> chooses a file of conf/{option}/"
    if first["type"] == "extra_forbidden":
        names = [f"{section}.{field}" if section else field for field in fields]
        return ConfigurationError(
            f"an option of {section or 'this command'}", found=option, remedy=_did_you_mean(option, names) or options
        )
    if first["type"] == "missing":
        group = option.split(".")[0]  # the usual cause: the group was taken away
        return ConfigurationError(
            f"{option} is given", found="nothing", remedy=f"{group}=<name> chooses a file of conf/{group}/"
        )
    if first["type"] == "string_too_short" and not first["input"]:
        kind = first.get("ctx", {}).get("kind", "text")
        return ConfigurationError(f"{option} is not empty", found=first["input"], remedy=f"{option}=<{kind}>")
    message = str(first["msg"]).removeprefix("Input should be ").removeprefix("Value error, ")
    names_file = not section and ("dictionary" in message or "_target_" in message)
    return ConfigurationError(
        f"{option} is {message}", found=first.get("input"), remedy=choice if names_file else options
    )


def _did_you_mean(option: str, names: Sequence[str]) -> str:
    similar = difflib.get_close_matches(option, names, 1)
    return f"did you mean {similar[0]}" if similar else ""


def _fields(cls: type[BaseModel], path: Sequence[str]) -> list[str]:
    """Return the names of the options of the section at a path of keys."""
    for part in path:
        field = cls.model_fields.get(part)
        inner = next(_records(field.annotation), None) if field else None
        if inner is None:
            return []
        cls = inner
    return list(cls.model_fields)


def _records(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _records(argument)


def _check_trainer(trainer: Any) -> None:
    """Raise `ConfigurationError` for a key of `trainer` that is neither ours nor a keyword of `pl.Trainer`."""
    from nerveseg.workflows.config import TRAINER_KEYWORDS

    for name in trainer.model_extra or {}:
        if name in OWNED_TRAINER_KEYS:
            raise ConfigurationError(
                "an option of trainer that the framework does not set itself",
                found=f"trainer.{name}",
                remedy=f"use {OWNED_TRAINER_KEYS[name]}",
            )
        if name not in TRAINER_KEYWORDS:
            names = [f"trainer.{each}" for each in (*type(trainer).model_fields, *TRAINER_KEYWORDS)]
            raise ConfigurationError(
                "an option of trainer: one of ours or a keyword of pl.Trainer",
                found=f"trainer.{name}",
                remedy=_did_you_mean(f"trainer.{name}", names) or f"options of trainer: {', '.join(names)}",
            )
