"""Console that commands print to; of several processes that train together only the first prints."""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from nerveseg.errors import NervesegError

Item = TypeVar("Item")

console = Console(quiet=os.environ.get("RANK", "0") != "0", width=None if sys.stdout.isatty() else 100)
"""Console of the process: as wide as the terminal, or 100 characters in a log file."""


def say(text: str, style: str | None = None) -> None:
    """Print one line as it is: no markup, no highlighting, no line breaks."""
    console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)


def track_progress(items: Sequence[Item], description: str) -> Iterable[Item]:
    """Yield items with a progress bar where there is a terminal."""
    return track(items, description, console=console, transient=True, disable=not console.is_terminal)


def print_error(error: NervesegError) -> None:
    """Print an error as one line on the error stream."""
    print(f"error: {error}", file=sys.stderr, flush=True)
