import re
import shutil

import nibabel as nib
import numpy as np
import pytest
from pydantic import ValidationError

from nerveseg.data.study import Subject, list_subjects, open_study
from nerveseg.data.study_layout import StudyLayout
from nerveseg.errors import GeometryError, StudyError, VolumeError

TABLE = (
    "participant_id\tcohort\tgroup\tside\tlocation\tminutes_OS\tminutes_BW\n"
    "sub-P01\tpatient\tfamily-1\tleft\tproximal\t31.5\tn/a\n"
    "V01\tn/a\tn/a\tn/a\tn/a\tn/a\t12\n"
)


def test_without_a_table_the_images_are_the_subjects(study_on_disk):
    disk = study_on_disk()
    study = open_study(disk.description)
    assert [subject.id for subject in study.subjects] == ["P01", "V01"]
    patient = study.subject("P01")
    assert patient.image == patient.images["T2"] == disk.image("P01")
    assert patient.raters == {rater: disk.mask("P01", rater) for rater in ("OS", "BW", "LG")}
    assert (patient.cohort, patient.group, patient.side, patient.location) == ("all", "P01", None, None)
    assert patient.minutes == {}


@pytest.mark.parametrize(("encoding", "newline"), [("utf-8", None), ("utf-8-sig", "\r\n")])
def test_the_table_says_who_takes_part_and_what_is_known(encoding, newline, study_on_disk):
    disk = study_on_disk(ids=("V01", "P01", "X99"))
    disk.participants(TABLE, encoding, newline)
    patient, volunteer = open_study(disk.description).subjects
    assert patient == Subject(
        id="P01",
        images={"T2": disk.image("P01")},
        raters={rater: disk.mask("P01", rater) for rater in ("OS", "BW", "LG")},
        cohort="patient",
        group="family-1",
        side="left",
        location="proximal",
        minutes={"OS": 31.5},
    )
    assert (volunteer.id, volunteer.cohort, volunteer.group, volunteer.minutes) == ("V01", "all", "V01", {"BW": 12.0})
    assert (volunteer.side, volunteer.location) == (None, None)


@pytest.mark.parametrize(
    "name",
    [
        "my study, 2nd [final] (copy)",
        "Größe=é #1 {id} 100% 'x'",
        "sub-*?",
        "derivatives",
    ],
)
def test_any_folder_name_will_do(name, study_on_disk, tmp_path):
    disk = study_on_disk(root=tmp_path / name / "study")
    study = open_study(disk.description)
    assert [subject.id for subject in study.subjects] == ["P01", "V01"]
    channels, grid = study.read_channels(study.subjects[1])
    np.testing.assert_array_equal(channels[0], nib.load(disk.image("V01")).get_fdata(dtype=np.float32))
    assert study.read_masks(study.subjects[1], grid).consensus.shape == channels.shape[1:]


def test_templates_may_hold_glob_characters_and_the_id_twice(study_on_disk):
    images = {"T2": "[a]*/{id} (1)/x,{id}+.nii.gz"}
    disk = study_on_disk(ids=("ä[1]", "*"), images=images, raters={"R": "masks {1} {x/{id}-{id}.nii"})
    study = open_study(disk.description)
    assert {subject.id for subject in study.subjects} == {"ä[1]", "*"}
    assert study.subject("*").image == disk.root / "[a]*" / "* (1)" / "x,*+.nii.gz"


def test_a_template_without_id_is_a_study_of_one_subject_named_after_it(study_on_disk):
    disk = study_on_disk(ids=("x",), images={"MR": "image.nii.gz"}, raters={"P1": "P1.nii.gz", "P2": "P2.nii.gz"})
    (subject,) = open_study(disk.description).subjects
    assert (subject.id, subject.image) == ("tiny", disk.root / "image.nii.gz")


def test_channels_are_stacked_in_the_order_of_the_description(study_on_disk):
    images = {"T2": "{id}_T2.nii.gz", "T1": "{id}_T1.nii.gz", "DWI": "{id}_a.nii.gz"}
    disk = study_on_disk(images=images)
    study = open_study(disk.description)
    channels, _ = study.read_channels(study.subject("V01"))
    expected = [nib.load(disk.root / f"V01_{end}.nii.gz").get_fdata(dtype=np.float32) for end in ("T2", "T1", "a")]
    np.testing.assert_array_equal(channels, np.stack(expected))


def test_masks_are_read_by_the_rule_of_the_study(study_on_disk, nifti):
    disk = study_on_disk(ids=("V01",), raters={"R": "{id}_mask.nii.gz"}, classes={"nerve": (2,)})
    labels = np.random.default_rng(0).integers(0, 4, (10, 9, 4)).astype(np.uint8)
    nifti(disk.mask(rater="R"), labels)
    study = open_study(disk.description)
    masks = study.read_masks(study.subjects[0], study.grid(study.subjects[0]))
    np.testing.assert_array_equal(masks.raters["R"], labels == 2)
    np.testing.assert_array_equal(masks.consensus, labels == 2)


def test_the_consensus_of_a_subject_is_counted_by_hand(study_on_disk):
    disk = study_on_disk()
    study = open_study(disk.description)
    masks = study.read_masks(study.subject("V01"), study.grid(study.subject("V01")))
    drawn = sum(nib.load(disk.mask("V01", rater)).get_fdata() for rater in ("OS", "BW", "LG"))
    np.testing.assert_array_equal(masks.consensus, drawn >= 2)
    assert list(masks.raters) == ["OS", "BW", "LG"]


def the_faults(description):
    """Faults of a study, each checked to be one line with rule, found, place and remedy."""
    faults = list_subjects(description)[1]
    for fault in faults:
        assert isinstance(fault, StudyError)
        assert re.fullmatch(r"[^\n;]+(; (found|subject|path|remedy): [^\n]+?)+", str(fault))
        assert fault.path is not None
        assert fault.remedy
        assert fault.found is not None
    return faults


def test_a_missing_and_an_empty_folder_are_faults(study_on_disk):
    disk = study_on_disk(ids=())
    (fault,) = the_faults(disk.description)
    assert "template matches files" in fault.rule
    disk.root.rmdir()
    (fault,) = the_faults(disk.description)
    assert (fault.rule, fault.path) == ("the study's folder exists", disk.root)
    with pytest.raises(StudyError) as caught:
        open_study(disk.description)
    assert str(caught.value) == str(fault)


def test_a_root_that_is_a_file_is_no_folder(study_on_disk, tmp_path):
    (tmp_path / "file").touch()
    description = study_on_disk().description.model_copy(update={"root": tmp_path / "file"})
    assert "folder exists" in the_faults(description)[0].rule


def test_every_missing_file_is_listed_and_the_complete_subjects_are_kept(study_on_disk):
    disk = study_on_disk(ids=("V01", "V02", "V03"))
    disk.participants("participant_id\nV01\nV02\nV02\nV03\nV04\nn/a\n")
    disk.mask("V01", "BW").unlink()
    disk.image("V02").unlink()
    disk.mask("V02", "LG").unlink()
    subjects, _ = list_subjects(disk.description)
    assert [subject.id for subject in subjects] == ["V03"]
    faults = the_faults(disk.description)
    assert [(fault.subject, fault.path) for fault in faults] == [
        ("V02", disk.root / "participants.tsv"),
        (None, disk.root / "participants.tsv"),
        ("V01", disk.mask("V01", "BW")),
        ("V02", disk.image("V02")),
        ("V02", disk.mask("V02", "LG")),
        ("V04", disk.image("V04")),
        *[("V04", disk.mask("V04", rater)) for rater in ("OS", "BW", "LG")],
    ]
    assert "mask of rater BW" in faults[2].rule
    with pytest.raises(StudyError) as caught:
        open_study(disk.description)
    assert (caught.value.found, caught.value.subject, caught.value.path) == (
        "2 rows",
        "V02",
        disk.root / "participants.tsv",
    )


def test_a_folder_in_the_place_of_a_file_is_missing(study_on_disk):
    disk = study_on_disk(ids=("V01",))
    disk.mask("V01", "OS").unlink()
    disk.mask("V01", "OS").mkdir()
    assert [fault.path for fault in the_faults(disk.description)] == [disk.mask("V01", "OS")]


def test_several_participants_cannot_share_one_file(study_on_disk):
    disk = study_on_disk(ids=("x",), images={"MR": "image.nii.gz"}, raters={"P1": "P1.nii.gz"})
    disk.participants("participant_id\nV01\nV02\n")
    faults = the_faults(disk.description)
    assert [fault.path for fault in faults] == [disk.root / "image.nii.gz", disk.root / "P1.nii.gz"]
    assert "{id}" in faults[0].rule
    disk.participants("participant_id\nV01\n")
    assert [subject.id for subject in open_study(disk.description).subjects] == ["V01"]


def test_channels_on_two_grids_are_refused(study_on_disk, nifti):
    disk = study_on_disk(images={"T2": "{id}_T2.nii.gz", "T1": "{id}_T1.nii.gz"})
    moved = np.diag([0.52, 0.52, 4.4, 1.0])
    moved[0, 3] = 3.0
    nifti(disk.image("V01", "T1"), np.random.default_rng(0).random((10, 9, 4), dtype=np.float32), moved)
    study = open_study(disk.description)
    with pytest.raises(GeometryError) as caught:
        study.read_channels(study.subject("V01"))
    assert "3.00 mm" in caught.value.found
    assert (caught.value.subject, caught.value.path) == ("V01", disk.image("V01", "T1"))


@pytest.mark.parametrize("broken", ["shape", "affine", "labels"])
def test_a_mask_that_does_not_fit_its_image_is_named(broken, study_on_disk, nifti):
    disk = study_on_disk()
    affine = np.diag([0.52, 0.52, 4.0 if broken == "affine" else 4.4, 1.0])
    shape = (10, 9, 5) if broken == "shape" else (10, 9, 4)
    nifti(disk.mask("V01", "BW"), np.full(shape, 0.5 if broken == "labels" else 1, dtype=np.float32), affine)
    study = open_study(disk.description)
    subject = study.subject("V01")
    expected = VolumeError if broken == "labels" else GeometryError
    with pytest.raises(expected) as caught:
        study.read_masks(subject, study.grid(subject))
    assert {"shape": "(10, 9, 5)", "affine": "1.20 mm", "labels": "0.5"}[broken] in caught.value.found
    assert (caught.value.subject, caught.value.path) == ("V01", disk.mask("V01", "BW"))


def test_a_subject_that_left_the_study_is_named(study_on_disk):
    disk = study_on_disk()
    with pytest.raises(StudyError) as caught:
        open_study(disk.description).subject("V09")
    assert (caught.value.found, caught.value.path) == ("V09", disk.root)


def test_opening_reads_no_voxels(study_on_disk):
    disk = study_on_disk()
    disk.image("V01").write_bytes(b"")
    assert len(open_study(disk.description).subjects) == 2


def test_a_moved_study_is_the_same_study(study_on_disk, tmp_path):
    disk = study_on_disk()
    before = open_study(disk.description)
    shutil.move(disk.root, tmp_path / "elsewhere")
    after = open_study(disk.description.model_copy(update={"root": tmp_path / "elsewhere"}))
    for old, new in zip(before.subjects, after.subjects, strict=True):
        assert (old.id, old.cohort, old.group) == (new.id, new.cohort, new.group)
        assert new.image == tmp_path / "elsewhere" / old.image.relative_to(disk.root)


@pytest.mark.parametrize("values", [{"images": {}}, {"raters": {}}, {"geometry": "both"}, {"consensus": "vote"}])
def test_a_description_is_checked(values, tmp_path):
    usual = {"name": "x", "root": tmp_path, "images": {"T2": "{id}.nii"}, "raters": {"A": "{id}_m.nii"}}
    assert StudyLayout(**usual).participants == "participants.tsv"
    with pytest.raises(ValidationError):
        StudyLayout(**(usual | values))
    with pytest.raises(ValidationError, match="extra"):
        StudyLayout(**usual, labels="x")


def test_a_missing_mask_is_refused_unless_it_may_be_missing(study_on_disk):
    disk = study_on_disk()
    disk.mask("P01", "BW").unlink()
    (fault,) = the_faults(disk.description)
    assert (fault.subject, fault.path) == ("P01", disk.mask("P01", "BW"))
    assert "study.missing_raters=allow" in fault.remedy
    study = open_study(disk.description.model_copy(update={"missing_raters": "allow"}))
    assert list(study.subject("P01").raters) == ["OS", "LG"]
    assert list(study.subject("V01").raters) == ["OS", "BW", "LG"]
    masks = study.read_masks(study.subject("P01"), study.grid(study.subject("P01")))
    both = [nib.load(disk.mask("P01", rater)).get_fdata() > 0 for rater in ("OS", "LG")]
    np.testing.assert_array_equal(masks.consensus, both[0] & both[1])


def test_a_subject_without_any_mask_is_a_fault_even_where_masks_may_be_missing(study_on_disk):
    disk = study_on_disk(missing_raters="allow")
    for rater in ("OS", "BW", "LG"):
        disk.mask("P01", rater).unlink()
    assert [fault.path for fault in the_faults(disk.description)] == [disk.mask("P01", r) for r in ("OS", "BW", "LG")]
    assert [subject.id for subject in list_subjects(disk.description)[0]] == ["V01"]


def test_an_image_may_never_be_missing(study_on_disk):
    disk = study_on_disk(missing_raters="allow")
    disk.participants("participant_id\nV01\nP01\n")
    disk.image("P01").unlink()
    assert [fault.path for fault in the_faults(disk.description)] == [disk.image("P01")]


def test_a_repeated_scan_belongs_to_its_first(study_on_disk):
    disk = study_on_disk(ids=("V01", "V02", "V03"))
    disk.participants("participant_id\trepeat_of\nV01\tn/a\nV02\tsub-V01\nV03\t\n")
    first, second, third = open_study(disk.description).subjects
    assert (first.repeat_of, second.repeat_of, third.repeat_of) == (None, "V01", None)
    assert (first.group, second.group, third.group) == ("V01", "V01", "V03"), "two scans of a leg stay in one fold"


def test_a_repeated_scan_keeps_the_group_of_the_table(study_on_disk):
    disk = study_on_disk(ids=("V01", "V02"))
    disk.participants("participant_id\trepeat_of\tgroup\nV01\tn/a\tperson-1\nV02\tV01\tperson-1\n")
    assert [subject.group for subject in open_study(disk.description).subjects] == ["person-1", "person-1"]


@pytest.mark.parametrize(
    "rows",
    ["V01\tn/a\tn/a\nV02\tV09\tn/a\n", "V01\tn/a\tn/a\nV02\tV02\tn/a\n", "V01\tn/a\tA\nV02\tV01\tB\n",
     "V01\tn/a\tA\nV02\tV01\tn/a\n"],
    ids=["of nobody", "of itself", "of another group", "of a group that it is not in"],
)  # fmt: skip
def test_a_repeat_that_could_land_in_another_fold_is_a_fault(rows, study_on_disk):
    disk = study_on_disk(ids=("V01", "V02"))
    disk.participants(f"participant_id\trepeat_of\tgroup\n{rows}")
    (fault,) = the_faults(disk.description)
    assert (fault.subject, fault.path) == ("V02", disk.root / "participants.tsv")
    assert "same group" in fault.rule
