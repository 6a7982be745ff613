"""A run that was interrupted goes on as if nothing had happened, or says why it must not."""

import shutil
import signal

import pytest
import pytorch_lightning as pl
import torch
from main_job import in_process, weights

from nerveseg.train import main as train

pytestmark = pytest.mark.integration


@pytest.fixture
def straight(tiny_overrides, tiny_study, tmp_path):
    """Arguments of a fold of three epochs, with dropout and augmentation, and its folder after an undisturbed run."""
    overrides = [word for word in tiny_overrides if not word.startswith(("augmentation", "optimization.epochs"))]
    arguments = ["fold=2", "optimization.epochs=3", "network.dropout=0.3", "augmentation.elastic_probability=0.0"]
    arguments += [f"study.root={tiny_study}", *overrides]
    in_process(*arguments, f"output_root={tmp_path / 'straight'}")
    (folder,) = (tmp_path / "straight").rglob("fold-2")
    return arguments, folder


class Interruption(pl.Callback):
    """Ctrl-C while the second epoch is under way: after its third batch."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == 1 and batch_idx == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("workers", [0, 2])
def test_an_interrupted_run_goes_on_to_the_same_weights(straight, workers, tmp_path, monkeypatch, capsys):
    arguments, undisturbed = straight
    arguments = [*arguments, f"output_root={tmp_path / 'broken'}", f"trainer.workers={workers}"]
    trainer = pl.Trainer.__init__

    def with_interruption(self, *args, callbacks=(), **options):
        trainer(self, *args, callbacks=[*callbacks, Interruption()], **options)

    with monkeypatch.context() as patch:
        patch.setattr(pl.Trainer, "__init__", with_interruption)
        assert train(arguments) == 130
    assert "the same command continues" in capsys.readouterr().out
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
