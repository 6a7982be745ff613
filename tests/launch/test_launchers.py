"""How jobs share the cores, and what a launcher that is not installed says."""

import pytest

from nerveseg.errors import ConfigurationError
from nerveseg.launch import launchers
from nerveseg.launch.compose import compose_config
from nerveseg.launch.launchers import (
    is_cluster_job,
    plugin_of,
    threads_of_job,
    with_plugin_settings,
)
from nerveseg.workflows.failures import is_worker_death


@pytest.mark.parametrize(
    ("jobs", "at_once", "cores", "environment", "threads"),
    [
        (8, 2, 8, {}, 4),
        (8, -1, 8, {}, 1),
        (8, -2, 8, {}, 1),
        (2, 8, 8, {}, 4),
        (4, None, 8, {}, 2),
        (16, None, 2, {}, 1),
        (4, None, 64, {"SLURM_CPUS_PER_TASK": "6"}, 6),
        (4, None, 4, {"SLURM_CPUS_PER_TASK": "6"}, 4),
        (4, None, 64, {"SLURM_CPUS_ON_NODE": "3"}, 3),
        (4, None, 8, {"SLURM_CPUS_ON_NODE": "8", "SUBMITIT_EXECUTOR": "local"}, 2),
    ],
)
def test_threads_of_a_job(jobs, at_once, cores, environment, threads):
    assert threads_of_job(jobs, at_once, cores, environment) == threads


def test_the_last_launcher_named_counts():
    assert plugin_of("launcher", ["fold=0"]) == "basic"
    assert plugin_of("launcher", ["hydra/launcher=joblib", "hydra/launcher=basic"]) == "basic"


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "submitit_slurm"])
def test_a_plugin_that_is_missing_is_named_with_its_remedy(launcher, monkeypatch):
    monkeypatch.setattr(launchers, "PLUGINS", {launcher: "hydra_plugins.no_such_launcher"})
    with pytest.raises(ConfigurationError) as caught:
        plugin_of("launcher", [f"hydra/launcher={launcher}"])
    assert f"hydra/launcher={launcher}" in caught.value.rule
    assert "nerveseg[cluster]" in caught.value.remedy


def test_a_lost_process_is_told_from_a_fault():
    lost = pytest.importorskip("submitit.core.utils").UncompletedJobError
    assert is_worker_death(lost("killed"))
    assert not is_worker_death(RuntimeError("ours"))


def test_who_was_submitted_knows():
    assert is_cluster_job({"SUBMITIT_EXECUTOR": "slurm"})
    assert not is_cluster_job({"SLURM_JOB_ID": "3"}), "a shell on a node has someone who waits"


def test_our_settings_of_a_launcher_compose_and_give_way_to_the_users():
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    assert with_plugin_settings(["fold=0"]) == ["fold=0"]
    for launcher in ("joblib", "submitit_local", "submitit_slurm"):
        words = with_plugin_settings([f"hydra/launcher={launcher}"])
        assert compose_config("train", words)["fold"] == 0, "no setting that the plugin does not have"
    words = with_plugin_settings(["hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1"])
    assert [word for word in words if "cpus_per_task" in word] == ["hydra.launcher.cpus_per_task=1"]
    assert "hydra.launcher.max_num_timeout=20" in words


def test_our_settings_of_optuna_compose_and_give_way_to_the_users():
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    words = with_plugin_settings(["hydra/sweeper=optuna", "hydra.sweeper.sampler.seed=7"])
    assert compose_config("train", words)["fold"] == 0, "no setting that the plugin does not have"
    assert words[2:] == ["hydra.sweeper.direction=maximize", "hydra.sweeper.n_jobs=1"]
    random = with_plugin_settings(["hydra/sweeper=optuna", "hydra/sweeper/sampler=grid"])
    assert compose_config("train", random)["fold"] == 0, "a sampler without a seed"


def test_a_sweeper_that_is_missing_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(launchers, "PLUGINS", {"optuna": "hydra_plugins.no_such_sweeper"})
    with pytest.raises(ConfigurationError) as caught:
        plugin_of("sweeper", ["hydra/sweeper=optuna"])
    assert caught.value.remedy == "pip install 'nerveseg[sweep]'"
