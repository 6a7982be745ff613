"""`python -m nerveseg.segment` in this process: files, exit codes, many inputs, reruns, privacy."""

import hashlib
import json
import os
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK

from nerveseg.inference import model_folder
from tests.helpers.dicom_series import write_enhanced
from tests.helpers.scan_models import write_model


def test_one_scan_into_its_folder(run, image_of, sweep, tmp_path):
    printed = run(image_of("V01"), f"model={sweep}", "output=out", "write_probability=true")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "mask.nii.gz", "automatic.nii.gz", "probability.nii.gz", "profile.csv", "summary.json", "check.png",
        "report.html", "branches.nii.gz", "branches.txt", "branches.ctbl", "workspace.itksnap", "thumbnail.jpg",
    }  # fmt: skip
    image, mask = nib.load(image_of("V01")), nib.load(tmp_path / "out" / "mask.nii.gz")
    assert mask.shape == image.shape
    np.testing.assert_array_equal(mask.affine, image.affine)
    for field in ("qform_code", "sform_code", "xyzt_units", "pixdim"):
        np.testing.assert_array_equal(mask.header[field], image.header[field])
    assert b"SYNTHETIC TRAINING DATA" in bytes(mask.header["descrip"])
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    voxels = int(np.asarray(mask.dataobj).sum())
    volume = voxels * abs(np.linalg.det(image.affine[:3, :3]))
    assert summary["nerves"][0]["volume_mm3"] == pytest.approx(volume, rel=1e-6)
    assert summary["warning"] == "SYNTHETIC TRAINING DATA"
    assert "not a medical device" in summary["notice"].lower()
    assert "SYNTHETIC TRAINING DATA" in printed.out
    profile = pd.read_csv(tmp_path / "out" / "profile.csv")
    assert set(profile["warning"]) == {"SYNTHETIC TRAINING DATA"}
    assert profile[profile["branch"] == "total"]["csa_mm2"].sum() * summary["spacing_mm"][2] == pytest.approx(
        volume, rel=1e-4
    )
    probability = np.asarray(nib.load(tmp_path / "out" / "probability.nii.gz").dataobj)
    assert (probability[np.asarray(mask.dataobj) > 0] > 0.5).all()


def test_a_rerun_makes_nothing_twice_and_another_scan_is_refused(run, image_of, sweep, tmp_path):
    run(image_of("V01"), f"model={sweep}", "output=out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert "done before" in run(image_of("V01"), f"model={sweep}", "output=out").out
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    run(image_of("V01"), f"model={sweep}", "output=out", "postprocessing=none")
    assert before != {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert not list((tmp_path / "out").glob("replaced-*"))
    error = run(image_of("V02"), f"model={sweep}", "output=out", code=2).err
    assert "results of one scan" in error
    assert "remedy" in error


def test_a_mask_that_was_changed_by_hand_is_neither_replaced_nor_reported_as_done(run, image_of, sweep, tmp_path):
    run(image_of("V01"), f"model={sweep}", "output=out")
    mask, summary = tmp_path / "out" / "mask.nii.gz", tmp_path / "out" / "summary.json"
    automatic = mask.read_bytes()
    assert json.loads(summary.read_text())["masks"]["mask.nii.gz"] == hashlib.sha256(automatic).hexdigest()
    assert (tmp_path / "out" / "automatic.nii.gz").read_bytes() == automatic
    image = nib.load(mask)
    corrected = np.asarray(image.dataobj).copy()
    corrected[2, 3, 1] = 1 - corrected[2, 3, 1]
    nib.save(nib.Nifti1Image(corrected, image.affine, image.header), mask)
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    for option in ("postprocessing=model", "postprocessing=none"):
        printed = run(image_of("V01"), f"model={sweep}", "output=out", option, code=2)
        assert "done before" not in printed.out
        assert "nerveseg.measure out" in printed.err
    assert before == {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    mask.write_bytes(automatic)
    assert "done before" in run(image_of("V01"), f"model={sweep}", "output=out").out


def test_a_changed_mask_of_an_earlier_version_is_known_by_its_time(run, image_of, sweep, tmp_path):
    run(image_of("V01"), f"model={sweep}", "output=out")
    mask, summary = tmp_path / "out" / "mask.nii.gz", tmp_path / "out" / "summary.json"
    content = json.loads(summary.read_text())
    del content["masks"], content["automatic"]
    content["identity"]["version"] = "0.1"
    summary.write_text(json.dumps(content))
    later = summary.stat().st_mtime + 3600
    os.utime(mask, (later, later))
    run(image_of("V01"), f"model={sweep}", "output=out", code=2)
    os.utime(summary, (later, later))
    run(image_of("V01"), f"model={sweep}", "output=out")
    assert json.loads(summary.read_text())["masks"].keys() == {"mask.nii.gz", "branches.nii.gz"}


def test_an_interrupted_result_is_made_again(run, image_of, sweep, tmp_path):
    run(image_of("V01"), f"model={sweep}", "output=out")
    whole = (tmp_path / "out" / "mask.nii.gz").read_bytes()
    (tmp_path / "out" / "summary.json").rename(tmp_path / "out" / ".unfinished")
    (tmp_path / "out" / "mask.nii.gz").write_bytes(b"half")
    run(image_of("V01"), f"model={sweep}", "output=out")
    assert (tmp_path / "out" / "mask.nii.gz").read_bytes() == whole


def test_one_bad_file_does_not_stop_the_rest(run, image_of, sweep, tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    for name in ("a", "c"):
        shutil.copy(image_of("V01" if name == "a" else "V02"), scans / f"{name}.nii.gz")
    (scans / "b.nii.gz").write_bytes(image_of("V03").read_bytes()[:2000])
    os.mkfifo(scans / "fifo.nii.gz")
    (scans / "zeros.nii.gz").symlink_to("/dev/zero")
    printed = run("scans/*.nii.gz", f"model={sweep}", "output=out", code=2)
    table = pd.read_csv(tmp_path / "out" / "segmentations.csv").set_index("scan")
    bad = {"b": "failed", "fifo": "failed", "zeros": "failed"}
    assert table["status"].to_dict() == bad | {"a": "done", "c": "done"}
    assert table.loc[list(bad), "error"].str.contains("remedy").all()
    assert "3 of 5 failed: b" in printed.err
    assert not any((tmp_path / "out" / name).exists() for name in bad)
    (scans / "fifo.nii.gz").unlink()
    (scans / "zeros.nii.gz").unlink()
    shutil.copy(image_of("V03"), scans / "b.nii.gz")
    again = run("scans/*.nii.gz", f"model={sweep}", "output=out")
    assert again.out.count("done before") >= 2
    assert set(pd.read_csv(tmp_path / "out" / "segmentations.csv")["status"]) == {"done", "done before"}


@pytest.mark.slow
def test_a_study_needs_no_rater_and_its_table_says_the_side(run, tiny_study, sweep, tmp_path):
    study = tmp_path / "study"
    shutil.copytree(tiny_study, study, ignore=shutil.ignore_patterns("rater-*"))
    run("study=bids", f"study.root={study}", f"model={sweep}", "output=out")
    rows = pd.read_csv(study / "participants.tsv", sep="\t").set_index("participant_id")
    table = pd.read_csv(tmp_path / "out" / "segmentations.csv")
    table = table[table["branch"] == "total"].set_index("scan")
    assert sorted(table.index) == sorted(rows.index)
    assert (table["side"].sort_index() == rows["side"].sort_index()).all()
    for subject in rows.index:
        summary = json.loads((tmp_path / "out" / subject / "summary.json").read_text())
        assert len(summary["model"]["folds"]) == 1, "each subject by the fold that held it out"


def test_a_metaimage_gets_a_metaimage(run, image_of, sweep, tmp_path):
    image = SimpleITK.ReadImage(str(image_of("V01")))
    SimpleITK.WriteImage(image, str(tmp_path / "scan.mha"))
    run("scan.mha", f"model={sweep}", "output=out")
    mask = SimpleITK.ReadImage(str(tmp_path / "out" / "mask.mha"))
    assert (mask.GetSize(), mask.GetSpacing(), mask.GetOrigin()) == (
        image.GetSize(), image.GetSpacing(), image.GetOrigin(),
    )  # fmt: skip
    assert mask.GetDirection() == image.GetDirection()


def test_a_dicom_series_gets_nifti_and_dicom_seg_and_its_names_stay_there(run, shared_data, sweep, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    folder = tmp_path / "series"
    folder.mkdir()
    datasets = [pydicom.dcmread(file) for file in shared_data("dicom_t2_axial").glob("*.dcm")]
    for dataset in sorted(datasets, key=lambda dataset: dataset.InstanceNumber)[:8]:
        dataset.PatientName, dataset.PatientID, dataset.StudyDate = "SECRET^NAME", "ID-SECRET-77", "20011225"
        dataset.save_as(folder / f"{dataset.InstanceNumber}.dcm")
    printed = run("series", f"model={sweep / 'fold-0'}", "output=out", "dicom_seg=always", "dicom_sr=always")
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["identified"] == ["mask.dcm", "measurements.dcm"]
    assert all(f"{name} holds the patient's name" in printed.out for name in summary["identified"])
    report = pydicom.dcmread(tmp_path / "out" / "measurements.dcm").to_json()
    assert f"{summary['nerves'][0]['volume_mm3']:.6g}" in report
    assert "SYNTHETIC TRAINING DATA" in report
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"mask.nii.gz", "mask.dcm", "profile.csv", "summary.json", "check.png"} <= files
    for path in (tmp_path / "out").iterdir():
        content = path.read_bytes() if path.suffix != ".gz" else __import__("gzip").decompress(path.read_bytes())
        known = any(word in content for word in (b"SECRET", b"20011225"))
        assert known == (path.suffix == ".dcm"), path.name
    assert "SECRET" not in printed.out + printed.err
    seg = pydicom.dcmread(tmp_path / "out" / "mask.dcm")
    mask = np.asarray(nib.load(tmp_path / "out" / "mask.nii.gz").dataobj)
    assert int(seg.pixel_array.astype(bool).sum()) == int((mask > 0).sum())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "takes a scan"),
        (("nowhere.nii.gz",), "nowhere.nii.gz"),
        (("text.nii.gz",), "text.nii.gz"),
        (("folder",), "folder"),
        (("flat.nii.gz",), "dimensions"),
        (("one.nii.gz",), "2 slices"),
        (("a.nii.gz", "b.nii.gz"), "quotes"),
        (("flat.nii.gz", "maps.T2=x.nii.gz", "lesion.k=-1"), "lesion.k"),
        (("flat.nii.gz", "speed=3"), "speed"),
        (("flat.nii.gz", "participants=[01]"), "participants="),
    ],
)
def test_a_mistake_is_one_line_with_a_remedy(arguments, words, run, sweep, tmp_path):
    (tmp_path / "text.nii.gz").write_text("hello")
    (tmp_path / "folder").mkdir()
    nib.save(nib.Nifti1Image(np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32), np.eye(4)), "flat.nii.gz")
    one = np.random.default_rng(0).normal(size=(16, 16, 1)).astype(np.float32)
    nib.save(nib.Nifti1Image(one, np.eye(4)), "one.nii.gz")
    printed = run(*arguments, f"model={sweep}", "output=out", code=2)
    (line,) = printed.err.strip().splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert "remedy: " in line
    assert not (tmp_path / "out").exists()


def test_without_a_model_what_lies_there_is_named(run, image_of, tmp_path, monkeypatch):
    monkeypatch.setattr(model_folder, "PACKAGED", tmp_path / "none")
    assert "make demo" in run(image_of("V01"), code=2).err
    write_model(tmp_path / "outputs" / "mine" / "fold-0" / "model", 1, {})
    assert "outputs/mine" in run(image_of("V01"), code=2).err


def test_a_full_disk_leaves_nothing_half_written(run, image_of, sweep, tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nerveseg.scans.writing.check_sheet", full)
    error = run(image_of("V01"), f"model={sweep}", "output=out", code=2).err
    assert "No space left on device" in error
    assert not (tmp_path / "out" / "summary.json").exists()
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")] == [".unfinished"]
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    run(image_of("V01"), f"model={sweep}", "output=out")
    assert (tmp_path / "out" / "summary.json").exists()
    assert not (tmp_path / "out" / ".unfinished").exists()


def test_several_scans_with_one_further_file_are_refused(run, image_of, sweep, tmp_path):
    for name in ("a", "b"):
        shutil.copy(image_of("V01"), tmp_path / f"{name}.nii.gz")
    error = run("input=*.nii.gz", f"model={sweep}", "maps.T2=map.nii.gz", "output=out", code=2).err
    assert "{id}" in error


def test_a_file_of_somebody_else_is_not_overwritten(run, image_of, sweep, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mask.nii.gz").write_bytes(b"drawn by hand")
    error = run(image_of("V01"), f"model={sweep}", "output=out", code=2).err
    assert "mask.nii.gz" in error
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mask.nii.gz"]
    assert (tmp_path / "out" / "mask.nii.gz").read_bytes() == b"drawn by hand"


def test_results_of_an_earlier_model_do_not_stay_beside_the_new_ones(run, image_of, sweep, tmp_path):
    run(image_of("V01"), f"model={sweep / 'fold-0'}", "output=out", "write_probability=true")
    run(image_of("V01"), f"model={sweep / 'fold-1'}", "output=out")
    assert not (tmp_path / "out" / "probability.nii.gz").exists()
    assert not (tmp_path / "out" / ".unfinished").exists()


def test_another_table_of_norms_is_another_result(run, image_of, sweep, tmp_path):
    table = "quantity,location,sex,weight_min_kg,weight_max_kg,mean,sd\nmean_csa_mm2,,,,,{},12\n"
    (tmp_path / "norms.csv").write_text(table.format(45))
    scores = []
    for mean in (45, 57):
        (tmp_path / "norms.csv").write_text(table.format(mean))
        run(image_of("V01"), f"model={sweep}", "output=out", "norms=norms.csv")
        summary = json.loads((tmp_path / "out" / "summary.json").read_text())
        scores.append(summary["nerves"][0]["z_scores"]["mean_csa_mm2"])
    assert scores[0] - scores[1] == pytest.approx(1.0)


def test_two_signals_of_one_name_are_refused(run, image_of, sweep, tmp_path):
    error = run(image_of("V01"), f"model={sweep}", "output=out", f"maps.T2={image_of('V02')}", code=2).err
    assert "T2 twice" in error
    assert not (tmp_path / "out").exists()


def test_a_pattern_that_finds_our_own_masks_passes_them_over(run, image_of, sweep, tmp_path):
    (tmp_path / "scans").mkdir()
    for name in ("a", "b"):
        shutil.copy(image_of("V01"), tmp_path / "scans" / f"{name}.nii.gz")
    for _ in range(2):
        run("scans/**/*.nii.gz", f"model={sweep}", "output=scans/out", "write_probability=true")
    assert sorted(pd.read_csv(tmp_path / "scans" / "out" / "segmentations.csv")["scan"].unique()) == ["a", "b"]


@pytest.mark.slow
def test_a_subject_without_its_image_does_not_stop_the_others(run, tiny_study, sweep, tmp_path):
    study = tmp_path / "study"
    shutil.copytree(tiny_study, study)
    (study / "sub-V01" / "anat" / "sub-V01_T2w.nii.gz").unlink()
    run("study=bids", f"study.root={study}", f"model={sweep}", "output=out", code=2)
    table = pd.read_csv(tmp_path / "out" / "segmentations.csv").set_index("scan")["status"]
    assert table.pop("sub-V01") == "failed"
    assert set(table) == {"done"}


def test_a_series_that_dicom_seg_cannot_refer_to_is_found_before_the_work(run, sweep, tmp_path):
    pytest.importorskip("highdicom")
    noise = np.random.default_rng(0).integers(0, 900, (8, 64, 64)).astype(np.uint16)
    frames = [{"place": 6.0 * place, "pixels": pixels, "stack": str(place // 4)} for place, pixels in enumerate(noise)]
    write_enhanced(tmp_path / "series" / "x.dcm", frames)
    arguments = ("series", f"model={sweep / 'fold-0'}", "series=3:1")
    run(*arguments, "output=asked", "dicom_seg=true", code=2)
    assert not (tmp_path / "asked").exists()
    run(*arguments, "output=out")  # no mask.dcm unless asked for
    assert {path.name for path in (tmp_path / "out").glob("mask*")} == {"mask.nii.gz"}
    assert nib.load(tmp_path / "out" / "mask.nii.gz").shape == (64, 64, 4)


def test_dicom_seg_of_another_format_is_refused_before_the_work(run, image_of, sweep, tmp_path):
    assert "dicom_seg" in run(image_of("V01"), f"model={sweep}", "output=out", "dicom_seg=true", code=2).err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("output", ["", "file.txt", "file.txt/below"])
def test_an_output_that_is_no_folder_is_refused_before_the_work(output, run, image_of, sweep, tmp_path):
    (tmp_path / "file.txt").write_text("kept")
    assert "remedy: output=<" in run(image_of("V01"), f"model={sweep}", f"output={output}", code=2).err
    assert (tmp_path / "file.txt").read_text() == "kept"


def test_a_fault_of_ours_in_one_of_many_does_not_stop_the_rest(run, image_of, sweep, tmp_path, monkeypatch):
    for name in ("a", "b"):
        shutil.copy(image_of("V01"), tmp_path / f"{name}.nii.gz")
    from nerveseg.scans import segmentation

    whole = segmentation.segment_files

    def broken(files, *rest):
        if files.name == "a":
            raise ZeroDivisionError("of ours")
        return whole(files, *rest)

    monkeypatch.setattr(segmentation, "segment_files", broken)
    printed = run("?.nii.gz", f"model={sweep}", "output=out", code=2)
    table = pd.read_csv(tmp_path / "out" / "segmentations.csv").set_index("scan")["status"]
    assert table.to_dict() == {"a": "failed", "b": "done"}
    assert "ZeroDivisionError: of ours" in printed.err


BRANCHES = {"tibial": [5], "peroneal": [7, 3], "nerve": [3, 5, 7]}


@pytest.fixture
def branches_model(tmp_path):
    terms = {"tibial": {"value": "45684006", "meaning": "Tibial nerve"}}
    return write_model(tmp_path / "branches", 4, {}, classes=BRANCHES, terms=terms)


def test_several_classes_are_one_label_map_and_a_mask_each(run, image_of, branches_model, tmp_path):
    run(image_of("V01"), f"model={branches_model}", "output=out", "per_class=true")
    labels, mask, tibial, peroneal, nerve = (
        np.asarray(nib.load(tmp_path / "out" / f"{name}.nii.gz").dataobj)
        for name in ("labels", "mask", "mask-tibial", "mask-peroneal", "mask-nerve")
    )
    assert set(np.unique(labels)) == {0, 3, 5}
    np.testing.assert_array_equal(tibial, labels == 5)
    np.testing.assert_array_equal(peroneal, labels == 3)
    np.testing.assert_array_equal(mask, labels > 0)
    np.testing.assert_array_equal(nerve, mask)
    summary = json.loads((tmp_path / "out/summary.json").read_text(encoding="utf-8"))
    assert summary["classes"] == {"tibial": [5], "peroneal": [3], "nerve": [5, 3]}
    (tmp_path / "out/mask-corrected.nii.gz").write_bytes(b"drawn by hand")
    run(image_of("V01"), f"model={branches_model}", "output=out")
    assert [path.name for path in (tmp_path / "out").glob("mask-*")] == ["mask-corrected.nii.gz"]
    assert (tmp_path / "out/labels.nii.gz").is_file()


def test_dicom_seg_has_a_segment_for_each_class(run, branches_model, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    noise = np.random.default_rng(0).integers(0, 900, (4, 64, 64)).astype(np.uint16)
    frames = [{"place": 6.0 * place, "pixels": pixels} for place, pixels in enumerate(noise)]
    write_enhanced(tmp_path / "series" / "x.dcm", frames)
    run("series", f"model={branches_model}", "output=out", "dicom_seg=always", "dicom_sr=always", "postprocessing=none")
    assert pydicom.dcmread(tmp_path / "out/measurements.dcm").Modality == "SR"
    written = pydicom.dcmread(tmp_path / "out/mask.dcm")
    segments = written.SegmentSequence
    assert [segment.SegmentLabel for segment in segments] == ["tibial", "peroneal", "Nerve"]
    codes = [segment.SegmentedPropertyTypeCodeSequence[0].CodeValue for segment in segments]
    assert codes == ["45684006", "84782009", "84782009"]
    frames = written.pixel_array
    numbers = [
        frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        for frame in written.PerFrameFunctionalGroupsSequence
    ]
    voxels = [int(frames[np.array(numbers) == number].sum()) for number in (1, 2, 3)]
    labels = np.asarray(nib.load(tmp_path / "out/labels.nii.gz").dataobj)
    assert voxels == [(labels == 5).sum(), (labels == 3).sum(), (labels > 0).sum()]
    printed = run(
        "series", f"model={branches_model}", "output=unusable", "dicom_seg=true", "dicom_sr=true", "postprocessing=none"
    )
    assert json.loads((tmp_path / "unusable/summary.json").read_text())["grade"]["level"] == "not usable"
    assert not list((tmp_path / "unusable").glob("*.dcm"))
    assert all(f"{name}=always" in printed.out for name in ("dicom_seg", "dicom_sr"))
    assert voxels[0] > 0 < voxels[1]
