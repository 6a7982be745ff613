r"""Rewrite the words of a command line into overrides that Hydra's grammar accepts.

A command line holds flags (`-m`, `--cfg job`), overrides (`key=value`) and, for some, one bare path. The rules:

- A range `a..b` of integers is inclusive and a sweep: `fold=0..3` is `--multirun fold=0,1,2,3`, `seed=1..3,7` too.
  A sweeper other than Hydra's basic one (`hydra/sweeper=optuna`) needs no flag either.
  Floats, quoted strings and ranges within brackets are left alone.
- A key that holds a path takes any path literally: no character of it means anything to Hydra or OmegaConf. A leading
  `~` is the home folder, as in a shell. Two forms are Hydra's own, unless a file of just that name exists: `null` (no
  path) and quoted strings (`run='a b'`; several, as in `run='a','b'`, are the only way to sweep over paths).
- A bare path is `input=...`. A word is an override where the text before its first `=` could be a key; a relative path
  that looks so is written `./te=82.nii`. After `--` a path may begin with `-`.
- Flags come first in the result, because Hydra's parser refuses overrides on both sides of a flag. The rest keeps its
  order and its spelling.

References:
    Hydra 1.3, "Basic Override syntax" (`OverrideLexer.g4`) and OmegaConf 2.3, "Escapes in string literals".
"""

import os
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from nerveseg.errors import ConfigurationError
from nerveseg.launch.hydra_flags import check_flags, is_info_request, is_multirun, separate_flags

PATH_KEYS = (
    "input", "output", "model", "init", "run", "prediction", "output_root", "*.root", "images.*", "maps.*", "muscle",
    "norms", "mask", "automatic", "first", "second", "repeats", "review",
)  # fmt: skip
"""Keys, or patterns of keys, whose value is a path."""

OPEN_KEYS = (
    "images.*", "maps.*", "network.*", "loss.*", "augmentation.*", "callbacks.*", "logger.*", "trainer.*",
    "optimization.optimizer.*", "optimization.schedule.*", "smallest_detectable_change.*",
)  # fmt: skip
"""Keys that conf/ need not have: names that the user invents (`maps.T2map=...`), keyword arguments of a `_target_` or
of `pl.Trainer`. Hydra takes them with `++`; parsing and the class itself refuse those that do not exist."""

TAKE_INPUT = ("segment", "measure")  # commands that take a bare path, their `input`
TAKE_TWO = ("compare",)  # commands that take two bare paths, their `first` and `second`

LARGEST_SWEEP = 1000  # largest number of values in one range; a longer one is taken for a typing error

USAGE = {
    "simulate": "python -m nerveseg.simulate cohort=demo output=my-study",
    "train": "python -m nerveseg.train fold=0..3",
    "evaluate": "python -m nerveseg.evaluate run=outputs/demo",
    "segment": "python -m nerveseg.segment scan.nii.gz output=out",
    "measure": "python -m nerveseg.measure scan.nii.gz mask=corrected.nii.gz output=out",
    "compare": "python -m nerveseg.compare first/ second/ output=out",
    "check": "python -m nerveseg.check study=bids study.root=my-study",
}

_NAME = r"[A-Za-z0-9_$][A-Za-z0-9_$-]*"
_KEY = rf"(?:{_NAME}(?:\.{_NAME})*|{_NAME}(?:/{_NAME})+)(?:@[A-Za-z0-9_$.:-]*)?"
_ASSIGNMENT = re.compile(rf"(?P<sign>\+{{0,2}})(?P<key>{_KEY})=(?P<value>.*)", re.DOTALL)
_INTEGER = r"-?(?:0|[1-9][0-9]*)"
_RANGE = re.compile(rf"({_INTEGER})\.\.({_INTEGER})")
_PLAIN_ITEM = re.compile(r"[A-Za-z0-9_.+-]+")
_QUOTED = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_QUOTED_STRINGS = re.compile(rf"{_QUOTED}(?:[ \t]*,[ \t]*{_QUOTED})*", re.DOTALL)


def to_hydra_overrides(verb: str, argv: Sequence[str]) -> list[str]:
    """Return the words typed after a command for Hydra, by the rules above.

    Raises:
        ConfigurationError: A range, a bare argument, a flag or a number of shards breaks a rule.
    """
    flags, words = separate_flags(argv)
    check_flags(verb, flags)
    named = _name_input(verb, words)
    overrides = [_override(word) for word in named]
    swept = any(_is_sweep(word) for word in named)
    if swept and not is_multirun(flags) and not is_info_request(flags):
        flags.insert(0, "--multirun")
    return flags + overrides + (_count_shards(overrides) if verb == "segment" and is_multirun(flags) else [])


def _count_shards(overrides: Sequence[str]) -> list[str]:
    """Return the override with the number of shards in `shard=0..15`; raise if only some of them are named."""
    named = [word.partition("=")[2].split(",") for word in overrides if word.startswith("shard=")]
    if not named or any(word.startswith("shards=") for word in overrides):
        return []
    numbers = {int(value) for value in named[-1] if value.isdecimal()}
    if not numbers or numbers != set(range(len(numbers))) or len(numbers) != len(named[-1]):
        raise ConfigurationError(
            "a sweep over some of the shards gives the number of all shards",
            found=f"shard={','.join(named[-1])}",
            remedy="shards=16",
        )
    return [f"shards={len(numbers)}"]


def _name_input(verb: str, words: Sequence[str]) -> list[str]:
    """Turn the bare word into `input=...`; leave all other words as they are."""
    bare = [word for word in words if _is_bare(word)]
    if not bare:
        return list(words)
    usage = USAGE.get(verb, f"python -m nerveseg.{verb} key=value")
    if verb in TAKE_TWO:
        return _name_two(verb, words, bare, usage)
    if verb not in TAKE_INPUT:
        raise ConfigurationError(
            f"{verb} takes options as key=value", found=repr(bare[0]), remedy=f"write for example: {usage}"
        )
    inputs = bare + [word for word in words if word.startswith("input=")]
    if len(inputs) > 1:
        raise ConfigurationError(
            f"{verb} takes one input",
            found=" and ".join(map(repr, inputs)),
            remedy=f"put a path with spaces, or a pattern, in quotes: {usage}",
        )
    if not bare[0]:
        raise ConfigurationError("an input is a path", found="an empty argument", remedy=f"for example: {usage}")
    return [f"input={word}" if _is_bare(word) else word for word in words]


def _name_two(verb: str, words: Sequence[str], bare: Sequence[str], usage: str) -> list[str]:
    """Turn two bare words into `first=...` and `second=...`."""
    if len(bare) != 2 or not all(bare):
        raise ConfigurationError(f"{verb} takes two folders", found=" and ".join(map(repr, bare)), remedy=usage)
    names = iter(("first", "second"))
    return [f"{next(names)}={word}" if _is_bare(word) else word for word in words]


def _is_bare(word: str) -> bool:
    """Return true for a word that is neither `key=value` nor `+key...` nor `~key` (`~/scan.nii` is a path)."""
    return _ASSIGNMENT.fullmatch(word) is None and (word.startswith("~/") or not word.startswith(("+", "~")))


def _override(word: str) -> str:
    assignment = _ASSIGNMENT.fullmatch(word)
    if assignment is None:
        return word
    sign, key, value = assignment["sign"], assignment["key"], assignment["value"]
    if not sign and any(fnmatchcase(key, pattern) for pattern in OPEN_KEYS):
        sign = "++"
    if _holds_path(key):
        return f"{sign}{key}={_path_value(value)}"
    if _is_range(word):
        return f"{sign}{key}={_spell_out(key, value)}"
    return f"{sign}{key}={value}"


def _holds_path(key: str) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in PATH_KEYS)


def _path_value(value: str) -> str:
    """Quote a literal path; leave `null` and quoted strings as they are unless a file has that name."""
    if (value == "null" or _QUOTED_STRINGS.fullmatch(value)) and not os.path.lexists(value):
        return value
    return quote_path(os.path.expanduser(value))


def quote_path(path: str) -> str:
    r"""Return a path as a quoted string that Hydra and OmegaConf turn back into the same path.

    OmegaConf reads `${` as an interpolation unless a backslash precedes it, and halves the backslashes before an
    escaped `${`; Hydra halves backslashes before a quote. The path `???`, OmegaConf's sign for a missing value, has no
    escape and becomes `./???`.

    >>> print(quote_path("it's, 50 %"))
    'it\'s, 50 %'
    """
    path = "./???" if path == "???" else path
    path = re.sub(r"(\\*)\$\{", r"\1\1\\${", path)
    path = re.sub(r"(\\*)'", r"\1\1\\'", path)
    path = re.sub(r"(\\+)\Z", r"\1\1", path)
    return f"'{path}'"


def _is_sweep(word: str) -> bool:
    """Return true if an override asks for several jobs without `--multirun`."""
    return _is_range(word) or (word.startswith("hydra/sweeper=") and word != "hydra/sweeper=basic")


def _is_range(word: str) -> bool:
    """Return true if an override's value is a list of plain words of which at least one is `a..b`."""
    assignment = _ASSIGNMENT.fullmatch(word)
    if assignment is None or _holds_path(assignment["key"]):
        return False
    items = _items(assignment["value"])
    return all(map(_PLAIN_ITEM.fullmatch, items)) and any(map(_RANGE.fullmatch, items))


def _items(value: str) -> list[str]:
    return [item.strip(" \t") for item in value.split(",")]


def _spell_out(key: str, value: str) -> str:
    """Return the values of a list with ranges: `1..3,7` becomes `1,2,3,7`."""
    spelled: list[str] = []
    for item in _items(value):
        limits = _RANGE.fullmatch(item)
        spelled.extend(_integers(key, int(limits[1]), int(limits[2])) if limits else [item])
    return ",".join(spelled)


def _integers(key: str, first: int, last: int) -> list[str]:
    if last < first:
        raise ConfigurationError(
            "a range a..b counts upward", found=f"{key}={first}..{last}", remedy=f"{key}={last}..{first}"
        )
    if last - first >= LARGEST_SWEEP:
        raise ConfigurationError(
            f"a range has at most {LARGEST_SWEEP} values",
            found=f"{key}={first}..{last}",
            remedy=f"a smaller range, or quotes if it is no range: {key}='{first}..{last}'",
        )
    return [str(number) for number in range(first, last + 1)]
