"""The main job at its smallest: the tiny synthetic study, a network of a few hundred weights, one or two epochs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.studies import write_study

ROOT = Path(__file__).parents[2]
TINY = (
    "cohort@study.simulate=tiny",
    "preprocessing.size=[48,48]",
    "augmentation=none",
    "network.first_filters=4",
    "network.growth_rate=2",
    "network.layers_per_block=1",
    "network.transitions=1",
    "optimization.epochs=2",
    "trainer.workers=0",
    "trainer.accelerator=cpu",
    "logger=csv",
    "report=false",
)
"""Overrides that make `train` quick."""


class Command:
    """Runs `python -m nerveseg.<verb>` in a folder of its own, as a user would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, verb, *arguments, code=0, program=None, environment=None):
        program = program or [sys.executable, "-m", f"nerveseg.{verb}"]
        settings = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
        done = subprocess.run(
            [*program, *map(str, arguments)],
            cwd=self.folder,
            env={**inherited, **settings, **(environment or {})},
            capture_output=True,
            text=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
        return done


@pytest.fixture(scope="session")
def command(tmp_path_factory):
    return Command(tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="session")
def tiny_study(tmp_path_factory):
    """The tiny synthetic study, simulated once; whoever alters it copies it first."""
    return write_study("tiny", tmp_path_factory.mktemp("study") / "tiny")


@pytest.fixture(scope="session")
def tiny_overrides():
    return TINY
