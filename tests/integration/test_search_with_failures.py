"""A search with Optuna of which one trial fails; the same command repeats its trials."""

import pandas as pd
import pytest
import yaml

from tests.workflows.test_search import HELD_OUT, OPTUNA, RATE

pytestmark = pytest.mark.integration


@pytest.mark.slow
def test_a_search_maximises_the_dice_of_held_out_training_subjects(command, tiny_overrides, tiny_study, tmp_path):
    words = [f"output_root={tmp_path}", "name=s", f"study.root={tiny_study}", "hydra.sweeper.n_trials=3", HELD_OUT]
    fixed = [word for word in tiny_overrides if not word.startswith("network.growth_rate")]
    typed = [OPTUNA, *words, *fixed, RATE, "network.growth_rate=2,0"]
    done = command("train", *typed, code=2)
    assert done.stderr.count("network.growth_rate") == 1, "one trial had no network, and the others went on"
    folders = [path.parent for path in (tmp_path / "s").glob("*/fold-0/validation.csv")]
    assert len(folders) == 2
    dice = {}
    for folder in folders:
        scores = pd.read_csv(folder / "validation.csv").query("comparison == 'Auto-GT' and metric == 'dice'")
        rate = yaml.safe_load((folder / "config.yaml").read_text())["optimization"]["optimizer"]["lr"]
        dice[rate] = scores["value"].mean()
    result = yaml.safe_load((tmp_path / "s" / "optimization_results.yaml").read_text())
    found = {key.lstrip("+"): value for key, value in result["best_params"].items()}
    assert result["best_value"] == max(dice.values()) == dice[found["optimization.optimizer.lr"]]
    assert command("train", *typed, code=2).stdout.count("is complete") == 2, "the same trials again"
