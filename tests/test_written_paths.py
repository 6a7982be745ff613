"""Every file is written below the output, whatever a name, a link or `..` leads to; an empty path is no folder."""

import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nerveseg.errors import ConfigurationError, RunError
from nerveseg.files import atomic_write, write_text, writing_below
from nerveseg.launch.arguments import to_hydra_overrides
from nerveseg.launch.compose import compose_jobs
from nerveseg.segment import main as segment
from tests.helpers.scan_models import write_model


@pytest.fixture
def output(tmp_path):
    (tmp_path / "output").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "output" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "output" / "loose").symlink_to(tmp_path / "nowhere")
    return tmp_path / "output"


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "link/x", "link/a/b/x", "loose/x", "/tmp/nerveseg-x", "../output-2/x"]
)
def test_nothing_is_written_outside_the_output(name, output):
    for write in (lambda path: write_text(path, "a"), lambda path: atomic_write(path).__enter__().touch()):
        with pytest.raises(RunError) as caught, writing_below(output):
            write(output / name)
        assert caught.value.path == output / name
    assert files(output.parent) == []
    assert not (output.parent / "nowhere").exists()


def test_below_the_output_any_name_is_written(output):
    (output / "inner").symlink_to(output / "a")
    with writing_below(output):
        for name in ("x", "a/b/x", "a/../y", "inner/z"):
            write_text(output / name, "a")
    assert files(output) == ["a/b/x", "a/z", "x", "y"]


def test_an_output_that_is_a_link_is_that_folder(output):
    with writing_below(output / "link"):
        write_text(output / "link" / "x", "a")
        write_text(output.parent / "elsewhere" / "y", "a")
    assert files(output.parent) == ["elsewhere/x", "elsewhere/y"]


def test_the_limit_ends_with_its_block(output):
    with writing_below(output), pytest.raises(RunError), writing_below(output / "a"):
        write_text(output / "x", "a")
    write_text(output.parent / "x", "a")
    assert files(output.parent) == ["x"]


def test_results_of_a_scan_do_not_follow_a_link_out_of_the_output(output, capsys):
    random = np.random.default_rng(1)
    (output.parent / "scans").mkdir()
    for name in ("a", "link"):
        image = nib.Nifti1Image(random.normal(100, 20, (24, 24, 4)).astype(np.float32), np.diag([0.5, 0.5, 4.0, 1.0]))
        nib.save(image, output.parent / "scans" / f"{name}.nii")
    model = write_model(output.parent / "model", 1, {})
    code = segment([f"{output.parent}/scans/*", f"model={model}", f"output={output}", "accelerator=cpu"])
    assert code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    table = pd.read_csv(output / "segmentations.csv", index_col="scan")
    assert table["status"].to_dict() == {"a": "done", "link": "failed"}
    assert (output / "a" / "mask.nii.gz").is_file()
    assert list((output.parent / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(
    ("verb", "option"),
    [("segment", "model"), ("segment", "output"), ("segment", "output_root"), ("evaluate", "run"),
     ("evaluate", "output"), ("check", "output_root"), ("check", "study.root"), ("simulate", "output"),
     ("train", "output_root")],
)  # fmt: skip
def test_an_empty_path_is_not_the_working_directory(verb, option):
    words = ["x.nii"] if verb == "segment" else ["fold=0"] if verb == "train" else []
    with pytest.raises(ConfigurationError) as caught:
        compose_jobs(verb, to_hydra_overrides(verb, [*words, f"{option}="]))
    assert caught.value.rule.startswith(option)
    assert caught.value.remedy == f"{option}=<folder>"


def test_no_model_is_taken_from_the_working_directory(tmp_path, monkeypatch, capsys):
    write_model(tmp_path, 1, {})
    shutil.copy(tmp_path / "model.json", tmp_path / "scan.nii")
    before = files(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert segment(["scan.nii", "model="]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "remedy: model=<folder>" in line
    assert files(tmp_path) == before


def test_an_output_that_is_a_loop_of_links_is_an_error_of_the_system(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(OSError, match="loop"), writing_below(tmp_path / "loop"):
        write_text(tmp_path / "loop" / "a", "a")
