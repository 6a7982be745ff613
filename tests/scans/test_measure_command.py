"""`python -m nerveseg.measure` in this process: masks that a person drew or corrected, against numpy and `segment`."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK
import yaml

from nerveseg.data.classes import Classes
from nerveseg.data.volumes.volume import read_image_grid
from nerveseg.errors import RunError, VolumeError
from nerveseg.measure import main as measure_main
from nerveseg.scans.batch import Outcome
from nerveseg.scans.batch_table import write_table
from nerveseg.scans.given import GivenFiles, read_automatic
from nerveseg.scans.request import ScanFiles, ScanRequest, SegmentOptions
from nerveseg.scans.results import read_summary
from nerveseg.scans.verdicts import Verdicts
from tests.data.volumes.test_slicer_seg import write as write_slicer
from tests.helpers.dicom_series import write_enhanced
from tests.helpers.scan_models import write_model

CONF = Path(__file__).parents[2] / "conf"
BRANCHES = {"tibial": [5], "peroneal": [3], "nerve": [5, 3]}


@pytest.fixture
def measure(in_process):
    """`measure` in this process."""
    return in_process(measure_main)


@pytest.fixture
def result(run, image_of, sweep, tmp_path):
    """Results of `segment` in the folder out."""
    run(image_of("V01"), f"model={sweep}", "output=out")
    return tmp_path / "out"


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


def voxels_of(path):
    return np.asarray(nib.load(path).dataobj)


def correct(path, to=None):
    """Add a block of voxels and remove another; return the array that was written."""
    image = nib.load(path)
    array = voxels_of(path).copy()
    filled = np.argwhere(array > 0)[len(np.argwhere(array > 0)) // 2]
    empty = np.argwhere(array == 0)[0]
    array[tuple(filled)] = 0
    array[empty[0] : empty[0] + 2, empty[1] : empty[1] + 2, empty[2]] = 1
    nib.save(nib.Nifti1Image(array, image.affine, image.header), to or path)
    return array


def mm3_of(path):
    return abs(np.linalg.det(nib.load(path).affine[:3, :3]))


def profile_volume(folder):
    profile = pd.read_csv(folder / "profile.csv")
    return profile[profile["branch"] == "total"]["csa_mm2"].sum() * summary_of(folder)["spacing_mm"][2]


def test_a_mask_that_was_corrected_in_its_folder(measure, run, result, image_of, sweep):
    mask = result / "mask.nii.gz"
    automatic, before = voxels_of(mask).copy(), summary_of(result)
    corrected = correct(mask)
    saved = mask.read_bytes()
    measure("out")
    assert mask.read_bytes() == saved
    np.testing.assert_array_equal(voxels_of(result / "automatic.nii.gz"), automatic)
    after = summary_of(result)
    added, removed = (corrected > 0) & (automatic == 0), (corrected == 0) & (automatic > 0)
    slices = np.flatnonzero((added | removed).any(axis=(0, 1)))
    assert after["given"]["source"] == "mask.nii.gz"
    assert after["given"]["sha256"] == after["masks"]["mask.nii.gz"] == hashlib.sha256(saved).hexdigest()
    changes = after["given"]["changes"]
    assert (changes["added_voxels"], changes["removed_voxels"]) == (added.sum(), removed.sum())
    assert changes["volume_mm3"] == pytest.approx((int(added.sum()) - int(removed.sum())) * mm3_of(mask), rel=1e-6)
    assert changes["slices"] == slices.tolist()
    assert after["identity"] == before["identity"]
    assert after["model"] == before["model"]
    assert after["warning"] == before["warning"] == "SYNTHETIC TRAINING DATA"
    assert after["expected_dice"] == {}
    assert "mask.nii.gz" in (result / "report.html").read_text(encoding="utf-8")
    assert "done before" in measure("out").out
    again = run(image_of("V01"), f"model={sweep}", "output=out")
    assert "done before" in again.out
    assert f"{after['nerves'][0]['volume_mm3']:,.0f} mm3" in again.out
    run(image_of("V01"), f"model={sweep}", "output=out", "postprocessing=none", code=2)
    assert mask.read_bytes() == saved
    correct(mask)
    measure("out")
    assert summary_of(result)["masks"]["mask.nii.gz"] != after["masks"]["mask.nii.gz"]


def test_the_automatic_mask_given_as_a_mask_has_the_numbers_of_segment(measure, result, image_of):
    measure(image_of("V01"), f"mask={result / 'mask.nii.gz'}", "output=again", "channel=T2")
    given, automatic = summary_of(result.parent / "again"), summary_of(result)
    assert given["nerves"] == automatic["nerves"]
    first, second = (pd.read_csv(folder / "profile.csv") for folder in (result, result.parent / "again"))
    pd.testing.assert_frame_equal(first.drop(columns="warning"), second.drop(columns="warning"))
    ours = {flag["code"] for flag in given["flags"]}
    of_model = {"intensity_unlike_training", "field_unlike_training", "spacing_unlike_training", "low_probability"}
    assert ours == {flag["code"] for flag in automatic["flags"]} - of_model - {"step_unlike_training"}
    assert (given["model"], given["given"]["changes"], given["warning"]) == (None, None, "")
    assert not (result.parent / "again" / "automatic.nii.gz").exists()


def test_the_automatic_mask_is_read_by_the_segment_of_the_correction(measure, image_of, truth_of, tmp_path):
    """Label 2 is nerve, 1 another structure; in the file of 3D Slicer the nerve has another number."""
    image, nerve = nib.load(truth_of("V01", "nerve")), voxels_of(truth_of("V01", "nerve")) > 0
    added, other = ~nerve & np.roll(nerve, 1, axis=0), ~nerve & np.roll(nerve, 5, axis=0)
    drawn = nerve | added
    labels = {"drawn": 2 * drawn, "tool": np.where(nerve, 2, other), "binary": nerve, "unlike": 3 * nerve + 4 * other}
    for name, array in labels.items():
        nib.save(nib.Nifti1Image(array.astype(np.uint8), image.affine), tmp_path / f"{name}.nii.gz")
    grid = SimpleITK.ReadImage(str(image_of("V01")))
    layers = {"Other": (other, 1, 0), "Nerve": (nerve, 1, 1)}
    segments = [(name, value, layer) for name, (_, value, layer) in layers.items()]
    write_slicer(tmp_path / "tool.seg.nrrd", grid, [each[0] for each in layers.values()], segments, start=(0, 0, 0))
    segments = [("Nerve", 1, 0), ("Other", 1, 1)]
    write_slicer(tmp_path / "drawn.seg.nrrd", grid, [drawn, other & ~drawn], segments, start=(0, 0, 0))
    write_slicer(tmp_path / "one.seg.nrrd", grid, [nerve], [("auto", 1, 0)], start=(0, 0, 0))
    for mask, segment, automatic in (("drawn.nii.gz", 2, "tool.nii.gz"), ("drawn.seg.nrrd", "Nerve", "tool.seg.nrrd")):
        measure(image_of("V01"), f"mask={mask}", f"segment={segment}", f"automatic={automatic}", f"output=of-{mask}")
        changes = summary_of(tmp_path / f"of-{mask}")["given"]["changes"]
        assert (changes["added_voxels"], changes["removed_voxels"]) == (added.sum(), 0)
    ras, expected = read_image_grid(image_of("V01")), nib.as_closest_canonical(nib.load(tmp_path / "binary.nii.gz"))
    numbered = GivenFiles(tmp_path / "drawn.nii.gz", None, Classes.of({"nerve": [2]}))
    named = GivenFiles(tmp_path / "drawn.seg.nrrd", None, Classes.of({"nerve": [1]}), segment="Nerve")
    for given, automatic in (
        (numbered, "binary.nii.gz"), (numbered, "one.seg.nrrd"), (numbered, "tool.seg.nrrd"), (named, "binary.nii.gz"),
    ):  # fmt: skip
        read = read_automatic(tmp_path / automatic, given, ras, None)
        np.testing.assert_array_equal(read, np.asarray(expected.dataobj))
    for given, automatic in ((numbered, "unlike.nii.gz"), (named, "tool.nii.gz")):
        with pytest.raises(VolumeError) as caught:
            read_automatic(tmp_path / automatic, given, ras, None)
        assert caught.value.path == tmp_path / automatic


@pytest.mark.parametrize("suffix", ["nii", "mha", "nrrd", "seg.nrrd"])
def test_masks_of_every_program_give_the_same_numbers(suffix, measure, image_of, truth_of, tmp_path):
    truth = truth_of("V01", "nerve")
    drawn = tmp_path / f"drawn.{suffix}"
    if suffix == "seg.nrrd":
        image, mask = SimpleITK.ReadImage(str(image_of("V01"))), voxels_of(truth) > 0
        write_slicer(drawn, image, [mask, ~mask], [("Nerve", 1, 0), ("muscle", 1, 1)], start=(0, 0, 0))
    elif suffix == "nii":
        turned = nib.load(truth).as_reoriented(np.array([[1, -1], [0, 1], [2, -1]]))
        nib.save(turned, drawn)
    else:
        SimpleITK.WriteImage(SimpleITK.ReadImage(str(truth)), str(drawn))
    chosen = ["segment=nerve"] if suffix == "seg.nrrd" else []
    measure(image_of("V01"), f"mask={drawn}", "output=out", *chosen)
    np.testing.assert_array_equal(voxels_of(tmp_path / "out" / "mask.nii.gz") > 0, voxels_of(truth) > 0)
    volume = int((voxels_of(truth) > 0).sum()) * mm3_of(truth)
    assert summary_of(tmp_path / "out")["nerves"][0]["volume_mm3"] == pytest.approx(volume, rel=1e-6)
    assert profile_volume(tmp_path / "out") == pytest.approx(volume, rel=1e-4)


def test_a_label_map_has_the_classes_of_a_study(measure, image_of, truth_of, tmp_path):
    drawn, chosen = truth_of("P01", "branches"), ("study=phantom_branches", "study.root=x")
    measure(image_of("P01"), f"mask={drawn}", "output=out", *chosen, "per_class=true")
    labels, summary = voxels_of(drawn), summary_of(tmp_path / "out")
    values = yaml.safe_load((CONF / "study/phantom_branches.yaml").read_text(encoding="utf-8"))["classes"]
    for name, own in values.items():
        np.testing.assert_array_equal(voxels_of(tmp_path / f"out/mask-{name}.nii.gz") > 0, np.isin(labels, own))
    assert summary["class_masks"] == [f"mask-{name}.nii.gz" for name in values]
    assert summary["request"]["channel"] == "T2"
    measure(image_of("P01"), f"mask={drawn}", *chosen, "segment=1", code=2)


def test_a_dicom_segmentation_is_read_with_its_segments(measure, run, tmp_path):
    pytest.importorskip("highdicom")
    model = write_model(tmp_path / "branches", 4, {}, classes=BRANCHES)
    noise = np.random.default_rng(0).integers(0, 900, (4, 64, 64)).astype(np.uint16)
    frames = [{"place": 6.0 * place, "pixels": pixels} for place, pixels in enumerate(noise)]
    write_enhanced(tmp_path / "series" / "x.dcm", frames)
    run("series", f"model={model}", "output=out", "dicom_seg=always", "postprocessing=none")
    labels = voxels_of(tmp_path / "out/labels.nii.gz")
    for segment, expected in (("tibial", labels == 5), ("peroneal", labels == 3), ("nerve", labels > 0)):
        measure("series", "mask=out/mask.dcm", f"segment={segment}", f"output={segment}")
        np.testing.assert_array_equal(voxels_of(tmp_path / segment / "mask.nii.gz") > 0, expected)
    assert "tibial" in measure("series", "mask=out/mask.dcm", "segment=ulnar", code=2).err
    assert "tibial" in measure("series", "mask=out/mask.dcm", code=2).err
    assert "MR" in measure("series", "mask=series/x.dcm", code=2).err
    image, labels = nib.load(tmp_path / "out/labels.nii.gz"), labels.copy()
    labels[tuple(np.argwhere(labels > 0)[0])] = 0
    nib.save(nib.Nifti1Image(labels, image.affine, image.header), tmp_path / "out/labels.nii.gz")
    measure("out")
    assert not (tmp_path / "out/mask.dcm").exists()
    assert any("mask.dcm" in note for note in summary_of(tmp_path / "out")["notes"])


def test_a_mask_that_was_saved_elsewhere_comes_into_the_folder_of_results(measure, result, image_of):
    automatic = (result / "mask.nii.gz").read_bytes()
    corrected = correct(result / "mask.nii.gz", to=result / "corrected.nii.gz")
    measure("out", f"mask={result / 'corrected.nii.gz'}")
    np.testing.assert_array_equal(voxels_of(result / "mask.nii.gz"), corrected)
    assert (result / "automatic.nii.gz").read_bytes() == automatic
    after = summary_of(result)
    assert after["given"]["source"] == "corrected.nii.gz"
    assert after["given"]["changes"]["added_voxels"] > 0
    assert "done before" in measure("out", f"mask={result / 'corrected.nii.gz'}").out
    assert "done before" in measure("out").out
    correct(result / "mask.nii.gz")
    edited = (result / "mask.nii.gz").read_bytes()
    measure("out", f"mask={result / 'corrected.nii.gz'}", code=2)
    measure(image_of("V01"), f"mask={result / 'corrected.nii.gz'}", "output=out", code=2)
    assert (result / "mask.nii.gz").read_bytes() == edited


def test_a_mask_that_was_saved_in_another_format_beside_it_is_neither_lost_nor_passed_over(
    measure, run, result, image_of, sweep
):
    saved = result / "mask.mha"
    array = correct(result / "mask.nii.gz", to=result.parent / "mask.nii.gz")
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(result.parent / "mask.nii.gz")), str(saved))
    before = {path.name: path.read_bytes() for path in result.iterdir()}
    run(image_of("V01"), f"model={sweep}", "output=out", "postprocessing=none", code=2)
    assert "mask.mha" in measure("out", code=2).err
    assert before == {path.name: path.read_bytes() for path in result.iterdir()}
    measure("out", f"mask={saved}")
    np.testing.assert_array_equal(voxels_of(result / "mask.nii.gz"), array)
    assert summary_of(result)["given"]["source"] == "mask.mha"
    assert "done before" in measure("out").out
    assert "done before" in run(image_of("V01"), f"model={sweep}", "output=out").out
    assert saved.read_bytes() == before["mask.mha"]


def test_a_mask_elsewhere_may_have_the_name_of_the_results_own(measure, result, image_of):
    there = result.parent / "mask.nii.gz"
    corrected = correct(result / "mask.nii.gz", to=there)
    measure("out", f"mask={there}")
    np.testing.assert_array_equal(voxels_of(result / "mask.nii.gz"), corrected)
    for _ in range(2):  # corrected again, and measured into the folder of its own measurement
        measure(image_of("V01"), f"mask={there}", "output=own")
        np.testing.assert_array_equal(voxels_of(result.parent / "own/mask.nii.gz"), voxels_of(there))
        correct(there)


def test_the_record_of_a_name_that_is_no_utf8_is_text(tmp_path):
    files = ScanFiles("x", Path(os.fsdecode(b"/a/\xff.nii")), channels={"FS": Path("b.nii")})
    record = ScanRequest.of(files, "T2", SegmentOptions(norms=Path("norms.csv")), per_class=False)
    read = ScanRequest.model_validate_json(record.model_dump_json())
    assert read == record
    assert read.options.norms.is_absolute()
    assert read.scan_files("x").channels == {"FS": Path("b.nii").absolute()}


def test_the_table_of_several_scans_says_whose_each_mask_is(measure, result, image_of, tmp_path):
    automatic = read_summary(result)
    measure(image_of("V01"), f"mask={result / 'mask.nii.gz'}", "output=drawn")
    correct(result / "mask.nii.gz")
    measure("out")
    summaries = {"automatic": automatic, "drawn": read_summary(tmp_path / "drawn"), "corrected": read_summary(result)}
    outcomes = [Outcome(name, "done before", summary) for name, summary in summaries.items()]
    outcomes.append(Outcome("failed", "failed", error=RunError("a scan is read", found="none")))
    write_table(tmp_path / "table.csv", outcomes, Verdicts(), "")
    table = pd.read_csv(tmp_path / "table.csv", keep_default_na=False).set_index("scan")
    assert table["mask_origin"].to_dict() == {name: name for name in summaries} | {"failed": ""}
    sha256 = hashlib.sha256((result / "mask.nii.gz").read_bytes()).hexdigest()
    assert table.groupby(level=0)["mask_sha256"].first()["corrected"] == sha256


def test_a_correction_measured_into_another_folder_leaves_the_first_as_it_is(measure, result, tmp_path):
    automatic = voxels_of(result / "mask.nii.gz").copy()
    correct(result / "mask.nii.gz")
    before = {path.name: path.read_bytes() for path in result.iterdir()}
    measure("out", "output=other")
    assert before == {path.name: path.read_bytes() for path in result.iterdir()}
    other = summary_of(tmp_path / "other")
    assert other["given"]["changes"]["added_voxels"] > 0
    np.testing.assert_array_equal(voxels_of(tmp_path / "other/automatic.nii.gz"), automatic)


def test_of_several_classes_the_label_map_is_corrected(measure, run, image_of, tmp_path):
    model = write_model(tmp_path / "branches", 4, {}, classes=BRANCHES)
    run(image_of("V01"), f"model={model}", "output=out", "per_class=true")
    result = tmp_path / "out"
    image, labels = nib.load(result / "labels.nii.gz"), voxels_of(result / "labels.nii.gz").copy()
    automatic, place = labels.copy(), tuple(np.argwhere(labels == 5)[0])
    labels[place] = 3
    nib.save(nib.Nifti1Image(labels, image.affine, image.header), result / "labels.nii.gz")
    measure("out")
    after = summary_of(result)
    assert after["given"]["changes"] == {
        "added_voxels": 0, "removed_voxels": 0, "relabelled_voxels": 1, "volume_mm3": 0.0, "slices": [place[2]],
    }  # fmt: skip
    np.testing.assert_array_equal(voxels_of(result / "mask-peroneal.nii.gz"), labels == 3)
    np.testing.assert_array_equal(voxels_of(result / "automatic.nii.gz"), automatic)
    assert after["classes"] == {"tibial": [5], "peroneal": [3], "nerve": [5, 3]}
    correct(result / "mask.nii.gz")
    error = measure("out", code=2).err
    assert "labels.nii.gz" in error
    assert "mask.nii.gz" in error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "takes a scan"),
        (("scan.nii.gz",), "no mask="),
        (("out",), "as segment wrote it"),
        (("out", "side=left"), "side"),
        (("out", "lesion.k=2"), "lesion.k"),
        (("scan.nii.gz", "mask=nowhere.nii.gz"), "nowhere.nii.gz"),
        (("scan.nii.gz", "mask=small.nii.gz"), "shape"),
        (("scan.nii.gz", "mask=scan.nii.gz"), "a mask"),
        (("scan.nii.gz", "mask=out/mask.nii.gz", "segment=Nerve"), "no names of segments"),
        (("scan.nii.gz", "mask=out/mask.nii.gz", "output=out"), "nerveseg.measure out"),
        (("scan.nii.gz", "mask=out/mask.nii.gz", "channel=FS", "images.FS=scan.nii.gz"), "channel="),
    ],
)
def test_a_mistake_is_one_line(arguments, said, measure, result, image_of, tmp_path):
    shutil.copy(image_of("V01"), tmp_path / "scan.nii.gz")
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4)), tmp_path / "small.nii.gz")
    before = {path.name: path.read_bytes() for path in result.iterdir()}
    error = measure(*arguments, code=2).err
    assert error.count("\n") == 1
    assert said in error
    assert before == {path.name: path.read_bytes() for path in result.iterdir()}


def test_a_scan_that_is_gone_or_was_changed_is_named(measure, run, image_of, sweep, tmp_path):
    scan = tmp_path / "scan.nii.gz"
    shutil.copy(image_of("V01"), scan)
    run(scan, f"model={sweep}", "output=out")
    correct(tmp_path / "out/mask.nii.gz")
    shutil.copy(image_of("V02"), scan)
    assert "another file" in measure("out", code=2).err
    scan.unlink()
    assert str(scan) in measure("out", code=2).err
    content = summary_of(tmp_path / "out")
    del content["request"]
    (tmp_path / "out/summary.json").write_text(json.dumps(content))
    assert "earlier version" in measure("out", code=2).err


def test_channels_maps_and_person_of_the_result_are_taken(measure, run, image_of, fat_suppressed_of, sweep, tmp_path):
    options = [f"images.FS={fat_suppressed_of('V01')}", f"maps.T2map={fat_suppressed_of('V01')}", "side=left"]
    options += ["lesion.automatic=true", f"muscle={image_of('V01')}"]
    mask = tmp_path / "muscle.nii.gz"
    image = nib.load(image_of("V01"))
    nib.save(nib.Nifti1Image((voxels_of(image_of("V01")) > 40).astype(np.uint8), image.affine), mask)
    options[-1] = f"muscle={mask}"
    run(image_of("V01"), f"model={sweep}", "output=out", *options)
    columns = list(pd.read_csv(tmp_path / "out/profile.csv").columns)
    before = summary_of(tmp_path / "out")
    shutil.copy(tmp_path / "out/mask.nii.gz", tmp_path / "same.nii.gz")
    measure("out", "mask=same.nii.gz")
    assert list(pd.read_csv(tmp_path / "out/profile.csv").columns) == columns
    after = summary_of(tmp_path / "out")
    assert after["nerves"] == before["nerves"]
    assert after["request"] == before["request"]
    assert after["given"]["changes"]["slices"] == []
