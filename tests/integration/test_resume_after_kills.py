"""A run that is killed at any moment, as often as one likes, ends as one that nobody disturbed: bit for bit."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nerveseg.files import file_sha256
from tests.helpers.main_job import weights
from tests.helpers.wandb_server import rows, run_files

PROGRAM = Path(__file__).parents[1] / "helpers" / "killing.py"
STEP = "trainer/global_step"
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.integration


class Runs:
    """A tiny training with dropout and augmentation whose rate falls; runs it, with signals, in a folder of its own."""

    def __init__(self, folder, study, overrides):
        words = [word for word in overrides if not word.startswith(("augmentation", "optimization.epochs", "logger"))]
        self.folder = folder
        self.arguments = [
            "fold=2", "optimization.epochs=6", "network.dropout=0.3",
            "augmentation=fast", f"study.root={study}", *words,
        ]  # fmt: skip

        inherited = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
        self.process = subprocess.Popen(
            [sys.executable, PROGRAM],
            cwd=folder,
            env={**inherited, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def __call__(self, name, *signals, extra=()):
        """The fold's folder, and what became of each process."""
        root = self.folder / name
        plan = {"arguments": [*self.arguments, *extra, f"output_root={root}"], "output_root": str(root)}
        print(json.dumps(plan | {"signals": signals}), file=self.process.stdin, flush=True)
        results = json.loads(self.process.stdout.readline())
        assert results[-1]["code"] == 0, results[-1]["output"]
        (fold,) = root.rglob("fold-2")
        return fold, results


@pytest.fixture(scope="module")
def runs(tiny_overrides, tiny_study, tmp_path_factory):
    killing = Runs(tmp_path_factory.mktemp("killed"), tiny_study, tiny_overrides)
    yield killing
    with killing.process:
        killing.process.stdin.close()


@pytest.fixture(scope="module")
def straight(runs):
    fold, (result,) = runs("straight")
    return fold, result["seconds"]


def assert_same(fold, undisturbed):
    for file in ("model/weights.safetensors", "metrics.csv", "scores.csv"):
        assert file_sha256(fold / file) == file_sha256(undisturbed / file), file
    one, other = (torch.load(path / "checkpoints/last.ckpt", weights_only=True) for path in (fold, undisturbed))
    for part in ("optimizer_states", "lr_schedulers", "epoch", "global_step", "SliceDataModule"):
        assert same(one[part], other[part]), part
    assert dashboard(fold) == dashboard(undisturbed)


def same(one, other):
    """Equality of nested values, tensors to the last bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def dashboard(fold):
    """What the W&B file of a run holds of its training, but for times and memory."""
    (path,) = run_files(fold)
    kept = [
        {key: value for key, value in row.items() if not key.startswith(("_", "speed/", "memory/"))}
        for row in rows(path)
    ]
    return [row for row in kept if not any(key.startswith("test/") for key in row)]


def test_an_undisturbed_run_has_every_step_once_in_its_dashboard(straight):
    fold, _ = straight
    steps = [row[STEP] for row in dashboard(fold)]
    assert steps == list(range(len(steps)))
    assert len(steps) == len((fold / "metrics.csv").read_text(encoding="utf-8").splitlines()) - 1
    rates = [row["learning_rate"] for row in dashboard(fold)]
    assert len(set(rates)) == 6
    assert rates == sorted(rates, reverse=True)


def test_killed_terminated_and_interrupted_it_ends_the_same(runs, straight):
    fold, results = runs(
        "disturbed",
        (signal.SIGKILL, "checkpoint", 0.0),
        (signal.SIGTERM, "checkpoint", 0.05),
        (signal.SIGKILL, "checkpoint", 0.1),
        (signal.SIGINT, "checkpoint", 0.0),
    )
    assert [result["code"] for result in results] == [-signal.SIGKILL, 128 + signal.SIGTERM, -signal.SIGKILL, 130, 0]
    assert "stopped by SIGTERM; the same command continues" in results[1]["output"]
    assert ["goes on from its last checkpoint" in result["output"] for result in results] == [False, *[True] * 4]
    assert_same(fold, straight[0])


@pytest.mark.slow
def test_with_a_damaged_last_checkpoint_it_goes_on_from_the_one_before_and_ends_the_same(runs, straight):
    original = straight[0]
    root = next(parent for parent in original.parents if parent.name == "straight")
    (fold,) = shutil.copytree(root, runs.folder / "damaged", symlinks=True).rglob("fold-2")
    (fold / "scores.csv").unlink()
    last = fold / "checkpoints/last.ckpt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    fold, (result,) = runs("damaged")
    words = " ".join(result["output"].split())
    assert f"warning: {last} is damaged" in words
    assert f"{last.with_name('previous.ckpt')}, the checkpoint before, is used" in words
    assert_same(fold, original)


@pytest.mark.slow
def test_killed_at_twenty_random_moments_it_ends_the_same(runs, straight):
    """Half of the moments lie anywhere in the life of a process, half right behind a checkpoint."""
    undisturbed, seconds = straight
    draw = random.Random(20180601)
    kills, number, moment = 0, 0, 0
    while kills < 20:
        planned = []
        for _ in range(min(5, 20 - kills)):
            late = ("checkpoint", draw.uniform(0, 0.2))
            planned.append((signal.SIGKILL, *(("start", draw.uniform(0, seconds)) if moment % 2 else late)))
            moment += 1
        fold, results = runs(f"killed-{number}", *planned, extra=[f"trainer.workers={2 * (number == 1)}"])
        kills += sum(result["code"] == -signal.SIGKILL for result in results)
        number += 1
        assert_same(fold, undisturbed)
        assert number < 40, "a process is killed before its end in one of two trainings at least"
    assert number >= 4
    assert weights(fold).keys() == weights(undisturbed).keys()
