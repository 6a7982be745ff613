"""Remembered hashes against hashlib: right for every file at every time, and spared where the stamps stayed."""

import hashlib
import json
import os
import time

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st

from nerveseg.data import hashing
from nerveseg.data.hashing import cached_sha256, image_sha256
from nerveseg.data.volumes.grids import Grid, Volume
from nerveseg.data.volumes.volume import read_image
from nerveseg.errors import VolumeError

LATER_NS = 60_000_000_000


def sha256_of(paths, memory, threads=1):
    hashes, remember = cached_sha256(paths, memory, threads)
    remember()
    return hashes


@pytest.fixture
def read(monkeypatch):
    """Names of the files that are read to be hashed."""
    names = []
    hash_ = hashing._hash

    def counted(path):
        names.append(path.name)
        return hash_(path)

    monkeypatch.setattr(hashing, "_hash", counted)
    return names


@pytest.fixture
def a_minute_later(monkeypatch):
    now_ns = time.time_ns
    monkeypatch.setattr(hashing.time, "time_ns", lambda: now_ns() + LATER_NS)


def files(folder, **contents):
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


def expected(paths):
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def test_a_file_that_stayed_is_read_once(tmp_path, read, a_minute_later):
    paths, memory = files(tmp_path, a=b"a", b=b"", c=b"c" * 5000), tmp_path / "memory.json"
    for threads in (1, 4, 1):
        assert sha256_of(paths, memory, threads) == expected(paths)
    assert sorted(read) == ["a", "b", "c"]


def test_only_the_file_that_changed_is_read_again(tmp_path, read, a_minute_later):
    paths, memory = files(tmp_path, a=b"a", b=b"b"), tmp_path / "memory.json"
    sha256_of(paths, memory)
    paths[1].write_bytes(b"bb")
    assert sha256_of(paths, memory) == expected(paths)
    assert read == ["a", "b", "b"]


def test_a_new_content_under_the_old_size_and_modification_time_is_seen(tmp_path, a_minute_later):
    [path], memory = files(tmp_path, a=b"old"), tmp_path / "memory.json"
    status = path.stat()
    sha256_of([path], memory)
    path.write_bytes(b"new")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    assert sha256_of([path], memory) == expected([path])


@pytest.mark.parametrize("age_ns", [0, hashing.QUIET_NS - 1, -LATER_NS])
def test_a_file_that_changed_just_now_or_in_the_future_is_not_remembered(age_ns, tmp_path, read, monkeypatch):
    [path], memory = files(tmp_path, a=b"a"), tmp_path / "memory.json"
    monkeypatch.setattr(hashing.time, "time_ns", lambda: path.stat().st_ctime_ns + age_ns)
    for _ in range(2):
        assert sha256_of([path], memory) == expected([path])
    assert read == ["a", "a"]
    assert not memory.exists()


def test_a_file_that_changes_while_it_is_read_is_not_remembered(tmp_path, read, a_minute_later, monkeypatch):
    [path], memory = files(tmp_path, a=b"a"), tmp_path / "memory.json"
    digest = hashlib.file_digest

    def meanwhile(file, name):
        found = digest(file, name)
        path.write_bytes(b"longer")
        return found

    monkeypatch.setattr(hashing.hashlib, "file_digest", meanwhile)
    sha256_of([path], memory)
    monkeypatch.undo()
    assert not memory.exists()
    assert sha256_of([path], memory) == expected([path])


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b"[]", b'{"format_version": 2, "files": {}}', b'{"format_version": 1, "files": {"x": "1 2"}}'],
)
def test_a_damaged_memory_costs_time_and_changes_nothing(content, tmp_path, read, a_minute_later):
    paths, memory = files(tmp_path, a=b"a"), tmp_path / "memory.json"
    memory.write_bytes(content)
    for _ in range(2):
        assert sha256_of(paths, memory) == expected(paths)
    assert read == ["a"]


def test_a_memory_that_cannot_be_written_is_done_without(tmp_path, a_minute_later):
    paths = files(tmp_path, a=b"a")
    assert sha256_of(paths, paths[0] / "memory.json") == expected(paths)


def test_what_was_known_of_other_files_stays_known(tmp_path, read, a_minute_later):
    paths, memory = files(tmp_path, a=b"a", b=b"b"), tmp_path / "memory.json"
    for asked in (paths[:1], paths[1:], paths):
        assert sha256_of(asked, memory) == expected(asked)
    assert read == ["a", "b"]


def test_the_memory_names_no_file(tmp_path, a_minute_later):
    paths, memory = files(tmp_path, **{"sub-Mustermann_T2w.nii": b"a"}), tmp_path / "memory.json"
    sha256_of(paths, memory)
    assert len(json.loads(memory.read_text())["files"]) == 1
    assert "Mustermann" not in memory.read_text()
    assert tmp_path.name not in memory.read_text()


def test_a_file_that_is_gone_is_named(tmp_path, a_minute_later):
    paths, memory = files(tmp_path, a=b"a"), tmp_path / "memory.json"
    sha256_of(paths, memory)
    paths[0].unlink()
    with pytest.raises(VolumeError) as caught:
        sha256_of(paths, memory)
    assert (caught.value.found, caught.value.path) == ("no such file", paths[0])


@given(
    steps=st.lists(
        st.tuples(st.sampled_from("abc"), st.binary(max_size=2), st.sampled_from(["write", "replace", "set back"])),
        max_size=6,
    )
)
def test_whatever_happens_to_files_their_hashes_are_right(steps, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    paths, memory = files(folder, a=b"", b=b"", c=b""), folder / "memory.json"
    sha256_of(paths, memory)
    for name, content, how in steps:
        path, status = folder / name, (folder / name).stat()
        if how == "replace":
            (folder / "aside").write_bytes(content)
            os.replace(folder / "aside", path)
        else:
            path.write_bytes(content)
        if how == "set back":
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert sha256_of(paths, memory) == expected(paths)


@pytest.fixture
def oblique(tmp_path):
    """A file of whole numbers on an oblique grid of 300 mm / 512 in plane; the spacing has rounding errors."""
    array = np.random.default_rng(4).integers(0, 4000, (37, 20, 5)).astype(np.int16)
    turn = np.deg2rad(7)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    affine[:3, :3] *= (300 / 512, 300 / 512, 4.4)
    affine[:3, 3] = (-11.25, 30.7, 5.1)
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def test_an_image_has_one_hash_in_every_file(oblique, tmp_path):
    expected = image_sha256(read_image(oblique))
    image = nib.load(oblique)
    nib.save(nib.Nifti1Image(image.get_fdata(dtype=np.float64), image.affine), tmp_path / "double.nii")
    for codes in ("LPS", "SAR", "PIL"):
        turn = nib.orientations.ornt_transform(
            nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(tuple(codes))
        )
        nib.save(image.as_reoriented(turn), tmp_path / f"{codes}.nii.gz")
    for suffix in ("mha", "nrrd"):
        SimpleITK.WriteImage(SimpleITK.ReadImage(str(oblique)), str(tmp_path / f"scan.{suffix}"))
    files = [path for path in tmp_path.iterdir() if path != oblique]
    assert len(files) == 6
    assert {image_sha256(read_image(path)) for path in files} == {expected}


def test_another_voxel_shape_or_spacing_is_another_image(oblique):
    volume = read_image(oblique)
    changed = volume.array.copy()
    changed[3, 4, 2] += 1
    other = volume.grid.affine.copy()
    other[:3, 2] *= 1.01
    images = [
        volume,
        Volume(changed, volume.grid),
        Volume(volume.array.reshape(20, 37, 5), volume.grid),
        Volume(volume.array, Grid.without_header(volume.grid.shape, other)),
    ]
    assert len({image_sha256(image) for image in images}) == len(images)


def test_zero_has_one_sign(oblique):
    volume = read_image(oblique)
    volume.array[0] = 0.0
    negative = Volume(volume.array.copy(), volume.grid)
    negative.array[0] = -0.0
    assert image_sha256(negative) == image_sha256(volume)
