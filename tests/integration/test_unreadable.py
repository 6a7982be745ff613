"""Files that may not be read and folders that may not be written, for a process without root's rights.

One child process runs all cases. It gives up its capabilities, after which the kernel applies the permissions of files
to it as to any other user; it stays the same user, whose home may hold the interpreter.
"""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import pandas as pd
import pytest

from tests.helpers.scan_models import write_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="gives up the rights of root on Linux"),
]

NOBODY = 65534
IMAGE = "study/sub-P01/anat/sub-P01_T2w.nii.gz"
MASK = "study/derivatives/rater-BW/sub-P01/anat/sub-P01_label-nerve_mask.nii.gz"

CHILD = """
import contextlib, ctypes, importlib, io, json, os, shutil, sys
header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process (capset(2))
assert ctypes.CDLL(None).capset(header, (ctypes.c_uint32 * 6)()) == 0

def names():
    return sorted(os.path.join(at, name) for at, folders, files in os.walk(".") for name in folders + files)

for path, verb, words in json.load(sys.stdin):
    usual = os.stat(path).st_mode
    before = names()
    if os.stat(path).st_uid == os.getuid():
        os.chmod(path, 0o500 if path == "closed" else 0)
    errors, printed = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(printed):
        code = importlib.import_module(f"nerveseg.{verb}").main(words)
    if os.stat(path).st_uid == os.getuid():
        os.chmod(path, usual)
    left = sorted(set(names()) - set(before))
    rows = open("out/segmentations.csv").read() if os.path.isfile("out/segmentations.csv") else ""
    shutil.rmtree("out", ignore_errors=True)
    print(json.dumps([code, errors.getvalue().splitlines(), left, rows]), flush=True)
"""

SEGMENT = ["scans/good.nii.gz", "model=model", "output=out", "accelerator=cpu", "runtime=torch"]
STUDY = ["study=bids", "study.root=study"]
TRAIN = [*STUDY, "fold=0", "trainer.accelerator=cpu"]

UNREADABLE = [
    *((path, "segment", SEGMENT) for path in ("model", "model/model.json", "model/weights.safetensors", "scans")),
    ("scans/good.nii.gz", "segment", SEGMENT),
    *(
        (path, verb, words)
        for path in ("study", "study/participants.tsv", "study/sub-P01/anat", IMAGE, MASK)
        for verb, words in (
            ("evaluate", [*STUDY, "output=out", "report=false"]),
            ("check", [*STUDY, "output_root=out"]),
            ("train", [*TRAIN, "output_root=out"]),
        )
    ),
]
UNWRITABLE = [
    (path, verb, [*words, f"{option}={path}/deep"])
    for path in ("closed", "others")
    for verb, words, option in (
        ("segment", SEGMENT, "output"), ("evaluate", [*STUDY, "report=false"], "output"),
        ("check", STUDY, "output_root"), ("train", TRAIN, "output_root"), ("simulate", ["cohort=tiny"], "output"),
    )
]  # fmt: skip
BATCH = ("scans/other.nii.gz", "segment", ["scans/*", *SEGMENT[1:]])


def title(case):
    path, verb, _ = case
    return f"{verb} {path}"


@pytest.fixture(scope="module")
def found(tiny_study, tmp_path_factory):
    """Exit code, lines on the error stream, new paths and table of each case."""
    place = tmp_path_factory.mktemp("rights")
    shutil.copytree(tiny_study, place / "study")
    (place / "scans" / "series").mkdir(parents=True)
    for name in ("good", "other"):
        shutil.copy(place / IMAGE, place / "scans" / f"{name}.nii.gz")
    write_model(place / "model", 1, {})
    for name in ("closed", "others"):
        (place / name).mkdir()
    os.chown(place / "others", NOBODY, NOBODY)
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "CUDA_VISIBLE_DEVICES": ""},
        input=json.dumps([*UNREADABLE, *UNWRITABLE, BATCH]),
        capture_output=True,
        text=True,
        timeout=250,
        check=True,
    )
    assert done.stderr == ""
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert nib.load(place / IMAGE).shape
    return dict(zip(map(title, [*UNREADABLE, *UNWRITABLE, BATCH]), answers, strict=True))


@pytest.mark.parametrize("case", [title(case) for case in [*UNREADABLE, *UNWRITABLE]])
def test_what_may_not_be_read_or_written_is_one_line(case, found):
    verb, _, path = case.partition(" ")
    code, errors, left, _ = found[case]
    assert code == 2, errors
    assert all(line.startswith("error: ") and "remedy: " in line for line in errors), errors
    assert any(path in line for line in errors), errors
    assert path != "study" or "path: study;" in errors[0]
    if verb != "check":
        assert len(errors) == 1
        assert [name for name in left if os.path.splitext(name)[1]] == []


def test_a_batch_goes_on_after_a_scan_that_may_not_be_read(found):
    code, errors, left, rows = found["segment scans/other.nii.gz"]
    assert (code, len(errors)) == (2, 1), errors
    table = pd.read_csv(io.StringIO(rows), index_col="scan")
    assert table["status"].to_dict() == {"good": "done", "other": "failed"}
    assert "./out/good/mask.nii.gz" in left
    assert [name for name in left if name.startswith("./out/other")] == []
