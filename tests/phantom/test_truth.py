import numpy as np
import pytest
from scipy import ndimage

from nerveseg.phantom.cohort import participants, simulate_subject
from nerveseg.phantom.outline import PERONEAL, TIBIAL


@pytest.fixture(scope="module")
def patients(demo):
    many = demo.model_copy(update={"seed": 5, "volunteers": 2, "patients": {"distal": 8, "proximal": 6}})
    many = many.model_copy(update={"sub_slices": 1, "raters_only": True})
    return many, [simulate_subject(many, row) for row in participants(many)]


def test_the_area_of_a_slice_is_that_of_the_undistorted_thigh_up_to_the_distortion(patients):
    spec, subjects = patients
    for subject in subjects:
        slices = subject.known.slices
        seen, asked = (np.array([getattr(row, name) for row in slices]) for name in ("area_mm2", "anatomical_area_mm2"))
        assert np.median(np.abs(seen / asked - 1)) < 0.06, subject.participant.id
        voxels = subject.truth.sum(axis=(0, 1)) * spec.spacing_mm[0] * spec.spacing_mm[1]
        np.testing.assert_allclose(voxels, seen, rtol=0.25)


def test_a_thigh_without_distortion_has_its_own_area_in_the_image(demo):
    spec = demo.model_copy(update={"distortion_mm": 0.0, "sub_slices": 1, "raters_only": True})
    subject = simulate_subject(spec, participants(spec)[0])
    ratios = [row.area_mm2 / row.anatomical_area_mm2 for row in subject.known.slices]
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.03)


def test_the_nerve_is_the_voxels_that_it_covers_at_least_by_half(patients):
    for subject in patients[1]:
        np.testing.assert_array_equal(subject.truth, subject.known.coverage > 0.5)
        assert subject.known.coverage.min() == 0
        assert subject.known.coverage.max() == 1


def test_every_voxel_of_the_nerve_is_tibial_or_peroneal(patients):
    for subject in patients[1]:
        labels = subject.known.branches
        np.testing.assert_array_equal(labels > 0, subject.truth)
        assert set(np.unique(labels)) == {0, TIBIAL, PERONEAL}
        assert (labels == TIBIAL).sum() > (labels == PERONEAL).sum()


def test_two_nerves_well_below_the_split_carry_one_label_each(patients):
    checked = 0
    for subject in patients[1]:
        parts, number = ndimage.label(subject.truth[:, :, 0], np.ones((3, 3)))
        if subject.known.slices[0].split and number == 2:
            labels = [np.bincount(subject.known.branches[:, :, 0][parts == part]).argmax() for part in (1, 2)]
            assert sorted(labels) == [TIBIAL, PERONEAL]
            checked += 1
    assert checked >= 4


def test_the_centreline_runs_through_the_middle_of_each_part(patients):
    for subject in patients[1]:
        row = subject.known.slices[-1]
        labels = subject.known.branches[:, :, row.slice]
        for label, place in ((TIBIAL, (row.tibial_x, row.tibial_y)), (PERONEAL, (row.peroneal_x, row.peroneal_y))):
            if label in labels:
                middle = np.argwhere(labels == label).mean(axis=0)
                assert np.linalg.norm(middle - place) < 2.0, subject.participant.id


def test_lesions_are_where_the_nerve_is_brighter_and_some_leave_its_shape_alone(patients):
    kinds = set()
    for subject in patients[1]:
        kinds.add(subject.participant.lesion)
        slices, lesion = subject.known.slices, subject.known.lesion
        assert not (lesion & ~subject.truth).any()
        gains = np.array([row.signal_gain for row in slices])
        ill = lesion.any(axis=(0, 1))
        assert ill.any() == (subject.participant.lesion != "none")
        if ill.any():
            assert gains[ill].min() > 1.09 > gains.min() or ill.all()
        if subject.participant.lesion == "signal":
            assert {row.swelling for row in slices} == {1.0}
    assert {"none", "focal", "extended", "signal"} <= kinds


def test_vastus_is_muscle_apart_from_the_nerve_and_keeps_its_signal(demo_subjects):
    medians = [np.median(subject.image[subject.images.vastus]) for subject in demo_subjects]
    assert all(subject.images.vastus.sum() > 100 for subject in demo_subjects)
    assert not any((subject.images.vastus & subject.truth).any() for subject in demo_subjects)
    patients = [m for m, s in zip(medians, demo_subjects, strict=True) if s.participant.cohort == "patient"]
    volunteers = [m for m, s in zip(medians, demo_subjects, strict=True) if s.participant.cohort == "volunteer"]
    assert np.mean(patients) == pytest.approx(np.mean(volunteers), rel=0.2)
