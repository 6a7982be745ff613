"""Flags on a command line (`-m`, `--cfg job`): which words they are, and what they ask of Hydra."""

import os
from collections.abc import Sequence
from itertools import zip_longest

from nerveseg.errors import ConfigurationError

_VALUE_FLAGS = ("--cfg", "--package", "--config-path", "--config-name", "--config-dir", "--experimental-rerun")
_SHORT_VALUE_FLAGS = ("-c", "-p", "-cp", "-cn", "-cd")
_INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
_OTHER_MODES = ("--cfg", "--info", "--run", "--help", "--hydra-help", "--version", "--shell-completion")
_SHORT_OTHER_MODES = ("-c", "-i", "-r", "-h", "-sc")
_FLAGS = ("--package", "--config-dir", *_OTHER_MODES, "--multirun", "--resolve")
"""Long flags of Hydra without those that replace the commands' own configuration or run a pickled one."""
_SHORT_FLAGS = ("-p", "-cd", *_SHORT_OTHER_MODES, "-m")


def is_multirun(argv: Sequence[str]) -> bool:
    """Return true if Hydra runs these (rewritten) arguments as a sweep."""
    return any(flag == "-m" or _abbreviates(flag, "--multirun") for flag in separate_flags(argv)[0])


def is_info_request(argv: Sequence[str]) -> bool:
    """Return true if a flag asks Hydra to show something, such as the configuration, instead of running."""
    names = [flag.partition("=")[0] for flag in separate_flags(argv)[0]]
    return any(name in _SHORT_OTHER_MODES or any(_abbreviates(name, mode) for mode in _OTHER_MODES) for name in names)


def is_completion(argv: Sequence[str]) -> bool:
    """Return true if a shell asks Hydra to complete words."""
    names = [flag.partition("=")[0] for flag in separate_flags(argv)[0]]
    return any(name == "-sc" or (len(name) > 3 and _abbreviates(name, "--shell-completion")) for name in names)


def overrides_only(argv: Sequence[str]) -> list[str]:
    """Return the overrides without flags and without the values of flags (`--config-dir DIR`)."""
    return separate_flags(argv)[1]


def check_flags(verb: str, flags: Sequence[str]) -> None:
    """Raise `ConfigurationError` for a flag that Hydra's command line does not have."""
    for index, flag in enumerate(flags):
        name, joined, value = flag.partition("=")
        if index > 0 and _takes(flags[index - 1], flag) and not _is_flag(flag):
            continue
        exists = any(_abbreviates(name, each) for each in _FLAGS) if name.startswith("--") else name in _SHORT_FLAGS
        if not exists:
            option = name.lstrip("-")
            raise ConfigurationError(
                f"{verb} takes options as key=value, and Hydra's flags",
                found=flag,
                remedy=f"{option}={value}" if joined else f"write {option}=<value>; --help lists flags and options",
            )


def config_dir(argv: Sequence[str]) -> str | None:
    """Return the folder of `--config-dir` as Hydra's search path spells it."""
    flags = separate_flags(argv)[0]
    for flag, value in zip_longest(flags, flags[1:], fillvalue=""):
        name, joined, folder = flag.partition("=")
        if name == "-cd" or (len(name) > len("--config-") and _abbreviates(name, "--config-dir")):
            return "file://" + os.path.abspath(folder if joined else value)
    return None


def separate_flags(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the flags with their values, and all other words; words after `--` are never flags."""
    flags: list[str] = []
    words: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            words.extend(rest)
            break
        if not _is_flag(word):
            words.append(word)
            continue
        if rest and _takes(word, rest[0]):
            flags.extend([word, rest.pop(0)])
        else:
            flags.append("--info=all" if word in ("-i", "--info") else word)  # or Hydra takes an override for its value
    return flags, words


def _is_flag(word: str) -> bool:
    return word.startswith("-") and word != "-"


def _abbreviates(flag: str, name: str) -> bool:
    """Return true if argparse reads a flag as this long name (it accepts unique beginnings)."""
    return name.startswith(flag)


def _takes(flag: str, value: str) -> bool:
    """Return true if the next word is this flag's value."""
    if flag in ("-i", "--info"):
        return value in _INFO
    return flag in _SHORT_VALUE_FLAGS or any(_abbreviates(flag, name) for name in _VALUE_FLAGS)
