"""Before and after the jobs of `train`: the study is made once, mistakes are found early, the comparison comes last.

The end of a sweep belongs here and not to a Hydra callback: Hydra 1.3 skips `on_multirun_end` after a failed job and
swallows errors in it. Which jobs a sweep has is asked of Hydra's own sweeper, so any launcher may run them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from nerveseg.errors import RunError
from nerveseg.launch.arguments import is_multirun, search_path
from nerveseg.launch.comparison import compare_cross_validation
from nerveseg.launch.configuration import compose_config, overrides_of_jobs, plain
from nerveseg.launch.fold import check_configuration, load_fold
from nerveseg.launch.presenting import presentation, show_again
from nerveseg.launch.settings import TrainingJob, check_data, check_unchanged, moved, training_job
from nerveseg.runs import find_folds


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
    for job in jobs:
        check_unchanged(job)
    _prepare([job for job in jobs if not job.folder.is_complete or moved(job)], console)
    before = {job.folder.path for job in jobs if job.folder.is_complete}
    crash = _crash_of(run_jobs)
    for folder in dict.fromkeys(job.cross_validation for job in jobs):
        own = [job for job in jobs if job.cross_validation == folder]
        _compare_if_complete(folder, own, before.issuperset(job.folder.path for job in own), console)
    if crash is not None:
        raise crash
    failed = [job for job in jobs if not job.folder.is_complete]
    if failed and is_multirun(arguments):
        names = ", ".join(str(job.folder.path) for job in failed)
        raise RunError(
            "every job of a sweep ends well",
            found=f"not complete: {names}",
            remedy="mend what the lines above say; the same command does only what is missing",
        )


def planned_jobs(arguments: Sequence[str]) -> list[TrainingJob]:
    """The jobs that Hydra makes of these arguments.

    Raises:
        ConfigurationError: A job's configuration cannot be composed.
    """
    return [
        training_job(plain(compose_config("train", [*job, *search_path(arguments)])), job)
        for job in overrides_of_jobs(arguments)
    ]


def _prepare(jobs: Sequence[TrainingJob], console: Console) -> None:
    """Check every job, the cheap things first, and make the studies and slices that they share."""
    for job in jobs:
        check_configuration(job.config)
    keys: dict[str, str] = {}
    for job in jobs:
        shared = repr([job.config[key] for key in ("study", "preprocessing", "folds", "output_root")])
        if shared not in keys:
            keys[shared] = load_fold(job, console).store.key
        if job.folder.provenance.is_file():
            check_data(job.folder, keys[shared])


def _crash_of(run_jobs: Callable[[], None]) -> Exception | None:
    """A fault of ours in one job, which Hydra reports when all have run: it must not cost the others' comparison."""
    try:
        run_jobs()
    except Exception as crash:
        return crash
    return None


def _compare_if_complete(folder: Path, jobs: list[TrainingJob], nothing_new: bool, console: Console) -> None:
    config = jobs[0].config
    complete = {fold.number for fold in find_folds(folder) if fold.is_complete}
    missing = sorted(set(range(config["folds"]["count"])) - complete)
    if missing and (len(jobs) == 1 or not complete):
        console.print(f"the comparison follows when fold {', '.join(map(str, missing))} is done too", highlight=False)
        return
    shown = presentation(config, console)
    if not (nothing_new and show_again(folder, shown)):
        compare_cross_validation(folder, shown)
