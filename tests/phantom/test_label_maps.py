"""Label maps of nerves (per rater) and of structures (truth), against geometry that is computed in another way."""

import dataclasses
import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nerveseg.phantom import structures
from nerveseg.phantom.atlas import BONES, interpolate
from nerveseg.phantom.cohort import participants, simulate_subject
from nerveseg.phantom.grid import ScanGrid
from nerveseg.phantom.outline import PERONEAL, SCIATIC, TIBIAL, Outline
from nerveseg.phantom.population import draw_person
from nerveseg.phantom.raters import Difficulty, Rater, name_nerves
from nerveseg.workflows.prepare_study import open_configured_study
from tests.helpers.composed import parsed_config

NOISE_MM = 0.4


def named_by(outline: Outline, seed: int, noise_mm: float = 0.0):
    """A mask of all voxels, named by a rater."""
    rater = Rater("OS", (0.0,) * 2, (1.0,) * 2, (0.0,) * 2, (1.0,) * 2)
    everything = np.ones(outline.grid.shape, bool)
    return name_nerves(everything, outline, rater, Difficulty(True, noise_mm, 0.0), np.random.default_rng(seed))


@pytest.fixture
def two_nerves() -> Outline:
    """Two nerves with a straight border at x = 0, in a box of the scan, parted below 15 mm (slices of 4.4 mm)."""
    x_mm = np.arange(-6.0, 6.0, 0.05) + 0.025
    grid = ScanGrid(np.tile(x_mm, (8, 1)), np.zeros((8, 6)), 4.4 * np.arange(8.0), (0.05, 0.05, 4.4), 4.0, 1)
    box = slice(40, 200), slice(1, 5)
    border_mm = np.broadcast_to(x_mm[box[0], None, None], (160, 4, 8)).astype(np.float32)
    ones = np.ones(border_mm.shape, np.float32)
    return Outline(grid, box, -ones, 1.5 * ones, border_mm, 15.0, ())


def test_every_voxel_of_a_raters_mask_has_one_name_and_no_other_voxel_has_one(demo_subjects):
    for subject in demo_subjects:
        for rater, labels in subject.named.items():
            assert labels.dtype == np.uint8
            np.testing.assert_array_equal(labels > 0, subject.raters[rater])
            assert set(np.unique(labels)) <= {0, TIBIAL, PERONEAL, SCIATIC}
        np.testing.assert_array_equal(subject.known.nerves > 0, subject.truth)


def test_names_change_at_the_split_and_agree_with_it_within_a_slice(demo_subjects):
    for subject in demo_subjects:
        split = sum(row.split for row in subject.known.slices)
        np.testing.assert_array_equal(subject.known.nerves[:, :, :split], subject.known.branches[:, :, :split])
        assert set(np.unique(subject.known.nerves[:, :, split:])) <= {0, SCIATIC}
        for labels in subject.named.values():
            assert not (labels[:, :, : max(0, split - 1)] == SCIATIC).any()
            assert not np.isin(labels[:, :, split + 1 :], (TIBIAL, PERONEAL)).any()
            assert all({*np.unique(labels[:, :, z])} <= {0, SCIATIC} or SCIATIC not in labels[:, :, z]
                       for z in range(labels.shape[2]))  # fmt: skip


def test_nerves_that_lie_apart_are_named_by_the_nearer_centreline(demo, demo_subjects):
    checked = 0
    for subject in demo_subjects:
        for row in subject.known.slices:
            centres = np.array([(row.tibial_x, row.tibial_y), (row.peroneal_x, row.peroneal_y)])
            if row.split and np.linalg.norm(centres[1] - centres[0]) * demo.spacing_mm[0] > 16:
                for labels in subject.named.values():
                    places = np.argwhere(labels[:, :, row.slice])
                    away = np.linalg.norm(places[:, None] - centres, axis=2)
                    near = away.min(axis=1) < 6
                    names = np.where(away[:, 0] < away[:, 1], TIBIAL, PERONEAL)
                    if SCIATIC not in labels[:, :, row.slice]:
                        np.testing.assert_array_equal(labels[:, :, row.slice][tuple(places.T)][near], names[near])
                        checked += near.sum()
    assert checked > 1000


def test_a_rater_without_error_names_as_the_truth_does_also_outside_the_box(two_nerves):
    exact = next(labels for seed in range(20) if (labels := named_by(two_nerves, seed))[0, 0, 3] != SCIATIC
                 and labels[0, 0, 4] == SCIATIC)  # fmt: skip
    assert (exact[:120, :, :4] == PERONEAL).all()
    assert (exact[120:, :, :4] == TIBIAL).all()
    assert (exact[:, :, 4:] == SCIATIC).all()


def test_raters_see_the_split_as_often_too_low_or_too_high_as_a_normal_error_of_3_mm_makes(two_nerves):
    parted = [(named_by(two_nerves, seed)[0, 0] != SCIATIC).sum() for seed in range(300)]
    assert set(parted) == {3, 4, 5}
    expected = [stats.norm.cdf((13.2 - 15.0) / 3.0), stats.norm.sf((17.6 - 15.0) / 3.0)]
    assert [np.mean(np.array(parted) == number) for number in (3, 5)] == pytest.approx(expected, abs=0.08)


def test_the_border_between_the_nerves_errs_as_the_outline_does_and_more_where_the_picture_shows_less(two_nerves):
    shifts_mm = [
        (named_by(two_nerves, seed, NOISE_MM)[:, 3, z] == PERONEAL).sum() * 0.05 - 6.0
        for seed in range(100) for z in range(3)
    ]  # fmt: skip
    assert np.mean(shifts_mm) == pytest.approx(0.0, abs=0.12)
    assert np.std(shifts_mm) == pytest.approx(1.5 * NOISE_MM, rel=0.12)


def test_names_need_no_images(demo):
    row = participants(demo)[6]
    whole, masks = (simulate_subject(demo.model_copy(update={"raters_only": only}), row) for only in (False, True))
    assert any(PERONEAL in labels for labels in whole.named.values())
    for rater, labels in masks.named.items():
        np.testing.assert_array_equal(labels, whole.named[rater])


@pytest.mark.parametrize("number", [1, 6])
def test_the_other_leg_is_the_mirror_image(demo, number):
    row = participants(demo)[number]
    legs = {side: simulate_subject(demo, dataclasses.replace(row, side=side)) for side in ("left", "right")}
    for one, other in (
        (legs["left"].images.structures, legs["right"].images.structures),
        (legs["left"].known.nerves, legs["right"].known.nerves),
    ):
        assert (one == other[::-1]).mean() > 0.9999
    for side, lateral in (("left", -1), ("right", 1)):  # x rises towards the patient's right
        for labels in legs[side].named.values():
            for z in range(labels.shape[2]):
                middle = [np.argwhere(labels[:, :, z] == label)[:, 0] for label in (TIBIAL, PERONEAL)]
                if all(part.size for part in middle):
                    assert lateral * (middle[1].mean() - middle[0].mean()) > 0


def test_structures_hold_the_nerve_and_no_structure_is_missing(demo_subjects):
    for subject in demo_subjects:
        labels = subject.images.structures
        np.testing.assert_array_equal(labels == structures.NERVE, subject.truth)
        assert set(range(1, 7)) <= set(np.unique(labels)), subject.participant.id
        assert (labels[subject.images.vastus] == structures.MUSCLE).mean() > 0.99


def test_a_voxel_has_the_structure_of_its_largest_share(tiny):
    """A grid five times as fine gives the shares by counting; fat between muscles is thinner than a voxel."""
    usual = tiny.model_copy(update={"matrix": (128, 128), "spacing_mm": (0.6, 0.6, 17.6), "slices": 2})
    fine = usual.model_copy(update={"matrix": (640, 640), "spacing_mm": (0.12, 0.12, 17.6), "fat_suppressed_mm": None})
    row = participants(tiny)[3]
    labels, parts = (simulate_subject(spec, row).images.structures for spec in (usual, fine))
    blocks = parts.reshape(128, 5, 128, 5, 2)
    shares = np.stack([(blocks == label).mean(axis=(1, 3)) for label in range(7)])
    other = labels != shares.argmax(axis=0)
    assert other.mean() < 0.01
    assert set(labels[other & (shares.max(axis=0) > 0.6)]) <= {structures.MUSCLE}


def test_femurs_have_the_area_of_their_ellipses(demo, demo_subjects):
    ratios = []
    for subject in demo_subjects:
        thigh = draw_person(demo, subject.participant).thigh
        for row in subject.known.slices:
            bone = subject.images.structures[:, :, row.slice] == structures.BONE
            edges = np.concatenate([bone[0], bone[-1], bone[:, 0], bone[:, -1]])
            if not edges.any() and row.level_mm < 300:  # the whole femur, and no ischium
                _, _, lateral_mm, anterior_mm, _ = interpolate(BONES[0], row.level_mm)
                area_mm2 = np.pi * lateral_mm * anterior_mm * thigh.size**2
                ratios.append(bone.sum() * np.prod(demo.spacing_mm[:2]) / area_mm2)
    assert len(ratios) > 50
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.05)
    assert np.std(ratios) < 0.2  # legs are bent and uneven


def test_structures_look_as_their_tissue_does(demo_subjects):
    healthy = [subject for subject in demo_subjects if subject.participant.cohort == "volunteer"]
    medians = {
        label: np.mean([np.median(subject.image[subject.images.structures == label]) for subject in healthy])
        for label in range(1, 7)
    }
    assert medians[structures.ARTERY] < 80 < 85 < medians[structures.MUSCLE] < 140
    assert medians[structures.MUSCLE] < medians[structures.NERVE] < medians[structures.FAT]
    assert 170 < medians[structures.VEIN] < 400 < medians[structures.FAT]


def test_every_label_map_has_a_table_of_its_names_beside_its_description(tiny, tiny_study):
    maps = list(tiny_study.rglob("*_dseg.nii.gz"))
    assert len(maps) == len(participants(tiny)) * (3 + 3)
    for path in maps:
        # BIDS 1.8, imaging derivatives: a dseg file has no entity `label`
        kind = re.fullmatch(r"sub-[A-Za-z0-9]+_desc-([a-z]+)_dseg\.nii\.gz", path.name)[1]
        table = pd.read_csv(path.parents[2] / f"desc-{kind}_dseg.tsv", sep="\t")
        assert list(table.columns) == ["index", "name"]
        assert (path.parents[2] / "dataset_description.json").is_file()
        assert set(np.unique(np.asarray(nib.load(path).dataobj))) - {0} <= set(table["index"])


def test_the_written_names_are_those_of_the_subject(tiny, tiny_study):
    row = participants(tiny)[3]
    subject = simulate_subject(tiny, row)
    folder = f"sub-{row.id}/anat/sub-{row.id}_desc-"
    written = {f"rater-{rater}/{folder}nerves": labels for rater, labels in subject.named.items()}
    written |= {f"truth/{folder}nerves": subject.known.nerves, f"truth/{folder}structures": subject.images.structures}
    for name, labels in written.items():
        image = nib.load(tiny_study / "derivatives" / f"{name}_dseg.nii.gz")
        assert image.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(np.asarray(image.dataobj), labels)


def opened(name, root):
    words = [f"study={name}", "cohort@study.simulate=tiny", f"study.root={root}"]
    study = open_configured_study(parsed_config("train", *words).study)
    return study, study.description.class_table


def test_the_study_of_branches_has_the_binary_study_s_nerve_as_the_union_of_three_nerves(tiny_study):
    (study, classes), (binary, only) = (opened(name, tiny_study) for name in ("phantom_branches", "phantom"))
    assert classes.names == ("tibial", "peroneal", "sciatic", "nerve")
    assert classes.count == 3
    for subject, other in zip(study.subjects, binary.subjects, strict=True):
        masks, whole = (each.read_masks(one, each.grid(one)) for each, one in ((study, subject), (binary, other)))
        for rater in ("OS", "BW", "LG"):
            np.testing.assert_array_equal(
                classes.mask(masks.raters[rater], "nerve"), only.mask(whole.raters[rater], "nerve")
            )


def test_the_study_of_structures_reads_the_truth(tiny, tiny_study):
    study, classes = opened("phantom_structures", tiny_study)
    assert classes.names == ("nerve", "artery", "vein", "bone", "muscle", "fat")
    for subject, row in zip(study.subjects, participants(tiny), strict=True):
        masks = study.read_masks(subject, study.grid(subject))
        assert list(masks.raters) == ["truth"]
        if row.id in ("V01", "P05"):
            labels = simulate_subject(tiny, row).images.structures
            for value, name in enumerate(classes.names, start=1):
                np.testing.assert_array_equal(classes.mask(masks.consensus, name), labels == value)
