"""Faults planted in the demo's study: `check` names each, and none in the sound study or in real ones. SYNTHETIC."""

import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nerveseg.check import main
from tests.helpers.studies import write_study

pytestmark = pytest.mark.slow

RATERS = ("OS", "BW", "LG")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return write_study("demo", tmp_path_factory.mktemp("study") / "demo", workers=2)


def checked(output, *arguments):
    """Exit code of `check`, and its table."""
    code = main([*arguments, f"output_root={output}"])
    (path,) = output.rglob("check.csv")
    return code, pd.read_csv(path, keep_default_na=False, dtype={"subject": str})


def flagged(table, column):
    return set(table.loc[table[column] != "", "subject"])


def edit(path, change):
    image = nib.load(path)
    array = np.asarray(image.dataobj)
    nib.save(nib.Nifti1Image(change(array).astype(array.dtype), image.affine), path)


def mask_of(root, subject, rater="OS"):
    return root / f"derivatives/rater-{rater}/sub-{subject}/anat/sub-{subject}_label-nerve_mask.nii.gz"


def image_of(root, subject):
    return root / f"sub-{subject}/anat/sub-{subject}_T2w.nii.gz"


def with_voxel(value, place):
    def change(array):
        array = array.astype(np.float32)
        array[place] = value
        return array

    return change


def test_the_sound_study_has_no_fault_and_no_doubt(demo, tmp_path):
    code, table = checked(tmp_path, "study=phantom", "study.simulate=null", f"study.root={demo}", "study.name=sound")
    assert code == 0
    assert len(table) == 48
    assert flagged(table, "faults") | flagged(table, "doubts") == set()


@pytest.mark.parametrize(("study", "subjects"), [("aorta", 1), ("hippocampus", 64)])
def test_real_studies_have_no_fault_and_at_most_one_doubt_in_twenty_subjects(study, subjects, shared_data, tmp_path):
    shared_data(study + "_multirater" if study == "aorta" else study)
    code, table = checked(tmp_path, f"study={study}")
    assert code == 0
    assert table["subject"].nunique() == subjects
    assert flagged(table, "faults") == set()
    assert len(flagged(table, "doubts")) <= subjects / 20


def test_every_planted_fault_is_named(demo, tmp_path, capsys):
    root = tmp_path / "planted"
    shutil.copytree(demo, root)
    edit(mask_of(root, "V01"), lambda mask: mask[::-1])
    edit(mask_of(root, "V03"), np.zeros_like)
    shutil.copy(mask_of(root, "P02", "BW"), mask_of(root, "P02"))
    edit(mask_of(root, "P01", "LG"), lambda mask: np.roll(mask, 45, axis=0))
    edit(mask_of(root, "P09"), lambda mask: np.asarray(nib.load(mask_of(root, "P08")).dataobj))
    shutil.copy(mask_of(root, "V04"), mask_of(root, "P10", "LG"))  # with the header of its own grid
    for rater in RATERS:
        edit(mask_of(root, "V02", rater), lambda mask: mask[::-1])
        edit(mask_of(root, "P03", rater), lambda mask: np.roll(mask, 45, axis=0))
        edit(mask_of(root, "P06", rater), lambda mask: mask[:, ::-1])
    edit(image_of(root, "P06"), lambda image: image[:, ::-1])
    edit(mask_of(root, "V04"), lambda mask: np.roll(mask, 1, axis=2))
    edit(mask_of(root, "V05"), lambda mask: 255 * mask)
    edit(mask_of(root, "V06"), lambda mask: 2 * mask)
    edit(mask_of(root, "P05"), with_voxel(1, (2, 2, 5)))
    edit(mask_of(root, "P04"), lambda mask: 1 - mask)
    edit(image_of(root, "P07"), with_voxel(1e6, (50, 50, 5)))
    table = root / "participants.tsv"
    lines = [line.split("\t") for line in table.read_text().splitlines()]
    for line in lines:
        if line[0] == "sub-P08":
            line[1], line[3], line[4], line[7], line[8] = "Patient", "rigth", "proxmal", "-17", "15,6"
    table.write_text("\n".join("\t".join(line) for line in lines) + "\n")
    code, found = checked(tmp_path, "study=phantom", "study.simulate=null", f"study.root={root}", "study.name=planted")
    assert code == 2
    errors = capsys.readouterr().err.splitlines()
    named = {word: sum(f"found: {word};" in line for line in errors) for word in ("rigth", "proxmal", "-17", "15,6")}
    assert set(named.values()) == {1}, named
    assert sum("participants.tsv" in line for line in errors) == 5  # the cohort's spelling too
    for subject in ("P04", "P10"):
        assert sum(f"subject: {subject};" in line for line in errors) == 1
    assert flagged(found, "faults") == {"V01", "V03", "P02", "P01", "P09"}
    assert {"V02", "P03", "P06", "V04", "V05", "V06", "P05", "P07"} <= flagged(found, "doubts")
    assert "V01" not in flagged(found, "doubts")
