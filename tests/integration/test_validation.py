"""Validation subjects of a fold, followed epoch by epoch; and a training whose loss is not finite."""

import pytest

from nerveseg.dashboards.metrics_csv import read_metrics
from nerveseg.train import main as train
from tests.helpers.main_job import in_process

pytestmark = pytest.mark.integration


def test_a_fold_with_validation_subjects_logs_their_dice_and_loss(tiny_overrides, tiny_study, tmp_path):
    arguments = ["fold=0", f"study.root={tiny_study}", f"output_root={tmp_path}", *tiny_overrides]
    in_process(*arguments, "folds.validation_fraction=0.3")
    (history,) = tmp_path.rglob("metrics.csv")
    validated = [row for row in read_metrics(history) if "validation/dice" in row]
    assert [row["epoch"] for row in validated] == [0, 1]
    for row in validated:
        assert 0 <= row["validation/dice"] <= 1
        assert row["validation/loss"] > 0
        assert "train/loss_epoch" in row, "in the row of the epoch's last step"


def test_a_fold_whose_loss_is_not_finite_ends_with_code_2_and_no_checkpoint(
    tiny_overrides, tiny_study, tmp_path, capsys
):
    arguments = ["fold=0", f"study.root={tiny_study}", f"output_root={tmp_path}", *tiny_overrides]
    assert train([*arguments, "optimization.optimizer.lr=1e30"]) == 2
    message = capsys.readouterr().err
    assert "the loss is finite" in message
    assert "epoch 1" in message
    assert "remedy: lower optimization.optimizer.lr" in message
    assert list(tmp_path.rglob("*.ckpt")) == []
    assert list(tmp_path.rglob("scores.csv")) == []
