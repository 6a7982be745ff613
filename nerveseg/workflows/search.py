"""Search for settings: each trial's options are chosen by the objective of the trials before it.

The objective of a trial is the mean Dice of the training subjects that its fold holds out. Test subjects do not
contribute to the objective, so the settings that are found may be tested on them.
"""

from collections.abc import Callable

from nerveseg.errors import ConfigurationError
from nerveseg.evaluation.comparisons import automatic_dice, read_scores
from nerveseg.workflows.config import TrainConfig
from nerveseg.workflows.failures import run_catching
from nerveseg.workflows.job import Job
from nerveseg.workflows.model_selection import show_settings
from nerveseg.workflows.sweep import prepare_folds
from nerveseg.workflows.training_job import TrainingJob, training_job


def search_settings(job: Job[TrainConfig], run_trials: Callable[[], None]) -> None:
    """Check the job with the options that all trials share, run the trials, and rank their settings.

    Raises:
        ConfigurationError: No training subject is held out, so there is no objective.
        NervesegError: A mistake in the configuration or the study, found before the first trial.
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
    """Return the mean Dice of a fold's held-out training subjects; None where it has none."""
    if job.config.folds.validation_fraction == 0 or not job.folder.validation_scores.is_file():
        return None
    return float(automatic_dice(read_scores(job.folder.validation_scores))["value"].mean())
