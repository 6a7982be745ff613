"""The evaluation's W&B run, from its offline files."""

import json

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from nerveseg.launch.dashboard import log_evaluation, without_roots


@pytest.fixture
def cross_validation(tmp_path):
    folder = tmp_path / "outputs" / "demo"
    (folder / "evaluation" / "figures").mkdir(parents=True)
    table = pd.DataFrame({"cohort": ["all", "all"], "comparison": ["R-R", "Auto-GT"], "dice_mean": [0.75, 0.5]})
    table.to_csv(folder / "evaluation" / "table1.csv", index=False)
    matplotlib.image.imsave(folder / "evaluation" / "figures" / "boxplots.png", np.zeros((4, 4, 3)))
    (folder / "evaluation" / "report.html").write_text("<p>report</p>")
    return folder


def config(folder, mode):
    root = str(folder.parent)
    return {"logger": {"wandb": {"mode": mode, "project": "p"}}, "output_root": root, "study": {"root": root, "n": 1}}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_tables_figures_and_the_page_are_in_the_offline_run(cross_validation):
    log_evaluation(cross_validation, config(cross_validation, "offline"))
    (run,) = (cross_validation / "evaluation" / "wandb").glob("offline-run-*")
    files = [path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()]
    (table,) = [path for path in files if "evaluation/table1" in path and path.endswith(".json")]
    assert json.loads((run / table).read_text())["data"] == [["all", "R-R", 0.75], ["all", "Auto-GT", 0.5]]
    assert any("figures/boxplots" in path and path.endswith(".png") for path in files)
    (page,) = [path for path in files if path.endswith(".html")]
    assert "report" in (run / page).read_text()


def test_a_disabled_dashboard_leaves_nothing(cross_validation):
    log_evaluation(cross_validation, config(cross_validation, "disabled"))
    assert not (cross_validation / "evaluation" / "wandb").exists()


def test_what_is_uploaded_names_no_folder(cross_validation):
    assert without_roots(config(cross_validation, "offline")) == {
        "logger": {"wandb": {"mode": "offline", "project": "p"}},
        "study": {"n": 1},
    }
