"""What a cohort's options change, and what they must not change."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nerveseg.data.study import open_study
from nerveseg.data.study_layout import StudyLayout
from nerveseg.data.volumes.volume import read_image
from nerveseg.phantom.cohort import participants, simulate_subject, write_cohort
from nerveseg.phantom.population import draw_person


@pytest.mark.parametrize("name", ["tiny", "demo"])
def test_masks_without_images_are_those_of_the_whole_simulation(cohort_spec, name):
    spec = cohort_spec(name)
    for row in (participants(spec)[0], participants(spec)[-1]):
        whole = simulate_subject(spec, row)
        masks = simulate_subject(spec.model_copy(update={"raters_only": True}), row)
        np.testing.assert_array_equal(masks.truth, whole.truth)
        for rater, mask in masks.raters.items():
            np.testing.assert_array_equal(mask, whole.raters[rater])
        assert masks.images is None
        with pytest.raises(ValueError, match="raters_only"):
            masks.image  # noqa: B018


def test_a_study_without_images_holds_masks_and_participants(tiny, tmp_path):
    write_cohort(tiny.model_copy(update={"raters_only": True}), tmp_path / "study")
    names = {path.name.split("_", 1)[-1] for path in (tmp_path / "study").rglob("*.nii.gz")}
    assert names == {"label-nerve_mask.nii.gz"}
    assert len(list((tmp_path / "study").rglob("*.nii.gz"))) == 4 * len(participants(tiny))


@pytest.fixture(scope="module")
def repeated(tiny, tmp_path_factory):
    spec = tiny.model_copy(update={"repeats": 2, "spacing_mm": (1.0, 1.0, 17.6), "matrix": (80, 80)})
    root = tmp_path_factory.mktemp("repeated") / "study"
    write_cohort(spec, root)
    return spec, root


def description(root, **images):
    mask = "derivatives/rater-{}/sub-{{id}}/anat/sub-{{id}}_label-nerve_mask.nii.gz"
    images = {"T2": "sub-{id}/anat/sub-{id}_T2w.nii.gz"} | images
    return StudyLayout(name="x", root=root, images=images, raters={r: mask.format(r) for r in ("OS", "BW", "LG")})


def test_the_reader_knows_who_was_scanned_twice(repeated):
    spec, root = repeated
    study = open_study(description(root))
    twice = {subject.id: subject for subject in study.subjects if subject.repeat_of}
    assert {subject.repeat_of for subject in twice.values()} == {"V01", "P01"}
    for subject in twice.values():
        assert subject.group == study.subject(subject.repeat_of).group == subject.repeat_of
    assert len(study.subjects) == spec.volunteers + sum(spec.patients.values()) + 2


def test_a_second_scan_shows_the_same_leg_in_another_place_with_other_noise(repeated):
    spec, _ = repeated
    rows = {row.id: row for row in participants(spec)}
    first, second = rows["P01"], rows["P01r"]
    assert (first.side, first.location, first.lesion) == (second.side, second.location, second.lesion)
    assert first.minutes != second.minutes
    assert draw_person(spec, first).thigh.nerve == draw_person(spec, second).thigh.nerve
    scans = [simulate_subject(spec, row) for row in (first, second)]
    assert not np.array_equal(scans[0].image, scans[1].image)
    areas = [np.mean([row.anatomical_area_mm2 for row in scan.known.slices]) for scan in scans]
    assert areas[0] == pytest.approx(areas[1], rel=0.1)


def test_the_second_channel_can_be_read_beside_the_first(tiny_study):
    copy = "derivatives/resampled/sub-{id}/anat/sub-{id}_acq-fatsat_space-T2w_T2w.nii.gz"
    study = open_study(description(tiny_study, FS=copy))
    channels, _ = study.read_channels(study.subjects[0])
    assert channels.shape[0] == 2
    own = read_image(tiny_study / "sub-V01" / "anat" / "sub-V01_acq-fatsat_T2w.nii.gz")
    assert np.linalg.norm(own.grid.affine[:3, 0]) == pytest.approx(2.55, rel=1e-4)


def test_every_table_and_volume_has_synthetic_in_its_metadata(tiny_study):
    tables = list(tiny_study.rglob("*.tsv"))
    assert len(tables) == 9 + 3 + 3  # subjects and participants; labels of three raters, and of the truth
    for path in tables:
        assert json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["Synthetic"] is True
    for path in tiny_study.rglob("*.json"):
        assert json.loads(path.read_text(encoding="utf-8"))["Synthetic"] is True
    for path in tiny_study.rglob("*.nii.gz"):
        assert b"SYNTHETIC" in nib.load(path).header["descrip"].item()


def test_the_slice_table_holds_the_truth_of_every_slice(tiny, tiny_study):
    path = tiny_study / "derivatives" / "truth" / "sub-P01" / "anat" / "sub-P01_slices.tsv"
    table = pd.read_csv(path, sep="\t")
    known = simulate_subject(tiny, participants(tiny)[tiny.volunteers]).known
    assert list(table.slice) == list(range(tiny.slices))
    assert list(table.area_mm2) == pytest.approx([row.area_mm2 for row in known.slices], abs=1e-3)
    coverage = nib.load(path.with_name("sub-P01_label-nerve_probseg.nii.gz")).get_fdata()
    assert list(table.area_mm2) == pytest.approx(list(coverage.sum(axis=(0, 1)) * 1.7**2), abs=1e-2)


def test_a_lower_contrast_to_muscle_makes_a_darker_nerve(demo):
    row = participants(demo)[0]
    faint = demo.model_copy(update={"nerve_muscle_contrast": 0.3})
    clear, dark = (simulate_subject(spec, row) for spec in (demo, faint))
    assert np.median(dark.image[dark.truth]) < 0.9 * np.median(clear.image[clear.truth])


def test_a_higher_contrast_to_veins_makes_brighter_veins(demo):
    row = participants(demo)[0]
    bright = demo.model_copy(update={"nerve_vein_contrast": 0.8})
    like, unlike = (simulate_subject(spec, row) for spec in (demo, bright))
    assert np.median(unlike.image[unlike.near_veins]) > 1.15 * np.median(like.image[like.near_veins])
