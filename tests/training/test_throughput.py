import time

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers.logger import Logger
from torch.utils.data import DataLoader, Dataset

from nerveseg.training.checkpointed_loggers import CheckpointedLogger, MetricsCsv
from nerveseg.training.epoch_checkpoint import EpochCheckpoint
from nerveseg.training.throughput import Throughput

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning", "ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*number of training batches.*"),
    pytest.mark.filterwarnings("ignore:.*Couldn't infer the batch indices.*"),
]


class Slices(Dataset):
    """Each takes its time to be read."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __len__(self):
        return 32

    def __getitem__(self, index):
        time.sleep(self.seconds)
        return {"image": torch.zeros(1)}


class Module(pl.LightningModule):
    """Each step takes its time."""

    def __init__(self, seconds):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seconds = seconds

    def training_step(self, batch, batch_idx):
        time.sleep(self.seconds)
        loss = (self.weight * 0).sum()
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Backend(Logger):
    name, version = "backend", ""

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_metrics(self, metrics, step=None):
        self.rows.append({"step": step, **metrics})

    def log_hyperparams(self, *args, **kwargs):
        pass


def trained(folder, epochs, *, read_s=0.0, step_s=0.0, resumed=None):
    backend, metrics = Backend(), MetricsCsv(folder / "metrics.csv")
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=[metrics, CheckpointedLogger(backend)], log_every_n_steps=1,
        callbacks=[Throughput(), EpochCheckpoint(folder / "checkpoints", 1, {})], enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(Module(step_s), DataLoader(Slices(read_s), batch_size=4), ckpt_path=resumed, weights_only=True)
    return [row for row in backend.rows if "speed/slices_per_s" in row]


@pytest.mark.parametrize(("read_s", "step_s", "least", "most"), [(0.02, 0.0, 0.7, 1.0), (0.0, 0.08, 0.0, 0.3)])
def test_the_share_of_waiting_tells_a_slow_disk_from_a_slow_network(tmp_path, read_s, step_s, least, most):
    (row,) = trained(tmp_path, 1, read_s=read_s, step_s=step_s)
    assert least <= row["speed/data_wait_share"] <= most
    assert 0 < row["speed/slices_per_s"] <= 32 / (8 * 0.07)


def test_a_run_that_goes_on_shows_all_epochs_and_the_metrics_file_has_none_of_it(tmp_path):
    first = trained(tmp_path, 2)
    again = trained(tmp_path, 4, resumed=tmp_path / "checkpoints" / "last.ckpt")
    assert again[:2] == first
    assert [row["step"] for row in again] == [7, 15, 23, 31]
    assert "speed" not in (tmp_path / "metrics.csv").read_text(encoding="utf-8")
