"""A run on a real MLflow server of this machine, on SQLite, as a user would start it."""

import getpass
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing

import numpy as np
import pandas as pd
import pytest

from nerveseg.dashboards.base import Dashboards, RunLabel
from nerveseg.dashboards.mlflow_dashboard import RUN_TAG, STEP, MlflowDashboard
from nerveseg.errors import ConfigurationError
from nerveseg.reporting.overlay import save_png

pytest.importorskip("mlflow")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

LABEL = RunLabel("p", "paper", "paper/fold-0", "train", ("a", "b"), {"fold": 0, "network": {"rate": 12}}, "2b0f", "x")


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


def trained(folder, uri, first, last, *, failed=False, known=()):
    with Dashboards([MlflowDashboard(LABEL, folder, uri, "nerveseg", folder)]) as dashboards:
        (logger,) = dashboards.loggers
        logger.resume([{"step": step, "train/loss": step / 8} for step in known])
        for step in range(first, last):
            logger.log_metrics({"train/loss": step / 8}, step)
        logger.commit()
        if failed:
            raise RuntimeError("a fault of ours")


def the_run(uri, folder):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("nerveseg").experiment_id
    name = (folder / "dashboard-id").read_text().strip()
    (run,) = client.search_runs([experiment], filter_string=f"tags.`{RUN_TAG}` = '{name}'")
    return client, run


def test_a_run_that_goes_on_is_one_run_with_every_step_once(server, tmp_path):
    uri, _ = server
    with pytest.raises(RuntimeError):
        trained(tmp_path, uri, 0, 600, failed=True)
    client, run = the_run(uri, tmp_path)
    assert run.info.status == "FAILED"
    trained(tmp_path, uri, 598, 604, known=range(598))
    client, run = the_run(uri, tmp_path)
    assert run.info.status == "FINISHED"
    losses = client.get_metric_history(run.info.run_id, "train/loss")
    assert sorted((metric.step, metric.value) for metric in losses) == [(step, step / 8) for step in range(604)]
    assert len(client.get_metric_history(run.info.run_id, STEP)) == 604


def test_everything_arrives_and_nothing_of_the_machine(server, tmp_path):
    uri, folder = server
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.safetensors").write_bytes(b"w" * 100)
    save_png(tmp_path / "picture.png", np.zeros((4, 4, 3), np.uint8))
    with Dashboards([MlflowDashboard(LABEL, tmp_path / "fold-0", uri, "nerveseg", tmp_path)]) as dashboards:
        dashboards.log_table("test/scores", pd.DataFrame({"subject": ["V01"], "dice": [0.75]}))
        dashboards.log_picture("test/overlay/sub-V01", tmp_path / "picture.png")
        dashboards.log_page("report", "<p>report</p>")
        dashboards.log_model(tmp_path / "model", {"weights_sha256": "5eed"})
        dashboards.summarize({"Auto-GT/dice/patient": 0.5})
    _, run = the_run(uri, tmp_path / "fold-0")
    assert run.info.run_name == "paper/fold-0"
    assert (run.data.tags["group"], run.data.tags["job_type"], run.data.tags["data"]) == ("paper", "train", "2b0f")
    assert run.data.params == {"fold": "0", "network.rate": "12"}
    assert run.data.metrics["Auto-GT/dice/patient"] == 0.5
    assert run.inputs.dataset_inputs[0].dataset.digest == "2b0f"
    files = {
        path.relative_to(folder / "files").as_posix().split("artifacts/")[1]: path
        for path in (folder / "files").rglob("*.*")
        if path.is_file()
    }
    assert set(files) == {"test/scores.json", "test/overlay/sub-V01.png", "report.html", "model/weights.safetensors"}
    assert json.loads(files["test/scores.json"].read_text())["data"] == [["V01", 0.75]]
    told = json.dumps(run.to_dictionary()) + (folder / "m.db").read_bytes().decode("latin-1")
    for word in (
        str(tmp_path),
        socket.gethostname() + '"',
        f'"{getpass.getuser()}"',
        "pytest",
        "site-packages",
        ".git",
    ):
        assert word not in told, word


def test_without_a_server_a_database_of_this_machine_serves(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    trained(tmp_path, None, 0, 2)
    client, run = the_run(f"sqlite:///{tmp_path}/mlflow.db", tmp_path)
    assert len(client.get_metric_history(run.info.run_id, "train/loss")) == 2


def test_a_server_that_does_not_answer_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ConfigurationError, match=r"logger\.mlflow\.uri"):
        MlflowDashboard(LABEL, tmp_path, "http://127.0.0.1:9", "nerveseg", tmp_path)
