"""`nerveseg-bids` in this process: the participant level once, and what becomes of results that are written here."""

import hashlib
import json
import os
import re
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nerveseg.bids import THREADS, main
from nerveseg.errors import ConfigurationError, RunError, StudyError
from nerveseg.inference import model_folder
from nerveseg.scans.grade import Grade
from nerveseg.scans.identity import Identity
from nerveseg.scans.own_files import UNFINISHED
from nerveseg.scans.results import GivenMask, ScanSummary
from nerveseg.workflows.bids_dataset import check_output, image_templates
from nerveseg.workflows.bids_derivatives import export_derivatives

NAME = re.compile(  # of the derivatives, by the specification of BIDS
    r"(?P<sub>sub-[a-zA-Z0-9]+)/(?P<ses>ses-[a-zA-Z0-9]+)/anat/(?P=sub)_(?P=ses)_space-orig_"
    r"(?:label-[a-zA-Z0-9]+_mask(?:\.nii\.gz|\.json)|seg-[a-zA-Z0-9]+_dseg(?:\.nii\.gz|\.json|\.tsv))"
)


@pytest.fixture
def app(in_process):
    """The App in this process."""
    return in_process(main)


@pytest.fixture
def dataset(tmp_path):
    """A participant with two sessions, and another with one, of which participants.tsv says nothing; empty images."""
    root = tmp_path / "raw data"
    for name in ("sub-01_ses-a", "sub-01_ses-b", "sub-02_ses-a"):
        folder = root / name.replace("_", "/") / "anat"
        folder.mkdir(parents=True)
        (folder / f"{name}_T2w.nii.gz").touch()
    (root / "dataset_description.json").write_text(json.dumps({"Name": "tiny", "BIDSVersion": "1.10.0"}))
    return root


@pytest.fixture
def out(dataset):
    """The folder of derivatives."""
    return dataset / "derivatives" / "nerveseg"


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def write_result(out, name, mask=b"automatic", files=("lesion.nii.gz",), **fields):
    """A result as `segment` leaves it, but for the content of its files; return its folder."""
    folder = out / "nerveseg" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in ("mask.nii.gz", "branches.nii.gz", *files):
        (folder / file).write_bytes(mask if file == "mask.nii.gz" else file.encode())
    (folder / "branches.ctbl").write_text("# table\n0 background 0 0 0 0\n1 left_nerve 255 0 16 255\n")
    (folder / "profile.csv").touch()
    masks = {file: sha256((folder / file).read_bytes()) for file in ("mask.nii.gz", *files) if "lesion" not in file}
    summary = {
        "warning": "", "name": name, "shape": (4, 4, 2), "spacing_mm": (1, 1, 4), "mask": "mask.nii.gz",
        "masks": masks, "model": None, "nerves": [], "flags": [], "seconds": 1, "versions": {},
        "grade": Grade(level="check", reason="it is small"),
        "identity": Identity(inputs={"image": "0"}, model="", options="", version="1"),
    } | fields  # fmt: skip
    (folder / "summary.json").write_text(ScanSummary(**summary).model_dump_json())
    return folder


def derivative(out, kind, name="sub-01_ses-a"):
    """The path of a derivative of a scan."""
    return out / name.replace("_", "/") / "anat" / f"{name}_space-orig_{kind}"


def export(dataset, out):
    """The outcomes of all scans of the dataset, by their names."""
    (template,) = image_templates(dataset, []).values()
    return {outcome.name: outcome for outcome in export_derivatives(dataset, out, template)}


def test_the_participant_level(app, tiny_study, sweep, tmp_path, monkeypatch):
    dataset, out = tmp_path / "raw data", tmp_path / "raw data/derivatives/nerveseg"
    for name in ("sub-01_ses-a", "sub-01_ses-b", "sub-02_ses-a"):
        folder = dataset / name.replace("_", "/") / "anat"
        folder.mkdir(parents=True)
        for kind in ("T2w", "acq-fatsat_T2w"):
            shutil.copy(tiny_study / f"sub-V01/anat/sub-V01_{kind}.nii.gz", folder / f"{name}_{kind}.nii.gz")
    for name in THREADS:
        monkeypatch.setenv(name, "2")
    image = "sub-{id}/ses-{ses}/anat/sub-{id}_ses-{ses}"
    with_channel = ("--image", f"T2={image}_T2w.nii.gz", "--image", f"FS={image}_acq-fatsat_T2w.nii.gz")
    chosen = (*with_channel, "--model", sweep, "--participant-label", "01", "--skip-bids-validation", "--n_cpus", "1")
    app(dataset, out, "participant", *chosen, "--session_label", "b", "--option", "lesion.automatic=true")
    assert {os.environ[name] for name in THREADS} == {"1"}
    written = {path.relative_to(out).as_posix() for path in out.glob("sub-*/**/*") if path.is_file()}
    assert all(map(NAME.fullmatch, written))
    start = "sub-01/ses-b/anat/sub-01_ses-b_space-orig_"
    kinds = ("label-nerve_mask", "label-lesion_mask", "seg-branches_dseg")
    files = {f"{start}{kind}{end}" for kind in kinds for end in (".nii.gz", ".json")}
    assert written == files | {f"{start}seg-branches_dseg.tsv"}
    mask, source = nib.load(out / f"{start}label-nerve_mask.nii.gz"), nib.load(dataset / f"{start[:-11]}T2w.nii.gz")
    assert mask.shape == source.shape
    np.testing.assert_array_equal(mask.affine, source.affine)
    labels = pd.read_csv(out / f"{start}seg-branches_dseg.tsv", sep="\t")
    values = set(np.unique(nib.load(out / f"{start}seg-branches_dseg.nii.gz").dataobj)) - {0}
    assert values <= set(labels["index"])
    assert "SYNTHETIC" in (out / "README.md").read_text()
    assert "SYNTHETIC" in json.loads((out / "dataset_description.json").read_text())["Name"]


def test_derivatives_say_what_they_are_made_of(dataset, out):
    write_result(out, "sub-01_ses-a")
    given = GivenMask(source="mask.nii.gz", sha256=sha256(b"drawn"), edited_there=True, changes=None)
    classes = {"tibial": [5], "peroneal": [3], "nerve": [5, 3]}
    write_result(out, "sub-02_ses-a", b"drawn", ["labels.nii.gz"], given=given, grade=None, classes=classes)
    export(dataset, out)
    automatic, drawn = (
        json.loads(derivative(out, "label-nerve_mask.json", name).read_text())
        for name in ("sub-01_ses-a", "sub-02_ses-a")
    )
    assert (automatic["Manual"], automatic["Grade"]) == (False, "check: it is small")
    assert (drawn["Manual"], drawn["Grade"]) == (True, "n/a")
    assert automatic["Sources"] == ["bids:raw:sub-01/ses-a/anat/sub-01_ses-a_T2w.nii.gz"]
    assert derivative(out, "label-lesion_mask.nii.gz").read_bytes() == b"lesion.nii.gz"
    assert not derivative(out, "label-lesion_mask.json", "sub-02_ses-a").exists()
    table = pd.read_csv(derivative(out, "seg-classes_dseg.tsv", "sub-02_ses-a"), sep="\t")
    assert dict(zip(table["index"], table["name"], strict=True)) == {3: "peroneal", 5: "tibial"}
    assert not derivative(out, "seg-classes_dseg.tsv").exists()
    assert derivative(out, "seg-branches_dseg.tsv").read_text().splitlines()[1:] == ["1\tleft_nerve\t#ff0010"]
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert (out / description["DatasetLinks"]["raw"].replace("%20", " ")).resolve() == dataset.resolve()


def test_a_result_of_an_earlier_version_has_no_hashes(dataset, out):
    folder = write_result(out, "sub-01_ses-a", masks={})
    (folder / "branches.ctbl").unlink()
    assert export(dataset, out)["sub-01_ses-a"].status == "done before"
    assert derivative(out, "label-nerve_mask.nii.gz").read_bytes() == b"automatic"


def test_no_file_of_a_person_is_overwritten_or_deleted(dataset, out, capsys):
    write_result(out, "sub-01_ses-a", files=())
    lesion, mask = (derivative(out, f"label-{each}_mask.nii.gz") for each in ("lesion", "nerve"))
    lesion.parent.mkdir(parents=True)
    lesion.write_bytes(b"drawn elsewhere")
    export(dataset, out)
    mask.write_bytes(b"corrected here")
    export(dataset, out)
    assert mask.read_bytes() == b"automatic"
    folder = out / "nerveseg/sub-01_ses-a"
    kept = {path.parent.name: path.read_bytes() for path in folder.glob("replaced-*/*")}
    assert kept == {"replaced-1": b"drawn elsewhere", "replaced-2": b"corrected here"}
    assert capsys.readouterr().out.count("is kept in") == 2
    write_result(out, "sub-01_ses-a", b"of another model")
    export(dataset, out)
    write_result(out, "sub-01_ses-a", b"of another model", [])
    (folder / "lesion.nii.gz").unlink()
    export(dataset, out)
    assert mask.read_bytes() == b"of another model"
    assert not lesion.exists()  # it was nerveseg's own
    assert len(list(folder.glob("replaced-*"))) == 2


def test_a_correction_is_published_once_it_is_measured(app, dataset, out):
    folder = write_result(out, "sub-01_ses-a")
    write_result(out, "sub-02_ses-a")
    app(dataset, out, "group")
    (folder / "mask.nii.gz").write_bytes(b"corrected")
    printed = app(dataset, out, "group", code=2)
    assert f"nerveseg.measure {folder}" in printed.out.replace("\n", "")
    assert derivative(out, "label-nerve_mask.nii.gz").read_bytes() == b"automatic"
    table = pd.read_csv(out / "segmentations.csv").set_index("scan")
    assert table.loc["sub-01_ses-a", "status"] == "failed"
    write_result(out, "sub-01_ses-a", b"corrected")
    (folder / UNFINISHED).touch()
    assert isinstance(export(dataset, out)["sub-01_ses-a"].error, RunError)
    assert derivative(out, "label-nerve_mask.nii.gz").read_bytes() == b"automatic"
    (folder / UNFINISHED).unlink()
    app(dataset, out, "group")
    assert derivative(out, "label-nerve_mask.nii.gz").read_bytes() == b"corrected"


def test_the_table_has_every_scan_and_the_verdicts(app, dataset, out, tmp_path):
    write_result(out, "sub-01_ses-a")
    rows = "scan,status,error\nsub-01_ses-b,failed,it is too dark\nsub-03,failed,no image\n"
    (out / "nerveseg/segmentations.csv").write_text(rows)
    head = "scan,verdict,note,reviewer,date,mask_sha256,model_sha256\n"
    (out / "nerveseg/verdicts.csv").write_text(f"{head}sub-01_ses-a,reject,,AB,2026,{'0' * 64},\n")
    (tmp_path / "new.csv").write_text(f"{head}sub-01_ses-a,accept,,CD,2026,{sha256(b'automatic')},\n")
    app(dataset, out, "group", "--review", tmp_path / "new.csv")
    page = (out / "segmentations.html").read_text()
    assert all(name in page for name in ("sub-01_ses-a", "sub-01_ses-b", "sub-02_ses-a", "sub-03"))
    table = pd.read_csv(out / "segmentations.csv", keep_default_na=False).set_index("scan")
    kept = pd.read_csv(out / "nerveseg/verdicts.csv")["verdict"]
    assert sorted(kept) == ["accept", "reject"]
    errors = table["error"].to_dict()
    assert errors["sub-01_ses-b"] == "it is too dark"
    assert "participant level" in errors["sub-02_ses-a"]
    assert errors["sub-03"] == "no image"
    app(dataset, out, "participant", "--model", "m", "--review", tmp_path / "new.csv", code=2)


def test_what_a_person_adds_to_the_description_stays(dataset, out):
    write_result(out, "sub-01_ses-a")
    export(dataset, out)
    description = json.loads((out / "dataset_description.json").read_text())
    added = {"Name": "Nerves", "Authors": ["A"], "GeneratedBy": [{"Name": "other"}, *description["GeneratedBy"]]}
    (out / "dataset_description.json").write_text(json.dumps(description | added))
    (out / "README.md").write_text("Of the study.")
    (out / ".bidsignore").write_text("scratch/")
    write_result(out, "sub-02_ses-a", warning="SYNTHETIC")
    for _ in range(2):
        export(dataset, out)
        after = json.loads((out / "dataset_description.json").read_text())
        assert after["Authors"] == ["A"]
        assert after["Name"] == "SYNTHETIC: Nerves"
        assert [each["Name"] for each in after["GeneratedBy"]] == ["nerveseg", "other"]
        assert (out / "README.md").read_text() == "Of the study.\n\nSYNTHETIC\n"
        assert (out / ".bidsignore").read_text().split()[:2] == ["scratch/", "nerveseg"]


def test_a_folder_with_other_files_is_no_output(dataset, tmp_path):
    project = tmp_path / "project"
    (project / "nerveseg").mkdir(parents=True)
    check_output(dataset, project)  # a run that was interrupted
    (project / "README.md").touch()
    with pytest.raises(RunError) as refused:
        check_output(dataset, project)
    assert refused.value.path == project


def test_nothing_is_written_outside_the_output(dataset, out, tmp_path):
    write_result(out, "sub-01_ses-a")
    (out / "sub-01").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/ses-a/anat").mkdir(parents=True)
    with pytest.raises(RunError):
        export(dataset, out)
    assert not any(path.is_file() for path in (tmp_path / "elsewhere").rglob("*"))


@pytest.mark.parametrize(
    "template",
    [
        "sub-{id}/anat/T2w.nii.gz", "sub-{id}/anat/{id}_T2w.nii.gz", "sub-{id}/anat/sub-01_T2w.nii.gz",
        "sub-{id}/anat/sub-{id}_T2w.mha", "/raw/sub-{id}_T2w.nii.gz", "../sub-{id}_T2w.nii.gz",
    ],
)  # fmt: skip
def test_a_template_without_a_name_of_bids_is_refused(dataset, template):
    with pytest.raises(ConfigurationError) as refused:
        image_templates(dataset, [f"T2={template}"])
    assert refused.value.found == template


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
def test_a_mistake_is_one_line(app, dataset, arguments, words, monkeypatch):
    monkeypatch.setattr(model_folder, "PACKAGED", dataset)  # which holds no model
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
