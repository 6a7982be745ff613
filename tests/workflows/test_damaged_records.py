"""Damaged, missing and unwritable files of a run: one error with its path, and nothing of another process changes."""

import errno
import os

import pytest

from nerveseg.errors import BusyError, ConfigurationError, RunError
from nerveseg.files import exclusive_lock
from nerveseg.launch.main import run_command
from nerveseg.runs import FoldFolder
from nerveseg.scans.batch import Outcome
from nerveseg.scans.results import ScanSummary
from nerveseg.workflows.evaluate_masks import compare_cross_validation
from nerveseg.workflows.failures import record_failure
from nerveseg.workflows.run_records import read_run_config, read_seconds
from nerveseg.workflows.segment_scans import _still_there
from tests.workflows.test_evaluate_masks import FinishedRun, shown


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"V01": "fast"}', "{", "null", "\x00"])
def test_damaged_seconds_are_named(content, tmp_path):
    fold = FoldFolder(tmp_path / "fold-0")
    fold.predictions.mkdir(parents=True)
    assert read_seconds(fold) == {}
    fold.seconds.write_text('{"V01": 2.5}')
    assert read_seconds(fold) == {"V01": 2.5}
    fold.seconds.write_text(content)
    with pytest.raises(RunError) as caught:
        read_seconds(fold)
    assert caught.value.path == fold.seconds


@pytest.mark.parametrize(
    "content", ["a: [1", "a: 1\na: 2", "\ta: 1", "- 1", "a: !!python/name:os.system", "a: *b", "3"]
)
def test_a_damaged_configuration_is_named(content, tmp_path):
    fold = FoldFolder(tmp_path)
    fold.config.write_text(content)
    with pytest.raises(RunError) as caught:
        read_run_config(fold)
    assert caught.value.path == fold.config


def test_a_file_where_the_tables_should_be_is_named_before_anything_is_measured(tmp_path, monkeypatch):
    run = FinishedRun(tmp_path)
    (run.folder / "evaluation").write_text("mine")
    monkeypatch.setattr("nerveseg.workflows.analyse_scores.measure_subjects", None)
    with pytest.raises(ConfigurationError) as caught:
        compare_cross_validation(run.folder, shown())
    assert caught.value.path == run.folder / "evaluation"
    assert (run.folder / "evaluation").read_text() == "mine"


def test_a_refused_process_leaves_nothing_in_the_folder_of_another(tmp_path):
    lock = tmp_path / ".training"
    pid = os.fork() if not lock.exists() else 0
    if pid == 0:
        with exclusive_lock(lock, "one at a time"):
            os.close(os.open(tmp_path / "ready", os.O_CREAT))
            while not (tmp_path / "end").exists():
                pass
        os._exit(0)
    while not (tmp_path / "ready").exists():
        pass
    try:
        with (
            pytest.raises(BusyError),
            record_failure(tmp_path / "failure.json"),
            exclusive_lock(lock, "one at a time"),
        ):
            pass
        assert {path.name for path in tmp_path.iterdir()} == {".training", "ready"}
    finally:
        (tmp_path / "end").touch()
        os.waitpid(pid, 0)


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC, errno.ENAMETOOLONG, errno.EROFS, errno.EISDIR])
def test_an_error_of_the_system_about_a_file_is_one_line(number, capsys):
    def job(config):
        raise OSError(number, os.strerror(number), "a/file")

    assert run_command("simulate", job, []) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "a/file" in printed
    assert os.strerror(number) in printed


def test_another_error_of_the_system_is_a_fault_of_ours():
    def job(config):
        raise OSError(errno.EINVAL, "no file")

    with pytest.raises(OSError, match="no file"):
        run_command("simulate", job, [])


def test_a_working_directory_that_is_gone_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert run_command("simulate", lambda job: None, []) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_results_that_were_removed_meanwhile_are_failures(tmp_path):
    done = Outcome("a", "done", ScanSummary.model_construct(mask="mask.nii.gz"))
    assert _still_there(done, tmp_path).status == "failed"
    for name in ("mask.nii.gz", "summary.json"):
        (tmp_path / name).touch()
    assert _still_there(done, tmp_path) is done
