"""What a written mask may tell, and what a header may not say."""

import nibabel as nib
import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Extension

from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.slice_store import copied_images, prepare_slices
from nerveseg.data.study import open_study
from nerveseg.data.volumes.volume import read_image, write_mask, write_probability
from nerveseg.errors import GeometryError, StudyError, VolumeError
from nerveseg.evaluation.study_check import check_subject
from tests.helpers.nifti_files import DAMAGED


@pytest.fixture
def image():
    return nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([1, 1, 4.4, 1]))


def test_a_mask_hands_on_geometry_and_nothing_else(image, tmp_path):
    image.header.extensions.append(Nifti1Extension("comment", b"PatientName=Doe^Jane"))
    image.header["db_name"], image.header["aux_file"] = b"DOE_JANE", b"doe.dcm"
    image.header.set_intent("t test", (10,), name="doe")
    nib.save(image, tmp_path / "in.nii")
    grid = read_image(tmp_path / "in.nii").grid
    write_mask(tmp_path / "out.nii", np.ones((3, 4, 5), dtype=bool), grid, "mask")
    assert b"doe" not in (tmp_path / "out.nii").read_bytes().lower()
    written = nib.load(tmp_path / "out.nii")
    assert written.header.get_intent() == ("none", (), "")
    np.testing.assert_array_equal(written.affine, nib.load(tmp_path / "in.nii").affine)


@pytest.mark.parametrize("unit", ["meter", "micron"])
def test_lengths_are_millimetres(image, unit, tmp_path):
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "in.nii")
    with pytest.raises(GeometryError) as caught:
        read_image(tmp_path / "in.nii")
    assert (caught.value.found, caught.value.path) == (unit, tmp_path / "in.nii")


def test_a_quaternion_that_is_none_is_a_damaged_file(image, tmp_path):
    image.set_qform(image.affine, 1)
    image.set_sform(image.affine, 1)
    image.header["quatern_b"] = image.header["quatern_c"] = 1.0
    nib.save(image, tmp_path / "in.nii")
    with pytest.raises(VolumeError) as caught:
        read_image(tmp_path / "in.nii")
    assert (caught.value.rule, caught.value.path) == (DAMAGED, tmp_path / "in.nii")


def test_a_header_without_geometry_is_warned_of(study_on_disk, nifti):
    disk = study_on_disk(ids=["V01"])
    for path in [disk.image(), *(disk.mask(rater=rater) for rater in disk.raters)]:
        bare = nib.Nifti1Image(np.asanyarray(nib.load(path).dataobj), None)
        nib.save(bare, path)
    study = open_study(disk.description)
    report = check_subject(study, study.subjects[0], Preprocessing(size=(10, 9)))
    assert report.faults == ()
    assert "orientation are a guess" in report.warnings[0]


def test_one_image_under_two_names_is_refused(study_on_disk, tmp_path):
    disk = study_on_disk(ids=["A", "B", "C"])
    disk.image("C").write_bytes(disk.image("A").read_bytes())
    study = open_study(disk.description)
    with pytest.raises(StudyError) as caught:
        prepare_slices(study, Preprocessing(size=(8, 8)), tmp_path / "slices")
    assert caught.value.found.endswith(" A")
    assert (caught.value.subject, caught.value.path) == ("C", disk.image("C"))
    disk.participants("participant_id\tgroup\nA\tx\nB\ty\nC\tx\n")
    prepare_slices(open_study(disk.description), Preprocessing(size=(8, 8)), tmp_path / "slices")


def test_one_image_saved_again_under_another_name_is_refused(study_on_disk, tmp_path):
    disk = study_on_disk(ids=["A", "B", "C"])
    image = nib.load(disk.image("A"))
    turned = image.as_reoriented(nib.orientations.axcodes2ornt("LPS"))
    nib.save(nib.Nifti1Image(turned.get_fdata(dtype=np.float32), turned.affine), disk.image("C"))
    study = open_study(disk.description)
    with pytest.raises(StudyError) as caught:
        prepare_slices(study, Preprocessing(size=(8, 8)), tmp_path / "slices")
    assert (caught.value.subject, caught.value.path) == ("C", disk.image("C"))


def test_copies_are_found_by_content(study_on_disk):
    study = open_study(study_on_disk(ids=["A", "B", "C"]).description)
    assert copied_images(study.subjects, {"A": "1", "B": "2", "C": "3"}) == []
    (fault,) = copied_images(study.subjects, {"A": "1", "B": "2", "C": "2"})
    assert (fault.subject, fault.found.endswith(" B")) == ("C", True)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("write", [write_mask, write_probability])
def test_of_a_header_only_geometry_reaches_an_output(kind, write, tmp_path):
    sound = kind(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([1, 1, 4.4, 1]))
    sound.header.set_xyzt_units("mm")
    told = kind(sound.dataobj, sound.affine, sound.header)
    geometry = {"sizeof_hdr", "magic", "eol_check", "dim", "datatype", "bitpix", "vox_offset", "pixdim", "xyzt_units"}
    geometry |= {"qform_code", "sform_code", "scl_slope", "scl_inter"}
    for field in set(told.header.keys()) - geometry:
        if not field.startswith(("quatern", "qoffset", "srow")):
            told.header[field] = b"DOE" if told.header[field].dtype.kind == "S" else 2
    told.header["pixdim"][4:] = 7
    array = np.ones((3, 4, 5), dtype=bool if write is write_mask else np.float32)
    told.header.set_xyzt_units("mm", "sec")
    for name, image in (("sound", sound), ("told", told)):
        nib.save(image, tmp_path / f"{name}.nii")
        volume = read_image(tmp_path / f"{name}.nii")
        write(tmp_path / f"{name}-out.nii", array, volume.grid, "mask")
    assert b"DOE" in (tmp_path / "told.nii").read_bytes()
    assert (tmp_path / "told-out.nii").read_bytes() == (tmp_path / "sound-out.nii").read_bytes()
