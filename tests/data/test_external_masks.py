from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nerveseg.data.external_masks import find_predictions, surplus_predictions
from nerveseg.data.study import Subject
from nerveseg.errors import StudyError

EXISTING = Path("x.nii.gz")


def subjects(*ids):
    return [Subject(id=subject, images={"T2": EXISTING}, raters={"A": EXISTING}) for subject in ids]


def files(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def found(place, *ids):
    return {subject: path.name for subject, path in find_predictions(str(place), subjects(*ids)).items()}


def test_a_folder_of_one_file_per_subject(tmp_path):
    files(tmp_path, "sub-P02_mask.nii.gz", "P01.nii", "V01-label.NII.GZ", "P01.json", "notes.txt")
    assert found(tmp_path, "P01", "P02", "V01") == {
        "P01": "P01.nii", "P02": "sub-P02_mask.nii.gz", "V01": "V01-label.NII.GZ",
    }  # fmt: skip


def test_an_id_is_a_word_and_not_a_part_of_one(tmp_path):
    files(tmp_path, "sub-P011.nii.gz", "XP01.nii.gz", "P01b.nii.gz", "nnunet_P01_0000.nii.gz")
    assert found(tmp_path, "P01", "P011") == {"P01": "nnunet_P01_0000.nii.gz", "P011": "sub-P011.nii.gz"}


def test_an_id_within_a_longer_id_does_not_take_its_mask(tmp_path):
    files(tmp_path, "P01-2.nii.gz", "sub-P02.nii.gz", "sub-P02_run-P01-2.json")
    assert found(tmp_path, "P01", "P01-2", "P02") == {"P01-2": "P01-2.nii.gz", "P02": "sub-P02.nii.gz"}


@given(st.integers(1, 300), st.integers(1, 300))
def test_numbers_are_told_apart(first, second):
    from nerveseg.data.external_masks import _holds_id

    assert _holds_id(f"hippocampus_{first:03d}.nii.gz", f"{second:03d}") == (first == second)


def test_files_lie_at_any_depth_and_folders_are_no_files(tmp_path):
    files(tmp_path, "sub-1/anat/sub-1_seg.nii.gz")
    (tmp_path / "sub-1.nii.gz").mkdir()
    assert found(tmp_path, "1") == {"1": "sub-1_seg.nii.gz"}


def test_who_has_no_mask_is_left_out(tmp_path):
    files(tmp_path, "P01.nii.gz")
    assert list(found(tmp_path, "P03", "P01", "P02")) == ["P01"]


@pytest.mark.parametrize("subject", ["a.b", "[x]", "ä+", "c(1)", "*"])
def test_ids_of_any_characters(subject, tmp_path):
    files(tmp_path, f"mask_{subject}.nii.gz", "mask_axb.nii.gz")
    assert found(tmp_path, subject) == {subject: f"mask_{subject}.nii.gz"}


def test_a_template_names_the_file_itself(tmp_path):
    files(tmp_path, "P01/mask.nii.gz", "P01/P01_probability.nii.gz", "P02/mask.nii.gz", "[P01]/x.nii.gz")
    assert found(tmp_path / "{id}" / "mask.nii.gz", "P01", "P02", "P03") == {"P01": "mask.nii.gz", "P02": "mask.nii.gz"}


def test_two_files_for_one_subject_are_refused_and_both_named(tmp_path):
    files(tmp_path, "P01_mask.nii.gz", "P01_probability.nii.gz")
    with pytest.raises(StudyError) as caught:
        found(tmp_path, "P01")
    assert caught.value.found == "P01_mask.nii.gz, P01_probability.nii.gz"
    assert caught.value.subject == "P01"
    assert "{id}" in caught.value.remedy


def test_a_folder_of_other_subjects_is_refused(tmp_path):
    files(tmp_path, "Q7.nii.gz")
    with pytest.raises(StudyError) as caught:
        found(tmp_path, "P01")
    assert caught.value.found.endswith("P01")
    assert caught.value.path == str(tmp_path)
    with pytest.raises(StudyError) as caught:
        found(tmp_path / "{id}.nii.gz", "P01", "P02", "P03", "P04")
    assert caught.value.found.endswith("P01, P02, P03")
    assert caught.value.path == str(tmp_path / "{id}.nii.gz")


@pytest.mark.parametrize("place", ["nowhere", "file.nii.gz"])
def test_a_place_that_is_no_folder_is_refused(place, tmp_path):
    files(tmp_path, "file.nii.gz")
    with pytest.raises(StudyError) as caught:
        found(tmp_path / place, "P01")
    assert "prediction=" in caught.value.rule
    assert caught.value.path == tmp_path / place


def test_masks_of_nobody_are_named(tmp_path):
    files(tmp_path, "sub-P01.nii.gz", "sub-P09.nii.gz", "notes.txt")
    surplus = [tmp_path / "sub-P09.nii.gz"]
    assert surplus_predictions(str(tmp_path), subjects("P01", "P02")) == surplus
    assert surplus_predictions(f"{tmp_path}/sub-{{id}}.nii.gz", subjects("P01", "P02")) == surplus
    assert surplus_predictions(str(tmp_path), subjects("P01", "P09")) == []


def test_one_file_is_no_folder(tmp_path):
    files(tmp_path, "P01.nii.gz")
    with pytest.raises(StudyError) as caught:
        find_predictions(str(tmp_path / "P01.nii.gz"), subjects("P01"))
    assert caught.value.found == "a file"
