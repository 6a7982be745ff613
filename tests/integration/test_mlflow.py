"""A run on a real MLflow server of this machine, on SQLite, as a user would start it."""

import getpass
import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing

import pandas as pd
import pytest

from nerveseg.dashboards.loggers import MLFLOW_TAG
from nerveseg.errors import ConfigurationError
from tests.helpers.dashboard_runs import all_kinds, opened, trained

pytest.importorskip("mlflow")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

MLFLOW = {"_target_": "pytorch_lightning.loggers.MLFlowLogger", "experiment_name": "nerveseg", "tracking_uri": None}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow")
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder}/m.db", "--artifacts-destination", str(folder / "files"),
    ]  # fmt: skip
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    address = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    ) as run:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.5)
        yield address, folder
        run.terminate()


def the_run(uri, folder):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("nerveseg").experiment_id
    name = (folder / "dashboard-id").read_text().strip()
    (run,) = client.search_runs([experiment], filter_string=f"tags.`{MLFLOW_TAG}` = '{name}'")
    return client, run


def test_a_run_that_goes_on_is_one_run_with_every_step_once(server, tmp_path):
    values = MLFLOW | {"tracking_uri": server[0]}
    trained(tmp_path, values, 0, 60, failed=True)
    client, run = the_run(server[0], tmp_path)
    assert run.info.status == "FAILED"
    trained(tmp_path, values, 58, 64, known=range(58))
    client, run = the_run(server[0], tmp_path)
    assert run.info.status == "FINISHED"
    losses = client.get_metric_history(run.info.run_id, "train/loss")
    assert sorted((metric.step, metric.value) for metric in losses) == [(step, step / 8) for step in range(64)]


def test_everything_arrives_and_nothing_of_the_machine(server, tmp_path):
    uri, folder = server
    all_kinds(tmp_path / "fold-0", MLFLOW | {"tracking_uri": uri})
    _, run = the_run(uri, tmp_path / "fold-0")
    assert run.info.run_name == "paper/fold-0"
    assert (run.data.tags["group"], run.data.tags["job_type"]) == ("paper", "train")
    assert {key.split("/")[-1]: value for key, value in run.data.params.items()} == {
        "fold": "0", "growth_rate": "12", "data": "2b0f251ace0d4f25",
    }  # fmt: skip
    assert run.data.metrics["Auto-GT/dice/patient"] == 0.5
    files = {
        path.relative_to(folder / "files").as_posix().split("artifacts/")[1]: path
        for path in (folder / "files").rglob("*.*")
        if path.is_file()
    }
    assert {"test/scores.csv", "test/overlay/sub-V01.png", "report.html", "model/weights.safetensors"} == set(files)
    assert pd.read_csv(io.BytesIO(files["test/scores.csv"].read_bytes())).to_dict("list") == {
        "subject": ["V01"], "dice": [0.75],
    }  # fmt: skip
    stored = json.dumps(run.to_dictionary()) + (folder / "m.db").read_bytes().decode("latin-1")
    for word in (
        str(tmp_path),
        socket.gethostname() + '"',
        f'"{getpass.getuser()}"',
        "pytest",
        "site-packages",
        ".git",
    ):
        assert word not in stored, word


def test_without_a_server_a_database_of_this_machine_serves(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    trained(tmp_path / "fold-0", MLFLOW, 0, 2)
    client, run = the_run(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "fold-0")
    assert len(client.get_metric_history(run.info.run_id, "train/loss")) == 2


def test_a_server_that_does_not_answer_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ConfigurationError) as error:
        opened(tmp_path, MLFLOW | {"tracking_uri": "http://127.0.0.1:9"}, "mlflow")
    assert "logger.mlflow" in str(error.value)
    assert "\n" not in str(error.value)
