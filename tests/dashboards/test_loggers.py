"""Loggers that a configuration names: any of Lightning's, or of a package in `plugins`."""

import csv

import pandas as pd
import pytest
from pytorch_lightning.loggers.logger import Logger

from nerveseg.errors import ConfigurationError
from tests.helpers.dashboard_runs import LABEL, all_kinds, opened, trained

TABLE = pd.DataFrame({"subject": ["V01"]})


class Recorder(Logger):
    """A logger of a plugin."""

    version = 0

    def __init__(self, name, tags, project):
        super().__init__()
        self.label, self.tags, self.project = name, tags, project
        self.params, self.tables, self.status = None, {}, None

    @property
    def name(self):
        return self.label

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, params):
        self.params = params

    def log_table(self, key, dataframe):
        self.tables[key] = dataframe

    def finalize(self, status):
        self.status = status


def test_another_logger_of_lightnings_gets_the_whole_history_each_time(tmp_path):
    values = {"_target_": "pytorch_lightning.loggers.CSVLogger", "name": "csv"}
    trained(tmp_path, values, 0, 6, failed=True)
    trained(tmp_path, values, 4, 10, known=range(4))
    with (tmp_path / "csv" / "version_1" / "metrics.csv").open(newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == list(range(10))
    all_kinds(tmp_path, values)


def test_a_plugins_logger_gets_its_label_its_options_and_what_it_can_show(tmp_path):
    values = {"_target_": f"{__name__}.Recorder", "project": "nerves"}
    dashboards = opened(tmp_path, values, plugins=[__name__])
    (recorder,) = dashboards.each
    dashboards.log_table("scores", TABLE)
    dashboards.log_page("report", "<p></p>")
    with pytest.raises(RuntimeError), dashboards:
        raise RuntimeError("a fault of ours")
    assert (recorder.name, recorder.project, recorder.params) == ("paper/fold-0", "nerves", LABEL.config)
    assert (recorder.tables, recorder.status) == ({"scores": TABLE}, "failed")


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"_target_": "wandb.init"}, "wandb.init"),
        ({"_target_": f"{__name__}.Recorder"}, f"{__name__}.Recorder"),
        ({"_target_": "pytorch_lightning.loggers.CSVLogger", "nmae": "csv"}, "logger.mine.nmae"),
        ({"mode": "offline", "project": "p"}, "None"),
    ],
)
def test_a_mistake_names_the_option(tmp_path, values, found):
    with pytest.raises(ConfigurationError) as error:
        opened(tmp_path, values)
    assert str(error.value.found) == found
    assert "logger.mine" in str(error.value)


def test_a_package_that_is_not_installed_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    with pytest.raises(ConfigurationError) as error:
        opened(tmp_path, {"_target_": "pytorch_lightning.loggers.MLFlowLogger"}, "mlflow")
    assert "nerveseg[mlflow]" in error.value.remedy
