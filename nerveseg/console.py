"""Console that commands print to; of several processes that train together only the first prints."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, track

from nerveseg.errors import NervesegError
from nerveseg.names import console_line

Item = TypeVar("Item")

PLAIN: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False}
"""Options of every console: texts hold names, which are no markup."""

console = Console(quiet=os.environ.get("RANK", "0") != "0", width=None if sys.stdout.isatty() else 100, **PLAIN)
"""Console of the process: as wide as the terminal, or 100 characters in a log file."""


def say(text: str, style: str | None = None) -> None:
    """Print one line as it is: no markup, no line breaks but one at its start, no control characters."""
    start = "\n" if text.startswith("\n") else ""
    console.print(start + console_line(text.lstrip("\n")), style=style, soft_wrap=True)


def track_progress(items: Sequence[Item], description: str) -> Iterable[Item]:
    """Yield items with a progress bar where there is a terminal."""
    return track(items, description, console=console, transient=True, disable=not console.is_terminal)


@contextmanager
def report_progress(description: str, total: int | None = None) -> Iterator[Callable[[int, int], None]]:
    """Yield a function of the numbers of steps done and of all steps that moves a bar where there is a terminal."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(escape(description), total=total)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def print_error(error: NervesegError) -> None:
    """Print an error as one line on the error stream."""
    print(f"error: {error}", file=sys.stderr, flush=True)
