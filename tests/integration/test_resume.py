"""A run that was interrupted goes on as if nothing had happened, or says why it must not."""

import hashlib
import json
import math
import re
import shutil
import signal

import pytest
import pytorch_lightning as pl
import torch
import yaml

from nerveseg.launch.compose import config_folder
from nerveseg.train import main as train
from nerveseg.training.checkpointed_loggers import read_metrics
from nerveseg.workflows.failures import FAILURE
from tests.helpers.main_job import in_process, weights

pytestmark = pytest.mark.integration


OPTIONAL = ["study=phantom_fatsat", "study.optional={FS:0.5}"]


@pytest.fixture
def straight(request, tiny_overrides, tiny_study, tmp_path):
    """Arguments of a fold of three epochs, with dropout and augmentation, and its folder after an undisturbed run."""
    overrides = [word for word in tiny_overrides if not word.startswith(("augmentation", "optimization.epochs"))]
    arguments = ["fold=2", "optimization.epochs=3", "network.dropout=0.3", "augmentation.elastic_probability=0.0"]
    arguments += [*getattr(request, "param", []), f"study.root={tiny_study}", *overrides]
    in_process(*arguments, f"output_root={tmp_path / 'straight'}")
    (folder,) = (tmp_path / "straight").rglob("fold-2")
    return arguments, folder


def press_ctrl_c():
    raise KeyboardInterrupt


def ask_for_a_pebibyte():
    torch.empty(1 << 50, dtype=torch.uint8)


class Interruption(pl.Callback):
    """Something happens while the second epoch is under way: after its third batch."""

    def __init__(self, what):
        self.what = what

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == 1 and batch_idx == 2:
            self.what()


@pytest.mark.parametrize(
    ("straight", "workers", "what", "code", "told"),
    [
        ([], 0, press_ctrl_c, 130, "the same command continues"),
        ([], 2, press_ctrl_c, 130, "the same command continues"),
        (OPTIONAL, 0, press_ctrl_c, 130, "the same command continues"),
        ([], 0, ask_for_a_pebibyte, 2, "use one with more memory"),
    ],
    indirect=["straight"],
)
def test_an_interrupted_run_goes_on_to_the_same_weights(
    straight, workers, what, code, told, tmp_path, monkeypatch, capsys
):
    arguments, undisturbed = straight
    arguments = [*arguments, f"output_root={tmp_path / 'broken'}", f"trainer.workers={workers}"]
    trainer = pl.Trainer.__init__

    def with_interruption(self, *args, callbacks=(), **options):
        trainer(self, *args, callbacks=[*callbacks, Interruption(what)], **options)

    with monkeypatch.context() as patch:
        patch.setattr(pl.Trainer, "__init__", with_interruption)
        assert train(arguments) == code
    assert told in "".join(capsys.readouterr())
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN, "Ctrl-C still works"
    (folder,) = (tmp_path / "broken").rglob("fold-2")
    assert (folder / "checkpoints/last.ckpt").is_file()
    assert not (folder / "scores.csv").exists()
    in_process(*arguments)
    assert "goes on" in capsys.readouterr().out
    resumed, expected = weights(folder), weights(undisturbed)
    assert all(torch.equal(resumed[name], tensor) for name, tensor in expected.items())
    assert (folder / "scores.csv").read_bytes() == (undisturbed / "scores.csv").read_bytes()
    assert (folder / "metrics.csv").read_bytes() == (undisturbed / "metrics.csv").read_bytes()


def test_a_run_is_not_continued_on_other_data(tiny_overrides, tiny_study, tmp_path, capsys):
    study = shutil.copytree(tiny_study, tmp_path / "study")
    arguments = ["fold=1", f"output_root={tmp_path / 'out'}", f"study.root={study}", *tiny_overrides]
    in_process(*arguments)
    (fold,) = (tmp_path / "out").rglob("fold-1")
    (fold / "scores.csv").unlink()
    anat = "sub-P04/anat/sub-P04_label-nerve_mask.nii.gz"
    shutil.copy(study / "derivatives/rater-OS" / anat, study / "derivatives/rater-BW" / anat)
    capsys.readouterr()
    assert train(arguments) == 2
    assert "the data it was trained on" in capsys.readouterr().err
    assert not (fold / "scores.csv").exists()


@pytest.fixture
def changed(tiny_overrides, tiny_study, tmp_path, capsys):
    """A finished fold of an experiment file of the user's, and a function that edits the file and trains again."""
    folder = tmp_path / "conf/experiment"
    folder.mkdir(parents=True)
    demo = (config_folder() / "experiment/demo.yaml").read_text(encoding="utf-8").replace("name: demo", "name: mine")
    overrides = [word for word in tiny_overrides if not word.startswith(("optimization.epochs", "network.growth_rate"))]
    arguments = [
        "experiment=mine", "fold=0", f"output_root={tmp_path / 'out'}", f"study.root={tiny_study}", *overrides,
        f"hydra.searchpath=['file://{folder.parent}']",
    ]  # fmt: skip

    def again(lines, *extra, growth_rate=2):
        text = re.sub("  epochs: .*\n", lines, demo) + f"network:\n  growth_rate: {growth_rate}\n"
        (folder / "mine.yaml").write_text(text, encoding="utf-8")
        code = train([*arguments, *extra])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    assert again("  epochs: 2\n")[0] == 0
    (fold,) = (tmp_path / "out").rglob("fold-0")
    return fold, again


def test_a_changed_configuration_goes_on_only_by_force_and_is_recorded(changed):
    fold, again = changed
    before = weights(fold)
    new = "  epochs: 4\n  optimizer:\n    lr: 0.001\n"
    code, _, err = again(new)
    assert code == 2
    for words in ("optimization.epochs: 2 -> 4", "optimization.optimizer.lr: 0.003 -> 0.001", "resume=force", "name="):
        assert words in err
    code, out, _ = again(new, "resume=force")
    assert code == 0
    assert "goes on under a changed configuration" in out
    rows = read_metrics(fold / "metrics.csv")
    rates = {row["epoch"]: row["learning_rate"] for row in rows}
    cosine = [0.003, 0.0015, *(0.001 * (1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in (2, 3))]
    assert list(rates.values()) == pytest.approx(cosine), "the epochs that follow have the new rates"
    assert [row["step"] for row in rows] == list(range(len(rows)))
    assert any(not torch.equal(before[name], tensor) for name, tensor in weights(fold).items())
    config, former = (
        yaml.safe_load((fold / name).read_text(encoding="utf-8")) for name in ("config.yaml", "config.before-1.yaml")
    )
    assert (config["optimization"]["epochs"], former["optimization"]["epochs"]) == (4, 2)
    provenance = json.loads((fold / "provenance.json").read_text(encoding="utf-8"))
    (change,) = provenance["config_changes"]
    assert change["former"] == "config.before-1.yaml"
    assert "optimization.epochs: 2 -> 4" in change["differences"]
    assert provenance["config_sha256"] == hashlib.sha256((fold / "config.yaml").read_bytes()).hexdigest()
    code, out, _ = again(new)
    assert code == 0
    assert f"fold 0 is complete: {fold}" in out


def test_not_everything_goes_by_force(changed):
    fold, again = changed
    kept = {path: path.read_bytes() for path in fold.glob("*.*")}
    for lines, growth_rate, words in (
        ("  epochs: 2\n", 3, "name=<another> begins a new run"),
        ("  epochs: 1\n", 2, "found: 1, trained 2"),
        ("  epochs: 2\nfolds:\n  seed: 7\n", 2, "folds.seed: 1 -> 7"),
    ):
        code, _, err = again(lines, "resume=force", growth_rate=growth_rate)
        assert code == 2
        assert words in err
        assert {path: path.read_bytes() for path in fold.glob("*.*") if path.name != FAILURE} == kept
