"""A channel on another grid: training and `segment` see the same array."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.registration import register_rigidly
from nerveseg.data.resample_to_grid import resample_onto
from nerveseg.data.slice_store import prepare_slices
from nerveseg.data.study import Study, open_study
from nerveseg.data.study_layout import StudyLayout
from nerveseg.data.volumes.volume import read_image
from nerveseg.errors import GeometryError
from nerveseg.evaluation.study_check import check_subject
from nerveseg.scans.reading import read_scan
from nerveseg.scans.request import ScanFiles

T2 = "sub-{id}/anat/sub-{id}_T2w.nii.gz"
FS = "sub-{id}/anat/sub-{id}_acq-fatsat_T2w.nii.gz"
RULES = ("register", "resample")
MASK = "derivatives/rater-OS/sub-{id}/anat/sub-{id}_label-nerve_mask.nii.gz"


@pytest.fixture
def two_channels(tiny_study):
    """The tiny study, cut to one patient, with the fat-suppressed channel on its own grid."""

    def opened(**options):
        layout = StudyLayout(name="x", root=tiny_study, images={"T2": T2, "FS": FS}, raters={"OS": MASK}, **options)
        study = open_study(layout)
        return Study(study.description, study.subjects[-1:])

    return opened


def by_hand(subject, channels):
    """The second channel by the functions that registration and resampling are tested by."""
    image, second = (read_image(path) for path in subject.images.values())
    assert second.grid.ras_shape != image.grid.ras_shape
    array = register_rigidly(second, image).array if channels == "register" else resample_onto(second, image.grid)
    return np.nan_to_num(array, nan=float(np.nanmin(array)))


@pytest.mark.parametrize("channels", RULES)
def test_training_and_segment_see_the_same_channel(channels, two_channels, tmp_path):
    study = two_channels(channels=channels)
    (subject,) = study.subjects
    read, _ = study.read_channels(subject)
    np.testing.assert_array_equal(read[1], by_hand(subject, channels))
    files = ScanFiles("x", subject.images["T2"], channels={"FS": subject.images["FS"]})
    network = read_scan(files, None, study.description.registration).network_channels(["T2", "FS"])
    np.testing.assert_array_equal(network, read)
    preprocessing = Preprocessing(size=(48, 48))
    stored = prepare_slices(study, preprocessing, tmp_path).images(subject.id)
    prepared, _ = preprocessing.apply(network, study.grid(subject).ras_spacing_mm)
    np.testing.assert_array_equal(stored, prepared.transpose(3, 0, 1, 2))
    assert check_subject(study, subject, preprocessing).faults == ()


def test_the_rules_give_different_slices_in_stores_of_different_names(two_channels, tmp_path):
    stores = [prepare_slices(two_channels(channels=rule), Preprocessing(size=(48, 48)), tmp_path) for rule in RULES]
    assert len({store.key for store in stores}) == len(RULES)
    subject = stores[0].index.subjects[0].id
    first, second = (store.images(subject) for store in stores)
    np.testing.assert_array_equal(first[:, 0], second[:, 0])
    assert (first[:, 1] != second[:, 1]).any()


def test_a_registration_that_was_refused_is_a_doubt(two_channels, tmp_path):
    study = two_channels(channels="register")
    subject = study.subjects[0]
    assert not any("FS" in text for text in check_subject(study, subject, Preprocessing(size=(48, 48))).warnings)
    image = nib.load(subject.images["FS"])
    noise = np.random.default_rng(0).normal(100, 20, image.shape).astype(np.float32)
    nib.save(nib.Nifti1Image(noise, image.affine), tmp_path / "noise.nii.gz")
    images = dict(subject.images) | {"FS": tmp_path / "noise.nii.gz"}
    found = check_subject(study, replace(subject, images=images), Preprocessing(size=(48, 48)))
    assert found.faults == ()
    assert any(text.startswith("FS: ") for text in found.warnings)


def test_without_a_rule_another_grid_is_an_error(two_channels, tmp_path):
    study = two_channels()
    with pytest.raises(GeometryError) as caught:
        prepare_slices(study, Preprocessing(size=(48, 48)), tmp_path)
    assert caught.value.path == study.subjects[0].images["FS"]
    (fault,) = check_subject(study, study.subjects[0], Preprocessing(size=(48, 48))).faults
    assert fault.path == study.subjects[0].images["FS"]


@pytest.mark.parametrize("rule", RULES)
def test_a_channel_of_another_place_is_an_error(rule, two_channels, tmp_path):
    study = two_channels(channels=rule)
    subject = study.subjects[0]
    image = nib.load(subject.images["FS"])
    affine = image.affine.copy()
    affine[:3, 3] += 5000
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), tmp_path / "far.nii.gz")
    images = dict(subject.images) | {"FS": tmp_path / "far.nii.gz"}
    far = Study(study.description, (replace(subject, images=images),))
    with pytest.raises(GeometryError) as caught:
        far.read_channels(far.subjects[0])
    assert (caught.value.path, caught.value.subject) == (tmp_path / "far.nii.gz", subject.id)
    (fault,) = check_subject(far, far.subjects[0], Preprocessing(size=(48, 48))).faults
    assert fault.path == tmp_path / "far.nii.gz"
