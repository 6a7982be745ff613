from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerveseg.data.further_channels import place_map
from nerveseg.data.registration import register_rigidly
from nerveseg.data.resample_to_grid import resample_onto
from nerveseg.data.volumes.grids import Grid
from nerveseg.data.volumes.volume import Volume
from nerveseg.phantom.cohort import participants, simulate_subject
from tests.helpers.studies import cohort_spec


def volume(array, affine):
    return Volume(array.astype(np.float32), Grid(array.shape, affine, nib.Nifti1Header()))


def simulated(number):
    spec = cohort_spec("demo")
    subject = simulate_subject(spec, participants(spec)[number])
    second = subject.images.fat_suppressed
    return subject, volume(subject.image, subject.affine), volume(second.image, second.affine)


@pytest.fixture(scope="module")
def moved_patient():
    """The leg moved by 1.1 mm between the series."""
    return simulated(6)


@pytest.fixture(scope="module")
def registered(moved_patient):
    _, fixed, moving = moved_patient
    return register_rigidly(moving, fixed)


def known_motion(subject):
    """From the phantom's truth: a turn about the middle of the plane, then a shift, in mm along the voxel axes."""
    second, affine = subject.images.fat_suppressed, subject.affine
    spacing, middle = np.linalg.norm(affine[:3, :3], axis=0), (np.array(subject.image.shape) - 1) / 2
    turn = Rotation.from_euler("z", second.turn_deg, degrees=True).as_matrix()
    in_voxels = np.eye(4)
    in_voxels[:3, :3] = turn
    in_voxels[:3, 3] = middle - turn @ middle + np.array([*second.shift_mm, 0.0]) / spacing
    return affine @ in_voxels @ np.linalg.inv(affine)


def residual_mm(subject, motion, truth):
    """How far the motion misses the truth in every voxel of the nerve."""
    nerve = np.argwhere(subject.truth) @ subject.affine[:3, :3].T + subject.affine[:3, 3]
    miss = (motion - truth) @ np.vstack([nerve.T, np.ones(len(nerve))])
    return np.linalg.norm(miss[:3], axis=0)


def rigid(rotation_deg, translation_mm, about):
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", rotation_deg, degrees=True).as_matrix()
    motion[:3, 3] = about - motion[:3, :3] @ about + translation_mm
    return motion


def centre_mm(fixed):
    return fixed.grid.ras_affine[:3] @ np.array([*(np.array(fixed.grid.ras_shape) - 1) / 2, 1.0])


def test_the_phantoms_misregistration_is_undone(moved_patient, registered):
    subject, _, _ = moved_patient
    before = residual_mm(subject, np.eye(4), known_motion(subject))
    after = residual_mm(subject, registered.motion, known_motion(subject))
    assert before.min() > 1.0
    assert after.max() < 0.5
    assert registered.trusted
    assert registered.similarity_after > 1.05 * registered.similarity_before
    assert registered.note == "registered: moved by 1.2 mm"


def test_a_leg_that_hardly_moved_is_not_made_worse():
    subject, fixed, moving = simulated(0)
    found = register_rigidly(moving, fixed)
    assert residual_mm(subject, found.motion, known_motion(subject)).max() < 0.3
    assert found.trusted


def test_a_large_known_motion_is_found_on_top(moved_patient):
    subject, fixed, moving = moved_patient
    extra = rigid((1.5, -2.0, 6.0), (-7.0, 5.0, 12.0), centre_mm(fixed))
    affine = extra @ moving.grid.ras_affine
    found = register_rigidly(volume(moving.array, affine), fixed)
    truth = extra @ known_motion(subject)
    before, after = (residual_mm(subject, motion, truth) for motion in (np.eye(4), found.motion))
    assert before.min() > 10
    assert after.max() < 1.5
    assert found.trusted
    middle = centre_mm(fixed)
    np.testing.assert_allclose(found.translation_mm, (truth @ [*middle, 1.0])[:3] - middle, atol=1.2)
    np.testing.assert_allclose(found.rotation_deg, (1.5, -2.0, 6.0 + subject.images.fat_suppressed.turn_deg), atol=0.6)


def test_the_array_follows_the_motion_and_ends_with_the_field_of_view(moved_patient, registered):
    _, fixed, moving = moved_patient
    np.testing.assert_array_equal(registered.array, resample_onto(moving, fixed.grid, motion=registered.motion))
    assert 0.9 < np.isfinite(registered.array).mean() < 1.0


def test_the_result_is_the_same_to_the_last_bit(moved_patient, registered):
    _, fixed, moving = moved_patient
    again = register_rigidly(moving, fixed)
    np.testing.assert_array_equal(again.motion, registered.motion)
    np.testing.assert_array_equal(again.array, registered.array)
    assert again.similarity_after == registered.similarity_after


def test_an_image_registered_onto_itself_stays(moved_patient):
    _, fixed, _ = moved_patient
    found = register_rigidly(fixed, fixed)
    assert found.trusted
    shift = found.motion @ fixed.grid.ras_affine - fixed.grid.ras_affine
    assert np.abs(shift[:3, 3]).max() < 0.3


def test_an_implausible_motion_is_not_used(moved_patient):
    _, fixed, moving = moved_patient
    affine = rigid((0.0, 0.0, 0.0), (24.0, 0.0, 0.0), np.zeros(3)) @ moving.grid.ras_affine
    found = register_rigidly(volume(moving.array, affine), fixed)
    assert not found.trusted
    assert "more than a leg moves" in found.note
    np.testing.assert_array_equal(found.motion, np.eye(4))
    np.testing.assert_array_equal(found.array, resample_onto(volume(moving.array, affine), fixed.grid))


def test_noise_is_not_trusted(moved_patient):
    _, fixed, moving = moved_patient
    noise = np.random.default_rng(5).normal(size=moving.array.shape)
    found = register_rigidly(volume(noise, moving.grid.ras_affine), fixed)
    assert not found.trusted
    assert found.note.startswith("not registered, the headers' geometry is used")


def test_series_of_different_places_are_not_registered(moved_patient):
    _, fixed, moving = moved_patient
    away = rigid((0.0, 0.0, 0.0), (0.0, 0.0, 900.0), np.zeros(3)) @ moving.grid.ras_affine
    found = register_rigidly(volume(moving.array, away), fixed)
    assert not found.trusted
    assert "hardly overlap" in found.note
    assert np.isnan(found.array).all()
    assert np.isnan(found.similarity_before)


def test_a_map_whose_header_is_wrong_is_sampled_in_its_own_tissue(moved_patient):
    """A map of inverse contrast over some of the slices, zero in air, whose header is 12 mm off in the plane."""
    subject, fixed, _ = moved_patient
    share = np.clip(subject.image / np.percentile(subject.image, 99.5), 0.0, 1.0)
    values = np.where(share > 0.1, 130.0 - 100.0 * share, 0.0)[:, :, 3:]
    affine = subject.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ (0.0, 0.0, 3.0)
    affine[:3, 3] += affine[:3, 0] / np.linalg.norm(affine[:3, 0]) * 12.0
    array, registered = place_map(volume(values, affine), fixed, "rigid", Path("t2.nii.gz"), "T2map")
    assert registered is not None
    assert registered.trusted
    assert np.linalg.norm(registered.translation_mm) == pytest.approx(12.0, abs=0.7)
    nerve = subject.truth[:, :, 4:]
    truth = np.where(nerve, values[:, :, 1:], np.nan)
    found, by_headers = (
        np.where(nerve, each[:, :, 4:], np.nan)
        for each in (array, place_map(volume(values, affine), fixed, "none", Path("t2.nii.gz"), "T2map")[0])
    )
    assert np.nanmean(found) == pytest.approx(np.nanmean(truth), abs=2.0)
    assert np.nanmean(np.abs(found - truth)) < 0.5 * np.nanmean(np.abs(by_headers - truth))
    assert np.isnan(array[:, :, :2]).all()


def test_a_map_on_the_grid_of_the_image_keeps_its_values(moved_patient):
    subject, fixed, _ = moved_patient
    values = subject.image.astype(np.float32)
    array, registered = place_map(volume(values, subject.affine), fixed, "rigid", Path("t2.nii.gz"), "T2map")
    assert registered is None
    np.testing.assert_array_equal(array, np.where(values == 0.0, np.nan, values))
