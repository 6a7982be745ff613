"""`nerveseg-bids` in this process: a dataset with sessions at both levels, and mistakes in one line."""

import json
import os
import re
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nerveseg.bids import THREADS, main
from nerveseg.errors import StudyError
from nerveseg.workflows.bids_derivatives import image_templates
from tests.helpers.scan_models import write_model

NAME = re.compile(  # of the derivatives, by the specification of BIDS
    r"(?P<sub>sub-[a-zA-Z0-9]+)/(?P<ses>ses-[a-zA-Z0-9]+)/anat/(?P=sub)_(?P=ses)_space-orig_"
    r"(?:label-[a-zA-Z0-9]+_mask(?:\.nii\.gz|\.json)|seg-[a-zA-Z0-9]+_dseg(?:\.nii\.gz|\.json|\.tsv))"
)


@pytest.fixture
def app(in_process):
    """The App in this process."""
    return in_process(main)


@pytest.fixture
def dataset(tiny_study, tmp_path):
    """A participant with two sessions, and another with one, of which participants.tsv says nothing."""
    root = tmp_path / "raw data"
    for source, name in (("V01", "sub-01_ses-a"), ("V02", "sub-01_ses-b"), ("P01", "sub-02_ses-a")):
        folder = root / name.replace("_", "/") / "anat"
        folder.mkdir(parents=True)
        for kind in ("T2w", "acq-fatsat_T2w"):
            shutil.copy(tiny_study / f"sub-{source}/anat/sub-{source}_{kind}.nii.gz", folder / f"{name}_{kind}.nii.gz")
    (root / "dataset_description.json").write_text(json.dumps({"Name": "tiny", "BIDSVersion": "1.10.0"}))
    return root


def test_both_levels(app, dataset, sweep, tmp_path, monkeypatch):
    out = dataset / "derivatives" / "nerveseg"
    image = "sub-{id}/ses-{ses}/anat/sub-{id}_ses-{ses}"
    with_channel = ("--image", f"T2={image}_T2w.nii.gz", "--image", f"FS={image}_acq-fatsat_T2w.nii.gz")
    chosen = (*with_channel, "--model", sweep, "--participant-label", "01", "--skip-bids-validation")
    app(dataset, out, "participant", *chosen, "--session_label", "b", "--option", "lesion.automatic=true")
    written = {path.relative_to(out).as_posix() for path in out.glob("sub-*/**/*") if path.is_file()}
    assert all(map(NAME.fullmatch, written))
    start = "sub-01/ses-b/anat/sub-01_ses-b_space-orig_"
    kinds = ("label-nerve_mask", "label-lesion_mask", "seg-branches_dseg")
    files = {f"{start}{kind}{end}" for kind in kinds for end in (".nii.gz", ".json")}
    assert written == files | {f"{start}seg-branches_dseg.tsv"}
    mask, source = nib.load(out / f"{start}label-nerve_mask.nii.gz"), nib.load(dataset / f"{start[:-11]}T2w.nii.gz")
    assert mask.shape == source.shape
    np.testing.assert_array_equal(mask.affine, source.affine)
    sidecar = json.loads((out / f"{start}label-nerve_mask.json").read_text())
    assert sidecar["Sources"] == [f"bids:raw:{start[:-11]}T2w.nii.gz"]
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert (out / description["DatasetLinks"]["raw"].replace("%20", " ")).resolve() == dataset.resolve()
    labels = pd.read_csv(out / f"{start}seg-branches_dseg.tsv", sep="\t")
    values = set(np.unique(nib.load(out / f"{start}seg-branches_dseg.nii.gz").dataobj)) - {0}
    assert values <= set(labels["index"])
    for name in THREADS:
        monkeypatch.setenv(name, "2")
    model = write_model(tmp_path / "branches", 3, {}, classes={"tibial": [5], "peroneal": [3], "nerve": [5, 3]})
    app(dataset, out, "participant", "--model", model, "--participant-label", "sub-02", "--n_cpus", "1")
    classes = pd.read_csv(out / "sub-02/ses-a/anat/sub-02_ses-a_space-orig_seg-classes_dseg.tsv", sep="\t")
    assert dict(zip(classes["index"], classes["name"], strict=True)) == {3: "peroneal", 5: "tibial"}
    assert not list((out / "sub-01").rglob("*seg-classes*"))
    assert {os.environ[name] for name in THREADS} == {"1"}
    app(dataset, out, "group")
    table = pd.read_csv(out / "segmentations.csv")
    assert set(table["scan"]) == {"sub-01_ses-b", "sub-02_ses-a"}
    assert "SYNTHETIC" in (out / "README.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("participant",), "--model"),
        (("everything",), "everything"),
        (("participant", "--model", "m", "--participant-label", "../x"), "../x"),
        (("participant", "--model", "m", "--n_cpus", "0"), "--n_cpus"),
        (("participant", "--model", "nowhere"), "nowhere"),
        (("group",), "participant level"),
        (("group", "--image", "T2"), "--image"),
    ],
)
def test_a_mistake_is_one_line(app, dataset, arguments, words):
    printed = app(dataset, "out", *arguments, code=2)
    (line,) = printed.err.strip().splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert not (dataset.parent / "out").exists()


def test_an_unknown_label_is_named_with_those_that_exist(app, dataset, sweep):
    line = app(dataset, "out", "participant", "--model", sweep, "--session-label", "c", code=2).err
    assert "found: c" in line
    assert "a, b" in line


def test_a_folder_that_is_no_dataset_or_another_one_is_refused(app, dataset):
    app(dataset, dataset, "group", code=2)
    (dataset / "dataset_description.json").unlink()
    assert "dataset_description.json" in app(dataset, "out", "group", code=2).err


def test_images_of_several_names_have_to_be_chosen(dataset, tmp_path):
    assert image_templates(dataset, []) == {"T2": "sub-{id}/ses-{ses}/anat/sub-{id}_ses-{ses}_T2w.nii.gz"}
    folder = tmp_path / "other/sub-1/anat"
    folder.mkdir(parents=True)
    (folder / "sub-1_run-2_T2w.nii").touch()
    assert image_templates(tmp_path / "other", []) == {"T2": "sub-{id}/anat/sub-{id}_run-{run}_T2w.nii"}
    (folder / "sub-1_T2w.nii.gz").touch()
    with pytest.raises(StudyError):
        image_templates(tmp_path / "other", [])


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert re.fullmatch(r"nerveseg \d+\.\d+\.\d+\n", capsys.readouterr().out)
