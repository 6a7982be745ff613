"""Training in a notebook, with the user's own Trainer: the page docs/python.md is run as it stands."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from nerveseg.phantom.cohort import CohortSpec, write_cohort

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")

# Lightning's own: it asks PyTorch a question that PyTorch deprecated, and advises worker processes for every loader.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning", "ignore:.*does not have many workers.*")


@pytest.fixture
def tiny_study(tmp_path, monkeypatch):
    spec = CohortSpec(**yaml.safe_load((ROOT / "conf" / "cohort" / "tiny.yaml").read_text(encoding="utf-8")))
    write_cohort(spec, tmp_path / "study")
    monkeypatch.chdir(tmp_path)


def test_the_page_trains_validates_and_loads_the_best_epoch(tiny_study):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    statements = code.split("\n\nimages", 1)[1].splitlines()
    assert len([line for line in statements if line.strip()]) <= 15
    names = {}
    exec(compile(code, "docs/python.md", "exec"), names)
    model, trainer, best = names["model"], names["trainer"], names["best"]
    assert 0 <= float(best.best_model_score) <= 1
    saved = torch.load(best.best_model_path, weights_only=True)
    assert all(torch.equal(value, saved["state_dict"][name]) for name, value in model.state_dict().items())
    logged = Path(trainer.logger.log_dir, "metrics.csv").read_text(encoding="utf-8")
    for name in ("train/loss_epoch", "validation/loss", "validation/dice", "learning_rate"):
        assert name in logged.splitlines()[0].split(",")
