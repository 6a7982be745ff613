"""Read users' YAML files, after checks of their size, depth, tags, double keys and aliases."""

from pathlib import Path
from typing import Any

import yaml

from nerveseg.errors import ConfigurationError, NervesegError

LARGEST_BYTES = 1_000_000
DEEPEST = 50
MOST_NODES = 20_000
"""Largest number of values in a file once its aliases are expanded; ten lines of aliases can stand for billions."""

_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map", "merge")}
_DATES = {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value"}  # unquoted dates, and the text "="
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path, error: type[NervesegError] = ConfigurationError) -> Any:
    """Read a YAML file as plain types; raise an error of the class `error` for a faulty file."""
    text = check_yaml(path, error)
    try:
        return yaml.load(text, Loader=_LOADER)
    except (yaml.YAMLError, ValueError) as fault:
        raise yaml_error(path, fault, error) from fault


def check_yaml(path: Path, error: type[NervesegError] = ConfigurationError) -> str:
    """Return the text of a YAML file that can be loaded safely and in little memory; raise `error` for any other."""
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise yaml_error(path, f"{path.stat().st_size:,} bytes, more than {LARGEST_BYTES:,}", error)
        text = path.read_text(encoding="utf-8")
        depth = 0
        for event in yaml.parse(text, Loader=_LOADER):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise yaml_error(path, _at(event, f"more than {DEEPEST} levels"), error)
        _check_nodes(yaml.compose(text, Loader=_LOADER), {})
    except (OSError, ValueError, yaml.YAMLError) as fault:
        raise yaml_error(path, fault, error) from fault
    return text


def yaml_error(path: Path, fault: Exception | str, error: type[NervesegError] = ConfigurationError) -> NervesegError:
    """Return the error of a YAML file with the line that a parser names."""
    mark = getattr(fault, "problem_mark", None)
    found = getattr(fault, "problem", None) or getattr(fault, "strerror", None) or fault
    found = " ".join(str(found).split())[:200]
    if mark is not None:
        found = f"line {mark.line + 1}: {found}"
    return error("a file is YAML that can be read", found=found, path=path, remedy="correct the file, or restore it")


def _at(place: Any, found: str) -> str:
    return f"line {place.start_mark.line + 1}: {found}"


def _check_nodes(node: Any, sizes: dict[int, int]) -> int:
    """Return the number of values below a node with its aliases expanded; raise ValueError for what is refused."""
    if id(node) in sizes:
        return sizes[id(node)]
    if node is None:
        return 0
    if node.tag not in _TAGS | _DATES:
        raise ValueError(_at(node, f"the tag {node.tag}"))
    sizes[id(node)] = MOST_NODES  # as seen by an alias of the node inside itself
    below: list[Any] = node.value if isinstance(node, yaml.SequenceNode) else []
    if isinstance(node, yaml.MappingNode):
        keys: set[object] = set()
        for key, value in node.value:
            if (key.tag, str(key.value)) in keys:
                raise ValueError(_at(key, f"the key {key.value} a second time"))
            keys.add((key.tag, str(key.value)))
            below += [key, value]
    size = 1 + sum(_check_nodes(child, sizes) for child in below)
    if size > MOST_NODES:
        raise ValueError(_at(node, f"more than {MOST_NODES:,} values, through aliases"))
    sizes[id(node)] = size
    return size
