import dataclasses
import filecmp
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK
from pydantic import ValidationError
from scipy import ndimage

from nerveseg.data.volumes.volume import read_image, read_mask
from nerveseg.errors import StudyError
from nerveseg.phantom import cohort
from nerveseg.phantom.cohort import CohortSpec, participants, simulate_subject, write_cohort

COHORTS = Path(__file__).parents[2] / "conf" / "cohort"
SOURCES = ("rater-OS", "rater-BW", "rater-LG", "truth")


def files(root):
    return sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())


def mask_path(root, source, identifier):
    name = f"sub-{identifier}"
    return root / "derivatives" / source / name / "anat" / f"{name}_label-nerve_mask.nii.gz"


def test_every_subject_has_an_image_and_four_masks_on_one_grid(tiny, tiny_study):
    for row in participants(tiny):
        image = read_image(tiny_study / f"sub-{row.id}" / "anat" / f"sub-{row.id}_T2w.nii.gz")
        assert image.array.shape == (*tiny.matrix, tiny.slices)
        for source in SOURCES:
            assert read_mask(mask_path(tiny_study, source, row.id), like=image.grid).any()


def test_the_files_are_whole_numbers_and_slightly_oblique(tiny, tiny_study):
    path = tiny_study / "sub-V01" / "anat" / "sub-V01_T2w.nii.gz"
    assert nib.load(path).get_data_dtype() == np.uint16
    assert nib.load(mask_path(tiny_study, "truth", "V01")).get_data_dtype() == np.uint8
    other_reader = SimpleITK.ReadImage(str(path))
    assert other_reader.GetSpacing() == pytest.approx(tiny.spacing_mm, rel=1e-5)
    slice_normal = np.array(other_reader.GetDirection()).reshape(3, 3)[:, 2]
    assert 0.05 < np.rad2deg(np.arccos(abs(slice_normal[2]))) < 8


def test_participants_are_listed_with_what_the_study_must_say(tiny, tiny_study):
    table = pd.read_csv(tiny_study / "participants.tsv", sep="\t")
    assert list(table.columns) == [
        "participant_id", "cohort", "group", "side", "location", "lesion", "repeat_of",
        "minutes_OS", "minutes_BW", "minutes_LG",
    ]  # fmt: skip
    assert list(table.participant_id) == [f"sub-{row.id}" for row in participants(tiny)]
    assert set(table[table.cohort == "volunteer"].location) == {"medial"}
    assert set(table[table.cohort == "volunteer"].lesion) == {"none"}
    assert set(table[table.cohort == "patient"].lesion) <= {"focal", "extended", "signal"}
    assert table.group.is_unique


def test_a_synthetic_study_says_so_everywhere(tiny_study):
    for folder in (tiny_study, *(tiny_study / "derivatives" / source for source in SOURCES)):
        description = json.loads((folder / "dataset_description.json").read_text(encoding="utf-8"))
        assert "SYNTHETIC" in description["Name"]
        assert description["GeneratedBy"][0]["Name"] == "nerveseg"
    for path in tiny_study.rglob("*.nii.gz"):
        assert b"SYNTHETIC" in nib.load(path).header["descrip"].item()


def test_a_subject_alone_is_the_subject_of_the_study(tiny, tiny_study):
    row = participants(tiny)[-1]
    alone = simulate_subject(tiny, row)
    image = read_image(tiny_study / f"sub-{row.id}" / "anat" / f"sub-{row.id}_T2w.nii.gz")
    np.testing.assert_array_equal(alone.image, image.array)
    np.testing.assert_allclose(alone.affine, image.grid.affine, atol=1e-4)
    for rater, mask in alone.raters.items():
        np.testing.assert_array_equal(mask, read_mask(mask_path(tiny_study, f"rater-{rater}", row.id)))


def test_processes_change_nothing_but_the_time(tiny, tiny_study, tmp_path):
    calls = []
    write_cohort(tiny, tmp_path / "again", workers=2, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 8) for done in range(1, 9)]
    assert files(tmp_path / "again") == files(tiny_study)
    images = [path for path in files(tiny_study) if path.suffix != ".gz"]
    assert filecmp.cmpfiles(tiny_study, tmp_path / "again", images, shallow=False)[1:] == ([], [])
    for path in tiny_study.rglob("*.nii.gz"):
        first, second = nib.load(path), nib.load(tmp_path / "again" / path.relative_to(tiny_study))
        np.testing.assert_array_equal(first.dataobj, second.dataobj)
        np.testing.assert_array_equal(first.affine, second.affine)


def test_a_subject_does_not_depend_on_the_size_of_the_cohort(tiny):
    larger = tiny.model_copy(update={"volunteers": 9})
    first, second = (simulate_subject(spec, participants(spec)[1]) for spec in (tiny, larger))
    np.testing.assert_array_equal(first.image, second.image)


def test_another_seed_gives_other_subjects_and_subjects_differ(tiny):
    first, second, *_ = participants(tiny)
    images = [
        simulate_subject(tiny, first).image,
        simulate_subject(tiny, dataclasses.replace(second, side=first.side)).image,
        simulate_subject(tiny.model_copy(update={"seed": tiny.seed + 1}), first).image,
    ]
    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


def test_an_existing_folder_is_left_alone(tiny, tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(StudyError) as caught:
        write_cohort(tiny, tmp_path / "study")
    assert "exists" in caught.value.found
    assert caught.value.path == tmp_path / "study"
    assert files(tmp_path / "study") == [(tmp_path / "study" / "mine.txt").relative_to(tmp_path / "study")]


def test_an_interrupted_study_leaves_nothing_that_looks_complete(tiny, tmp_path, monkeypatch):
    def interrupted(spec, participant):
        if participant.id == "P01":
            raise KeyboardInterrupt
        return simulate_subject(spec, participant)

    monkeypatch.setattr(cohort, "simulate_subject", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_cohort(tiny, tmp_path / "study")
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_nothing_can_be_written_is_named(tiny, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StudyError) as caught:
        write_cohort(tiny, tmp_path / "file" / "study")
    assert caught.value.found.startswith("NotADirectoryError")
    assert caught.value.path == tmp_path / "file" / "study"


def test_a_misspelt_or_impossible_specification_is_refused(tiny):
    for change in ({"volunters": 3}, {"patients": {"caudal": 2}}, {"patients": {"distal": -1}}, {"slices": 0}):
        with pytest.raises(ValidationError, match=next(iter(change))):
            CohortSpec(**(tiny.model_dump() | change))


@pytest.mark.parametrize("path", sorted(COHORTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_cohort_file_is_a_cohort(path, cohort_spec):
    spec = cohort_spec(path.stem)
    assert spec.name == path.stem
    assert len(participants(spec)) == spec.volunteers + sum(spec.patients.values()) + spec.repeats


def test_the_paper_cohort_has_the_papers_numbers(cohort_spec):
    spec = cohort_spec("paper")
    rows = participants(spec)
    assert [sum(row.cohort == cohort for row in rows) for cohort in ("volunteer", "patient")] == [10, 42]
    assert {row.side for row in rows} == {"left", "right"}
    minutes = np.array([row.minutes["OS"] for row in rows])
    assert minutes.mean() == pytest.approx(21.1, abs=3 * 7.7 / np.sqrt(52))


def test_the_area_of_a_healthy_nerve_is_in_the_published_range(demo, demo_subjects):
    for subject in demo_subjects:
        area_mm2 = subject.truth.sum(axis=(0, 1)) * np.prod(demo.spacing_mm[:2])
        if subject.participant.cohort == "volunteer":
            assert 20 < area_mm2.min() <= area_mm2.max() < 72
        else:
            assert 15 < area_mm2.min() <= area_mm2.max() < 200


def test_distal_stacks_end_in_two_nerves_and_proximal_ones_in_one(demo_subjects):
    for subject in demo_subjects:
        nerves = ndimage.label(subject.truth[:, :, 0], np.ones((3, 3)))[1]
        if subject.participant.location == "distal":
            assert nerves == 2, subject.participant.id
            assert ndimage.label(subject.truth[:, :, -1])[1] == 1
        if subject.participant.location == "proximal":
            assert nerves == 1, subject.participant.id


def test_a_tiny_nerve_can_still_be_learned(tiny, tiny_study):
    for row in participants(tiny):
        sizes = read_mask(mask_path(tiny_study, "truth", row.id)).sum(axis=(0, 1))
        assert (sizes >= 8).mean() > 0.6, row.id
