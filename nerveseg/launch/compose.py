"""Configurations: where they lie, how they are composed, and how their sections become typed records and objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from nerveseg.errors import ConfigurationError, NervesegError
from nerveseg.launch.arguments import is_multirun, overrides_only, split_fixed_and_swept

ALLOWED_TARGETS = ("nerveseg.networks.", "nerveseg.data.augmentation.", "torch.optim.")
"""Hydra's `instantiate` calls nearly anything that a config names; here it calls these."""

Section = TypeVar("Section", bound=BaseModel)


def config_folder() -> Path:
    """The folder conf/: inside the installed package, or at the top of the checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def compose_config(verb: str, overrides: Sequence[str]) -> DictConfig:
    """The configuration of a command, as Hydra would hand it to a job.

    Raises:
        ConfigurationError: An override names no option or no choice that exists.
    """
    try:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            return compose(verb, overrides=list(overrides))
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # Hydra's own for group=null is a ValueError
        raise configuration_error(error) from error


def overrides_of_jobs(arguments: Sequence[str]) -> list[list[str]]:
    """The overrides of each job that Hydra makes of these (rewritten) arguments, by its own sweeper.

    Raises:
        ConfigurationError: An override that Hydra's grammar does not accept.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    overrides = overrides_only(arguments)
    split_fixed_and_swept(overrides)  # names the word that is no override; Hydra names the character
    if not is_multirun(arguments):
        return [overrides]
    parsed = OverridesParser.create().parse_overrides(overrides)
    return [list(job) for batch in BasicSweeper.split_arguments(parsed, max_batch_size=None) for job in batch]


def job_overrides() -> list[str]:
    """The overrides of the Hydra job that is running."""
    return list(HydraConfig.get().overrides.task)


def configuration_error(error: Exception) -> NervesegError:
    """An error of Hydra or OmegaConf in our words, on one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("object_type=", "To append to your config", "Hint"))]
    full = [line.removeprefix("full_key: ") for line in lines if line.startswith("full_key: ")]
    found = " ".join(line for line in lines if not line.startswith("full_key: "))
    return ConfigurationError(
        "options and their values are those of conf/",
        found=f"{found} ({full[0]})" if full else found,
        remedy="`--cfg job` prints all options with their values; `+key=value` adds one that conf/ does not have",
    )


def to_plain_dict(config: DictConfig) -> dict[str, Any]:
    """The resolved configuration in plain types.

    Raises:
        ConfigurationError: A value that has to be given is missing, or an interpolation leads nowhere.
    """
    try:
        container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise configuration_error(error) from error
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def require_section(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A section that a command cannot do without.

    Raises:
        ConfigurationError: It was set to null, or to something that is no section.
    """
    values = config.get(key)
    if not isinstance(values, dict):
        raise ConfigurationError(f"{key} is a file of conf/{key}/", found=values, remedy=f"{key}=<name>")
    return values


def parse_section(kind: type[Section], values: Mapping[str, Any], key: str) -> Section:
    """A section of the configuration as a typed record.

    Args:
        kind: The record.
        values: The section in plain types.
        key: Its name, for errors; empty for the whole configuration.

    Raises:
        ConfigurationError: A value is missing, unknown, or of the wrong kind.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join([*([key] if key else []), *(str(part) for part in first["loc"])])
        raise ConfigurationError(
            f"{option}: {first['msg'][:1].lower()}{first['msg'][1:]}",
            found=first.get("input"),
            remedy=f"options of {key}: {', '.join(kind.model_fields)}" if key else "`--cfg job` prints all options",
        ) from error


def instantiate_section(values: Mapping[str, Any], key: str, **arguments: Any) -> Any:
    """Call what a section's `_target_` names.

    Args:
        values: The section in plain types.
        key: Its name, for errors.
        **arguments: Further keyword arguments.

    Raises:
        ConfigurationError: The target is not one of `ALLOWED_TARGETS`, or does not take these options.
    """
    target = str(values.get("_target_") or "")
    if not _is_allowed(target):
        raise ConfigurationError(
            f"{key}._target_ is a class whose name begins with one of " + ", ".join(ALLOWED_TARGETS),
            found=target or "nothing",
            remedy=f"choose a file of conf/{key.split('.')[0]}/",
        )
    try:
        return instantiate(dict(values), **arguments, _convert_="all", _recursive_=False)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, NervesegError):
            raise cause from error
        raise ConfigurationError(
            f"the options of {key} are those of {target}",
            found=cause or str(error).splitlines()[0],
            remedy=f"see the file of conf/{key}/ that you chose",
        ) from error


def _is_allowed(target: str) -> bool:
    """Whether a name is that of an allowed class, defined where it says.

    The beginning of the name is not enough: every module leads on to what it imports (`torch.optim.adam.torch.load`).
    """
    if not target.startswith(ALLOWED_TARGETS):
        return False
    try:
        kind = get_class(target)
    except (ImportError, ValueError):
        return False
    return f"{kind.__module__}.".startswith(ALLOWED_TARGETS)
