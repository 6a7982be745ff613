"""A run in TensorBoard, read back with its own reader."""

import socket

import numpy as np
import pandas as pd
import pytest

from nerveseg.dashboards.base import Dashboards, RunLabel
from nerveseg.dashboards.checkpointed_logger import CheckpointedLogger
from nerveseg.dashboards.tensorboard_dashboard import FOLDER, TensorboardDashboard
from nerveseg.reporting.overlay import save_png

pytest.importorskip("tensorboard")

LABEL = RunLabel("nerveseg", "paper", "paper/fold-0", "train", ("synthetic",), {"fold": 0}, "2b0f", "phantom")


def read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / FOLDER), size_guidance={"scalars": 0})
    events.Reload()
    return events


def trained(folder, first, last, *, failed=False, known=()):
    with Dashboards([TensorboardDashboard(LABEL, folder)]) as dashboards:
        (logger,) = dashboards.loggers
        assert isinstance(logger, CheckpointedLogger)
        logger.resume([{"step": step, "train/loss": step / 8} for step in known])
        for step in range(first, last):
            logger.log_metrics({"train/loss": step / 8}, step)
        logger.commit()
        if failed:
            raise RuntimeError("a fault of ours")


def test_a_run_that_goes_on_has_every_step_once(tmp_path):
    with pytest.raises(RuntimeError):
        trained(tmp_path, 0, 6, failed=True)
    assert "failed" in str(read(tmp_path).Tensors("status/text_summary"))
    trained(tmp_path, 4, 10, known=range(4))
    events = read(tmp_path)
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(n, n / 8) for n in range(10)]
    assert "finished" in str(events.Tensors("status/text_summary"))


def test_tables_pictures_and_the_summary_are_there_and_the_machines_name_is_not(tmp_path):
    save_png(tmp_path / "picture.png", np.zeros((4, 4, 3), np.uint8))
    with Dashboards([TensorboardDashboard(LABEL, tmp_path)]) as dashboards:
        dashboards.log_table("test/scores", pd.DataFrame({"subject": ["V01"], "dice": [0.75]}))
        dashboards.log_picture("test/overlay/sub-V01", tmp_path / "picture.png")
        dashboards.log_page("report", "<p>report</p>")
        dashboards.log_model(tmp_path, {"weights_sha256": "5eed"})
        dashboards.summarize({"Auto-GT/dice/patient": 0.5})
    events = read(tmp_path)
    assert "| V01 | 0.75 |" in str(events.Tensors("test/scores/text_summary"))
    assert "5eed" in str(events.Tensors("model/text_summary"))
    assert "2b0f" in str(events.Tensors("run/text_summary"))
    assert events.Images("test/overlay/sub-V01")[0].width == 4
    assert events.Scalars("summary/Auto-GT/dice/patient")[0].value == 0.5
    files = list((tmp_path / FOLDER).iterdir())
    assert not [path for path in files if socket.gethostname() in path.name.split(".")]
    assert not [path for path in files if str(tmp_path).encode() in path.read_bytes()]
