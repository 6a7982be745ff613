"""Training in a notebook, with the user's own Trainer: the second part of docs/python.md is run as it stands."""

import re
from pathlib import Path

import pytest
import torch

from nerveseg.inference.bundle import load_bundle
from tests.helpers.scan_models import write_model
from tests.helpers.studies import write_study

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
TRAINING, TUNING = re.findall(r"```python\n(.*?)```", PAGE.partition("## Train")[2], re.DOTALL)

# Lightning's own: it asks PyTorch a question that PyTorch deprecated, and advises worker processes for every loader.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning", "ignore:.*does not have many workers.*")


@pytest.fixture
def tiny_study(tmp_path, monkeypatch):
    write_study("tiny", tmp_path / "study")
    monkeypatch.chdir(tmp_path)


def test_the_page_trains_validates_and_loads_the_best_epoch(tiny_study):
    statements = TRAINING.split("\n\nimages", 1)[1].splitlines()
    assert len([line for line in statements if line.strip()]) <= 15
    names = {}
    exec(compile(TRAINING, "docs/python.md", "exec"), names)
    model, trainer, best = names["model"], names["trainer"], names["best"]
    assert 0 <= float(best.best_model_score) <= 1
    saved = torch.load(best.best_model_path, weights_only=True)
    assert all(torch.equal(value, saved["state_dict"][name]) for name, value in model.state_dict().items())
    logged = Path(trainer.logger.log_dir, "metrics.csv").read_text(encoding="utf-8")
    for name in ("train/loss_epoch", "validation/loss", "validation/dice", "learning_rate"):
        assert name in logged.splitlines()[0].split(",")


def test_the_page_tunes_the_weights_of_a_bundle(tiny_study):
    before = load_bundle(write_model(Path("outputs/demo/fold-0/model"), 1, {})).network.state_dict()
    names = {}
    exec(compile(TRAINING.partition("data = ")[0] + TUNING, "docs/python.md", "exec"), names)
    tuned = load_bundle(Path("outputs/tuned"))
    assert not tuned.description.scores
    after = tuned.network.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in names["model"].network.state_dict().items())
    changed = [name for name, value in before.items() if not torch.equal(value, after[name])]
    assert any("running_mean" in name for name in changed), "normalisation layers are in training mode"
    assert {name for name in before if name.endswith(".weight")} <= set(changed)
