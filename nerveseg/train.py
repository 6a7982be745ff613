"""`python -m nerveseg.train`: train folds of a cross-validation, each a Hydra job, and compare them at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from nerveseg.launch import command


def train(config: Any) -> None:
    """One Hydra job: one fold. A launcher may send this function to another process; a console does not travel."""
    from nerveseg.launch.configuration import job_overrides, plain
    from nerveseg.launch.failures import FAILURE, failure_recorded
    from nerveseg.launch.fold import run_fold
    from nerveseg.launch.interruption import full_disk_is_told, full_memory_is_told
    from nerveseg.launch.launching import is_cluster_job
    from nerveseg.launch.settings import training_job
    from nerveseg.launch.sweep import compare_when_all_are_in

    fold = training_job(plain(config), job_overrides())
    place = fold.folder.path
    with failure_recorded(place / FAILURE), full_disk_is_told(place), full_memory_is_told(place):
        run_fold(fold, command.console)
    if is_cluster_job():
        compare_when_all_are_in(fold, command.console)


def _around(arguments: list[str], run_jobs: Callable[[], None]) -> None:
    from nerveseg.launch.sweep import train_and_compare

    train_and_compare(arguments, run_jobs, command.console)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return command.run_command("train", train, argv, around=_around)


if __name__ == "__main__":
    sys.exit(main())
