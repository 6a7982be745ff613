import errno
import os
import resource
import zipfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nerveseg.errors import RunError
from nerveseg.training import checkpoint_files
from nerveseg.training.checkpoint_files import VerifiedCheckpoints, damage, find_resumption, sealed


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "checkpoints"


def state(epoch):
    return {"epoch": epoch, "state_dict": {"weight": torch.full((1000,), float(epoch))}, "text": "step,loss\n"}


def save(folder, *epochs):
    for epoch in epochs:
        VerifiedCheckpoints().save_checkpoint(state(epoch), folder / "last.ckpt")


def epoch(path):
    """As Lightning reads it."""
    return VerifiedCheckpoints().load_checkpoint(path, weights_only=True)["epoch"]


def flip(path, place=0.5):
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)


def test_the_last_checkpoint_and_the_one_before_are_kept(folder):
    assert find_resumption(folder) is None
    save(folder, 0, 1, 2)
    assert sorted(path.name for path in folder.iterdir()) == ["last.ckpt", "previous.ckpt"]
    assert (epoch(folder / "last.ckpt"), epoch(folder / "previous.ckpt")) == (2, 1)
    found = find_resumption(folder)
    assert (found.checkpoint, found.warning) == (folder / "last.ckpt", "")


def test_torch_alone_reads_the_file(folder):
    save(folder, 3)
    loaded = torch.load(folder / "last.ckpt", weights_only=True)
    assert torch.equal(loaded["state_dict"]["weight"], state(3)["state_dict"]["weight"])


@given(st.floats(0, 1, exclude_max=True), st.booleans())
def test_a_flipped_bit_or_a_missing_end_is_noticed_wherever_it_is(tmp_path_factory, place, cut):
    path = tmp_path_factory.getbasetemp() / "any.ckpt"
    content = bytearray(sealed(state(1)))
    path.write_bytes(content)
    assert damage(path) == ""
    if cut:
        content = content[: int(place * len(content))]
    else:
        content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    assert damage(path)


def test_a_flipped_bit_of_the_directory_is_found_where_the_archives_own_crc_says_nothing(tmp_path):
    """Torch takes an entry with the attribute "directory" for empty, and its tensor is uninitialised memory."""
    path = tmp_path / "last.ckpt"
    content = bytearray(sealed(state(1)))
    entry = content.rindex(b"archive/data/0") - 46
    assert content[entry : entry + 4] == b"PK\x01\x02"
    content[entry + 38] ^= 0x10
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.getinfo("archive/data/0").external_attr == 0x10
    assert damage(path)


def test_a_damaged_last_one_gives_way_to_the_one_before_and_both_are_named(folder):
    save(folder, 0, 1)
    flip(folder / "last.ckpt")
    assert epoch(find_resumption(folder, set_aside=False).checkpoint) == 0
    assert (folder / "last.ckpt").is_file(), "set aside by the first of several processes"
    found = find_resumption(folder)
    assert epoch(found.checkpoint) == 0
    assert not (folder / "last.ckpt").exists()
    assert str(folder / "last.ckpt") in found.warning
    assert str(folder / "previous.ckpt") in found.warning
    save(folder, 1)
    assert epoch(folder / "previous.ckpt") == 0, "the damaged one did not take its place"
    assert find_resumption(folder).warning == ""


def test_two_damaged_ones_are_an_error_with_a_remedy(folder):
    save(folder, 0, 1)
    for path in folder.iterdir():
        flip(path)
    with pytest.raises(RunError) as caught:
        find_resumption(folder)
    assert "last.ckpt is damaged" in caught.value.found
    assert "previous.ckpt is damaged" in caught.value.found
    assert "delete this folder" in caught.value.remedy
    assert len(list(folder.iterdir())) == 2, "nothing was touched"


def test_stopped_between_the_two_renames_the_one_before_is_used(folder):
    save(folder, 0)
    (folder / "last.ckpt").rename(folder / "previous.ckpt")
    found = find_resumption(folder)
    assert (epoch(found.checkpoint), found.warning) == (0, "")


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_write_that_fails_leaves_the_checkpoint_before(folder, monkeypatch, call, number):
    save(folder, 0, 1)

    def failing(*arguments):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing)
        with pytest.raises(RunError) as caught:
            save(folder, 2)
        assert caught.value.found == os.strerror(number)
    assert "free space" in caught.value.remedy
    assert epoch(find_resumption(folder).checkpoint) == 1
    assert sorted(path.name for path in folder.iterdir()) == ["last.ckpt", "previous.ckpt"], (
        "nothing half written stays"
    )


def test_a_disk_that_returns_other_bytes_is_noticed(folder, monkeypatch):
    save(folder, 0)
    write = checkpoint_files._write_to_disk

    def faulty(path, content):
        write(path, content)
        flip(path)

    monkeypatch.setattr(checkpoint_files, "_write_to_disk", faulty)
    with pytest.raises(RunError) as caught:
        save(folder, 1)
    assert isinstance(caught.value.found, OSError)
    assert caught.value.found.errno is None
    assert caught.value.path == folder / "last.ckpt"
    assert epoch(find_resumption(folder).checkpoint) == 0


def test_a_disk_that_fills_up_halfway_leaves_the_checkpoint_before(folder):
    """A real limit of the system on the size of a file."""
    save(folder, 0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(RunError) as caught:
            VerifiedCheckpoints().save_checkpoint({"epoch": 1, "w": torch.zeros(1_000_000)}, folder / "last.ckpt")
        assert caught.value.found == os.strerror(errno.EFBIG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in folder.iterdir()] == ["last.ckpt"]
    assert epoch(find_resumption(folder).checkpoint) == 0


@pytest.mark.parametrize("content", [{"x": os.system}, {"epoch": 1}])
def test_a_sealed_file_that_is_no_checkpoint_is_refused_and_runs_nothing(content, tmp_path):
    (tmp_path / "last.ckpt").write_bytes(sealed(content))
    with pytest.raises(RunError) as caught:
        find_resumption(tmp_path)
    assert caught.value.path == tmp_path
