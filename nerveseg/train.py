"""`python -m nerveseg.train`: train folds of a cross-validation, each a Hydra job, and compare them at the end."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from nerveseg.launch.launchers import is_cluster_job
from nerveseg.launch.main import run_command


def train(job: Any) -> float | None:
    """Train and test one fold, and return its objective; a launcher may call this function in another process."""
    from nerveseg.workflows.sweep import compare_when_all_are_in, read_objective
    from nerveseg.workflows.train_fold import run_recorded_fold
    from nerveseg.workflows.training_job import training_job

    fold = training_job(job)
    run_recorded_fold(fold)
    if is_cluster_job():
        compare_when_all_are_in(fold)
    return read_objective(fold)


def _wrap_jobs(jobs: Sequence[Any], run_jobs: Callable[[], None], is_sweep: bool) -> None:
    from nerveseg.workflows.prepare_study import check_study_folder
    from nerveseg.workflows.training_job import training_job

    for job in jobs if not jobs[0].is_search else ():
        check_study_folder(training_job(job))
    from nerveseg.workflows.sweep import search_settings, train_and_compare  # imports torch, which takes seconds

    if jobs[0].is_search:
        search_settings(jobs[0], run_jobs)
    else:
        train_and_compare(jobs, run_jobs, is_sweep)


main = partial(run_command, "train", train, wrap_jobs=_wrap_jobs)
"""Function that runs the command on the words typed after it, and returns its exit code."""

if __name__ == "__main__":
    sys.exit(main())
