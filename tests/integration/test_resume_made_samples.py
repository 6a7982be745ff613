"""A training on samples made on the fly, with averaged weights, ends the same after an interruption."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from nerveseg.phantom.anatomy import cut
from nerveseg.synthesis import anatomies
from nerveseg.train import main as train
from tests.helpers.main_job import in_process, weights

pytestmark = pytest.mark.integration

ARGUMENTS = (
    "experiment=thigh", "fold=0", "study.simulate.volunteers=2", "study.simulate.matrix=[48,48]",
    "study.simulate.patients={distal: 1, medial: 0, proximal: 1}", "study.simulate.slices=3",
    "study.simulate.spacing_mm=[4.0,4.0,8.0]", "study.simulate.field_jitter_mm=0.0", "preprocessing.size=[48,48]",
    "preprocessing.spacing_mm=[4.0,4.0]", "context.size=[32,32]", "network.filters=[4,6]", "samples.people=1",
    "samples.per_epoch=16", "optimization.epochs=3", "logger=csv", "report=false", "trainer=cpu", "trainer.workers=0",
)  # fmt: skip


class CtrlC(pl.Callback):
    """Ctrl-C in the second epoch, after the first of its two batches."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == 1 and batch_idx == 0:
            raise KeyboardInterrupt


def test_it_ends_with_the_same_weights(tmp_path, monkeypatch, capsys):
    def stack(thigh):
        plane = anatomies.tissues_of(cut(thigh, *anatomies.axes_mm(), 250.0), thigh.fat_bed_mm)
        return np.repeat(plane[None], len(anatomies.LEVELS_MM), axis=0)

    monkeypatch.setattr(anatomies, "label_stack", stack)  # all planes alike, which takes less time
    arguments = [*ARGUMENTS, f"study.root={tmp_path / 'study'}"]
    in_process(*arguments, f"output_root={tmp_path / 'straight'}")
    broken = [*arguments, f"output_root={tmp_path / 'broken'}"]
    trainer = pl.Trainer.__init__

    def with_interruption(self, *args, callbacks=(), **options):
        trainer(self, *args, callbacks=[*callbacks, CtrlC()], **options)

    with monkeypatch.context() as patch:
        patch.setattr(pl.Trainer, "__init__", with_interruption)
        assert train(broken) == 130
    in_process(*broken)
    assert "goes on" in capsys.readouterr().out
    folders = [next((tmp_path / name).rglob("fold-0")) for name in ("straight", "broken")]
    expected, resumed = map(weights, folders)
    assert all(torch.equal(resumed[name], tensor) for name, tensor in expected.items())
    for name in ("metrics.csv", "scores.csv"):
        assert len({(folder / name).read_bytes() for folder in folders}) == 1
