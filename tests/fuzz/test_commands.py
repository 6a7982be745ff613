"""Whole commands over hostile inputs: one line each, no traceback, nothing half-written, nothing outside the output.

`segment` runs in a child process with a limit of memory over a folder of scans; `check` and `evaluate` run their main
functions in child processes, many cases in each.
"""

import contextlib
import gzip
import os
import resource
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK
from safetensors.torch import load_file, save_file

from nerveseg.check import main as check
from nerveseg.data.inputs import resolve_inputs
from nerveseg.errors import NervesegError
from nerveseg.evaluate import main as evaluate
from nerveseg.files import file_sha256
from nerveseg.scans.results import ScanSummary
from tests.data.volumes.test_hostile_files import METAIMAGE, NRRD, nested
from tests.data.volumes.test_slicer_seg import write as write_segmentation
from tests.fuzz import mutations
from tests.fuzz.contained import GIB, outcomes
from tests.fuzz.test_fuzz import judge
from tests.helpers.dicom_series import pixels_of, write_enhanced, write_series
from tests.helpers.scan_models import write_model
from tests.helpers.studies import write_study

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STUDY = "sub-{id}/anat/sub-{id}_T2w.nii.gz", "derivatives/rater-{rater}/sub-{id}/anat/sub-{id}_label-nerve_mask.nii.gz"
RATERS = ("OS", "BW", "LG")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study("tiny", tmp_path_factory.mktemp("study") / "tiny")


@pytest.fixture(scope="module")
def scan(study):
    """A sound scan."""
    return nib.load(study / STUDY[0].format(id="P01"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "model", 1, {})


def listing(folder):
    """Paths below a folder, without those below its outputs."""
    paths = (Path(os.fsdecode(path)) for path in folder.rglob("*"))
    return {path for path in paths if "out" not in path.relative_to(folder).parts}


def segment(work, *words, code=2):
    """Run `segment` over the scans in a folder; return its table and the lines on its error stream."""
    before = listing(work.parent)
    program = [sys.executable, "-m", "nerveseg.segment", "scans/*", "output=out", "accelerator=cpu", "runtime=torch"]
    done = subprocess.run(
        [*program, *words],
        cwd=work,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (6 * GIB, 6 * GIB)),
    )
    errors = done.stderr.decode().splitlines()
    assert done.returncode == code, done.stdout.decode(errors="replace")[-2000:] + "\n".join(errors)
    assert b"Traceback" not in done.stdout
    assert len(errors) == (code == 2), "\n".join(errors)
    assert all(line.startswith("error: ") and "remedy: " in line for line in errors)
    assert listing(work.parent) == before
    return judge_results(work)


def judge_results(work):
    """Check that the table has a row for every scan, and that there are whole results of just those that are done."""
    with contextlib.chdir(work):
        names = {each.name: each.path for each in resolve_inputs("scans/*")}
    table = pd.read_csv(work / "out" / "segmentations.csv", keep_default_na=False)
    assert set(table["scan"]) == set(names)
    done = set(table.loc[table["status"] != "failed", "scan"])
    assert {path.name for path in (work / "out").iterdir()} == done | {"segmentations.csv", "segmentations.html"}
    for row in table.itertuples():
        assert (row.status == "failed") == bool(row.error), row
        assert "\n" not in row.error
    for name in done:
        folder = work / "out" / name
        summary = ScanSummary.model_validate_json((folder / "summary.json").read_text(encoding="utf-8"))
        assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
        assert {"profile.csv", "check.png", "report.html", summary.mask} <= {path.name for path in folder.iterdir()}
    return table.set_index(table["scan"].map(lambda name: names[name].name))


def packed(*fields):
    """A NIfTI file with other values in its header: offset, type and value of each (nifti1.h)."""

    def build(path, scan):
        data = bytearray(scan.to_bytes())
        for offset, kind, value in fields:
            struct.pack_into("<" + kind, data, offset, value)
        path.write_bytes(data)

    return build


def edited(change):
    """A NIfTI file of other voxels or of another geometry."""

    def build(path, scan):
        array, affine = np.asarray(scan.dataobj).astype(np.float32), scan.affine.copy()
        array, affine = change(array, affine)
        image = nib.Nifti1Image(array, affine)
        image.set_qform(None, 0)
        nib.save(image, path)

    return build


def sheared(array, affine):
    affine[:3, 2] += 0.8 * np.linalg.norm(affine[:3, 2]) * affine[:3, 0] / np.linalg.norm(affine[:3, 0])
    return array, affine


def with_voxel(value):
    def change(array, affine):
        array[4, 4, 2] = value
        return array, affine

    return change


def text(content, old="", new="", data=bytes(range(24))):
    return lambda path, scan: path.write_bytes(content.replace(old, new).encode() + data)


def compressed(path, scan):
    """A compressed MetaImage that lost half of its voxels."""
    data = gzip.zlib.compress(bytes(range(12)))
    content = METAIMAGE.replace("CompressedData = False", f"CompressedData = True\nCompressedDataSize = {len(data)}")
    path.write_bytes(content.encode() + data)


def series(**header):
    return lambda path, scan: write_series(path, axes=np.eye(3), **header)


def nested_series(levels):
    def build(path, scan):
        file = write_series(path)[2]
        file.write_bytes(file.read_bytes() + nested(levels, defined=False))

    return build


def two_series(path, scan):
    write_series(path, prefix="a")
    write_series(path, prefix="b", SeriesDescription="Doe^Jane knee")


def bare_series(path, scan):
    for file in write_series(path):
        file.write_bytes(file.read_bytes()[132:])


def enhanced(path, scan):
    write_enhanced(path / "x.dcm", [{"place": 6.5 * place, "pixels": pixels_of(place)} for place in range(4)])


def segmentation(path, scan):
    image = SimpleITK.GetImageFromArray(np.zeros((5, 6, 7), np.float32))
    write_segmentation(path, image, [np.ones((7, 6, 5), bool)], [("nerve", 1, 0)], start=(0, 0, 0))


def huge(path, scan):
    header = nib.Nifti1Header()
    header.set_data_shape((1024, 1024, 1024))
    header.set_data_dtype(np.float32)
    header.set_sform(np.diag([0.5, 0.5, 4.0, 1.0]), 1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    path.write_bytes(gzip.compress(header.binaryblock + bytes(4) + bytes(1 << 22), 1))


def mask(path, scan):
    edited(lambda array, affine: ((array > 100).astype(np.uint8), affine))(path, scan)


def labels(path, scan):
    blocks = np.arange(4).repeat(8)[:, None, None] * np.ones((1, 32, 6))
    edited(lambda array, affine: (blocks, affine))(path, scan)


REFUSED = {
    "a10_sheared.nii": edited(sheared),
    "a11_pixdim_0.nii": packed((252, "h", 0), (254, "h", 0), (80, "f", 0), (84, "f", 0)),
    "a11_pixdim_nan.nii": packed((252, "h", 0), (254, "h", 0), (80, "f", float("nan"))),
    "a11_no_directions.nrrd": text(NRRD, "(0.5,0,0) (0,0.5,0) (0,0,4)", "none none none"),
    "a11_spacing_0": series(PixelSpacing=[0, 0]),
    "a11_spacing_-1": series(PixelSpacing=[-1, -1]),
    "a13_compressed.mha": compressed,
    "a13_itself.mhd": text(METAIMAGE, "LOCAL", "a13_itself.mhd"),
    "a13_itself.nhdr": text(NRRD, "\n\n", "\ndata file: a13_itself.nhdr\n\n"),
    "a14_nan.nii": edited(with_voxel(np.nan)),
    "a14_inf.nii": edited(with_voxel(np.inf)),
    "b_mask.nii": mask,
    "b_labels.nii": labels,
    "b_layers.seg.nrrd": segmentation,
    "b_colour.nii": packed((70, "h", 128), (72, "h", 24)),
    "d4_two_series": two_series,
    "d5_1000": nested_series(1000),
    "d5_20000": nested_series(20_000),
    "d5_dims.mha": text(METAIMAGE, "NDims = 3", "NDims = 1000"),
    "e2_fifo.nii.gz": lambda path, scan: os.mkfifo(path),
    "e2_zero.mha": lambda path, scan: path.symlink_to("/dev/zero"),
    "e2_dangling.nrrd": lambda path, scan: path.symlink_to("nowhere"),
    "e2_empty.nii.gz": lambda path, scan: path.touch(),
    "e5_dim_9.nii": packed((40, "h", 9)),
    "e5_dim_-1.nii": packed((40, "h", -1)),
    "e5_datatype.nii": packed((70, "h", 9999)),
    "e5_offset.nii": packed((108, "f", -100.0)),
    "e5_inter.nii": packed((112, "f", 1.0), (116, "f", float("nan"))),
    "e5_unit.nii": packed((123, "B", 7)),
    "e7_huge.nii.gz": huge,
}
SOUND = packed()
PASSED_OVER = {
    "folder.nii": lambda path, scan: path.symlink_to("/dev"),
    "notes.txt": lambda path, scan: path.touch(),
    "empty": lambda path, scan: path.mkdir(),
    "...nii": SOUND,
}
SEGMENTED = {
    "good.nii": SOUND,
    "a14_bright.nii": edited(with_voxel(1e6)),
    "d1_bare": bare_series,
    "d2_enhanced": enhanced,
    "d3_no_study": series(StudyInstanceUID=None),
    "b\udcff.nii": SOUND,
    "[x].nii": SOUND,
    "$x_{1$.nii": SOUND,
    "=1+1.nii": SOUND,
    "a\nb.nii": SOUND,
    "{id}.nii": SOUND,
    "c" * 251 + ".nii": SOUND,
}


def test_a_batch_of_every_hostile_scan(scan, model, tmp_path):
    work = tmp_path / "parent" / "work"
    (work / "scans").mkdir(parents=True)
    for name, build in (REFUSED | PASSED_OVER | SEGMENTED).items():
        build(work / "scans" / name, scan)
    table = segment(work, f"model={model}")
    assert set(table[table["status"] == "failed"].index) == set(REFUSED)
    assert set(table[table["status"] == "done"].index) == set(SEGMENTED)
    assert not table["error"].str.contains("Doe").any()
    good = nib.load(work / "out" / "good" / "mask.nii.gz")
    assert good.shape == scan.shape
    assert np.asarray(good.dataobj).any()
    before = listing(work / "out")
    again = segment(work, f"model={model}")
    assert set(again["status"]) == {"failed", "done before"}
    assert listing(work / "out") == before


def header_of(data, end, mutate, random):
    size = data.index(end) + len(end)
    return mutate(data[:size], random) + data[size:]


def test_a_batch_of_mutated_scans(scan, model, tmp_path):
    work = tmp_path / "parent" / "work"
    (work / "scans").mkdir(parents=True)
    image = SimpleITK.GetImageFromArray(np.asarray(scan.dataobj).astype(np.float32).T)
    for number in range(15):
        random = np.random.default_rng([20, number])
        for suffix, end in (("mha", b"LOCAL\n"), ("nrrd", b"\n\n")):
            path = work / "scans" / f"{number}.{suffix}"
            SimpleITK.WriteImage(image, str(path))
            path.write_bytes(header_of(path.read_bytes(), end, mutations.text, random))
        for kind, mutate in (("fields", mutations.nifti_header), ("bytes", mutations.damaged)):
            (work / "scans" / f"{number}_{kind}.nii").write_bytes(mutate(scan.to_bytes(), random))
        changed = write_series(work / "scans" / f"{number}_dicom")[number % 5]
        changed.write_bytes(mutations.damaged(changed.read_bytes(), random))
    SOUND(work / "scans" / "good.nii", scan)
    table = segment(work, f"model={model}")
    table = table[~table["branch"].isin(["tibial", "peroneal"])]
    assert len(table) == 15 * 5 + 1
    assert table.loc["good.nii", "status"] == "done"
    assert (table["status"] == "failed").sum() > 30


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_with_a_weight_that_is_no_number(value, scan, tmp_path):
    work = tmp_path / "parent" / "work"
    (work / "scans").mkdir(parents=True)
    SOUND(work / "scans" / "good.nii", scan)
    model = write_model(tmp_path / "model", 1, {})
    path = model / "weights.safetensors"
    weights = load_file(path)
    next(each for each in weights.values() if each.is_floating_point()).view(-1)[0] = value
    old = file_sha256(path)
    save_file(weights, path)
    description = model / "model.json"
    description.write_text(description.read_text().replace(old, file_sha256(path)))
    before = listing(tmp_path)
    words = [sys.executable, "-m", "nerveseg.segment", "scans/good.nii", f"model={model}", "output=out"]
    done = subprocess.run(words, cwd=work, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert listing(tmp_path) == before
    assert not (work / "out").exists()


def command(main, words, output):
    """Run a command in this process; raise if it printed other things than errors of one line each, or left parts.

    Raises:
        NervesegError: The command refused its input as it should.
    """
    with Path(f"{output}.stderr").open("w+", encoding="utf-8") as stream, contextlib.redirect_stderr(stream):
        kept = os.dup(2)
        os.dup2(stream.fileno(), 2)
        try:
            code = main(list(map(str, words)))
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        stream.seek(0)
        lines = stream.read().splitlines()
    assert code in (0, 2), code
    assert bool(lines) == (code == 2), lines
    assert all(line.startswith("error: ") and "remedy: " in line for line in lines), lines
    parts = [path for path in output.rglob("*") if path.name.startswith(".")]
    assert parts == [], parts
    if code:
        raise NervesegError("a refused case")


def mutated_volume(data, random):
    """A compressed NIfTI file, damaged before or after its compression."""
    if random.integers(2):
        return mutations.damaged(data, random)
    return gzip.compress(mutations.nifti_header(gzip.decompress(data), random), 1)


def spoil(folder, patterns, random):
    """Mutate a file of a random pattern; return what restores it."""
    path = random.choice(sorted(folder.glob(str(random.choice(patterns)))))
    data = path.read_bytes()
    path.write_bytes(mutated_volume(data, random) if path.suffix == ".gz" else mutations.text(data, random))
    return lambda: path.write_bytes(data)


PATTERNS = ["participants.tsv", "sub-*/anat/*.nii.gz", "derivatives/rater-*/*/anat/*mask.nii.gz"]


def test_check_of_mutated_studies(study, tmp_path):
    root = shutil.copytree(study, tmp_path / "parent" / "study")
    before = listing(tmp_path)

    def attempt(number):
        output = tmp_path / "out"
        shutil.rmtree(output, ignore_errors=True)
        restore = spoil(root, PATTERNS, np.random.default_rng([21, number]))
        try:
            command(check, ["study=bids", f"study.root={root}", f"output_root={output}"], output)
        finally:
            restore()
        assert {path.name for path in output.iterdir()} <= {"checks", "slices"}

    judge(outcomes(range(30), attempt))
    (tmp_path / "out.stderr").unlink()
    assert listing(tmp_path) == before


def test_evaluation_of_mutated_studies_and_predictions(study, tmp_path):
    root = shutil.copytree(study, tmp_path / "parent" / "study")
    for subject in study.glob("sub-*"):
        name = STUDY[1].format(rater="BW", id=subject.name.removeprefix("sub-"))
        (root / "predictions").mkdir(exist_ok=True)
        shutil.copy(study / name, root / "predictions" / f"{subject.name}.nii.gz")
    before = listing(tmp_path)

    def attempt(number):
        output = tmp_path / "out"
        shutil.rmtree(output, ignore_errors=True)
        restore = spoil(root, [*PATTERNS, "predictions/*.nii.gz"], np.random.default_rng([22, number]))
        words = ["study=bids", f"study.root={root}", f"prediction={root}/predictions", f"output={output}"]
        try:
            command(evaluate, [*words, "report=false", "logger=[]"], output)
        except NervesegError:
            assert not output.exists() or [path for path in output.rglob("*") if path.is_file()] == []
            raise
        finally:
            restore()
        assert (output / "summary.txt").is_file()

    judge(outcomes(range(50), attempt))
    (tmp_path / "out.stderr").unlink()
    assert listing(tmp_path) == before


@pytest.mark.parametrize("main", [check, evaluate], ids=["check", "evaluate"])
def test_commands_on_mutated_yaml_of_a_study(main, study, tmp_path):
    data = (ROOT / "conf" / "study" / "bids.yaml").read_bytes()
    (tmp_path / "conf" / "study").mkdir(parents=True)
    before = listing(tmp_path)

    def attempt(number):
        output = tmp_path / "out"
        shutil.rmtree(output, ignore_errors=True)
        path = tmp_path / "conf" / "study" / "mine.yaml"
        path.write_bytes(mutations.text(data, np.random.default_rng([23, number])))
        words = ["--config-dir", tmp_path / "conf", "study=mine", f"study.root={study}", f"output_root={output}"]
        try:
            command(main, words if main is check else [*words, "report=false", "logger=[]"], output)
        finally:
            path.unlink()

    judge(outcomes(range(30), attempt))
    (tmp_path / "out.stderr").unlink()
    assert listing(tmp_path) == before
