"""Every kind of schedule: its rates, and runs that are interrupted and resumed, which end bit for bit the same."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import (
    EarlyStopping,
    EMAWeightAveraging,
    LearningRateMonitor,
    ModelCheckpoint,
    StochasticWeightAveraging,
    WeightAveraging,
)
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
)
from torch.utils.data import DataLoader

from nerveseg.errors import ConfigurationError
from nerveseg.networks.fc_densenet import FCDenseNet
from nerveseg.training.checkpointed_loggers import MetricsCsv, read_metrics
from nerveseg.training.epoch_checkpoint import EpochCheckpoint
from nerveseg.training.segmenter import Segmenter

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning", "ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* not empty"),
]

EPOCHS, STEPS = 5, 3

WARM_UP = partial(
    SequentialLR,
    schedulers=[partial(LinearLR, start_factor=0.1, total_iters=4), partial(CosineAnnealingLR, T_max=11)],
    milestones=[4],
)
PLATEAU = partial(ReduceLROnPlateau, mode="max", patience=0, threshold=0.5, factor=0.5)
SCHEDULES = {
    "none": {},
    "epochs": {"schedule": partial(MultiStepLR, milestones=[1, 3], gamma=0.1)},
    "one cycle": {"schedule": partial(OneCycleLR, max_lr=0.1, total_steps=None), "interval": "step"},
    "warm-up": {"schedule": WARM_UP, "interval": "step"},
    "plateau of validation": {"schedule": PLATEAU, "monitor": "validation/dice"},
    "plateau of training": {"schedule": partial(PLATEAU, mode="min"), "monitor": "train/loss_epoch"},
}


class KilledError(Exception):
    """The end of a run at any moment."""


class Kill(pl.Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == self.epoch and batch_idx == 1:
            raise KilledError


def segmenter(**options):
    torch.manual_seed(0)
    network = FCDenseNet(first_filters=3, growth_rate=2, layers_per_block=1, transitions=1, dropout=0.5)
    return Segmenter(network, partial(torch.optim.SGD, lr=0.05, momentum=0.9), **options)


def batches(validation=False):
    random = torch.Generator().manual_seed(1)
    made = [
        {
            "image": torch.randn(2, 1, 8, 8, generator=random),
            "label": (torch.rand(2, 8, 8, generator=random) < 0.3).long(),
            **({"subject": torch.tensor([number, number + 1])} if validation else {}),
        }
        for number in range(STEPS)
    ]
    return DataLoader(made, batch_size=None)


def fit(folder, callbacks=(), options=None, resumed=False, epochs=EPOCHS, optimization=None):
    """Train in a folder; returns the trainer and the rates of each step."""
    model = segmenter(**(options or {}))
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=[MetricsCsv(folder / "metrics.csv")], log_every_n_steps=1,
        callbacks=[
            EpochCheckpoint(folder / "checkpoints", 1, optimization or {}),
            LearningRateMonitor("step"),
            *callbacks,
        ],
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
    )  # fmt: skip
    checkpoint = folder / "checkpoints" / "last.ckpt" if resumed else None
    trainer.fit(model, batches(), batches(validation=True), ckpt_path=checkpoint, weights_only=True)
    return trainer


def equal(first, second):
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(equal, first, second))
    return first == second


def state(folder, trainer):
    saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    kept = {key: saved[key] for key in ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step")}
    return kept | {"weights": trainer.lightning_module.state_dict(), "csv": (folder / "metrics.csv").read_text()}


def assert_resumes_exactly(tmp_path, make_callbacks=list, options=None):
    straight = fit(tmp_path / "straight", make_callbacks(), options)
    with pytest.raises(KilledError):
        fit(tmp_path / "resumed", [*make_callbacks(), Kill(epoch=2)], options)
    torch.manual_seed(99)
    resumed = fit(tmp_path / "resumed", make_callbacks(), options, resumed=True)
    expected, found = state(tmp_path / "straight", straight), state(tmp_path / "resumed", resumed)
    for name, value in expected.items():
        assert equal(value, found[name]), name
    return expected


def rates(folder):
    return [row["learning_rate"] for row in read_metrics(folder / "metrics.csv")]


@pytest.mark.parametrize("name", SCHEDULES)
def test_an_interrupted_run_is_resumed_exactly(name, tmp_path):
    expected = assert_resumes_exactly(tmp_path, options=SCHEDULES[name])
    rows = read_metrics(tmp_path / "straight" / "metrics.csv")
    assert [row["step"] for row in rows] == list(range(EPOCHS * STEPS))
    assert sum("validation/dice" in row for row in rows) == EPOCHS
    assert expected["epoch"] == EPOCHS - 1


def test_the_rates_are_those_of_the_schedules_alone(tmp_path):
    """Torch's own schedules on an optimizer of one parameter, stepped as their documentation says."""
    for name, by_step in (("epochs", False), ("one cycle", True), ("warm-up", True)):
        options = SCHEDULES[name]
        fit(tmp_path / name, options=options)
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.05, momentum=0.9)
        if name == "warm-up":
            first, second = (each(optimizer) for each in options["schedule"].keywords["schedulers"])
            schedule = SequentialLR(optimizer, [first, second], milestones=[4])
        elif name == "one cycle":
            schedule = OneCycleLR(optimizer, max_lr=0.1, total_steps=EPOCHS * STEPS)
        else:
            schedule = options["schedule"](optimizer)
        expected = []
        for step in range(EPOCHS * STEPS):
            expected.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if by_step or step % STEPS == STEPS - 1:
                schedule.step()
        assert rates(tmp_path / name) == pytest.approx(expected), name


def test_without_a_schedule_the_rate_stays_and_is_logged(tmp_path):
    fit(tmp_path)
    assert rates(tmp_path) == [0.05] * EPOCHS * STEPS


def test_a_plateau_lowers_the_rate(tmp_path):
    fit(tmp_path, options=SCHEDULES["plateau of validation"])
    assert rates(tmp_path)[0] == 0.05
    assert rates(tmp_path)[-1] < 0.05


@pytest.mark.parametrize("monitor", [None, "validation/dise"])
def test_a_plateau_without_its_value_is_an_error_that_names_it(monitor, tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        fit(tmp_path, options={"schedule": PLATEAU, "monitor": monitor})
    assert str(monitor or "null") in caught.value.found


def test_a_plateau_is_not_stepped_at_each_batch_without_a_word(tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        fit(tmp_path, options=SCHEDULES["plateau of validation"] | {"interval": "step"})
    assert caught.value.found.endswith("schedule_interval=step")


@pytest.mark.parametrize("name", ["epochs", "one cycle", "warm-up", "none"])
def test_a_run_resumed_under_another_schedule_has_the_rates_of_the_new_one(name, tmp_path):
    with pytest.raises(KilledError):
        fit(tmp_path / "run", [Kill(epoch=2)], optimization={"schedule": "none"})
    fit(tmp_path / "run", options=SCHEDULES[name], resumed=True, optimization={"schedule": name})
    fit(tmp_path / "new", options=SCHEDULES[name])
    done = 2 * STEPS
    assert rates(tmp_path / "run") == [0.05] * done + rates(tmp_path / "new")[done:]


def test_a_run_resumed_under_a_plateau_begins_at_the_configured_rate(tmp_path):
    with pytest.raises(KilledError):
        fit(tmp_path, [Kill(epoch=2)], SCHEDULES["epochs"], optimization={"schedule": "epochs"})
    fit(tmp_path, options=SCHEDULES["plateau of validation"], resumed=True, optimization={"schedule": "plateau"})
    assert rates(tmp_path)[2 * STEPS] == 0.05


CALLBACKS = {
    "early stopping": lambda: [EarlyStopping("validation/dice", mode="max", patience=3)],
    "weight averaging": lambda: [WeightAveraging()],
    "moving average": lambda: [EMAWeightAveraging(decay=0.9)],
    "swa": lambda: [StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=1)],
}


@pytest.mark.parametrize("name", CALLBACKS)
def test_a_run_with_lightnings_own_callbacks_is_resumed_exactly(name, tmp_path):
    assert_resumes_exactly(tmp_path, CALLBACKS[name], SCHEDULES["epochs"])


def test_a_run_that_was_stopped_early_stays_stopped_when_it_is_resumed(tmp_path):
    def callbacks():
        return [EarlyStopping("validation/dice", mode="max", patience=1, min_delta=1.0)]

    fit(tmp_path, callbacks())
    before = (tmp_path / "metrics.csv").read_text()
    assert len(before.splitlines()) == 1 + 2 * STEPS
    resumed = fit(tmp_path, callbacks(), resumed=True)
    assert resumed.global_step == 2 * STEPS
    assert (tmp_path / "metrics.csv").read_text() == before


def test_the_best_epoch_may_be_kept_beside_the_last(tmp_path):
    best = ModelCheckpoint(tmp_path / "best", monitor="validation/dice", mode="max")
    fit(tmp_path, [best])
    dice = [row["validation/dice"] for row in read_metrics(tmp_path / "metrics.csv") if "validation/dice" in row]
    assert float(best.best_model_score) == pytest.approx(max(dice))
    assert len(list((tmp_path / "best").iterdir())) == 1


@pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero")
def test_validation_changes_nothing_in_the_training(tmp_path):
    fit(tmp_path / "with")
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=EPOCHS, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    model = segmenter()
    trainer.fit(model, batches(), [])
    saved = torch.load(tmp_path / "with" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert equal(dict(model.state_dict()), dict(saved))
