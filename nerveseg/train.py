"""`python -m nerveseg.train`: train folds of a cross-validation, each a Hydra job, and compare them at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from nerveseg.launch.command import console, run_command


def train(config: Any) -> None:
    """One Hydra job: one fold."""
    from nerveseg.launch.configuration import job_overrides, plain
    from nerveseg.launch.fold import run_fold
    from nerveseg.launch.settings import training_job

    run_fold(training_job(plain(config), job_overrides()), console)


def _around(arguments: list[str], run_jobs: Callable[[], None]) -> None:
    from nerveseg.launch.sweep import train_and_compare

    train_and_compare(arguments, run_jobs, console)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command("train", train, argv, around=_around)


if __name__ == "__main__":
    sys.exit(main())
