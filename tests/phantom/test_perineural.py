import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from nerveseg.phantom.anatomy import cut
from nerveseg.phantom.cohort import participants, simulate_subject
from nerveseg.phantom.population import draw_grid, draw_person
from nerveseg.phantom.signal import HIP_MM, draw_perineural, render
from nerveseg.phantom.tissues import T2

CLEAN = {"noise": 0.0, "shading_sd": 0.0, "coil": 0.0, "motion": 0.0, "fat_suppressed_mm": None}


def person_of(spec, identifier):
    return next(row for row in participants(spec) if row.id == identifier)


def changed(spec, **changes):
    return spec.model_copy(update=changes)


def told_apart(subject, spacing_mm) -> float:
    """How well the brightness of a voxel of the noise-free image tells nerve from what lies within 4 mm of it."""
    away_mm = ndimage.distance_transform_edt(~subject.truth, sampling=(*spacing_mm[:2], 1e3))
    areas = []
    for number in range(subject.truth.shape[2]):
        nerve = subject.image[..., number][subject.truth[..., number]]
        around = subject.image[..., number][(away_mm[..., number] > 0) & (away_mm[..., number] < 4)]
        larger = np.abs(nerve[:, None] - np.median(nerve)) < np.abs(around[None, :] - np.median(nerve))
        areas.append(larger.mean())
    return float(np.mean(areas))


@pytest.mark.parametrize("identifier", ["P01", "P03", "P07"])
def test_the_lower_the_conspicuity_the_less_the_nerve_stands_out_of_a_noise_free_image(demo, identifier):
    spec = changed(demo, slices=4, **CLEAN)
    apart = [
        told_apart(
            simulate_subject(changed(spec, patient_conspicuity=(left, left)), person_of(spec, identifier)),
            spec.spacing_mm,
        )
        for left in (1.0, 0.4, 0.0)
    ]
    assert apart[0] > apart[1] > apart[2]
    assert apart[0] > 0.75
    assert apart[0] - apart[2] > 0.08


def test_volunteers_are_as_they_were_and_so_are_all_masks(tiny):
    harder = changed(tiny, patient_conspicuity=(0.1, 0.3), patient_movement_mm=2.0)
    for row in (person_of(tiny, identifier) for identifier in ("V01", "P01", "P05")):
        before, after = simulate_subject(tiny, row), simulate_subject(harder, row)
        assert np.array_equal(before.image, after.image) == (row.cohort == "volunteer")
        np.testing.assert_array_equal(before.truth, after.truth)
        np.testing.assert_array_equal(before.near_veins, after.near_veins)
        for name, mask in before.raters.items():
            np.testing.assert_array_equal(mask, after.raters[name])


def test_full_conspicuity_changes_nothing(tiny):
    spec = changed(tiny, patient_conspicuity=(1.0, 1.0))
    assert all(draw_perineural(spec, row) is None for row in participants(spec))


def test_the_median_patient_keeps_the_contrast_asked_for_and_less_of_it_near_the_knee(tiny):
    spec = changed(tiny, patients={"distal": 1500}, patient_conspicuity=(0.3, 0.7))
    scars = [draw_perineural(spec, row) for row in participants(spec) if row.cohort == "patient"]
    for level_mm, left in ((0.0, 0.3), (HIP_MM / 2, 0.5), (HIP_MM, 0.7), (1.5 * HIP_MM, 0.7)):
        assert 1 - np.median([scar.loss(level_mm) for scar in scars]) == pytest.approx(left, abs=0.05)
    losses = [scar.loss(100.0) for scar in scars]
    assert min(losses) >= 0
    assert max(losses) <= 1


def test_both_scans_of_a_person_show_the_same_scar(tiny):
    spec = changed(tiny, repeats=2, patient_conspicuity=(0.3, 0.7))
    first, second = (draw_perineural(spec, person_of(spec, name)) for name in ("P01", "P01r"))
    assert [first.loss(level) for level in (20.0, 80.0)] == [second.loss(level) for level in (20.0, 80.0)]


def test_vessels_bone_and_what_is_far_from_the_nerve_stay_as_they_are(demo):
    row = person_of(demo, "P01")
    person, grid = draw_person(demo, row), draw_grid(demo, row)
    scar = dataclasses.replace(draw_perineural(changed(demo, patient_conspicuity=(0.0, 0.0)), row), person=50.0)
    for number in (2, 7, 11):
        section = cut(person.thigh, *grid.axes_mm(number), float(grid.levels_mm[number]))
        before, after = (render(section, person, 1.0, [T2], perineural)[0] for perineural in (None, scar))
        vessels = np.minimum(np.minimum(section.arteries, section.veins), section.near_veins)
        kept = (vessels < -0.5) | (section.bone < 0.5) | (section.nerve > 20.0)
        np.testing.assert_array_equal(before[kept], after[kept])
        deep = section.nerve < -1.0
        assert not np.array_equal(before, after)
        assert after[deep].mean() == pytest.approx(before[deep].mean(), rel=0.35)
