import json
import multiprocessing
import shutil
from concurrent.futures.process import BrokenProcessPool
from unittest.mock import Mock

import nibabel as nib
import numpy as np
import pytest

from nerveseg.data import hashing, slice_store, slice_store_build
from nerveseg.data.classes import Classes
from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.slice_store import open_slices, prepare_slices
from nerveseg.data.study import open_study
from nerveseg.errors import GeometryError, RunError, StudyError, VolumeError

CROP = Preprocessing(size=(8, 12))

NERVE = Classes.of(None)


def store_of(disk, root, preprocessing=CROP, progress=None):
    return prepare_slices(open_study(disk.description), preprocessing, root, progress)


def stores_in(root):
    """The stores below a folder, whole or half built; remembered hashes lie beside them."""
    return [path.name for path in root.iterdir() if path.is_dir()]


def reoriented(path, codes, nifti):
    """Store a file in another axis order: the same picture at the same place."""
    image = nib.load(path)
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(tuple(codes))
    )
    turned = image.as_reoriented(turn)
    nifti(path, np.asarray(turned.dataobj), turned.affine)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SAL"])
def test_a_store_holds_what_nibabel_reads(codes, study_on_disk, nifti, tmp_path):
    images = {"T2": "{id}_T2.nii.gz", "T1": "{id}_T1.nii.gz"}
    disk = study_on_disk(images=images)
    files = [disk.image(channel=channel) for channel in images] + [disk.mask(rater=r) for r in ("OS", "BW", "LG")]
    for file in files:
        reoriented(file, codes, nifti)
    store = store_of(disk, tmp_path / "slices")

    canonical = [nib.as_closest_canonical(nib.load(file)).get_fdata() for file in files]
    drawn = np.sum(canonical[2:], axis=0) >= 2
    assert store.images("V01").shape == (4, 2, 8, 12)
    assert store.images("V01").dtype == np.float32
    assert store.labels("V01").dtype == np.uint8
    for index in range(4):
        for channel in (0, 1):
            whole = (canonical[channel] - canonical[channel].mean()) / canonical[channel].std()
            padded = np.pad(whole[1:9, :, index], ((0, 0), (1, 2)), constant_values=whole.min())
            np.testing.assert_allclose(store.images("V01")[index, channel], padded, atol=1e-5)
        label = np.pad(drawn[1:9, :, index], ((0, 0), (1, 2)))
        np.testing.assert_array_equal(store.labels("V01")[index], label)
    np.testing.assert_array_equal(store.consensus("V01"), drawn)


def test_the_index_counts_what_is_there(study_on_disk, tmp_path):
    disk = study_on_disk(ids=("V01", "P01"))
    store = store_of(disk, tmp_path / "slices")
    assert [subject.id for subject in store.index.subjects] == ["P01", "V01"]
    known = store.subject("V01")
    drawn = sum(nib.load(disk.mask(rater=rater)).get_fdata() for rater in ("OS", "BW", "LG")) >= 2
    assert known.slices == 4
    assert known.spacing_mm == (0.52, 0.52, 4.4)
    assert known.pixels == 4 * 8 * 12
    assert known.part_pixels == (drawn[1:9].sum(),)
    assert drawn[[0, 9]].sum() > 0
    both = sum(float(store.labels(subject).sum()) for subject in ("V01", "P01"))
    assert store.part_shares(["V01", "P01"], NERVE) == [pytest.approx(both / (2 * 4 * 8 * 12))]
    assert (store.index.study, store.index.channels, store.index.preprocessing) == ("tiny", ["T2"], CROP)


def test_slices_are_mapped_and_not_loaded_or_writable(study_on_disk, tmp_path):
    store = store_of(study_on_disk(), tmp_path / "slices")
    for array in (store.images("V01"), store.labels("V01")):
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable


def test_subjects_without_nerve_have_no_share(study_on_disk, nifti, tmp_path):
    disk = study_on_disk(raters={"R": "{id}.mask.nii.gz"})
    edge = np.zeros((10, 9, 4), dtype=np.uint8)
    edge[0] = 1
    nifti(disk.mask("V01", "R"), edge)
    store = store_of(disk, tmp_path / "slices")
    with pytest.raises(StudyError) as caught:
        store.part_shares(["V01"], NERVE)
    assert "preprocessing.size" in caught.value.remedy
    assert caught.value.path == store.folder
    assert store.part_shares(["P01", "V01"], NERVE) == [pytest.approx(store.part_shares(["P01"], NERVE)[0] / 2)]


def test_a_second_call_uses_the_store_that_is_there(study_on_disk, tmp_path, monkeypatch):
    disk = study_on_disk()
    seen = []
    first = store_of(disk, tmp_path / "slices", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 2), (1, 2), (2, 2)]
    monkeypatch.setattr(slice_store, "_build", lambda *_: pytest.fail("built twice"))
    assert store_of(disk, tmp_path / "slices") == first == open_slices(first.folder)
    assert stores_in(tmp_path / "slices") == [first.key]


def test_the_key_follows_the_content_and_not_the_place(study_on_disk, nifti, tmp_path):
    disk = study_on_disk(geometry=None)
    key = store_of(disk, tmp_path / "slices").key
    shutil.copytree(disk.root, tmp_path / "elsewhere")
    moved = disk.description.model_copy(update={"root": tmp_path / "elsewhere"})
    assert prepare_slices(open_study(moved), CROP, tmp_path / "slices").key == key

    keys = {key}
    for change in ({"classes": {"nerve": (1,)}}, {"geometry": "sform"}, {"name": "other"}):
        changed = disk.description.model_copy(update=change)
        keys.add(prepare_slices(open_study(changed), CROP, tmp_path / "slices").key)
    keys.add(store_of(disk, tmp_path / "slices", Preprocessing(size=(8, 10))).key)
    for path in (disk.image("P01"), disk.mask("V01", "LG")):
        array = np.asarray(nib.load(path).dataobj).copy()
        array[0, 0, 0] = 1 - array[0, 0, 0]
        nifti(path, array)
        keys.add(store_of(disk, tmp_path / "slices").key)
    disk.image("P01").unlink()
    disk.participants("participant_id\nV01\n")
    keys.add(store_of(disk, tmp_path / "slices").key)
    assert len(keys) == 8


@pytest.mark.parametrize("read_only", [False, True])
def test_a_store_of_an_earlier_version_gets_the_hash_of_each_subjects_own_voxels(
    read_only, study_on_disk, tmp_path, monkeypatch
):
    disk = study_on_disk(ids=("V01", "V02", "P01"))
    store = store_of(disk, tmp_path / "slices")
    own = {subject.id: subject.voxels for subject in store.index.subjects}
    index = store.folder / "index.json"
    earlier = json.loads(index.read_text())
    for subject in earlier["subjects"]:
        del subject["voxels"]
    earlier["subjects"].reverse()  # as of a table of participants in another order
    index.write_text(json.dumps(earlier))
    if read_only:
        monkeypatch.setattr(slice_store, "write_text", Mock(side_effect=PermissionError))
    found = store_of(disk, tmp_path / "slices")
    assert {subject.id: subject.voxels for subject in found.index.subjects} == own
    assert len(set(own.values())) == 3
    on_disk = {subject["id"]: subject.get("voxels", "") for subject in json.loads(index.read_text())["subjects"]}
    assert on_disk == (dict.fromkeys(own, "") if read_only else own)


def test_what_tables_say_of_subjects_needs_no_new_store(study_on_disk, tmp_path):
    disk = study_on_disk()
    key = store_of(disk, tmp_path / "slices").key
    disk.participants("participant_id\tcohort\nV01\tvolunteer\nP01\tpatient\n")
    assert store_of(disk, tmp_path / "slices").key == key


@pytest.mark.parametrize("error", [VolumeError, KeyboardInterrupt, OSError])
def test_a_build_that_dies_half_way_leaves_nothing(error, study_on_disk, tmp_path):
    disk = study_on_disk()
    if error is VolumeError:
        disk.mask("V01", "OS").write_bytes(b"")

    def die(done, _total):
        assert len(stores_in(tmp_path / "slices")) == 1
        if done == 1 and error is not VolumeError:
            raise error

    with pytest.raises(error):
        store_of(disk, tmp_path / "slices", progress=die)
    assert stores_in(tmp_path / "slices") == []


def test_what_a_killed_build_left_is_not_taken_for_a_store(study_on_disk, tmp_path, monkeypatch):
    disk = study_on_disk()
    key = store_of(disk, tmp_path / "slices").key
    shutil.rmtree(tmp_path / "slices" / key)
    monkeypatch.setattr(slice_store.os, "getpid", lambda: 4711)
    left = tmp_path / "slices" / f".{key}.4711"
    left.mkdir()
    (left / "sub-X_image.npy").write_bytes(b"half")
    store = store_of(disk, tmp_path / "slices")
    assert not (store.folder / "sub-X_image.npy").exists()
    assert store.images("V01").shape == (4, 1, 8, 12)


def _build_and_wait(description, root, barrier, results):
    barrier.wait(timeout=60)  # both have found no store when either begins
    monkey = slice_store._rename_unless_built_meanwhile

    def together(aside, folder):
        barrier.wait(timeout=60)
        monkey(aside, folder)

    slice_store._rename_unless_built_meanwhile = together
    store = prepare_slices(open_study(description), CROP, root)
    results.put((store.key, float(store.images("V01").sum()), int(store.consensus("V01").sum())))


def test_two_processes_that_build_at_once_share_one_store(study_on_disk, tmp_path):
    context = multiprocessing.get_context("forkserver")
    disk = study_on_disk()
    results, barrier = context.Queue(), context.Barrier(2)
    workers = [
        context.Process(target=_build_and_wait, args=(disk.description, tmp_path / "slices", barrier, results))
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=100) for _ in workers]
    for worker in workers:
        worker.join(timeout=60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert found[0] == found[1]
    assert stores_in(tmp_path / "slices") == [found[0][0]]


@pytest.mark.parametrize("content", [None, b"", b"{", b"{}", b"\xff\xfe", b'{"format_version": 3}'])
def test_a_damaged_index_is_named(content, study_on_disk, tmp_path):
    disk = study_on_disk()
    index = store_of(disk, tmp_path / "slices").folder / "index.json"
    if content is None:
        index.unlink()
    else:
        index.write_bytes(content)
    with pytest.raises(RunError) as caught:
        store_of(disk, tmp_path / "slices")
    assert caught.value.found
    assert caught.value.path == index


def test_an_index_of_another_format_is_named(study_on_disk, tmp_path):
    store = store_of(study_on_disk(), tmp_path / "slices")
    index = store.folder / "index.json"
    index.write_text(index.read_text().replace('"format_version": 2', '"format_version": 3'))
    with pytest.raises(RunError) as caught:
        open_slices(store.folder)
    assert caught.value.path == index


@pytest.mark.parametrize("keep", [None, 0, 40, 500])
@pytest.mark.parametrize("kind", ["image", "label"])
def test_a_damaged_array_is_named(kind, keep, study_on_disk, tmp_path):
    store = store_of(study_on_disk(), tmp_path / "slices")
    path = store.folder / f"sub-V01_{kind}.npy"
    content = path.read_bytes()
    path.unlink()
    if keep is not None:
        path.write_bytes(content[: min(keep, len(content) - 1)])
    read = store.images if kind == "image" else store.labels
    with pytest.raises(RunError) as caught:
        read("V01")
    assert caught.value.found
    assert caught.value.path == path


@pytest.fixture
def processes_always_pay(monkeypatch):
    monkeypatch.setattr(slice_store_build, "POOL_START_S", 0.0)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_several_processes_write_what_one_writes(study_on_disk, tmp_path, processes_always_pay, monkeypatch):
    study = open_study(study_on_disk(ids=("V01", "P01", "P02", "P03")).description)
    one = prepare_slices(study, CROP, tmp_path / "one")
    monkeypatch.setattr(
        slice_store_build.np, "save", fails_after(2, np.save)
    )  # the first subject's, which is timed here
    seen = []
    several = prepare_slices(study, CROP, tmp_path / "several", lambda done, total: seen.append((done, total)), 2)
    assert several.key == one.key
    assert contents(several.folder) == contents(one.folder)
    assert seen == [(done, 4) for done in range(5)]


def fails_after(calls, function):
    left = iter(range(calls))

    def counted(*arguments):
        if next(left, None) is None:
            pytest.fail("written in the first process")
        return function(*arguments)

    return counted


def test_a_fault_that_another_process_finds_is_told_as_ever(study_on_disk, tmp_path, processes_always_pay):
    disk = study_on_disk(ids=("P01", "P02", "V01"))
    disk.mask("V01", "BW").write_bytes(b"no mask")
    faults = []
    for workers in (1, 2):
        with pytest.raises(VolumeError) as caught:
            prepare_slices(open_study(disk.description), CROP, tmp_path / "slices", workers=workers)
        faults.append(str(caught.value))
    assert faults[0] == faults[1]
    assert "subject: V01" in faults[0]
    assert stores_in(tmp_path / "slices") == []


def test_a_process_that_was_killed_is_named(study_on_disk, tmp_path, processes_always_pay, monkeypatch):
    def killed(*_):
        raise BrokenProcessPool("terminated abruptly")

    monkeypatch.setattr(slice_store_build.ProcessPoolExecutor, "map", killed)
    with pytest.raises(RunError) as caught:
        prepare_slices(open_study(study_on_disk(ids=("P01", "P02", "V01")).description), CROP, tmp_path, workers=2)
    assert isinstance(caught.value.__cause__, BrokenProcessPool)
    assert "memory" in caught.value.remedy


@pytest.mark.parametrize(
    ("subjects", "seconds_each", "workers", "processes"),
    [(51, 1.0, 8, 8), (51, 1.0, 1, 1), (15, 0.05, 8, 1), (3, 20.0, 8, 3), (1, 60.0, 8, 1), (0, 60.0, 8, 1)],
)
def test_processes_are_started_where_they_save_more_than_their_start(subjects, seconds_each, workers, processes):
    assert slice_store_build._processes_that_pay(subjects, seconds_each, workers) == processes


def test_a_prepared_study_is_not_read_again(study_on_disk, tmp_path, monkeypatch):
    disk = study_on_disk()
    monkeypatch.setattr(hashing, "QUIET_NS", 0)
    first = store_of(disk, tmp_path / "slices")
    monkeypatch.setattr(hashing, "_hash", lambda path: pytest.fail(f"read {path}"))
    assert store_of(disk, tmp_path / "slices") == first
    assert [path.suffix for path in (tmp_path / "slices").iterdir() if path.is_file()] == [".json"]


def contradict(path):
    """Let the qform keep its 0.52 mm, and the sform say 1 mm."""
    array = np.asarray(nib.load(path).dataobj)
    image = nib.Nifti1Image(array, None)
    image.set_qform(np.diag([0.52, 0.52, 4.4, 1.0]), 1)
    image.set_sform(np.diag([-1.0, 1.0, 4.4, 1.0]), 1)
    nib.save(image, path)


def test_a_chosen_transform_holds_from_the_study_to_the_consensus(study_on_disk, tmp_path):
    disk = study_on_disk(geometry="qform")
    plain = store_of(disk, tmp_path / "plain")
    for file in disk.root.rglob("*.nii.gz"):
        contradict(file)
    store = store_of(disk, tmp_path / "slices")
    assert store.key != plain.key
    assert store.subject("V01").spacing_mm == (0.52, 0.52, 4.4)
    np.testing.assert_array_equal(store.images("V01"), plain.images("V01"))
    np.testing.assert_array_equal(store.consensus("V01"), plain.consensus("V01"))
    assert open_slices(store.folder).consensus("V01").any()

    by_sform = disk.description.model_copy(update={"geometry": "sform"})
    flipped = prepare_slices(open_study(by_sform), CROP, tmp_path / "slices")
    assert flipped.subject("V01").spacing_mm == (1.0, 1.0, 4.4)
    np.testing.assert_array_equal(flipped.consensus("V01"), plain.consensus("V01")[::-1])
    unsettled = disk.description.model_copy(update={"geometry": None})
    with pytest.raises(GeometryError) as caught:
        prepare_slices(open_study(unsettled), CROP, tmp_path / "slices")
    assert "(qform)" in caught.value.found
    assert caught.value.subject == "P01"
