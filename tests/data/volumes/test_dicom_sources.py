"""One series is the same volume from its folder, from nested folders, a DICOMDIR, a zip or one of its files."""

import gc
import stat
import warnings
import zipfile
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pydicom
import pytest
from pydicom.fileset import FileSet

from nerveseg.data.volumes import dicom_sources
from nerveseg.data.volumes.dicom_sources import remove_unpacked
from nerveseg.data.volumes.volume import read_image
from nerveseg.errors import VolumeError
from tests.helpers.dicom_series import pixels_of, write_enhanced, write_series


@pytest.fixture(autouse=True)
def _no_copy_stays(tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(dicom_sources, "TemporaryDirectory", partial(TemporaryDirectory, dir=tmp_path / "temporary"))
    yield
    remove_unpacked()
    assert not list((tmp_path / "temporary").iterdir())


def same(path, other):
    one, two = read_image(path), read_image(other)
    np.testing.assert_array_equal(one.array, two.array)
    np.testing.assert_array_equal(one.grid.affine, two.grid.affine)


def zip_of(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file in files.items():
            archive.write(file, name)
    return path


def write_disk(folder, files):
    """Write a DICOMDIR and the files in pydicom's own folders (PT000000/ST000000/SE000000/IM000000)."""
    disk = FileSet()
    for file in files:
        disk.add(file)
    disk.write(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of pydicom's own temporary folder
        del disk
        gc.collect()


def test_every_source_of_one_series_is_the_same_volume(tmp_path):
    files = write_series(tmp_path / "series", StudyDate="20200101", StudyTime="120000", StudyID="1")
    write_disk(tmp_path / "disk", files)
    assert len(list((tmp_path / "disk").rglob("IM*"))) == len(files)
    zipped = zip_of(tmp_path / "x.zip", {f"a/b/{file.name}": file for file in files} | {"readme.txt": Path(__file__)})
    for source in (tmp_path / "disk", tmp_path / "disk" / "DICOMDIR", zipped, files[2]):
        same(source, tmp_path / "series")


def test_a_report_or_a_segmentation_beside_the_folders_hides_no_series(tmp_path):
    write_series(tmp_path / "exam" / "SE")
    storage = pydicom.uid.ComprehensiveSRStorage
    write_series(tmp_path / "exam", [0], ["report.dcm"], storage_class=storage)
    same(tmp_path / "exam", tmp_path / "exam" / "SE")
    with pytest.raises(VolumeError) as caught:
        read_image(tmp_path / "exam" / "report.dcm")
    assert caught.value.path == tmp_path / "exam" / "report.dcm"


def test_several_series_are_listed_and_one_is_chosen(tmp_path):
    for number, columns in ((3, 8), (4, 10)):
        write_series(tmp_path / "exam" / f"SE{number}", SeriesNumber=number, pixels=pixels_of(number, columns=columns))
    zipped = zip_of(tmp_path / "x.zip", {str(file): file for file in (tmp_path / "exam").rglob("*.dcm")})
    for source in (tmp_path / "exam", zipped):
        with pytest.raises(VolumeError) as caught:
            read_image(source)
        assert all(words in caught.value.found for words in ("series 3: 8 x 6 x 5", "series 4: 10 x 6 x 5"))
        assert "series=3" in caught.value.remedy
        assert read_image(source, series="4").grid.shape == (10, 6, 5)


def test_a_single_file_stands_for_its_own_series_or_stacks(tmp_path):
    one = write_series(tmp_path, prefix="a", SeriesNumber=1, pixels=pixels_of(1, columns=9))
    other = write_series(tmp_path, prefix="b", SeriesNumber=2)
    assert read_image(one[0]).grid.shape == (9, 6, 5)
    assert read_image(other[0]).grid.shape == (8, 6, 5)
    frames = [{"place": 6.0 * place, "pixels": pixels_of(place)} for place in range(4)]
    write_enhanced(tmp_path / "enhanced.dcm", frames)
    assert read_image(tmp_path / "enhanced.dcm").grid.shape == (8, 6, 4)


def test_names_in_a_zip_lead_nowhere(tmp_path):
    files = write_series(tmp_path / "series")
    path = zip_of(tmp_path / "x.zip", {f"../../evil/{file.name}": file for file in files[1:]} | {"/abs": files[0]})
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    same(path, tmp_path / "series")
    (folder,) = (tmp_path / "temporary").iterdir()
    assert len(list(folder.iterdir())) == len(files)
    assert not any(entry.is_symlink() for entry in folder.iterdir())
    assert {entry.name for entry in tmp_path.iterdir()} == {"series", "temporary", "x.zip"}


def test_damaged_empty_and_oversized_zips_are_errors(tmp_path, monkeypatch):
    (tmp_path / "text.zip").write_text("hello")
    files = write_series(tmp_path / "series")
    whole = zip_of(tmp_path / "whole.zip", {file.name: file for file in files}).read_bytes()
    (tmp_path / "broken.zip").write_bytes(whole[:200] + bytes(200) + whole[400:])
    zip_of(tmp_path / "other.zip", {"readme.txt": Path(__file__)})
    for name in ("text", "broken", "other"):
        with pytest.raises(VolumeError) as caught:
            read_image(tmp_path / f"{name}.zip")
        assert caught.value.path == tmp_path / f"{name}.zip"
    monkeypatch.setenv("NERVESEG_VOLUME_GIB", "1e-7")
    with pytest.raises(VolumeError, match="unpacks"):
        read_image(tmp_path / "whole.zip")


def test_a_whole_disk_is_refused(tmp_path, monkeypatch):
    write_series(tmp_path / "disk" / "deep" / "SE")
    monkeypatch.setattr(dicom_sources, "MOST_FILES", 4)
    with pytest.raises(VolumeError) as caught:
        read_image(tmp_path / "disk")
    assert caught.value.path == tmp_path / "disk"
