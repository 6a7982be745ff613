"""Validation subjects of a fold, followed epoch by epoch; and a training whose loss is not finite."""

import pytest

from nerveseg.train import main as train
from nerveseg.training.checkpointed_loggers import read_metrics
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


ONE_CYCLE = "{_target_:torch.optim.lr_scheduler.OneCycleLR,_partial_:true,max_lr:0.01,total_steps:null}"
PLATEAU = "{_target_:torch.optim.lr_scheduler.ReduceLROnPlateau,_partial_:true,mode:max,patience:0,threshold:2}"
WARM_UP = (
    "{_target_:torch.optim.lr_scheduler.SequentialLR,_partial_:true,milestones:[2],schedulers:["
    "{_target_:torch.optim.lr_scheduler.LinearLR,_partial_:true,start_factor:0.1,total_iters:2},"
    "{_target_:torch.optim.lr_scheduler.ExponentialLR,_partial_:true,gamma:0.5}]}"
)


@pytest.mark.parametrize(
    ("schedule", "options", "is_as_expected"),
    [
        (ONE_CYCLE, ["optimization.schedule_interval=step"], lambda rates: max(rates) == pytest.approx(0.01, rel=0.2)),
        (WARM_UP, ["optimization.schedule_interval=step"], lambda rates: rates[2] == max(rates) == 10 * rates[0]),
        (
            PLATEAU,
            ["optimization.schedule_monitor=validation/dice"],
            lambda rates: rates[-1] == pytest.approx(rates[0]),
        ),
        ("null", [], lambda rates: len(set(rates)) == 1),
    ],
)
def test_schedules_of_every_kind_are_configured(
    schedule, options, is_as_expected, tiny_overrides, tiny_study, tmp_path
):
    arguments = ["fold=0", f"study.root={tiny_study}", f"output_root={tmp_path}", *tiny_overrides, *options]
    in_process(
        *arguments, "folds.validation_fraction=0.3", "~optimization.schedule", f"+optimization.schedule={schedule}"
    )
    (history,) = tmp_path.rglob("metrics.csv")
    assert is_as_expected([row["learning_rate"] for row in read_metrics(history)])


def test_a_loss_that_does_not_fit_is_named_before_anything_is_written(tiny_overrides, tiny_study, tmp_path, capsys):
    arguments = ["fold=0", f"study.root={tiny_study}", f"output_root={tmp_path}/out", *tiny_overrides]
    assert train([*arguments, "loss._target_=monai.losses.DiceLoss"]) == 2
    assert "to_onehot_y=true" in capsys.readouterr().err
    assert not list(tmp_path.rglob("fold-0"))


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
