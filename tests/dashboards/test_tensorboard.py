"""A run in TensorBoard, read back with its own reader."""

import socket

import pytest

from tests.helpers.dashboard_runs import all_kinds, trained

pytest.importorskip("tensorboard")

TENSORBOARD = {"_target_": "pytorch_lightning.loggers.TensorBoardLogger", "default_hp_metric": False}


def read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return events


def test_a_run_that_goes_on_has_every_step_once(tmp_path):
    trained(tmp_path, TENSORBOARD, 0, 6, failed=True)
    trained(tmp_path, TENSORBOARD, 4, 10, known=range(4))
    events = read(tmp_path).Scalars("train/loss")
    assert [(event.step, event.value) for event in events] == [(step, step / 8) for step in range(10)]


def test_results_are_there_and_the_machines_name_and_paths_are_not(tmp_path):
    all_kinds(tmp_path, TENSORBOARD)
    events = read(tmp_path)
    assert "| V01 | 0.75 |" in str(events.Tensors("test/scores/text_summary"))
    assert events.Images("test/overlay/sub-V01")[0].width == 4
    assert events.Scalars("Auto-GT/dice/patient")[0].value == 0.5
    files = list((tmp_path / "tensorboard").iterdir())
    assert "2b0f251ace0d4f25" in (tmp_path / "tensorboard" / "hparams.yaml").read_text()
    assert not [path for path in files if socket.gethostname() in path.name.split(".")]
    for word in (str(tmp_path), socket.gethostname()):
        assert not [path for path in files if word.encode() in path.read_bytes()]
