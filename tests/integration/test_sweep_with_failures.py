"""A sweep of which jobs fail: the others are done, the comparison is made of them, the rerun does what is missing."""

import json
import os
import signal
import subprocess
import sys
import time
from glob import glob
from pathlib import Path

import pandas as pd
import pytest

from tests.helpers.composed import training_jobs
from tests.helpers.main_job import processes_naming

pytestmark = pytest.mark.integration


@pytest.fixture
def arguments(tiny_overrides, tiny_study, tmp_path):
    once = [word for word in tiny_overrides if not word.startswith("optimization.epochs")]
    return [f"output_root={tmp_path}", "name=t", f"study.root={tiny_study}", "folds.count=2", *once]


def folders(*typed):
    return {(job.config.seed, job.config.fold): job.folder for job in training_jobs(*typed)}


@pytest.mark.slow
def test_one_failed_job_of_a_grid(command, arguments, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    grid = ["-m", "fold=0,1", "seed=1,2", "optimization.epochs=1", "folds.validation_fraction=0.3", *arguments]
    side_by_side = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    folds = folders(*grid)
    broken = folds[2, 1]
    broken.checkpoints.mkdir(parents=True)
    (broken.checkpoints / "last.ckpt").write_bytes(b"half a checkpoint")
    done = command("train", *grid, *side_by_side, code=2)
    assert "1 of 4 not complete" in done.stderr
    assert str(broken.path) in done.stderr
    (told,) = [line for line in done.stdout.splitlines() if line.startswith("failed: ")]
    assert "last.ckpt" in told, "and why"
    assert [key for key, fold in folds.items() if not fold.is_complete] == [(2, 1)]
    assert "Only part of the cross-validation: fold 1 is missing" in done.stdout
    table = pd.read_csv(tmp_path / "t" / "settings.csv", keep_default_na=False)
    assert table[["seed", "folds", "missing"]].to_numpy().tolist() == [[1, 2, ""], [2, 1, "1"]], "complete ones first"
    assert json.loads((tmp_path / "t" / "settings.json").read_text())["chosen_by"] == "validation_dice"
    provenance = json.loads(folds[1, 0].provenance.read_text())
    assert provenance["command"][:2] == ["nerveseg train", "-m"], "what was typed, not what the launcher started"
    held = set(pd.read_csv(folds[1, 0].validation_scores, dtype=str)["subject"])
    trained = set(json.loads((folds[1, 0].model / "model.json").read_text())["training"]["subjects"])
    tested = {path.name[4:7] for path in folds[1, 0].predictions.glob("*_mask.nii.gz")}
    assert [len(held), held & trained, held & tested, trained & tested] == [1, set(), set(), set()]
    before = {fold.scores: fold.scores.stat().st_mtime_ns for fold in folds.values() if fold.is_complete}
    (broken.checkpoints / "last.ckpt").unlink()
    again = command("train", *grid)
    assert again.stdout.count("is complete") == 3
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (pd.read_csv(tmp_path / "t" / "settings.csv", keep_default_na=False)["missing"] == "").all()
    assert not list(tmp_path.rglob("failure.json"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds the job's process in /proc")
def test_a_killed_job_is_awaited_by_nobody_and_the_others_by_all(arguments, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    words = ["fold=0,1", "-m", "optimization.epochs=25", "hydra/launcher=submitit_local", *arguments]
    settings = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2]), "CUDA_VISIBLE_DEVICES": ""}
    with (tmp_path / "printed").open("w") as printed:
        sweep = subprocess.Popen(
            [sys.executable, "-m", "nerveseg.train", *words], cwd=tmp_path, env={**os.environ, **settings},
            stdout=printed, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            # `Path.rglob` fails where a temporary folder vanishes while it walks; `glob` goes on
            while not glob(f"{tmp_path}/**/last.ckpt", recursive=True) and sweep.poll() is None:
                time.sleep(0.1)
            first = processes_naming("submitit.core._submit", tmp_path)[0]
            os.kill(first, signal.SIGKILL)
            assert sweep.wait(200) == 2, (tmp_path / "printed").read_text()
        finally:
            sweep.kill()
    output = (tmp_path / "printed").read_text()
    complete = [fold for fold in folders(*words).values() if fold.is_complete]
    (killed,) = [fold for fold in folders(*words).values() if not fold.is_complete]
    assert len(complete) == 1, "which was still running when the other died"
    assert f"failed: {killed.path}: no error was recorded" in output
    assert "1 of 2 not complete" in output
    assert "Traceback" not in output
    assert "Table 1" in output
