"""Check the jobs of `train` and prepare their study before they run; compare the cross-validations afterwards.

In a search for settings, a sweeper chooses each trial's options by the mean Dice of the training subjects that the
trials before it held out. Test subjects do not contribute, so the settings that are found may be tested on them.

The comparison is not a Hydra callback, because Hydra 1.3 skips `on_multirun_end` after a failed job and swallows errors
in it. The jobs are those of Hydra's own sweeper, so any launcher may run them.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from nerveseg.console import say
from nerveseg.errors import ConfigurationError, RunError
from nerveseg.evaluation.comparisons import read_scores, subject_dice
from nerveseg.files import wait_for_lock
from nerveseg.runs import find_folds
from nerveseg.training.distributed import training_processes
from nerveseg.workflows.analyse_scores import print_cached_summary
from nerveseg.workflows.config import TrainConfig
from nerveseg.workflows.evaluate_masks import compare_cross_validation
from nerveseg.workflows.failures import FAILURE, explain_full_disk, is_worker_death, read_failure, run_catching
from nerveseg.workflows.job import Job
from nerveseg.workflows.model_selection import show_settings
from nerveseg.workflows.prepare_study import load_fold
from nerveseg.workflows.run_records import check_data
from nerveseg.workflows.starting_weights import checkpointed_start
from nerveseg.workflows.train_fold import check_configuration
from nerveseg.workflows.training_job import TrainingJob, check_unchanged, is_finished, study_root_changed, training_job

LOCK = ".comparing"  # name of the lock file in the folder of a cross-validation


def train_and_compare(jobs: Sequence[Job[TrainConfig]], run_jobs: Callable[[], None], is_sweep: bool) -> None:
    """Check all jobs, run them, and compare every complete cross-validation; in a sweep every job has to end well.

    Raises:
        NervesegError: A job's configuration or study is wrong; raised before the first job starts.
        RunError: Jobs failed; the others are complete.
    """
    folds = [training_job(job) for job in jobs]
    processes = training_processes()
    if processes.count > 1 and len(folds) > 1:
        raise ConfigurationError(
            "processes that train together train one fold", found=f"{len(folds)} jobs", remedy="fold=0, then the next"
        )
    for fold in folds:
        check_unchanged(fold)
    prepare_folds([fold for fold in folds if not is_finished(fold) or study_root_changed(fold)])
    for fold in folds:
        (fold.folder.path / FAILURE).unlink(missing_ok=True)
    crash = run_catching(run_jobs)
    if not processes.is_first:
        if crash is not None:
            raise crash
        return
    _compare_all(folds)
    failed = [fold for fold in folds if not fold.folder.is_complete] if is_sweep else []
    for fold in failed:
        say(f"failed: {fold.folder.path}: {read_failure(fold.folder.path / FAILURE)}")
    if crash is not None and not (failed and is_worker_death(crash)):
        raise crash
    if failed:
        names = ", ".join(str(fold.folder.path) for fold in failed)
        raise RunError(
            "every job of a sweep ends well",
            found=f"{len(failed)} of {len(folds)} not complete: {names}",
            remedy="correct the errors in the lines above; the same command does only the missing folds",
        )


def _compare_all(jobs: Sequence[TrainingJob]) -> None:
    """Compare the folds of each cross-validation that jobs belong to, then the settings of each run."""
    folders = list(dict.fromkeys(job.cross_validation for job in jobs))
    for folder in folders:
        _compare_if_complete(folder, [job for job in jobs if job.cross_validation == folder])
    for run in dict.fromkeys(job.run for job in jobs):
        if sum(folder.is_relative_to(run) for folder in folders) > 1:
            show_settings(run)


def compare_when_all_are_in(job: TrainingJob) -> None:
    """Compare the folds at the end of a cluster's job if it was the last, since no process may wait for all jobs."""
    if _compare_if_complete(job.cross_validation, [job]):
        show_settings(job.run)


def prepare_folds(jobs: Sequence[TrainingJob]) -> None:
    """Check the configuration of every job first, then make the studies and slices that jobs share."""
    for job in jobs:
        check_configuration(job.config, begins=not (job.folder.is_complete or checkpointed_start(job.folder)))
    keys: dict[str, str] = {}
    for job in jobs:
        shared = repr([job.values[key] for key in ("study", "preprocessing", "folds", "output_root")])
        if shared not in keys:
            with explain_full_disk(job.config.output_root):
                keys[shared] = load_fold(job).store.key
        if job.folder.provenance.is_file():
            check_data(job.folder, keys[shared])


def _compare_if_complete(folder: Path, jobs: list[TrainingJob]) -> bool:
    """Compare the folds if they are complete; print the cached summary if another process has compared them."""
    config = jobs[0].config
    complete = _complete(folder)
    missing = sorted(set(range(config.folds.count)) - complete)
    if missing and (len(jobs) == 1 or not complete):
        say(f"the folds are compared once fold {', '.join(map(str, missing))} is done")
        return False
    with wait_for_lock(folder / LOCK):
        compared = complete if print_cached_summary(folder, config) else None
        while compared != (existing := _complete(folder)):  # again if another process has finished a fold meanwhile
            compare_cross_validation(folder, config, jobs[0].values)
            compared = existing
    return True


def _complete(folder: Path) -> set[int]:
    return {fold.number for fold in find_folds(folder) if fold.is_complete}


def search_settings(job: Job[TrainConfig], run_trials: Callable[[], None]) -> None:
    """Check the job with the options that all trials share, run the trials, and rank their settings.

    Raises:
        NervesegError: A mistake in configuration or study, found before the first trial, or no subject is held out.
    """
    if job.config.folds.validation_fraction == 0:
        raise ConfigurationError(
            "an objective from held-out training subjects; test subjects choose no settings",
            found="folds.validation_fraction=0",
            remedy="folds.validation_fraction=0.25",
        )
    fold = training_job(job)
    prepare_folds([fold])
    crash = run_catching(run_trials)
    show_settings(fold.run)
    if crash is not None:
        raise crash


def read_objective(job: TrainingJob) -> float | None:
    """Return the mean Dice of a fold's held-out training subjects (of each over its classes); None without any."""
    if job.config.folds.validation_fraction == 0 or not job.folder.validation_scores.is_file():
        return None
    return float(subject_dice(read_scores(job.folder.validation_scores))["value"].mean())
