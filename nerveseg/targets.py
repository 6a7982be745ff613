"""Find and call the classes that a configuration names with `_target_`, and refuse those that it may not name.

A name of the packages in `OPEN_PACKAGES` works as it is; a name of any other package works once the user's own
configuration lists that package in `plugins`. Nothing else is imported, and nothing is called that is not defined in
the package that its name begins with: every module leads on to what it imports (`torch.optim.adam.torch.load`).
"""

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any

from nerveseg.errors import ConfigurationError, NervesegError

OPEN_PACKAGES = (
    "nerveseg.networks",
    "nerveseg.data.augmentation",
    "nerveseg.training",
    "torch.nn",
    "torch.optim",
    "monai.losses",
    "monai.networks.nets",
    "pytorch_lightning.callbacks",
    "pytorch_lightning.loggers",
)
"""Packages and modules whose classes every configuration may name."""

TARGET, PARTIAL = "_target_", "_partial_"


def instantiate_target(values: object, key: str, plugins: Sequence[str] = (), **arguments: Any) -> Any:
    """Call the class that a section of the configuration names, with the section's other values as keywords.

    Args:
        values: Section in plain types: `_target_`, optionally `_partial_: true` (returns a `functools.partial`), and
            keyword arguments. Sections with a `_target_` among the arguments are instantiated first.
        key: Name of the section, for errors.
        plugins: Packages of the user's own that may be named too.
        **arguments: Further keyword arguments; they replace values of the section.

    Raises:
        ConfigurationError: The class may not be named, does not exist, or does not take these arguments.
    """
    if not isinstance(values, Mapping) or not values.get(TARGET):
        raise ConfigurationError(
            f"{key} is a section with a {TARGET}",
            found="no _target_" if isinstance(values, Mapping) else values,
            remedy=f"choose a file of conf/{_group(key)}/: {_group(key)}=<name>",
        )
    factory = find_target(str(values[TARGET]), key, plugins)
    options = {name: value for name, value in values.items() if name not in (TARGET, PARTIAL)}
    is_partial = bool(values.get(PARTIAL, False))
    _check_keywords(factory, {**options, **arguments}, key)
    options = {name: _nested(value, f"{key}.{name}", plugins) for name, value in options.items()} | arguments
    if is_partial:
        return partial(factory, **options)
    try:
        return factory(**options)
    except NervesegError:
        raise
    except Exception as error:  # whatever a constructor raises about its arguments
        raise ConfigurationError(
            f"the options of {key} suit {values[TARGET]}",
            found=" ".join(f"{type(error).__name__}: {error}".split()),
            remedy=f"see the file of conf/{_group(key)}/ that you chose, and the documentation of the class",
        ) from error


def find_target(
    name: str, key: str, plugins: Sequence[str] = (), packages: Sequence[str] = OPEN_PACKAGES
) -> Callable[..., Any]:
    """Return the class (of a plugin also the function) that a dotted name stands for, such as `torch.optim.Adam`.

    The name may be of `packages` and of the user's `plugins`; errors name the option `key`, which holds it.

    Raises:
        ConfigurationError: The name is of another package, or there is no such class.
    """
    if not _is_within(name, (*packages, *plugins)):
        package = name.split(".")[0]
        raise ConfigurationError(
            f"{key}.{TARGET} is a class of {', '.join(packages)}, or of a package in plugins",
            found=name,
            remedy=f"plugins=[{package}] opens the package {package}, which runs its code; docs/extending.md",
        )
    module, cls = _import(name, key)
    if cls is None:
        name_in_module = name.removeprefix(f"{module.__name__}.")
        similar = difflib.get_close_matches(name_in_module, [each for each in dir(module) if each[:1] != "_"], 1)
        raise ConfigurationError(
            f"{key}.{TARGET} names a class that exists",
            found=name,
            remedy=f"did you mean {module.__name__}.{similar[0]}"
            if similar
            else f"see the classes of {module.__name__}",
        )
    is_callable = inspect.isclass(cls) or (_is_within(name, plugins) and callable(cls))
    if not is_callable or not _is_within(str(getattr(cls, "__module__", "")), (*packages, *plugins)):
        raise ConfigurationError(
            f"{key}.{TARGET} names a class that is defined in the package its name begins with",
            found=f"{name}, a {type(cls).__name__} of {getattr(cls, '__module__', 'no module')}",
            remedy=f"name a class of {', '.join((*packages, *plugins))}",
        )
    return cls  # type: ignore[no-any-return]


def _is_within(name: str, packages: Sequence[str]) -> bool:
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


def _import(name: str, key: str) -> tuple[Any, Any]:
    """Return the innermost module of a dotted name, and the object in it; None where it has no such object."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        module_name = ".".join(parts[:length])
        try:
            module = import_module(module_name)
        except ModuleNotFoundError as error:
            if length == 1 or not f"{module_name}.".startswith(f"{error.name}."):
                raise _import_error(name, key, error) from error
            continue
        except Exception as error:  # a plugin's module may raise anything
            raise _import_error(name, key, error) from error
        found: Any = module
        for part in parts[length:]:
            found = getattr(found, part, None)
        return module, None if found is module else found
    raise AssertionError("a name has at least one part")


def _import_error(name: str, key: str, error: Exception) -> ConfigurationError:
    package = name.split(".")[0]
    return ConfigurationError(
        f"{key}.{TARGET} names a class that can be imported",
        found=f"{name}: {type(error).__name__}: {' '.join(str(error).split())}",
        remedy=f"install {package}, or name the folder that holds it: PYTHONPATH=<folder>",
    )


def _check_keywords(factory: Callable[..., Any], options: Mapping[str, Any], key: str) -> None:
    """Raise `ConfigurationError` where a callable does not take a keyword, or is given a text for a number."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # written in C: its own error has to do
        return
    for parameter in parameters:
        _check_number(parameter, options.get(parameter.name), f"{key}.{parameter.name}")
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return
    accepted = [parameter.name for parameter in parameters]
    unknown = next((name for name in options if name not in accepted), None)
    if unknown is not None:
        similar = difflib.get_close_matches(unknown, accepted, 1)
        raise ConfigurationError(
            f"{key} has options that {getattr(factory, '__name__', factory)} takes",
            found=f"{key}.{unknown}",
            remedy=f"did you mean {key}.{similar[0]}" if similar else f"options: {', '.join(accepted)}",
        )


def _check_number(parameter: inspect.Parameter, value: Any, option: str) -> None:
    """Raise `ConfigurationError` for a text where the default is a number and the annotation allows no text."""
    is_number = isinstance(parameter.default, int | float) and not isinstance(parameter.default, bool)
    takes_text = any(word in str(parameter.annotation) for word in ("str", "Literal"))
    if isinstance(value, str) and is_number and not takes_text:
        raise ConfigurationError(f"{option} is a number", found=value, remedy=f"a number, as {parameter.default}")


def _nested(value: Any, key: str, plugins: Sequence[str]) -> Any:
    if isinstance(value, Mapping):
        if TARGET in value:
            return instantiate_target(value, key, plugins)
        return {name: _nested(item, f"{key}.{name}", plugins) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_nested(item, f"{key}.{index}", plugins) for index, item in enumerate(value)]
    return value


def _group(key: str) -> str:
    return key.split(".")[0]
