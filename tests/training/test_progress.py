import io
import re

import pytest
import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.progress import Progress
from torch.utils.data import DataLoader

from nerveseg.training.epoch_checkpoint import EpochCheckpoint
from nerveseg.training.progress import FoldProgress, duration, pace

# Lightning's own: it asks PyTorch a question that PyTorch deprecated, and gives advice on loaders and folders.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning", "ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*number of training batches.*", "ignore:Checkpoint directory .* not empty"),
    pytest.mark.filterwarnings("ignore:.*Couldn't infer the batch indices.*"),
]


class Constant(pl.LightningModule):
    """Learns nothing at a loss of 0.25."""

    def __init__(self, fails=False):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.fails = fails

    def training_step(self, batch, batch_idx):
        if self.fails:
            raise RuntimeError("a fault of ours")
        loss = 0 * self.weight.sum() + 0.25
        self.log("train/loss", loss, on_step=True, on_epoch=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def screen():
    return io.StringIO()


def trainer(folder, screen, terminal, epochs=1, callbacks=()):
    colourless = {"force_terminal": True, "color_system": None} if terminal else {}
    progress = FoldProgress("fold 2", console=Console(file=screen, width=100, **colourless))
    return pl.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=False, callbacks=[progress, *callbacks],
        enable_model_summary=False, enable_checkpointing=bool(callbacks), default_root_dir=folder,
    )  # fmt: skip


def batches(count=2):
    return DataLoader(torch.zeros(count, 1), batch_size=1)


@pytest.mark.parametrize(("epochs", "lines"), [(1, 1), (3, 3), (10, 10), (20, 10), (100, 10), (25, 10)])
def test_a_log_file_has_a_line_every_tenth_of_the_way(tmp_path, screen, epochs, lines):
    trainer(tmp_path, screen, terminal=False, epochs=epochs).fit(Constant(), batches())
    written = screen.getvalue().splitlines()
    assert len(written) == lines
    assert re.fullmatch(rf"fold 2: epoch {epochs}/{epochs}, loss 0.2500, [0-9.e+]+ slices/s, 0:00 left", written[-1])


def test_a_terminal_has_one_bar_for_all_epochs(tmp_path, screen):
    trainer(tmp_path, screen, terminal=True, epochs=4).fit(Constant(), batches())
    shown = screen.getvalue()
    assert "fold 2, training" in shown
    assert "100 %" in shown
    assert "epoch 4/4, loss 0.2500" in shown
    assert "slices/s" in shown
    assert shown.count("\n") == 1, "one line stays on the screen"


def test_a_resumed_run_begins_its_bar_where_it_goes_on(tmp_path, screen, monkeypatch):
    saving = [EpochCheckpoint(tmp_path / "checkpoints", 1, {})]
    trainer(tmp_path, screen, terminal=True, epochs=2, callbacks=saving).fit(Constant(), batches())
    screen.truncate(0)
    saving = [EpochCheckpoint(tmp_path / "checkpoints", 1, {})]
    resumed = trainer(tmp_path, screen, terminal=True, epochs=4, callbacks=saving)
    started = []
    monkeypatch.setattr(Progress, "add_task", lambda bar, *words, **values: started.append(values))
    monkeypatch.setattr(Progress, "update", lambda bar, *values, **named: None)
    resumed.fit(Constant(), batches(), ckpt_path=tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert [(values["total"], values["completed"]) for values in started] == [(8, 4)]


def test_speed_and_time_left_count_this_process_and_all_folds_to_come():
    """10 steps of 8 slices in 5 s: 70 steps more take 35 s, and 50 s come for each of two folds of 100 steps."""
    assert pace(80, 5.0, 10, 70, 70 + 2 * 100) == "16 slices/s, 0:35 left, all folds 2:15"
    assert pace(80, 5.0, 10, 70, 70) == "16 slices/s, 0:35 left"
    assert pace(0, 5.0, 0, 80, 80) == ""


@pytest.mark.parametrize(("seconds", "shown"), [(0.4, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3600, "1:00:00")])
def test_a_duration_reads_as_a_clock(seconds, shown):
    assert duration(float(seconds)) == shown


def test_a_failure_gives_the_terminal_back(tmp_path, screen):
    with pytest.raises(RuntimeError, match="a fault of ours"):
        trainer(tmp_path, screen, terminal=True).fit(Constant(fails=True), batches())
    assert screen.getvalue().rindex("\x1b[?25h") > screen.getvalue().rindex("\x1b[?25l"), "the cursor is visible again"
