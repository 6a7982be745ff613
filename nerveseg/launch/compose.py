"""Compose configurations with Hydra: the folder conf/, the jobs of a sweep, and Hydra's errors in one line."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import create_config_search_path
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from nerveseg.errors import ConfigurationError, NervesegError
from nerveseg.launch.arguments import quote_path
from nerveseg.launch.foreign_files import allow_environment, check_hydra_node
from nerveseg.launch.hydra_flags import config_dir, is_multirun, overrides_only
from nerveseg.launch.launchers import BASIC, plugin_of
from nerveseg.launch.schema import parse_config
from nerveseg.workflows.job import Job


def config_folder() -> Path:
    """Return the folder conf/: inside the installed package, or at the top of the checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def compose_config(verb: str, overrides: Sequence[str]) -> DictConfig:
    """Compose the configuration of a command as Hydra does for a job, without the `hydra` node, which is checked.

    Raises:
        ConfigurationError: An override names an option or a choice that does not exist, a file is no YAML, or a file
            changes the `hydra` node.
    """
    allow_environment(overrides)
    try:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            composed = compose(verb, overrides=list(overrides), return_hydra_config=True)
            check_hydra_node(composed, overrides, config_folder())
    except NervesegError:
        raise
    except Exception as error:  # Hydra raises errors of every class for a file that is not as it expects
        raise configuration_error(error, verb) from error
    with open_dict(composed):
        del composed["hydra"]
    return composed


def compose_jobs(verb: str, arguments: Sequence[str]) -> list[Job[Any]]:
    """Compose and parse every job that Hydra makes of rewritten arguments, each once.

    Of a search, whose values a sweeper chooses as it goes, this is one job with the options that all trials share.

    Raises:
        ConfigurationError: An option of a job is missing, unknown, or of the wrong type.
    """
    is_search = is_multirun(arguments) and plugin_of("sweeper", arguments) != BASIC
    if is_search and verb != "train":
        raise ConfigurationError("train, the command with an objective", found=verb, remedy="leave hydra/sweeper= out")
    searched = _search_path(arguments)
    of_jobs = _overrides_of_jobs(arguments)
    composed = [compose_config(verb, [*overrides, *searched]) for overrides in of_jobs]  # parsing imports what is large
    if is_search:
        _check_choices(verb, of_jobs[0], arguments)
    jobs = [make_job(verb, config, overrides) for config, overrides in zip(composed, of_jobs, strict=True)]
    return [replace(job, jobs_after=len(jobs) - 1 - index, is_search=is_search) for index, job in enumerate(jobs)]


def check_composition(verb: str, arguments: Sequence[str]) -> None:
    """Raise `ConfigurationError` where the files that rewritten arguments name may not be composed by Hydra."""
    searched = _search_path(arguments)
    for overrides in _overrides_of_jobs(arguments):
        compose_config(verb, [*overrides, *searched])


def _search_path(arguments: Sequence[str]) -> list[str]:
    """Return the override that stands for `--config-dir`; raise `ConfigurationError` if that is no folder."""
    folder = config_dir(arguments)
    if folder and not (path := Path(folder.removeprefix("file://"))).is_dir():
        found = "a file" if path.exists() else "no such folder"
        raise ConfigurationError("--config-dir names a folder", found=found, path=path, remedy="--config-dir <folder>")
    return [f"hydra.searchpath=[{quote_path(folder)}]"] if folder else []


def _check_choices(verb: str, fixed: Sequence[str], arguments: Sequence[str]) -> None:
    """Compose each file of a group that a search may choose, because Hydra composes its trials without us."""
    loader = ConfigLoaderImpl(_all_files(arguments))
    parsed = OverridesParser.create(loader).parse_overrides(overrides_only(arguments))
    for override in parsed:
        if override.is_sweep_override() and loader.get_group_options(override.key_or_group):
            for choice in override.sweep_string_iterator():
                compose_config(verb, [*fixed, f"{override.get_key_element()}={choice}", *_search_path(arguments)])


def make_job(verb: str, composed: DictConfig, overrides: Sequence[str]) -> Job[Any]:
    """Parse a composed configuration; raise `ConfigurationError` for an option that is missing, unknown or wrong."""
    allow_environment(overrides)  # of a job in another process
    values = to_plain_dict(composed)
    return Job(parse_config(verb, values), values, tuple(overrides))


def _overrides_of_jobs(arguments: Sequence[str]) -> list[list[str]]:
    """Return the overrides of each job that Hydra makes of rewritten arguments; of a search, those its trials share."""
    overrides = overrides_only(arguments)
    fixed, swept = split_fixed_and_swept(overrides)  # names the word that is no override; Hydra names the character
    if not is_multirun(arguments):
        return [overrides]
    if plugin_of("sweeper", arguments) != BASIC:
        _check_search(overrides, swept)
        return [fixed]
    parser = OverridesParser.create(ConfigLoaderImpl(_all_files(arguments)))  # glob() asks for the choices of a group
    try:
        (jobs,) = BasicSweeper.split_arguments(parser.parse_overrides(overrides), max_batch_size=None)
    except HydraException as error:
        raise ConfigurationError(
            "a sweep over values that can be listed",
            found=", ".join(swept),
            remedy="choice(), range() or glob(); interval() is for hydra/sweeper=optuna",
        ) from error
    if not jobs:
        raise ConfigurationError(
            "a sweep over one value or more",
            found=", ".join(swept),
            remedy="glob() takes patterns for the choices of a group: network=glob(tira*)",
        )
    return [list(job) for job in jobs]


def _all_files(arguments: Sequence[str]) -> Any:
    """Return Hydra's search path: conf/ and the folder of `--config-dir`."""
    search_path = create_config_search_path(str(config_folder()))
    if folder := config_dir(arguments):
        search_path.append("command-line", folder)
    return search_path


def split_fixed_and_swept(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the overrides that all jobs of a sweep share, and those that differ; of one key the last counts.

    Raises:
        ConfigurationError: Hydra's grammar does not accept an override.
    """
    parser = OverridesParser.create()
    last: dict[str, tuple[str, bool]] = {}
    for word in overrides_only(argv):
        try:
            parsed = parser.parse_override(word)
        except HydraException as error:
            raise ConfigurationError(
                "an override is key=value in Hydra's grammar",
                found=word,
                remedy="put a value with special characters in quotes: \"key='a, b'\"",
            ) from error
        last[parsed.get_key_element()] = (word, parsed.is_sweep_override())
    return [word for word, sweep in last.values() if not sweep], [word for word, sweep in last.values() if sweep]


def _check_search(overrides: Sequence[str], swept: Sequence[str]) -> None:
    """Raise `ConfigurationError` for what Optuna's plugin cannot do, or should not be asked to."""
    parsed = OverridesParser.create().parse_overrides(list(swept))
    keys = [override.get_key_element().lstrip("+") for override in parsed]
    if not keys or "fold" in keys:
        raise ConfigurationError(
            "a search over one option or more, on one fold",
            found=", ".join(swept) or "no option with several values",
            remedy="fold=0 'optimization.optimizer.lr=tag(log, interval(1e-4, 1e-2))'",
        )
    globs = [str(override.input_line) for override in parsed if override.value_type == ValueType.GLOB_CHOICE_SWEEP]
    stored = [word for word in overrides if word.startswith("hydra.sweeper.storage=")]
    if globs or stored:
        raise ConfigurationError(
            "a search that Optuna's plugin of Hydra supports",
            found=", ".join(globs + stored),
            remedy="choice(a,b) for glob(); without a storage, the same command repeats a search from its folders",
        )


def configuration_error(error: Exception, verb: str = "") -> NervesegError:
    """Return an error of Hydra or OmegaConf on one line, with the nearest option that the command has."""
    if isinstance(error.__cause__, NervesegError):  # of our resolver, within OmegaConf's
        return error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    lines = [line for line in lines if not line.startswith(("object_type=", "To append to your config", "Hint"))]
    full = [line.removeprefix("full_key: ") for line in lines if line.startswith("full_key: ")]
    found = " ".join(line for line in lines if not line.startswith("full_key: "))
    suggestion = _nearest_option(verb, found) if verb and "Could not override" in found else ""
    remedy = f"did you mean {suggestion}" if suggestion else "`--cfg job` prints all options with their values"
    if suggestion and f"'{suggestion}'" in found:
        remedy = f"the file that you chose leaves it out, or has other keys in it: add with +{suggestion}=..."
    return ConfigurationError(
        "an option of conf/ with a value that it takes",
        found=f"{found} ({full[0]})" if full else found,
        remedy="-m runs every value" if "requires --multirun" in found else remedy,
    )


def _nearest_option(verb: str, message: str) -> str:
    """Return the option nearest to the one that a message of Hydra names in quotes; empty where there is none."""
    named = message.partition("'")[2].partition("'")[0]
    try:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            config = compose("check" if named.startswith("study.") else verb)  # others have no study by default
            options = list(_leaves(OmegaConf.to_container(config, resolve=False)))
    except (HydraException, OmegaConfBaseException, ValueError):
        return ""
    same_ending = [option for option in options if option.split(".")[-1] == named.split(".")[-1]]
    by_ending = {option.split(".")[-1]: option for option in reversed(options)}
    near = difflib.get_close_matches(named, options, 1) or [
        by_ending[ending] for ending in difflib.get_close_matches(named.split(".")[-1], by_ending, 1)
    ]
    return (same_ending or near or [""])[0]


def _leaves(values: Any, prefix: str = "") -> Iterator[str]:
    for key, value in values.items() if isinstance(values, Mapping) else ():
        yield f"{prefix}{key}"
        yield from _leaves(value, f"{prefix}{key}.")


def to_plain_dict(config: DictConfig) -> dict[str, Any]:
    """Resolve a configuration into plain types; raise `ConfigurationError` if a value is missing or leads nowhere."""
    try:
        container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise configuration_error(error) from error
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}
