"""No sequence of `segment`, `measure`, edits and interrupts loses a file that a person made."""

import hashlib

import numpy as np
import pytest

from nerveseg.scans import results, writing
from nerveseg.scans.own_files import UNFINISHED, clear, mark, record, recorded
from tests.scans.test_measure_command import correct, measure, result, summary_of, voxels_of

__all__ = ["measure", "result"]  # fixtures


def everything(folder):
    """Hashes of the content of all files below a folder."""
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_nerveseg_wrote_is_deleted_and_anything_else_is_moved_aside(tmp_path, capsys):
    for name in ("mask.nii.gz", "branches.nii.gz", "automatic.nii.gz", "report.html", "mask.img"):
        (tmp_path / name).write_bytes(name.encode())
    mark(tmp_path, {("mask.nii.gz", sha256(tmp_path / "mask.nii.gz"))})
    record(tmp_path, "branches.nii.gz")
    (tmp_path / "branches.nii.gz").write_bytes(b"drawn")
    clear(tmp_path, [path.name for path in tmp_path.iterdir() if path.name != UNFINISHED], recorded(tmp_path))
    aside = {path.name: path.read_bytes() for path in (tmp_path / "replaced-1").iterdir()}
    assert aside == {
        "branches.nii.gz": b"drawn", "automatic.nii.gz": b"automatic.nii.gz", "mask.img": b"mask.img",
    }  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} == {UNFINISHED, "replaced-1"}
    assert capsys.readouterr().out.count("replaced-1") == 3
    (tmp_path / "mask.nii.gz").write_bytes(b"another")
    clear(tmp_path, ["mask.nii.gz"], recorded(tmp_path))
    assert (tmp_path / "replaced-2/mask.nii.gz").read_bytes() == b"another"


def test_an_interrupted_result_holds_no_foreign_file_for_its_own(tmp_path):
    results.begin(tmp_path, ["mask-a.nii.gz"])
    for name in ("mask-a.nii.gz", "mask.nii.gz"):
        (tmp_path / name).write_bytes(b"ours")
        record(tmp_path, name)
    (tmp_path / "mask.nii.gz").write_bytes(b"corrected after the interruption")
    (tmp_path / "mask-b.nii.gz").write_bytes(b"of a person")
    results.begin(tmp_path)
    assert (tmp_path / "replaced-1/mask.nii.gz").read_bytes() == b"corrected after the interruption"
    assert sorted(path.name for path in tmp_path.iterdir()) == [UNFINISHED, "mask-b.nii.gz", "replaced-1"]


@pytest.mark.parametrize("named", [[], ["output=out"]])
def test_a_second_correction_does_not_replace_the_first(named, measure, result, tmp_path):
    correct(result / "mask.nii.gz")
    first = sha256(result / "mask.nii.gz")
    measure("out")
    nerve = voxels_of(result / "automatic.nii.gz").copy()
    correct(result / "mask.nii.gz", tmp_path / "second.nii.gz")
    measure("out", "mask=second.nii.gz", *named)
    assert sha256(result / "replaced-1/mask.nii.gz") == first
    assert np.array_equal(voxels_of(result / "automatic.nii.gz"), nerve)
    assert summary_of(result)["given"]["source"] == "second.nii.gz"


def test_an_edit_that_was_not_measured_is_not_replaced(measure, result, tmp_path):
    correct(result / "mask.nii.gz", tmp_path / "second.nii.gz")
    correct(result / "mask.nii.gz")
    correct(result / "mask.nii.gz")
    before = everything(result)
    for named in ([], ["output=out"]):
        measure("out", "mask=second.nii.gz", *named, code=2)
    assert everything(result) == before


def test_only_the_label_map_of_a_result_is_corrected(measure, result):
    correct(result / "branches.nii.gz")
    before = everything(result)
    measure("out", code=2)
    measure("out", "mask=out/branches.nii.gz", code=2)
    assert everything(result) == before


def test_another_mask_in_the_folder_of_a_measurement_is_not_taken_for_the_first(measure, image_of, truth_of, tmp_path):
    first, second = truth_of("V01", "nerve_mask"), tmp_path / "second.nii.gz"
    correct(first, second)
    scan = image_of("V01")
    measure(scan, f"mask={first}", "output=out")
    volume = summary_of(tmp_path / "out")["nerves"][0]["volume_mm3"]
    measure("out", f"mask={second}")
    assert summary_of(tmp_path / "out")["nerves"][0]["volume_mm3"] != volume
    measure(scan, f"mask={first}", "output=out")
    assert summary_of(tmp_path / "out")["nerves"][0]["volume_mm3"] == volume


def test_an_interrupted_measurement_goes_on(measure, result, monkeypatch):
    correct(result / "mask.nii.gz")
    saved = sha256(result / "mask.nii.gz")
    with monkeypatch.context() as patched:
        patched.setattr(writing, "write_subject_page", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        measure("out", code=130)
    assert summary_of(result)["given"] is None
    measure("out")
    assert sha256(result / "mask.nii.gz") == saved
    assert summary_of(result)["given"]["sha256"] == saved
    assert not (result / UNFINISHED).exists()
    assert not list(result.glob("replaced-*"))


def test_the_surface_is_that_of_the_corrected_mask(measure, run, image_of, sweep, tmp_path):
    run(image_of("V01"), f"model={sweep}", "output=out", "surface=stl")
    before = (tmp_path / "out/nerve.stl").read_bytes()
    array = voxels_of(tmp_path / "out/mask.nii.gz").copy()
    correct(tmp_path / "out/mask.nii.gz")
    assert not np.array_equal(voxels_of(tmp_path / "out/mask.nii.gz"), array)
    measure("out")
    assert (tmp_path / "out/nerve.stl").read_bytes() != before
