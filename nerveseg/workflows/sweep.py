"""Before and after the jobs of `train`: the study is made once, mistakes are found early, the comparison comes last.

The end of a sweep belongs here and not to a Hydra callback: Hydra 1.3 skips `on_multirun_end` after a failed job and
swallows errors in it. Which jobs a sweep has is asked of Hydra's own sweeper, so any launcher may run them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from nerveseg.errors import ConfigurationError, RunError
from nerveseg.files import wait_for_lock
from nerveseg.launch.arguments import config_dir_override, is_multirun
from nerveseg.launch.compose import compose_config, overrides_of_jobs, to_plain_dict
from nerveseg.launch.launchers import is_worker_death, run_catching
from nerveseg.runs import find_folds
from nerveseg.training.distributed import training_processes
from nerveseg.workflows.analyse_scores import parse_evaluation_options, print_cached_summary
from nerveseg.workflows.evaluate_masks import compare_cross_validation
from nerveseg.workflows.failures import FAILURE, clear_failure, explain_full_disk, read_failure
from nerveseg.workflows.model_selection import show_settings
from nerveseg.workflows.train_fold import check_configuration, load_fold
from nerveseg.workflows.training_job import (
    TrainingJob,
    check_data,
    check_unchanged,
    is_finished,
    study_root_changed,
    training_job,
)

LOCK = ".comparing"
"""In the folder of a cross-validation."""


def train_and_compare(arguments: list[str], run_jobs: Callable[[], None], console: Console) -> None:
    """Check all jobs, run them, and compare every cross-validation that is complete.

    Args:
        arguments: Rewritten for Hydra.
        run_jobs: Runs Hydra, one job or several.
        console: Told what happens.

    Raises:
        NervesegError: A mistake in any job's configuration or study, found before the first one starts.
        RunError: Jobs failed; the others are complete.
    """
    jobs = planned_jobs(arguments)
    processes = training_processes()
    if processes.count > 1 and len(jobs) > 1:
        raise ConfigurationError(
            "processes that train together train one fold", found=f"{len(jobs)} jobs", remedy="fold=0, then the next"
        )
    for job in jobs:
        check_unchanged(job)
    _prepare([job for job in jobs if not is_finished(job) or study_root_changed(job)], console)
    for job in jobs:
        clear_failure(job.folder.path / FAILURE)
    crash = run_catching(run_jobs)
    if not processes.is_first:
        if crash is not None:
            raise crash
        return
    compare_all(jobs, console)
    failed = [job for job in jobs if not job.folder.is_complete] if is_multirun(arguments) else []
    for job in failed:
        why = read_failure(job.folder.path / FAILURE)
        console.print(f"failed: {job.folder.path}: {why}", highlight=False, soft_wrap=True, markup=False)
    if crash is not None and not (failed and is_worker_death(crash)):
        raise crash
    if failed:
        names = ", ".join(str(job.folder.path) for job in failed)
        raise RunError(
            "every job of a sweep ends well",
            found=f"{len(failed)} of {len(jobs)} not complete: {names}",
            remedy="mend what the lines above say; the same command does only what is missing",
        )


def planned_jobs(arguments: Sequence[str]) -> list[TrainingJob]:
    """The jobs that Hydra makes of these arguments.

    Raises:
        ConfigurationError: A job's configuration cannot be composed.
    """
    return [
        training_job(to_plain_dict(compose_config("train", [*job, *config_dir_override(arguments)])), job)
        for job in overrides_of_jobs(arguments)
    ]


def compare_all(jobs: Sequence[TrainingJob], console: Console) -> None:
    """Compare the folds of each cross-validation that jobs belong to, then the settings of each run."""
    folders = list(dict.fromkeys(job.cross_validation for job in jobs))
    for folder in folders:
        own = [job for job in jobs if job.cross_validation == folder]
        _compare_if_complete(folder, own, console)
    for run in dict.fromkeys(_run(job) for job in jobs):
        if sum(folder.is_relative_to(run) for folder in folders) > 1:
            show_settings(run, console)


def compare_when_all_are_in(job: TrainingJob, console: Console) -> None:
    """What a job of a cluster does at its end, since nobody may be left to wait for all: the last one compares.

    Args:
        job: Which has just ended.
        console: Told the result.
    """
    if _compare_if_complete(job.cross_validation, [job], console):
        show_settings(_run(job), console)


def _prepare(jobs: Sequence[TrainingJob], console: Console) -> None:
    """Check every job, the cheap things first, and make the studies and slices that they share."""
    for job in jobs:
        check_configuration(job.config)
    keys: dict[str, str] = {}
    for job in jobs:
        shared = repr([job.config[key] for key in ("study", "preprocessing", "folds", "output_root")])
        if shared not in keys:
            with explain_full_disk(Path(job.config["output_root"])):
                keys[shared] = load_fold(job, console).store.key
        if job.folder.provenance.is_file():
            check_data(job.folder, keys[shared])


def _compare_if_complete(folder: Path, jobs: list[TrainingJob], console: Console) -> bool:
    """Compare once, if it is time: who comes later, or at the same time from another job, shows what was printed."""
    config = jobs[0].config
    complete = _complete(folder)
    missing = sorted(set(range(config["folds"]["count"])) - complete)
    if missing and (len(jobs) == 1 or not complete):
        console.print(f"the comparison follows when fold {', '.join(map(str, missing))} is done too", highlight=False)
        return False
    shown = parse_evaluation_options(config, console)
    with wait_for_lock(folder / LOCK):
        compared = complete if print_cached_summary(folder, shown) else None
        while compared != (there := _complete(folder)):  # and again where another process has ended a fold meanwhile
            compare_cross_validation(folder, shown)
            compared = there
    return True


def _run(job: TrainingJob) -> Path:
    return Path(job.config["output_root"]) / str(job.config["name"])


def _complete(folder: Path) -> set[int]:
    return {fold.number for fold in find_folds(folder) if fold.is_complete}
