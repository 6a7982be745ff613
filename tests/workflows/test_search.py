"""A search with Optuna: what its trials share, what is refused, and the objective of a trial that fails."""

import math

import pytest

from nerveseg.errors import ConfigurationError
from nerveseg.launch.arguments import to_hydra_overrides
from nerveseg.launch.compose import compose_jobs
from nerveseg.launch.main import FAILED_TRIAL, JobRunner
from nerveseg.workflows.sweep import search_settings

pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")

OPTUNA = "hydra/sweeper=optuna"
RATE = "optimization.optimizer.lr=tag(log,interval(1e-4,1e-1))"
HELD_OUT = "folds.validation_fraction=0.3"


def compose(*typed, verb="train"):
    return compose_jobs(verb, to_hydra_overrides(verb, [OPTUNA, *typed]))


def test_a_search_is_one_job_of_what_its_trials_share():
    (job,) = compose(RATE, HELD_OUT, "seed=1,2", "network.growth_rate=4")
    assert job.is_search
    assert job.config.network["growth_rate"] == 4
    assert job.config.folds.validation_fraction == 0.3
    assert not [word for word in job.overrides if "seed" in word or "lr" in word]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ((RATE, "fold=0..3"), RATE),
        ((HELD_OUT,), "no option"),
        ((RATE, "network=glob(*)"), "network=glob(*)"),
        ((RATE, "hydra.sweeper.storage=sqlite:///a.db"), "hydra.sweeper.storage"),
    ],
)
def test_what_a_search_cannot_do_is_refused(typed, found):
    with pytest.raises(ConfigurationError) as caught:
        compose(*typed)
    assert found in caught.value.found


def test_other_commands_have_no_objective():
    with pytest.raises(ConfigurationError) as caught:
        compose("seed=1,2", verb="evaluate")
    assert caught.value.found == "evaluate"


def test_test_subjects_choose_no_settings():
    (job,) = compose(RATE)
    with pytest.raises(ConfigurationError) as caught:
        search_settings(job, lambda: pytest.fail("no trial is run"))
    assert caught.value.found == "folds.validation_fraction=0"


def _mistake(job):
    raise ConfigurationError("a rule", found="a slip")


@pytest.mark.parametrize(
    ("run_job", "objective"), [(_mistake, FAILED_TRIAL), (lambda job: math.nan, FAILED_TRIAL), (lambda job: 0.5, 0.5)]
)
def test_a_trial_that_fails_has_the_worst_objective(run_job, objective):
    assert JobRunner("train", run_job, [], []).run(None) == objective
