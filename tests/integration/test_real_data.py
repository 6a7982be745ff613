"""The shared real data, by the names of their configurations."""

import pandas as pd
import pytest

from nerveseg.check import main as check
from nerveseg.evaluate import main as evaluate
from nerveseg.train import main as train

pytestmark = pytest.mark.integration


@pytest.fixture
def data(shared_data, monkeypatch):
    """Points the configurations at a folder of the shared data."""

    def at(name):
        monkeypatch.setenv("NERVESEG_DATA", str(shared_data(name).parent))

    return at


def test_three_raters_of_a_vessel_agree_as_measured_elsewhere(data, tmp_path, capsys):
    data("aorta_multirater")
    assert evaluate(["study=aorta", f"output_root={tmp_path}"]) == 0
    shown = capsys.readouterr().out
    assert "consensus of P1, P2, P3" in shown
    assert "5,548 voxels" in shown
    (file,) = tmp_path.rglob("scores.csv")
    scores = pd.read_csv(file)
    dice = scores[scores["metric"] == "dice"].set_index("comparison")["value"]
    found = [dice[pair] for pair in ("P1-P2", "P1-P3", "P2-P3")]
    assert found == pytest.approx([0.8913, 0.7497, 0.7415], abs=5e-5)
    assert (file.parent / "table1.csv").is_file()


def test_the_hippocampus_study_is_fit_to_use(data, tmp_path, capsys):
    data("hippocampus")
    assert check(["study=hippocampus", f"output_root={tmp_path}", "preprocessing.size=[48,64]"]) == 0
    assert "64 subjects" in capsys.readouterr().out


@pytest.mark.slow
def test_one_fold_of_real_volumes_is_trained_and_the_table_says_there_is_one_rater(data, tmp_path, capsys):
    data("hippocampus")
    quick = [
        "optimization.epochs=1", "optimization.batch_size=64", "augmentation=none", "network.first_filters=4",
        "network.growth_rate=2", "network.layers_per_block=1", "network.transitions=1", "trainer.workers=0",
        "trainer.accelerator=cpu", "logger=csv", f"output_root={tmp_path}",
    ]  # fmt: skip
    assert train(["experiment=hippocampus", "fold=0", *quick]) == 0
    (fold,) = tmp_path.rglob("fold-0")
    scores = pd.read_csv(fold / "scores.csv", dtype={"subject": str})
    assert set(scores["comparison"]) == {"Auto-GT"}
    assert scores["subject"].nunique() == 16
    capsys.readouterr()
    assert evaluate([f"run={tmp_path}"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "There is one rater" in shown
    assert "SYNTHETIC" not in shown
    assert "fold 1, 2, 3 is missing" in shown
