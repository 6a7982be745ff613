"""`python -m nerveseg.train`: train folds of a cross-validation, each a Hydra job, and compare them at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from nerveseg.launch.main import console, run_command


def train(config: Any) -> None:
    """One Hydra job: one fold. A launcher may send this function to another process; a console does not travel."""
    from nerveseg.launch.compose import job_overrides, to_plain_dict
    from nerveseg.launch.launchers import is_cluster_job
    from nerveseg.workflows.failures import FAILURE, explain_full_disk, explain_out_of_memory, record_failure
    from nerveseg.workflows.sweep import compare_when_all_are_in
    from nerveseg.workflows.train_fold import run_fold
    from nerveseg.workflows.training_job import training_job

    fold = training_job(to_plain_dict(config), job_overrides())
    place = fold.folder.path
    with record_failure(place / FAILURE), explain_full_disk(place), explain_out_of_memory(place):
        run_fold(fold, console)
    if is_cluster_job():
        compare_when_all_are_in(fold, console)


def _wrap_jobs(arguments: list[str], run_jobs: Callable[[], None]) -> None:
    from nerveseg.workflows.sweep import train_and_compare

    train_and_compare(arguments, run_jobs, console)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command("train", train, argv, wrap_jobs=_wrap_jobs)


if __name__ == "__main__":
    sys.exit(main())
