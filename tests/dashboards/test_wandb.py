"""A run in W&B's offline files, read with W&B's own reader, and on a server; and what of it is uploaded."""

import dataclasses
import getpass
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nerveseg.errors import ConfigurationError
from tests.helpers.dashboard_runs import LABEL, all_kinds, opened, trained
from tests.helpers.wandb_server import inspected, run_files, sync, wandb_server

# W&B's own: it leaves files to the end of the process, and uses what Python deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")

OFFLINE = {"_target_": "pytorch_lightning.loggers.WandbLogger", "project": "nerveseg", "offline": True}
STEP = "trainer/global_step"
SECRET = "k3y-0f-s0me-service"


@pytest.fixture(autouse=True)
def _a_home_of_its_own(tmp_path, monkeypatch):
    """The machine's own settings and keys are out of reach, and nobody answers."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("WANDB_DATA_DIR", "WANDB_MODE"):
        monkeypatch.setenv(name, "offline")  # so that what a run sets is undone
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("NERVESEG_SECRET", SECRET)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asks"))


def sync_all(server, folder):
    (path,) = run_files(folder)
    inspected(path)
    sync(server, path.parent)


def of_kind(records, kind):
    return [record[kind] for record in records if record["type"] == kind]


def in_a_process(server, call):
    """Run a call of this module's in a process of its own: W&B asks for the server's address once."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    settings = {
        "WANDB_BASE_URL": server.address, "WANDB_API_KEY": "a" * 40, "PYTHONPATH": str(Path(__file__).parents[2]),
    }  # fmt: skip
    code = f"from pathlib import Path; from tests.dashboards.test_wandb import *; {call}"
    subprocess.run([sys.executable, "-c", code], env=inherited | settings, capture_output=True, timeout=120, check=True)


def assert_every_step_once(server, name, last):
    lines = server.history(name)
    assert [line[STEP] for line in lines] == list(range(last))
    assert [line["train/loss"] for line in lines] == [step / 8 for step in range(last)]


def test_offline_a_resumed_run_replaces_the_file_and_what_was_synced_of_it(tmp_path):
    """Killed in step 6, with a checkpoint before step 4; one folder is synced in between, the other at the end only."""
    with wandb_server() as server:
        for folder, is_synced_between in ((tmp_path / "once", False), (tmp_path / "twice", True)):
            trained(folder, OFFLINE, 0, 6, failed=True)
            if is_synced_between:
                sync_all(server, folder)
            trained(folder, OFFLINE, 4, 10, known=range(4))
            sync_all(server, folder)
            name = (folder / "dashboard-id").read_text().strip()
            assert_every_step_once(server, name, 10)
            assert server.states[name] == [1, 0] if is_synced_between else [0]


@pytest.mark.slow
def test_online_a_resumed_run_sends_what_the_server_lacks(tmp_path):
    """The server has two steps more than the checkpoint before it: the last checkpoint was damaged."""
    online = OFFLINE | {"offline": False}
    with wandb_server() as server:
        in_a_process(
            server,
            f"trained(Path({str(tmp_path)!r}), {online}, 0, 6, failed=True);"
            f"trained(Path({str(tmp_path)!r}), {online}, 4, 10, known=range(4))",
        )
        name = (tmp_path / "dashboard-id").read_text().strip()
        assert_every_step_once(server, name, 10)
        assert server.states[name] == [1, 0]


def test_two_folds_in_one_process_are_two_runs_of_one_group_and_all_is_read_back(tmp_path):
    with opened(tmp_path / "fold-1", OFFLINE, label=dataclasses.replace(LABEL, name="paper/fold-1")):
        all_kinds(tmp_path / "fold-0", OFFLINE)
    runs = [of_kind(inspected(*run_files(tmp_path / f"fold-{fold}")), "run")[0] for fold in (0, 1)]
    assert runs[0]["run_id"] != runs[1]["run_id"]
    for fold, run in enumerate(runs):
        assert (run["run_group"], run["job_type"], run["display_name"]) == ("paper", "train", f"paper/fold-{fold}")
        assert run["tags"] == ["synthetic", "x" * 64]
    (path,) = run_files(tmp_path / "fold-0")
    records = inspected(path)
    assert {"train/loss": 0.5, STEP: 0}.items() <= of_kind(records, "history")[0]["item"].items()
    summary = {key: value for record in of_kind(records, "summary") for key, value in record["update"].items()}
    assert summary["Auto-GT/dice/patient"] == 0.5
    config = {key: value for record in of_kind(records, "config") for key, value in record["update"].items()}
    assert (config["fold"], config["data"]) == (0, "2b0f251ace0d4f25")
    assert [artifact["type"] for artifact in of_kind(records, "artifact")] == ["model"]
    files = {file["path"].split("_")[0] for record in of_kind(records, "files") for file in record["files"]}
    assert files == {
        "media/table/test/scores", "media/images/test/overlay/sub-V01", "media/html/report",
        "model/weights.safetensors",
    }  # fmt: skip


def of_this_machine(tmp_path):
    """What would tell whose machine it is, and where on it the study lies."""
    return [
        os.uname().nodename + '"', os.uname().release, getpass.getuser() + '"', str(tmp_path), str(Path.cwd()),
        str(Path.home()), SECRET, "NERVESEG_SECRET", "printed to the console", "pytest", "site-packages",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["synced", "online"])
def test_nothing_of_the_machine_is_uploaded(tmp_path, mode):
    folder = tmp_path / "fold-0"
    with wandb_server() as server:
        if mode == "online":
            in_a_process(server, f"all_kinds(Path({str(folder)!r}), {OFFLINE | {'offline': False}})")
        else:
            all_kinds(folder, OFFLINE)
            sync_all(server, folder)
    uploaded = b"\n".join(server.bodies)
    assert b"paper/fold-0" in uploaded
    assert b"w" * 100 in uploaded
    assert {artifact["artifactTypeName"] for artifact in server.artifacts} == {"model"}
    assert [word for word in of_this_machine(tmp_path) if word.encode() in uploaded] == []


def test_nothing_of_the_machine_is_in_the_offline_file_and_nothing_is_printed(tmp_path, capsys):
    all_kinds(tmp_path / "fold-0", OFFLINE)
    printed = capsys.readouterr()
    assert printed.out + printed.err == "printed to the console\n"
    (path,) = run_files(tmp_path / "fold-0")
    assert not {"environment", "output", "output_raw", "stats"} & {record["type"] for record in inspected(path)}
    content = path.read_bytes()
    assert b"paper/fold-0" in content
    assert [word for word in of_this_machine(tmp_path) if word.encode() in content] == []


def test_without_a_key_the_error_is_one_line_that_says_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(ConfigurationError) as error:
        opened(tmp_path, OFFLINE | {"offline": False}, "wandb")
    assert "\n" not in str(error.value)
    assert "wandb login" in error.value.remedy
