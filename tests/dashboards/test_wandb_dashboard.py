"""What a run leaves in W&B's offline files, read with W&B's own reader, and what of it is uploaded."""

import getpass
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nerveseg.dashboards.base import Dashboards, RunLabel
from nerveseg.dashboards.checkpointed_logger import CheckpointedLogger
from nerveseg.dashboards.wandb_dashboard import WandbDashboard
from nerveseg.dashboards.wandb_files import STEP, history, logged_steps, run_files
from nerveseg.reporting.overlay import save_png
from tests.helpers.wandb_server import inspected, rows, sync, wandb_server

# W&B's own: it leaves files to the end of the process, and uses what Python deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def _a_home_of_its_own(tmp_path, monkeypatch):
    """The machine's own settings and keys are out of reach, and nobody answers."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_DATA_DIR", "set by every run")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asks"))


def label(fold=0, **changes):
    words = {
        "project": "nerveseg", "group": "paper", "name": f"paper/fold-{fold}", "job_type": "train",
        "tags": ("synthetic", "x" * 100), "config": {"fold": fold, "network": {"growth_rate": 12}},
        "data": "2b0f251ace0d4f25", "study": "phantom demo",
    }  # fmt: skip
    return RunLabel(**words | changes)


def trained(folder, first, last, *, failed=False, known=()):
    """A process that logs some steps and ends."""
    dashboard = WandbDashboard(label(), folder, "offline")
    logger = CheckpointedLogger(dashboard, dashboard.logged_steps)
    logger.resume([{"step": step, "train/loss": step / 8} for step in known])
    for step in range(first, last):
        logger.log_metrics({"train/loss": step / 8}, step)
    logger.commit()
    return dashboard if failed is None else dashboard.finish(failed)


def sync_all(server, folder):
    for path in run_files(folder):
        inspected(path)
    sync(server, *(path.parent for path in run_files(folder)))


def of_kind(records, kind):
    return [record[kind] for record in records if record["type"] == kind]


def test_two_folds_in_one_process_are_two_runs_of_one_group(tmp_path):
    for fold in (0, 1):
        with Dashboards([WandbDashboard(label(fold), tmp_path / f"fold-{fold}", "offline")]) as dashboards:
            dashboards.loggers[0].log_metrics({"train/loss": 0.5}, 1)
            dashboards.loggers[0].finalize("success")
    runs = []
    for fold in (0, 1):
        (path,) = run_files(tmp_path / f"fold-{fold}")
        (run,) = of_kind(inspected(path), "run")
        assert (run["run_group"], run["job_type"], run["display_name"]) == ("paper", "train", f"paper/fold-{fold}")
        assert run["config"]["update"]["fold"] == fold
        assert run["tags"] == ["synthetic", "x" * 64]
        runs.append(run["run_id"])
    assert runs[0] != runs[1]


def test_values_tables_pictures_the_model_and_the_summary_are_read_back(tmp_path):
    picture = tmp_path / "picture.png"
    save_png(picture, np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.safetensors").write_bytes(b"w" * 100)
    with Dashboards([WandbDashboard(label(), tmp_path / "fold-0", "offline")]) as dashboards:
        (logger,) = dashboards.loggers
        logger.log_metrics({"train/loss": 0.5}, 0)
        logger.commit()
        dashboards.log_table("test/scores", pd.DataFrame({"subject": ["V01"], "dice": [0.75]}))
        dashboards.log_picture("test/overlay/sub-V01", picture, "blue: consensus")
        dashboards.log_page("report", "<p>report</p>")
        dashboards.log_model(tmp_path / "model", {"weights_sha256": "5eed" * 16})
        dashboards.summarize({"Auto-GT/dice/patient": 0.5, "R-R/dice/patient": 0.75})
    (path,) = run_files(tmp_path / "fold-0")
    records = inspected(path)
    assert {"train/loss": 0.5, STEP: 0}.items() <= of_kind(records, "history")[0]["item"].items()
    summary = {key: value for record in of_kind(records, "summary") for key, value in record["update"].items()}
    assert (summary["Auto-GT/dice/patient"], summary["R-R/dice/patient"]) == (0.5, 0.75)
    named = {artifact["name"]: artifact for artifact in of_kind(records, "artifact")}
    model, data = named["model-paper-fold-0"], named["dataset-phantom-demo"]
    assert (model["type"], data["type"]) == ("model", "dataset")
    assert "2b0f251ace0d4f25" in str(model["metadata"])
    assert "2b0f251ace0d4f25" in str(data["metadata"])
    assert (path.parent / "files" / "model" / "weights.safetensors").read_bytes() == b"w" * 100
    named = {file["path"].split("_")[0] for record in of_kind(records, "files") for file in record["files"]}
    assert named == {
        "media/table/test/scores", "media/images/test/overlay/sub-V01", "media/html/report",
        "model/weights.safetensors",
    }  # fmt: skip
    (exit_record,) = of_kind(records, "exit")
    assert exit_record.get("exit_code", 0) == 0


def test_a_failed_run_is_marked_failed(tmp_path):
    with pytest.raises(RuntimeError), Dashboards([WandbDashboard(label(), tmp_path, "offline")]):
        raise RuntimeError("a fault of ours")
    (path,) = run_files(tmp_path)
    (exit_record,) = of_kind(inspected(path), "exit")
    assert exit_record["exit_code"] == 1


def test_a_run_that_goes_on_is_one_file_with_every_step_once(tmp_path):
    trained(tmp_path, 0, 6, failed=True)
    trained(tmp_path, 4, 10, known=range(4))
    (path,) = run_files(tmp_path)
    assert [row[STEP] for row in rows(path)] == list(range(10))


def test_synced_whole_before_or_after_it_went_on_it_is_one_complete_run(tmp_path):
    """One folder is synced at the end; the other between two processes, and at the end again."""
    with wandb_server() as server:
        names = []
        for folder, between in ((tmp_path / "once", False), (tmp_path / "twice", True)):
            trained(folder, 0, 6, failed=True)
            if between:
                sync_all(server, folder)
            trained(folder, 4, 10, known=range(4))
            sync_all(server, folder)
            assert len(run_files(folder)) == 1 + between
            names.append((folder / "dashboard-id").read_text().strip())
        for name, exits in zip(names, ([0], [1, 0]), strict=True):
            lines = server.history(name)
            assert [line[STEP] for line in lines] == list(range(10))
            assert [line["train/loss"] for line in lines] == [step / 8 for step in range(10)]
            assert [line["_step"] for line in lines] == list(range(10))
            assert server.states[name] == exits


SECRET = "k3y-0f-s0me-service"


def of_this_machine(tmp_path):
    """What would tell whose machine it is, and where on it the study lies."""
    return [
        os.uname().nodename + '"', os.uname().release, getpass.getuser() + '"', str(tmp_path), str(Path.cwd()),
        str(Path.home()), SECRET, "NERVESEG_SECRET", "printed to the console", "pytest", "site-packages",
    ]  # fmt: skip


def all_kinds(tmp_path, mode):
    """A run that logs everything there is, with its words in the environment and on the console."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.safetensors").write_bytes(b"w" * 100)
    save_png(tmp_path / "picture.png", np.zeros((4, 4, 3), np.uint8))
    with Dashboards([WandbDashboard(label(), tmp_path / "fold-0", mode)]) as dashboards:
        print("printed to the console")
        dashboards.loggers[0].log_metrics({"train/loss": 0.5}, 0)
        dashboards.log_table("test/scores", pd.DataFrame({"subject": ["V01"], "dice": [0.75]}))
        dashboards.log_picture("test/overlay/sub-V01", tmp_path / "picture.png")
        dashboards.log_page("report", "<p>report</p>")
        dashboards.log_model(tmp_path / "model", {"weights_sha256": "5eed" * 16})
        dashboards.summarize({"Auto-GT/dice/patient": 0.5})


def assert_uploaded_without(words, server):
    uploaded = b"\n".join(server.bodies)
    assert b"paper/fold-0" in uploaded
    assert b"w" * 100 in uploaded
    assert {artifact["artifactTypeName"] for artifact in server.artifacts} == {"model", "dataset"}
    assert [word for word in words if word.encode() in uploaded] == []


def test_nothing_of_the_machine_is_uploaded_of_an_offline_run(tmp_path, monkeypatch):
    monkeypatch.setenv("NERVESEG_SECRET", SECRET)
    all_kinds(tmp_path, "offline")
    with wandb_server() as server:
        (path,) = run_files(tmp_path / "fold-0")
        inspected(path)
        sync(server, path.parent)
    assert_uploaded_without(of_this_machine(tmp_path), server)


def test_nothing_of_the_machine_is_uploaded_online_where_the_data_is_the_runs_input(tmp_path):
    """In a process of its own: W&B asks for the server's address once."""
    code = f"from tests.dashboards import test_wandb_dashboard as t; t.all_kinds(t.Path({str(tmp_path)!r}), 'online')"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    with wandb_server() as server:
        settings = {
            "WANDB_BASE_URL": server.address, "WANDB_API_KEY": "a" * 40, "NERVESEG_SECRET": SECRET,
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }  # fmt: skip
        command = [sys.executable, "-c", code]
        subprocess.run(command, env=inherited | settings, capture_output=True, timeout=120, check=True)
    assert_uploaded_without(of_this_machine(tmp_path), server)
    assert len(server.used) == 1


def test_nothing_of_the_machine_is_in_the_offline_file(tmp_path, monkeypatch):
    monkeypatch.setenv("NERVESEG_SECRET", SECRET)
    all_kinds(tmp_path, "offline")
    (path,) = run_files(tmp_path / "fold-0")
    kinds = {record["type"] for record in inspected(path)}
    content = path.read_bytes()
    assert b"paper/fold-0" in content
    assert [word for word in of_this_machine(tmp_path) if word.encode() in content] == []
    assert not {"environment", "output", "output_raw", "stats"} & kinds


def test_wandbs_own_file_says_what_it_has_also_when_its_end_is_torn(tmp_path):
    dashboard = WandbDashboard(label(), tmp_path, "offline")
    for step in range(700):
        dashboard.log_metrics({"train/loss": step / 8, "rate": 0.1}, step)
    dashboard.finish(failed=False)
    (path,) = run_files(tmp_path)
    written = rows(path)
    assert history(path) == written
    assert [row[STEP] for row in written] == list(range(700))
    assert [row["train/loss"] for row in written] == [step / 8 for step in range(700)]
    content = path.read_bytes()
    assert len(content) > 3 * 32768, "records are split at the borders of blocks"
    for length in (40_000, 70_000, 5, 0):
        path.write_bytes(content[:length])
        assert logged_steps(tmp_path) == set(range(len(logged_steps(tmp_path))))
        assert len(logged_steps(tmp_path)) < 700
    path.write_bytes(content[:50_000] + bytes([content[50_000] ^ 1]) + content[50_001:])
    assert 0 < len(logged_steps(tmp_path)) < 700


def test_a_folder_without_runs_has_no_steps(tmp_path):
    assert logged_steps(tmp_path) == set()
