import os
import re
import stat
import subprocess

import pytest
from pydantic import ValidationError

from nerveseg import runs
from nerveseg.errors import RunError
from nerveseg.files import remove_unfinished, temporary_sibling, write_text
from nerveseg.runs import (
    FoldFolder,
    Provenance,
    find_cross_validations,
    find_folds,
    fold_folder,
    package_versions,
    source_commit,
)


def make(root, *folders):
    for folder in folders:
        (root / folder).mkdir(parents=True)


def test_a_fold_lies_where_the_design_says(tmp_path):
    fold = fold_folder(tmp_path / "demo" / "network.growth_rate=16", 3)
    there = tmp_path / "demo" / "network.growth_rate=16" / "fold-3"
    assert fold == FoldFolder(there)
    assert fold.number == 3
    assert fold.checkpoints == there / "checkpoints"
    assert fold.former_config(1) == there / "config.before-1.yaml"
    assert fold.model == there / "model"
    assert fold.scores == there / "scores.csv"
    assert (fold.config, fold.provenance) == (there / "config.yaml", there / "provenance.json")
    assert fold.prediction("V01") == there / "predictions" / "sub-V01_label-nerve_mask.nii.gz"
    assert fold.overlay("V01") == there / "predictions" / "sub-V01_overlay.png"


def test_a_fold_is_complete_when_its_scores_are_there(tmp_path):
    fold = fold_folder(tmp_path, 0)
    assert not fold.is_complete
    make(tmp_path, "fold-0/model", "fold-0/predictions")
    assert not fold.is_complete
    for path in (fold.scores, fold.model / "weights.safetensors", fold.metrics):
        assert not fold.is_complete
        write_text(path, "\n")
    assert fold.is_complete
    for path in (fold.scores, fold.model / "weights.safetensors", fold.metrics):
        content = path.read_text()
        path.unlink()
        assert not fold.is_complete
        write_text(path, content)


def test_scores_that_were_made_elsewhere_need_no_weights(tmp_path):
    fold = fold_folder(tmp_path, 0)
    write_text(fold.scores, "subject\n")
    assert fold.is_complete


def test_folds_are_found_by_number(tmp_path):
    make(tmp_path, "fold-10", "fold-2", "fold-0", "fold-x", "fold-", "fold-1b", "fold-²", "evaluation", "my-fold-3")
    (tmp_path / "fold-5").touch()
    assert [fold.number for fold in find_folds(tmp_path)] == [0, 2, 10]
    assert find_folds(tmp_path / "nothing") == []


def test_every_cross_validation_below_a_run_is_found(tmp_path):
    make(
        tmp_path,
        "demo/fold-0/model/fold-notes",
        "demo/fold-1",
        "demo/seed=2,[a] b/fold-0",
        "demo/evaluation",
        "demo/deeper/down/fold-3",
        "demo/none/fold-x",
    )
    demo = tmp_path / "demo"
    assert find_cross_validations(demo) == [demo, demo / "deeper/down", demo / "seed=2,[a] b"]
    assert find_cross_validations(demo / "seed=2,[a] b") == [demo / "seed=2,[a] b"]


@pytest.mark.parametrize(("name", "found"), [("empty", "no fold-<k> folder"), ("gone", "no such folder")])
def test_a_folder_without_folds_is_named(name, found, tmp_path):
    make(tmp_path, "empty/evaluation")
    with pytest.raises(RunError) as caught:
        find_cross_validations(tmp_path / name)
    assert caught.value.found.startswith(found)
    assert caught.value.path == tmp_path / name
    assert caught.value.remedy.startswith("run=")


def test_text_is_written_whole_as_utf8(tmp_path):
    path = tmp_path / "new" / "folder" / "größe.txt"
    write_text(path, "ä\nb\n")
    assert path.read_bytes() == "ä\nb\n".encode()
    write_text(path, "short")
    assert path.read_text() == "short"
    assert [file.name for file in path.parent.iterdir()] == ["größe.txt"]


def test_a_text_that_cannot_be_written_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "scores.csv"
    write_text(path, "old")
    with pytest.raises(TypeError):
        write_text(path, b"no text")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_rename_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "scores.csv"
    write_text(path, "old")

    def interrupted(aside, _path):
        assert aside.read_text() == "new"
        assert path.read_text() == "old"
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_takes_the_place_lies_on_the_disk_before(tmp_path, monkeypatch):
    path, steps = tmp_path / "scores.csv", []
    sync, rename = os.fsync, os.replace

    def synced(descriptor):
        found = os.fstat(descriptor)
        steps.append(("folder synced", 0) if stat.S_ISDIR(found.st_mode) else ("synced", found.st_size))
        sync(descriptor)

    def renamed(aside, there):
        steps.append(("renamed", aside.stat().st_size))
        rename(aside, there)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    write_text(path, "new")
    assert steps == [("synced", 3), ("renamed", 3), ("folder synced", 0)]
    assert path.read_text() == "new"


def test_a_disk_that_is_full_when_it_comes_to_it_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "scores.csv"
    write_text(path, "old")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def provenance(**values):
    usual = {"command": ["train", "fold=0"], "data": "0123", "config_sha256": "ab", "device": "CPU, 2 cores"}
    return Provenance(**(usual | values))


def test_provenance_comes_back_from_its_json(tmp_path):
    written = provenance(training_seconds=12.5)
    write_text(tmp_path / "provenance.json", written.model_dump_json())
    assert Provenance.model_validate_json((tmp_path / "provenance.json").read_text()) == written
    with pytest.raises(ValidationError, match="extra"):
        provenance(colour="red")


def test_provenance_says_when_and_with_what():
    record = provenance()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", record.started)
    assert record.training_seconds is None
    assert record.versions == package_versions()
    import numpy
    import torch

    assert record.versions["torch"] == torch.__version__
    assert record.versions["numpy"] == numpy.__version__
    assert {"python", "nerveseg", "pytorch-lightning", "nibabel"} <= set(record.versions)


def test_a_package_that_is_not_there_is_said_to_be_missing(monkeypatch):
    monkeypatch.setattr(runs, "RECORDED_PACKAGES", ("no-such-package-anywhere",))
    assert package_versions()["no-such-package-anywhere"] == "not installed"


def git(folder, *arguments):
    command = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@example.org", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_commit_is_that_of_the_source_and_says_dirty(tmp_path, monkeypatch):
    package = tmp_path / "nerveseg"
    package.mkdir()
    (package / "runs.py").write_text("1")
    monkeypatch.setattr(runs, "__file__", str(package / "runs.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert source_commit() == ""
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    assert source_commit() == git(tmp_path, "rev-parse", "HEAD")[:12]
    (package / "runs.py").write_text("2")
    assert source_commit() == git(tmp_path, "rev-parse", "HEAD")[:12] + "-dirty"


def test_without_git_there_is_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert source_commit() == ""


def test_what_killed_processes_were_writing_is_removed_and_nothing_else(tmp_path):
    kept = [tmp_path / name for name in (".training", "scores.csv", "deep/.5kept.csv", "deep/1.2.csv")]
    left = [tmp_path / ".812.scores.csv", tmp_path / "deep/.9.last.ckpt", tmp_path / ".77.model/weights.safetensors"]
    for path in [*kept, *left]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    remove_unfinished(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
    assert not (tmp_path / ".77.model").exists()


def test_what_is_written_beside_is_what_is_removed(tmp_path):
    temporary_sibling(tmp_path / "last.ckpt").touch()
    temporary_sibling(tmp_path / "model").mkdir()
    remove_unfinished(tmp_path)
    assert not list(tmp_path.iterdir())
