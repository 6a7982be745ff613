"""The page docs/extending.md: its package and its configuration files are written as they stand, and built."""

import re
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from nerveseg.launch.arguments import to_hydra_overrides
from nerveseg.launch.compose import compose_jobs
from nerveseg.targets import instantiate_target
from nerveseg.training.losses import check_loss, loss_value
from nerveseg.workflows.train_fold import check_configuration
from nerveseg.workflows.training_objects import build_callbacks, build_network, build_segmenter
from tests.helpers.main_job import in_process

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```\w+\n# ([\w/.-]+)\n(.*?)```", PAGE, re.DOTALL)
COMMAND = re.search(r"-m nerveseg\.train (--config-dir.*?)\n\n", PAGE, re.DOTALL).group(1).replace("\\\n", "").split()


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """The command of the page, parsed in a folder that holds the files of the page."""
    for file, content in BLOCKS:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(content, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda *more: compose_jobs("train", to_hydra_overrides("train", [*COMMAND, *more]))[0].config
    sys.modules.pop("my_package", None)


def test_each_example_is_short():
    package = dict(BLOCKS)["my_package/__init__.py"]
    assert [len(code.splitlines()) for code in package.split("\n\n\n")[1:] if len(code.splitlines()) > 20] == []
    assert len(BLOCKS) == 8


@pytest.mark.slow
@pytest.mark.integration
def test_the_command_of_the_page_trains(configured, tmp_path):
    small = ["fold=0", "cohort@study.simulate=tiny", "study.root=tiny", "folds.count=2", "preprocessing.size=[48,48]"]
    small += [
        "network.width=4",
        "optimization.epochs=1",
        "trainer.workers=0",
        "trainer.accelerator=cpu",
        "report=false",
    ]
    in_process(*COMMAND, *small)
    (fold,) = tmp_path.rglob("fold-0")
    logged = (fold / "metrics.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    assert {"train/gradient_norm", "validation/sensitivity"} <= {*logged}
    losses = pd.read_csv(fold / "metrics.csv")["train/loss_step"].dropna()
    lines = (tmp_path / "losses.txt").read_text(encoding="utf-8").splitlines()
    assert [float(line.split()[1]) for line in lines] == losses.tolist()


def test_the_command_of_the_page_builds_what_the_package_defines(configured):
    config = configured()
    check_configuration(config)
    network = build_network(config)
    segmenter = build_segmenter(config, network.module)
    assert network.spec.name == "my_package.TwoLayers"
    assert network.spec.arguments == {"width": 32, "in_channels": 1, "classes": 2}
    assert type(segmenter.loss).__name__ == "FocalLoss"
    assert type(segmenter.configure_optimizers()["optimizer"]) is torch.optim.AdamW
    names = [type(callback).__name__ for callback in build_callbacks(config)]
    assert names == ["LearningRateMonitor", "GradientNorm", "Sensitivity"]


def test_the_loss_is_cross_entropy_where_gamma_is_zero(configured):
    loss = instantiate_target(configured("loss.gamma=0").loss | {"gamma": 0.0}, "loss", ["my_package"])
    check_loss(loss)
    logits, label = torch.randn(2, 2, 8, 8), torch.randint(0, 2, (2, 8, 8))
    torch.testing.assert_close(loss_value(loss, logits, label), torch.nn.functional.cross_entropy(logits, label))


def test_the_augmentation_depends_on_its_seed_alone(configured):
    augment = instantiate_target(configured().augmentation, "augmentation", ["my_package"])
    image, label = torch.ones(1, 4, 4), torch.zeros(4, 4, dtype=torch.uint8)
    first, again, other = (augment(image, label, (1.0, 1.0), seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_network_of_monai_needs_no_plugin(configured):
    pytest.importorskip("monai")
    config = configured("network=dynunet", "optimization.class_prior_bias=false", "context=neighbours")
    assert build_network(config).module(torch.randn(1, 5, 64, 64)).shape == (1, 2, 64, 64)
