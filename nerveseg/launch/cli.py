"""The `nerveseg` command: `nerveseg <verb> ...` is the same as `python -m nerveseg.<verb> ...`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

VERBS = {
    "simulate": "write a synthetic study",
    "check": "is a study fit to use?",
    "train": "train folds of a cross-validation and compare them",
    "evaluate": "Table 1 of a finished sweep, or of the raters alone",
    "segment": "masks and numbers of new scans, with a trained model",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    verb = arguments[0] if arguments else "--help"
    if verb in VERBS:
        code: int = import_module(f"nerveseg.{verb}").main(arguments[1:])
        return code
    asked = verb in ("--help", "-h")
    if not asked:
        print(f"error: the first word is one of {', '.join(VERBS)}; found: {verb}", file=sys.stderr)
    print("usage: nerveseg <verb> [option=value ...]\n", file=sys.stdout if asked else sys.stderr)
    for name, purpose in VERBS.items():
        print(f"  {name:10}{purpose}", file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2
