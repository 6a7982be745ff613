"""What a path, a folder or a pattern means, and the names of what it finds."""

import errno
import os
import unicodedata
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nerveseg.data.inputs import check_is_scan, resolve_inputs
from nerveseg.data.volumes.volume import read_image, write_volume
from nerveseg.errors import GeometryError, VolumeError
from tests.helpers.dicom_series import write_series
from tests.helpers.nifti_files import nerve, straight, voxels


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder in which `touch` makes files."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def found(given):
    return [(scan.name, str(scan.path)) for scan in resolve_inputs(str(given))]


@pytest.mark.parametrize(("file", "name"), [
    ("sub-01_T2w.nii.gz", "sub-01_T2w"), ("a.b.nii", "a.b"), ("x.MHA", "x"), ("x.nrrd", "x"), ("X.NII.GZ", "X"),
    ("scan[1]*.nii", "scan[1]*"), ("notes.txt", "notes.txt"),
])  # fmt: skip
def test_a_path_that_exists_is_taken_literally(file, name, folder):
    touch(file, "scan1x.nii")
    assert found(file) == [(name, file)]
    assert found(folder / file) == [(name, str(folder / file))]


def test_a_folder_of_dicom_files_is_one_scan_named_after_it(folder):
    write_series(folder / "exam" / "t2.tra")
    assert found("exam/t2.tra") == [("t2.tra", "exam/t2.tra")]
    assert found("exam/t2.tra/") == [("t2.tra", "exam/t2.tra")]
    assert found("exam/*") == [("t2.tra", "exam/t2.tra")]
    (folder / "exam" / "t2.tra").rename(folder / "here")
    os.chdir("here")
    assert found(".") == [("here", ".")]


def test_a_pattern_finds_volumes_and_dicom_folders_in_order(folder):
    touch("s/b.nii.gz", "s/a.nii", "s/a.json", "s/c/d.mha", "s/c/readme", "s/.hidden.nii")
    write_series(folder / "s" / "dicom")
    assert found("s/*") == [("a", "s/a.nii"), ("b", "s/b.nii.gz"), ("dicom", "s/dicom")]
    assert found("s/**/*.m*") == [("d", "s/c/d.mha")]
    assert [name for name, _ in found("s/**")] == ["a", "b", "d", "dicom"]


def test_names_that_collide_get_their_folders(folder):
    touch("one/anat/T2.nii.gz", "two/anat/T2.nii.gz", "two/anat/FS.nii.gz", "three/T2.nii")
    assert dict(found("**/*.nii*")) == {
        "one_anat_T2": "one/anat/T2.nii.gz",
        "three_T2": "three/T2.nii",
        "FS": "two/anat/FS.nii.gz",
        "two_anat_T2": "two/anat/T2.nii.gz",
    }


def test_one_stem_in_two_formats_gets_its_suffix(folder):
    touch("x.nii", "x.mha")
    assert found("x.*") == [("x_mha", "x.mha"), ("x_nii", "x.nii")]


PARTS = st.sampled_from(["a", "A", "b", "a_b", "a_2", "a_nii"])
PATHS = st.builds(lambda parts, suffix: "/".join(parts) + suffix, st.lists(PARTS, min_size=1, max_size=3),
                  st.sampled_from([".nii", ".mha", ".nii.gz"]))  # fmt: skip


@settings(max_examples=25)
@given(paths=st.sets(PATHS, min_size=1, max_size=12))
def test_names_are_unique_and_the_same_every_time(paths, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    touch(*(folder / path for path in paths))
    scans = resolve_inputs(f"{folder}/**")
    assert len({scan.name.casefold() for scan in scans}) == len(scans) == len(paths)
    assert all(os.sep not in scan.name and scan.name for scan in scans)
    assert [scan.path for scan in scans] == sorted(folder / path for path in paths)
    assert resolve_inputs(f"{folder}/**") == scans


def refused(given, found, remedy):
    with pytest.raises(VolumeError) as caught:
        resolve_inputs(str(given))
    assert str(caught.value.path) == given
    assert found in caught.value.found
    assert remedy in caught.value.remedy


def test_what_is_not_there_is_an_error_with_a_remedy(folder):
    refused("none.nii", "file", "path")
    refused("none/*.nii", "", "pattern")
    touch("s/a.json", "s/b.txt")
    refused("s/*", "2 matches, such as a.json", ".nii.gz, .mha")
    refused("s", "", "input='folder/**/*.nii.gz'")


def test_a_folder_of_volumes_says_which_pattern_to_give(folder):
    touch("s/b.nii.gz", "s/a.nii.gz", "s/notes.txt")
    refused("s", "2 volumes, such as a.nii.gz", "input='s/*.nii.gz'")
    touch("t/b.mha")
    refused("t", "b.mha", "input='t/*.mha'")


def test_nested_folders_a_dicomdir_a_zip_and_a_single_file_are_scans(folder):
    write_series(folder / "disk" / "ST000" / "SE000", prefix="IMG")
    touch("disk/DICOMDIR", "disk/viewer.exe")
    assert found("disk") == found("disk/DICOMDIR") == [("disk", "disk")]
    touch("export.zip")
    assert found("export.zip") == [("export", "export.zip")]
    assert found("disk/ST000/SE000/IMG002.dcm") == [("IMG002", "disk/ST000/SE000/IMG002.dcm")]


def test_a_zip_without_dicom_is_no_scan_and_no_volume(folder, capsys):
    (slice_file, *_) = write_series(folder / "disk" / "ST000" / "SE000", prefix="IMG")
    touch("disk/DICOMDIR")
    for name, member, content in (
        ("disk/viewer.zip", "viewer.exe", b"MZ" + bytes(2000)),
        ("archive/code.zip", "src/main.py", b"print()"),
        ("archive/exam.zip", "IM/1", slice_file.read_bytes()),
    ):
        Path(name).parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(name, "w") as archive:
            archive.writestr("readme.txt", "text")
            archive.writestr(member, content)
    assert found("disk") == found("disk/DICOMDIR") == [("disk", "disk")]
    capsys.readouterr()
    assert found("archive/**") == [("exam", "archive/exam.zip")]
    assert "1 .zip (such as code.zip)" in capsys.readouterr().out.replace("\n", " ")
    refused("archive/c*.zip", "1 matches, such as code.zip", "DICOM")
    refused("archive", "1 volumes, such as exam.zip", "input='archive/*.zip'")
    touch("archive/damaged.zip")
    os.mkfifo("archive/fifo.zip")
    assert [name for name, _ in found("archive/*")] == ["damaged", "exam", "fifo"]


def test_a_pattern_takes_each_series_once_and_says_what_it_leaves_out(folder, capsys):
    write_series(folder / "p1" / "ST" / "SE", prefix="IMG")
    write_series(folder / "p2", prefix="a")
    write_series(folder / "p2", prefix="b")
    touch("p3/notes.txt", "p4.zip", "p5.nii", "readme.md")
    capsys.readouterr()
    assert found("p*") == [("p1", "p1"), ("p2", "p2"), ("p4", "p4.zip"), ("p5", "p5.nii")]
    assert "1 folders (such as p3)" in capsys.readouterr().out
    assert found("p2/*.dcm") == [("a000", "p2/a000.dcm"), ("b000", "p2/b000.dcm")]
    assert capsys.readouterr().out == ""
    assert [path for _, path in found("**")] == ["p1/ST/SE", "p2", "p4.zip", "p5.nii"]
    printed = capsys.readouterr().out.replace("\n", " ")
    assert all(words in printed for words in ("1 folders", "1 .txt", "1 .md"))


def test_a_file_or_folder_without_permission_is_named(folder):
    write_series(folder / "closed")
    (folder / "closed").chmod(0)
    try:
        if os.access("closed", os.R_OK):
            pytest.skip("this user may read everything")
        refused("closed", os.strerror(errno.EACCES), "permissions")
        assert found("clos*") == [("closed", "closed")]
        with pytest.raises(VolumeError) as caught:
            read_image(Path("closed"))
        assert (caught.value.found, caught.value.path) == (os.strerror(errno.EACCES), Path("closed"))
    finally:
        (folder / "closed").chmod(0o700)


def test_one_slice_is_no_scan(tmp_path):
    path = tmp_path / "x.nii"
    nib.save(nib.Nifti1Image(voxels((7, 6, 1)), straight()), path)
    with pytest.raises(VolumeError) as caught:
        check_is_scan(read_image(path), path)
    assert caught.value.found.startswith("shape (7, 6, 1)")
    assert caught.value.path == path
    sagittal = np.array([[0, 0, 0.5, 0], [0.5, 0, 0, 0], [0, 4.4, 0, 0], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(voxels((7, 1, 6)), sagittal), path)
    with pytest.raises(VolumeError) as caught:
        check_is_scan(read_image(path), path)
    assert caught.value.found.startswith("shape (7, 1, 6)")
    assert caught.value.path == path


@pytest.mark.parametrize("labels", [1, 2])
def test_a_mask_is_no_scan(labels, tmp_path):
    path = tmp_path / "x.nii.gz"
    mask = nerve((50, 50, 6)).astype(np.uint8)
    mask[3, 3, 3] *= labels
    write_volume(path, mask, straight())
    with pytest.raises(VolumeError) as caught:
        check_is_scan(read_image(path), path)
    assert caught.value.found.startswith("only the values 0, 1")
    assert caught.value.path == path


def test_a_map_of_many_labels_is_no_scan(tmp_path):
    """Twelve slabs, as muscles lie; a noisy picture of twelve grey levels is an image."""
    labels = np.zeros((60, 40, 5), dtype=np.float32)
    labels[6:54, 5:35] = (np.arange(6, 54) // 4)[:, None, None]
    grey = np.random.default_rng(0).integers(0, 12, labels.shape).astype(np.float32)
    write_volume(tmp_path / "labels.nii", labels, straight())
    write_volume(tmp_path / "grey.nii", np.where(labels > 0, grey, 0), straight())
    with pytest.raises(VolumeError) as caught:
        check_is_scan(read_image(tmp_path / "labels.nii"), tmp_path / "labels.nii")
    assert caught.value.found == "only the values 0, 1, 2, 3 to 13"
    assert caught.value.path == tmp_path / "labels.nii"
    check_is_scan(read_image(tmp_path / "grey.nii"), tmp_path / "grey.nii")


@pytest.mark.parametrize("spacing_mm", [(0.019, 0.5, 4.4), (0.5, 20.1, 4.4), (0.5, 0.5, 0.04), (0.5, 0.5, 101.0),
                                        (0.00052, 0.00052, 0.0044), (520.0, 520.0, 4400.0)])  # fmt: skip
def test_voxels_of_another_unit_are_no_scan(spacing_mm, tmp_path):
    path = tmp_path / "x.nii"
    write_volume(path, voxels(), straight(spacing_mm))
    with pytest.raises(GeometryError) as caught:
        check_is_scan(read_image(path), path)
    assert "0.02 to 20 mm" in caught.value.rule
    assert caught.value.found == " x ".join(f"{edge:.3g}" for edge in spacing_mm) + " mm"
    assert caught.value.path == path


@pytest.mark.parametrize("spacing_mm", [(0.03, 0.03, 0.06), (19.0, 19.0, 99.0)])
def test_voxels_that_are_unusual_are_still_a_scan(spacing_mm, tmp_path):
    write_volume(tmp_path / "x.nii", voxels(), straight(spacing_mm))
    check_is_scan(read_image(tmp_path / "x.nii"), tmp_path / "x.nii")


def test_an_image_is_a_scan_even_with_few_values_or_much_background(tmp_path):
    for name, array in (
        ("dark", np.where(nerve((50, 50, 6)), np.random.default_rng(0).normal(size=(50, 50, 6)), 0)),
        ("halves", nerve((50, 50, 6)) * 0.5),
        ("counts", voxels((4, 4, 4)) % 5),
    ):
        write_volume(tmp_path / f"{name}.nii", array.astype(np.float32), straight())
        check_is_scan(read_image(tmp_path / f"{name}.nii"), tmp_path / f"{name}.nii")


def test_real_scans_are_scans_and_the_real_mask_is_none(shared_data):
    folder = shared_data("dicom_t2_axial")
    check_is_scan(read_image(folder), folder)
    masks = [shared_data("sciatic_reference") / "EXAMPLE_GROUND_TRUTH.mha"]
    masks += sorted((shared_data("thigh_dixon") / "muscles").glob("*.nii.gz"))
    for path in masks:
        with pytest.raises(VolumeError) as caught:
            check_is_scan(read_image(path), path)
        assert caught.value.found.startswith("only the values 0, 1")
        assert caught.value.path == path


@pytest.mark.parametrize("levels", [32, 16])
def test_a_real_scan_of_few_grey_levels_is_still_a_scan(levels, shared_data, tmp_path):
    array = read_image(shared_data("thigh_dixon") / "Thigh_001_0001.nii.gz").array
    few = np.floor(np.clip(array / np.percentile(array, 99.5), 0, 1) * (levels - 1)).astype(np.float32)
    write_volume(tmp_path / "x.nii", few, straight())
    check_is_scan(read_image(tmp_path / "x.nii"), tmp_path / "x.nii")


def test_names_in_composed_and_decomposed_letters_are_told_apart(tmp_path):
    for name in ("p\u00e4", "pa\u0308"):
        (tmp_path / f"{name}.nii.gz").touch()
    names = [unicodedata.normalize("NFC", scan.name) for scan in resolve_inputs(str(tmp_path / "*.nii.gz"))]
    assert len(set(names)) == 2
