import re

import nibabel as nib
import numpy as np
import pytest

from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.study import Study, list_subjects
from nerveseg.errors import GeometryError, VolumeError
from nerveseg.evaluation.study_check import check_subject

SHAPE = (10, 9, 4)
WHOLE = Preprocessing(size=(16, 16))


def report(disk, subject_id="V01", preprocessing=WHOLE):
    subjects, _ = list_subjects(disk.description)
    study = Study(disk.description, subjects)
    return check_subject(study, study.subject(subject_id), preprocessing)


def block(x, y, shape=SHAPE):
    mask = np.zeros(shape, dtype=np.uint8)
    mask[x, y, 1:3] = 1
    return mask


def noise(shape=SHAPE):
    return np.random.default_rng(1).random(shape, dtype=np.float32)


def test_a_sound_subject_has_no_faults_and_no_warnings(study_on_disk):
    found = report(study_on_disk())
    assert (found.subject.id, found.faults, found.warnings) == ("V01", (), ())


def test_every_file_of_a_subject_is_judged_whatever_the_others_hold(study_on_disk, nifti):
    images = {"T2": "{id}_T2.nii.gz", "T1": "{id}_T1.nii.gz", "DWI": "{id}_DWI.nii.gz", "FLAIR": "{id}_F.nii.gz"}
    raters = {name: f"{{id}}_{name}.nii.gz" for name in ("A", "B", "C", "D", "E")}
    disk = study_on_disk(images=images, raters=raters)
    nifti(disk.image(channel="T2"), np.full(SHAPE, np.nan, dtype=np.float32))
    nifti(disk.image(channel="T1"), np.zeros(SHAPE, dtype=np.float32))
    nifti(disk.image(channel="DWI"), noise((10, 9, 5)))
    nifti(disk.mask(rater="A"), np.zeros((10, 9, 4, 2), dtype=np.uint8))
    nifti(disk.mask(rater="B"), np.full(SHAPE, 0.5, dtype=np.float32))
    nifti(disk.mask(rater="C"), block(4, 4), np.diag([0.52, 0.52, 4.0, 1.0]))
    disk.mask(rater="D").write_bytes(disk.mask(rater="D").read_bytes()[:50])
    found = report(disk)
    assert [(type(fault), fault.path) for fault in found.faults] == [
        (VolumeError, disk.image(channel="T2")),
        (VolumeError, disk.image(channel="T1")),
        (GeometryError, disk.image(channel="DWI")),
        (VolumeError, disk.mask(rater="A")),
        (VolumeError, disk.mask(rater="B")),
        (GeometryError, disk.mask(rater="C")),
        (VolumeError, disk.mask(rater="D")),
    ]
    for fault in found.faults:
        assert re.fullmatch(r"[^\n]+; found: [^\n]+; subject: V01; path: [^\n]+; remedy: [^\n]+", str(fault))
    assert found.warnings == ()


def test_masks_are_judged_by_themselves_where_the_grid_is_unknown(study_on_disk, nifti):
    disk = study_on_disk()
    disk.image("V01").write_bytes(b"")
    nifti(disk.mask("V01", "BW"), np.full(SHAPE, -1, dtype=np.int16))
    assert [fault.path for fault in report(disk).faults] == [disk.image("V01"), disk.mask("V01", "BW")]


def test_a_fault_of_one_subject_is_not_anothers(study_on_disk):
    disk = study_on_disk()
    disk.image("V01").write_bytes(b"")
    assert report(disk, "P01").faults == ()


@pytest.mark.parametrize(
    ("x", "y", "size", "outside"),
    [
        (0, 4, (8, 6), 2),  # x 1 to 8 are kept, and y 1 to 6
        (slice(0, 3), 4, (6, 6), 4),  # x 2 to 7
        (4, slice(0, 9), (6, 6), 6),
        (slice(0, 10), slice(0, 9), (320, 1), 160),
    ],
)
def test_nerve_outside_the_crop_is_counted(x, y, size, outside, study_on_disk, nifti):
    disk = study_on_disk(raters={"R": "{id}.mask.nii.gz"})
    nifti(disk.mask(rater="R"), block(x, y))
    found = report(disk, preprocessing=Preprocessing(size=size))
    assert found.warnings == (
        f"{outside} nerve voxels lie outside the centre crop of {size[0]} x {size[1]} and count as missed",
    )
    assert found.faults == ()


def test_nerve_up_to_the_border_of_the_crop_is_no_warning(study_on_disk, nifti):
    disk = study_on_disk(raters={"R": "{id}.mask.nii.gz"})
    nifti(disk.mask(rater="R"), block(slice(2, 8), slice(1, 7)))
    assert report(disk, preprocessing=Preprocessing(size=(6, 6))).warnings == ()


@pytest.mark.parametrize("drawn", [(), ("OS",)])
def test_raters_without_a_common_nerve_are_a_warning(drawn, study_on_disk, nifti):
    disk = study_on_disk()
    for rater in ("OS", "BW", "LG"):
        nifti(disk.mask("V01", rater), block(4, 4) * np.uint8(rater in drawn))
    assert report(disk).warnings == ("the consensus of the raters holds no nerve",)
    assert report(disk).faults == ()


def test_the_studys_label_rule_decides_what_is_nerve(study_on_disk, nifti):
    disk = study_on_disk(raters={"R": "{id}.mask.nii.gz"}, classes={"nerve": (3,)})
    nifti(disk.mask(rater="R"), block(4, 4))
    (fault,) = report(disk).faults
    assert (fault.path, fault.found) == (disk.mask(rater="R"), "only 1")
    nifti(disk.mask(rater="R"), block(4, 4) * np.uint8(3))
    assert report(disk).warnings == ()


@pytest.mark.parametrize("geometry", [None, "qform"])
def test_a_header_that_contradicts_itself_is_a_fault_until_it_is_settled(geometry, study_on_disk):
    disk = study_on_disk(geometry=geometry)
    for path in [disk.image("V01"), *(disk.mask("V01", rater) for rater in ("OS", "BW", "LG"))]:
        image = nib.load(path)
        array = np.asarray(image.dataobj)
        image = nib.Nifti1Image(array, None)
        image.set_qform(np.diag([0.52, 0.52, 4.4, 1.0]), 1)
        image.set_sform(np.diag([1.0, 1.0, 4.4, 1.0]), 1)
        nib.save(image, path)
    assert [type(fault) for fault in report(disk).faults] == ([] if geometry else [GeometryError] * 4)
