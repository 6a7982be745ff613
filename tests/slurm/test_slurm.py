"""Four folds as a job array of a real Slurm: one is requeued, one is cancelled, and all end in one comparison."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.helpers.composed import training_jobs
from tests.helpers.studies import write_study

pytestmark = pytest.mark.slurm

ROOT = Path(__file__).parents[2]
TINY = (
    "cohort@study.simulate=tiny",
    "preprocessing.size=[48,48]",
    "augmentation=none",
    "network.first_filters=4",
    "network.layers_per_block=1",
    "network.transitions=1",
    "optimization.epochs=20",
    "trainer=cpu",
    "trainer.workers=0",
    "logger=csv",
    "report=false",
)
SUBMITTED = ("hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study("tiny", tmp_path_factory.mktemp("study") / "tiny")


class Training:
    """A sweep of four folds: its command, its folders."""

    def __init__(self, slurm, study, root):
        self.arguments = [f"output_root={root}", "name=t", f"study.root={study}", *TINY]
        self.root = root
        settings = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
        self.environment = {**os.environ, **settings, **slurm.environment}

    def command(self, *further):
        return [sys.executable, "-m", "nerveseg.train", *further, *self.arguments]

    def folders(self):
        return [job.folder for job in training_jobs("fold=0..3", *self.arguments)]

    def tested(self):
        table = pd.read_csv(self.folders()[0].path.parent / "evaluation" / "table1.csv")
        return table[table["comparison"] == "Auto-GT"]["n"].sum()


def sha256(fold):
    return hashlib.sha256((fold.model / "weights.safetensors").read_bytes()).hexdigest()


def is_training(fold):
    return (fold.checkpoints / "last.ckpt").is_file() and not fold.scores.is_file()


def test_a_requeued_fold_goes_on_and_the_comparison_comes_once(slurm, study, tmp_path):
    training = Training(slurm, study, tmp_path / "submitted")
    folds = training.folders()
    with (tmp_path / "printed").open("w") as printed:
        sweep = subprocess.Popen(
            training.command("fold=0..3", *SUBMITTED), cwd=tmp_path, env=training.environment, stdout=printed,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            slurm.until(lambda: is_training(folds[1]), "fold 1 has a checkpoint", 150)
            (task,) = [task for task in slurm.jobs() if task.endswith("_1")]
            slurm.ask("scontrol", "requeue", task)
            shown = slurm.ask("scontrol", "show", "job", task)
            assert not folds[1].scores.is_file(), "it was stopped in the middle"
            code = sweep.wait(240)
        finally:
            sweep.kill()
    output = (tmp_path / "printed").read_text()
    assert code == 0, output
    assert "Restarts=1" in shown + slurm.ask("scontrol", "show", "job", task)
    logs = "\n".join(path.read_text() for path in (tmp_path / "submitted" / "t").rglob("*_log.out"))
    assert "fold 1 goes on from its last checkpoint" in logs
    assert "Traceback" not in logs
    assert logs.count("tables and figures:") == 1, "the last job compares, once"
    assert "Table 1" in output
    assert training.tested() == 8
    assert not list(folds[0].path.parent.rglob("failure.json"))
    alone = Training(slurm, study, tmp_path / "alone")
    subprocess.run(alone.command("fold=1"), cwd=tmp_path, env=alone.environment, check=True, capture_output=True)
    assert sha256(folds[1]) == sha256(alone.folders()[1]), "as if nothing had happened"


def test_a_cancelled_fold_is_named_missing_and_the_same_array_does_only_that(slurm, study, tmp_path):
    training = Training(slurm, study, tmp_path / "array")
    folds = training.folders()
    script = tmp_path / "folds.sh"
    words = " ".join(f"'{word}'" for word in training.command())
    script.write_text(f"#!/bin/sh\nexec {words} fold=$SLURM_ARRAY_TASK_ID\n", encoding="utf-8")
    sbatch = [
        "sbatch",
        "--parsable",
        "--array=0-3",
        f"--output={tmp_path}/%a-%A.log",
        f"--chdir={tmp_path}",
        str(script),
    ]

    def submit():
        done = subprocess.run(sbatch, env=training.environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    first = submit()
    slurm.until(lambda: is_training(folds[2]), "fold 2 has a checkpoint", 150)
    slurm.ask("scancel", f"{first}_2")
    slurm.until(lambda: not slurm.jobs(), "the others end", 150)
    assert [fold.is_complete for fold in folds] == [True, True, False, True]
    assert not (folds[0].path.parent / "evaluation").exists()
    told = [path.read_text() for path in tmp_path.glob(f"*-{first}.log")]
    assert sum("the folds are compared once fold" in text for text in told) == 3
    assert "stopped by SIGTERM; the same command continues" in (tmp_path / f"2-{first}.log").read_text()
    weights = {fold.number: sha256(fold) for fold in folds if fold.is_complete}
    begun = time.monotonic()
    second = submit()
    slurm.until(lambda: not slurm.jobs(), "all end", 150)
    assert time.monotonic() - begun < 150
    told = {number: (tmp_path / f"{number}-{second}.log").read_text() for number in range(4)}
    assert "fold 2 goes on from its last checkpoint" in told[2]
    assert all(f"fold {number} is complete" in told[number] for number in (0, 1, 3))
    assert {number: sha256(folds[number]) for number in weights} == weights
    assert sum("tables and figures:" in text for text in told.values()) == 1
    assert training.tested() == 8
