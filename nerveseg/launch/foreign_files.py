"""Limits on configuration files of others: no settings of Hydra, and only listed environment variables.

A study file, or any file of a `--config-dir`, is data. It may not change the `hydra` node, whose callbacks, launchers
and loggers name code that Hydra runs; and of the environment it sees the variables in `OPEN_VARIABLES` only. What the
user types on the command line is the user's own: `hydra.launcher.n_jobs=2`, `name='${oc.env:USER}'`.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf

from nerveseg.errors import ConfigurationError
from nerveseg.yaml_files import check_yaml, yaml_error

OPEN_VARIABLES = ("NERVESEG_DATA",)  # environment variables that configuration files may read

_OF_THE_JOB = ("job.override_dirname", "job.config_name", "runtime.", "overrides.task")
"""Keys of the `hydra` node that Hydra fills for each job, from our arguments."""

_TYPED_VARIABLE = re.compile(r"(?<!\\)\$\{\s*oc\.env\s*:\s*([A-Za-z_][A-Za-z0-9_]*)")
_typed: set[str] = set()
_NOT_GIVEN = object()


def check_hydra_node(composed: DictConfig, overrides: Sequence[str], conf: Path) -> None:
    """Raise `ConfigurationError` where a file changes the `hydra` node; call within `initialize_config_dir`.

    The node is compared with that of the folder `conf` and of the command line's overrides alone.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    typed = [str(override.input_line) for override in parsed if override.is_hydra_override()]
    choice = str(composed.hydra.runtime.choices.get("hydra"))
    if not (conf / "hydra" / f"{choice}.yaml").is_file():
        raise _not_ours(f"hydra={choice}")
    found = OmegaConf.to_container(composed.hydra, resolve=False)
    changed = next(_changed(_own_node(choice, tuple(typed)), found), None)
    if changed is not None:
        raise _not_ours(f"hydra.{changed}")


@cache
def _own_node(choice: str, typed: tuple[str, ...]) -> Any:
    ours = compose(overrides=[f"+hydra={choice}", *typed], return_hydra_config=True)
    return OmegaConf.to_container(ours.hydra, resolve=False)


def _not_ours(found: str) -> ConfigurationError:
    return ConfigurationError(
        "configuration files leave the hydra node as it is, because it can run code",
        found=found,
        remedy="take it out of the file, or type it on the command line",
    )


def _changed(expected: Any, found: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key in {**expected, **found}:
            if not f"{prefix}{key}".startswith(_OF_THE_JOB) and f"{prefix}{key}." not in _OF_THE_JOB:
                yield from _changed(expected.get(key, _NOT_GIVEN), found.get(key, _NOT_GIVEN), f"{prefix}{key}.")
    elif expected != found:
        yield prefix.rstrip(".")


def allow_environment(arguments: Sequence[str]) -> None:
    """Let configurations read the environment variables that a command line names."""
    _typed.update(name for word in arguments for name in _TYPED_VARIABLE.findall(word))


def _environment(name: str, default: Any = _NOT_GIVEN) -> Any:
    """Return a variable for `${oc.env:...}`; raise `ConfigurationError` if it is not set, or a file may not read it."""
    if name not in (*OPEN_VARIABLES, *_typed):
        raise ConfigurationError(
            f"configuration files read of the environment only {', '.join(OPEN_VARIABLES)}",
            found=f"${{oc.env:{name}}}",
            remedy="write the value into the file, or type the option with ${oc.env:...} on the command line",
        )
    if name not in os.environ and default is _NOT_GIVEN:
        raise ConfigurationError("the environment variable is set", found=name, remedy=f"export {name}=<value>")
    value = os.environ.get(name, default)
    return None if value is None else str(value)


class CheckedFiles(FileConfigSource):
    """Source of configuration files, which are known to be YAML of bounded size before Hydra loads them."""

    def load_config(self, config_path: str) -> ConfigResult:
        """Load a file of the search path; raise `ConfigurationError` if it is no YAML that Hydra can load."""
        path = Path(self.path, self._normalize_file_name(config_path)).resolve()
        if path.exists():
            check_yaml(path)
        try:
            loaded = super().load_config(config_path)
            if not isinstance(loaded.config, DictConfig):
                raise TypeError(f"a {type(OmegaConf.to_container(loaded.config)).__name__} instead of key: value")
            return loaded
        except HydraException:
            raise
        except Exception as error:  # of yaml, OmegaConf and Hydra, for a file that is not as they expect
            raise yaml_error(path, error) from error


Plugins.instance()  # registers Hydra's own sources
CheckedFiles.__name__ = FileConfigSource.__name__  # a launcher's process registers sources again, known by their names
SourcesRegistry.instance().types["file"] = CheckedFiles
OmegaConf.register_new_resolver("oc.env", _environment, replace=True)
