"""A fold that `torchrun` trains in two processes."""

import os
import signal
import subprocess
import sys
import time
from glob import glob
from pathlib import Path

import pytest
import torch

from nerveseg.training.checkpointed_loggers import read_metrics
from tests.helpers.main_job import processes_naming, train, weights

pytestmark = pytest.mark.integration

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
TRAIN = [*TORCHRUN, "-m", "nerveseg.train"]


@pytest.fixture
def arguments(tiny_overrides, tiny_study, tmp_path):
    plain = [word for word in tiny_overrides if not word.startswith("optimization.epochs")]
    return ["fold=0", f"study.root={tiny_study}", "optimization.epochs=3", *plain]


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(command, arguments, tmp_path):
    script = Path(__file__).parents[1] / "helpers" / "two_processes.py"
    trained = {}
    for name, program in (("alone", [sys.executable]), ("both", TORCHRUN)):
        output = tmp_path / f"{name}.pt"
        words = [*arguments, f"output_root={tmp_path}", "folds.validation_fraction=0.1"]
        command("train", output, *words, program=[*program, str(script)])
        trained[name] = torch.load(output, weights_only=True)
    assert trained["alone"]["steps"] == trained["both"]["steps"] > 3
    assert set(trained["alone"]["validation"]) == {"validation/dice", "validation/loss"}
    assert trained["both"]["validation"] == pytest.approx(trained["alone"]["validation"], rel=1e-3)
    for name, expected in trained["alone"]["weights"].items():
        torch.testing.assert_close(trained["both"]["weights"][name], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds the processes in /proc")
def test_a_fold_of_two_processes_is_one_run_and_goes_on_after_a_kill(command, arguments, tmp_path):
    folders = {}
    for name in ("straight", "killed"):
        words = [*arguments, f"output_root={tmp_path / name}", "network.dropout=0.3"]
        if name == "killed":
            settings = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
            with subprocess.Popen(
                [*TRAIN, *words], cwd=tmp_path, env={**os.environ, **settings},
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            ) as started:  # fmt: skip
                # `Path.rglob` fails where a temporary folder vanishes while it walks; `glob` goes on
                while not glob(f"{tmp_path / name}/**/last.ckpt", recursive=True) and started.poll() is None:
                    time.sleep(0.01)
                # torchrun and what it started, which is not of its process group
                for process in processes_naming(tmp_path / name):
                    os.kill(process, signal.SIGKILL)
        done = command("train", *words, program=TRAIN)
        assert done.stdout.count("mean test Dice") == 1, "the first process alone speaks"
        assert ("goes on" in done.stdout) == (name == "killed")
        (folders[name],) = (tmp_path / name).rglob("fold-0")
    rows = read_metrics(folders["straight"] / "metrics.csv")
    assert [row["step"] for row in rows] == list(range(len(rows)))
    assert "2 processes" in (folders["straight"] / "provenance.json").read_text(encoding="utf-8")
    before, after = weights(folders["straight"]), weights(folders["killed"])
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    for file in ("metrics.csv", "scores.csv"):
        assert (folders["killed"] / file).read_bytes() == (folders["straight"] / file).read_bytes()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            "optimization.batch_size=3",
            "batch_size is shared out evenly to 2 processes; found: 3; remedy: optimization.batch_size=4",
        ),
        ("fold=0..1", "processes that train together train one fold; found: 2 jobs"),
    ],
)
def test_what_cannot_be_shared_out_is_refused(change, words, arguments, tmp_path, monkeypatch, capsys):
    for name, value in {"TORCHELASTIC_RUN_ID": "1", "RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert train([*arguments, f"output_root={tmp_path}", change]) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.rglob("config.yaml"))
