import sys

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from nerveseg.launch.launchers import remaining_jobs

BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"


@pytest.fixture
def job(monkeypatch):
    def of(number, arguments, mode="MULTIRUN", launcher=BASIC):
        from hydra.types import RunMode

        hydra = OmegaConf.create({"mode": RunMode[mode], "launcher": {"_target_": launcher}, "job": {"num": number}})
        monkeypatch.setattr(HydraConfig, "initialized", staticmethod(lambda: True))
        monkeypatch.setattr(HydraConfig, "get", staticmethod(lambda: hydra))
        monkeypatch.setattr(sys, "argv", ["nerveseg train", *arguments])

    return of


@pytest.mark.parametrize(("number", "left"), [(0, 7), (3, 4), (7, 0)])
def test_jobs_of_the_whole_grid_are_counted(job, number, left):
    job(number, ["--multirun", "fold=0,1,2,3", "seed=1,2", "name=x"])
    assert remaining_jobs() == left


def test_one_job_and_jobs_side_by_side_have_none_after(job):
    job(0, ["fold=0"], mode="RUN")
    assert remaining_jobs() == 0
    job(0, ["--multirun", "fold=0,1"], launcher="hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher")
    assert remaining_jobs() == 0


def test_outside_of_hydra_there_are_none():
    assert remaining_jobs() == 0
