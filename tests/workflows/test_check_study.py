"""The `check` command: hashes are remembered as `train` remembers them, and only of a sound study."""

import re
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nerveseg.data import hashing
from nerveseg.errors import StudyError
from nerveseg.launch.schema import parse_config
from nerveseg.workflows.check_study import check_configured_study
from tests.helpers.composed import plain_config

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path):
    random = np.random.default_rng(1)
    for subject in ("A", "B"):
        for name, array in (("t2", random.normal(size=(8, 8, 3))), ("mask", random.random((8, 8, 3)) > 0.7)):
            image = nib.Nifti1Image(array.astype(np.float32), np.diag([0.5, 0.5, 4.0, 1.0]))
            nib.save(image, tmp_path / f"{subject}_{name}.nii.gz")
    words = ["study=bids", f"study.root={tmp_path}", f"output_root={tmp_path / 'out'}", "preprocessing.size=[8, 8]"]
    composed = plain_config("check", *words)
    composed["study"] |= {"images": {"T2": "{id}_t2.nii.gz"}, "raters": {"R": "{id}_mask.nii.gz"}}
    return parse_config("check", composed)


@pytest.fixture
def read(monkeypatch):
    """Names of the files that are read to be hashed, a minute after they were written."""
    names, hash_, now_ns = [], hashing._hash, time.time_ns

    def counted(path):
        names.append(str(path).rpartition("/")[2])
        return hash_(path)

    monkeypatch.setattr(hashing, "_hash", counted)
    monkeypatch.setattr(hashing.time, "time_ns", lambda: now_ns() + 60_000_000_000)
    return names


def test_images_are_hashed_once(config, read):
    for _ in range(2):
        check_configured_study(config)
    assert sorted(read) == ["A_t2.nii.gz", "B_t2.nii.gz"]


def test_a_copied_image_is_a_fault_and_no_hash_is_remembered(config, read, tmp_path, capsys):
    (tmp_path / "B_t2.nii.gz").write_bytes((tmp_path / "A_t2.nii.gz").read_bytes())
    with pytest.raises(StudyError) as caught:
        check_configured_study(config)
    assert caught.value.found.split(",")[0] == "1"
    assert caught.value.path == tmp_path
    assert re.search(r"found: [^;]* A; subject: B; path: .*B_t2\.nii\.gz;", capsys.readouterr().err)
    assert not (tmp_path / "out" / "slices").exists()


def test_an_image_that_was_copied_into_another_file_is_a_fault(config, tmp_path, capsys):
    image = nib.load(tmp_path / "A_t2.nii.gz").as_reoriented(np.array([[0, -1], [1, 1], [2, 1]]))
    nib.save(image, tmp_path / "B_t2.nii.gz")
    with pytest.raises(StudyError) as caught:
        check_configured_study(config)
    assert caught.value.path == tmp_path
    assert re.search(r"found: [^;]* A; subject: B; path: .*B_t2\.nii\.gz;", capsys.readouterr().err)


def test_every_mask_has_a_row_and_the_page_names_a_planted_fault(config, tmp_path):
    check_configured_study(config)
    folder = tmp_path / "out" / "checks" / config.study.layout.name
    table = pd.read_csv(folder / "check.csv", keep_default_na=False)
    assert list(table["subject"]) == ["A", "B"]
    expected = np.asarray(nib.load(tmp_path / "A_mask.nii.gz").dataobj)
    assert table["voxels"][0] == np.count_nonzero(expected)
    assert float(table["volume_mm3"][0]) == pytest.approx(np.count_nonzero(expected) * 0.5 * 0.5 * 4.0)
    assert (table["faults"] == "").all()
    explained = (ROOT / "docs" / "columns.md").read_text(encoding="utf-8").partition("## check.csv")[2]
    assert set(table.columns) == set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\|([^|]+)\|", explained, re.M))))
    (tmp_path / "B_mask.nii.gz").write_bytes((tmp_path / "A_mask.nii.gz").read_bytes())
    with pytest.raises(StudyError):
        check_configured_study(config)
    table = pd.read_csv(folder / "check.csv", keep_default_na=False)
    assert list(table["faults"] != "") == [False, True]
    page = (folder / "check.html").read_text(encoding="utf-8")
    assert "B_mask.nii.gz" in page
    assert "SYNTHETIC" not in page
    (tmp_path / "dataset_description.json").write_text('{"Name": "SYNTHETIC thighs"}', encoding="utf-8")
    with pytest.raises(StudyError):
        check_configured_study(config)
    assert "SYNTHETIC STUDY" in (folder / "check.html").read_text(encoding="utf-8")
