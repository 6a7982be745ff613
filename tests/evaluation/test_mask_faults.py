"""Faults planted in a study of simulated tubes are found, and the sound study has none."""

import numpy as np
import pytest
from scipy.ndimage import label

from nerveseg.evaluation.mask_faults import judge_masks
from nerveseg.evaluation.mask_measures import (
    MaskMeasures,
    agreement_measures,
    image_measures,
    shape_measures,
    swapped_classes,
    voxel_sha256,
)

SHAPE, SPACING_MM = (72, 64, 12), (1.0, 1.0, 4.0)
SUBJECTS = [f"S{number}" for number in range(8)]
RATERS = ("OS", "BW", "LG")


def tube(centre, tilt, radius, wobble):
    """A tilted tube that tapers towards the head; `wobble` moves its outline."""
    x, y, z = np.indices(SHAPE)
    thickness = radius * (1.2 - 0.4 * z / SHAPE[2]) + wobble
    return (x - centre[0] - tilt[0] * z) ** 2 + (y - centre[1] - tilt[1] * z) ** 2 <= thickness**2


def subject(seed):
    """An image of a body with a bright tube right of its middle, at the back, and the masks of three raters."""
    random = np.random.default_rng(seed)
    centre, tilt = (26 + random.normal(0, 1), 20 + random.normal(0, 1)), (0.5, 0.7)
    nerve = tube(centre, tilt, 4.0, 0.0)
    x, y, _ = np.indices(SHAPE)
    body = ((x - 36) / 32) ** 2 + ((y - 32) / 28) ** 2 <= 1
    image = (body * 100.0 + nerve * 120.0 + random.normal(0, 8, SHAPE)).astype(np.float32)
    masks = {}
    for rater in RATERS:
        drawn = tube(np.add(centre, random.normal(0, 0.2, 2)), tilt, 4.0, random.normal(0, 0.2))
        masks[rater] = drawn & (random.random(SHAPE) > 0.01)
    return image, masks


def rows(subject_id, image, masks, labels=None, structure="nerve", swapped=None):
    agreement, images = agreement_measures(masks), image_measures(masks, image, SPACING_MM)
    return [
        MaskMeasures(
            subject=subject_id, cohort="c", side=None, location=None, structure=structure, rater=rater,
            path=f"{subject_id}-{rater}",
            labels=(labels or {}).get(rater, "1"), sha256=voxel_sha256(mask), **shape_measures(mask, SPACING_MM),
            **agreement.get(rater, {}), **images.get(rater, {}), **(swapped or {}).get((structure, rater), {}),
        )
        for rater, mask in masks.items()
    ]  # fmt: skip


@pytest.fixture(scope="module")
def study():
    return {subject_id: subject(seed) for seed, subject_id in enumerate(SUBJECTS)}


@pytest.fixture(scope="module")
def sound(study):
    return {subject_id: rows(subject_id, image, masks) for subject_id, (image, masks) in study.items()}


def judged(sound, changed):
    """Faults and doubts with the rows of one subject replaced."""
    return judge_masks([row for subject_id, own in sound.items() for row in changed.get(subject_id, own)])


def one(change):
    return lambda image, masks: (image, masks | {"OS": change(masks["OS"])})


def every(change):
    return lambda image, masks: (image, {rater: change(mask) for rater, mask in masks.items()})


def stray(mask):
    mask = mask.copy()
    mask[60, 50, 6] = True
    return mask


def forgotten(mask):
    mask = mask.copy()
    mask[:, :, 4] = False
    return mask


FAULTS = {
    "one rater mirrored left-right": one(lambda mask: mask[::-1]),
    "one rater upside down": one(lambda mask: mask[:, :, ::-1]),
    "one rater empty": one(np.zeros_like),
    "one rater off the nerve": one(lambda mask: np.roll(mask, 30, axis=0)),
    "one rater copied": lambda image, masks: (image, masks | {"OS": masks["BW"]}),
}
DOUBTS = {
    "all raters mirrored left-right": every(lambda mask: mask[::-1]),
    "all raters off the nerve": every(lambda mask: np.roll(mask, 30, axis=0)),
    "one rater a slice too high": one(lambda mask: np.roll(mask, 1, axis=2)),
    "one rater a slice too low": one(lambda mask: np.roll(mask, -1, axis=2)),
    "a voxel far away": one(stray),
    "a slice forgotten": one(forgotten),
    "anatomy mirrored front to back": lambda image, masks: (image[:, ::-1], {r: m[:, ::-1] for r, m in masks.items()}),
    "no rater drew": every(np.zeros_like),
    "a large mask": one(lambda mask: mask | (np.indices(SHAPE)[0] < 20)),
}


def test_a_sound_study_has_neither(sound):
    assert judged(sound, {}) == ([], [])


@pytest.mark.parametrize("change", FAULTS.values(), ids=FAULTS.keys())
def test_what_is_certain_is_a_fault(change, study, sound):
    faults, _ = judged(sound, {"S3": rows("S3", *change(*study["S3"]))})
    assert {fault.subject for fault in faults} == {"S3"}
    assert {fault.path for fault in faults} <= {"S3-OS", "S3-BW"}


@pytest.mark.parametrize("change", DOUBTS.values(), ids=DOUBTS.keys())
def test_what_is_likely_is_a_doubt(change, study, sound):
    faults, doubts = judged(sound, {"S3": rows("S3", *change(*study["S3"]))})
    assert faults == []
    assert {doubt.subject for doubt in doubts} == {"S3"}


def test_the_mask_of_another_subject_is_a_fault_whichever_is_listed_first(study, sound):
    image, masks = study["S3"]
    faults, _ = judged(sound, {"S3": rows("S3", image, masks | {"OS": study["S5"][1]["OS"]})})
    assert {fault.subject for fault in faults} == {"S5"}


def test_labels_unlike_those_of_the_study_are_a_doubt(study, sound):
    changed = {
        "S3": rows("S3", *study["S3"], labels={"BW": "255"}),
        "S4": rows("S4", *study["S4"], labels={"OS": "1 2"}),
    }
    _, doubts = judged(sound, changed)
    assert [(doubt.subject, doubt.rater) for doubt in doubts] == [("S3", "BW"), ("S4", "OS")]


def test_a_study_mirrored_as_a_whole_is_a_fault(study):
    mirrored = {
        subject_id: rows(subject_id, *every(lambda mask: mask[::-1])(*both)) for subject_id, both in study.items()
    }
    faults, _ = judge_masks([row for own in mirrored.values() for row in own])
    assert len(faults) == 1
    assert "8 of 8" in faults[0].found


def test_a_shift_is_measured_exactly(study):
    _, masks = study["S0"]
    moved = np.zeros_like(masks["OS"])
    moved[7:, :, 2:] = masks["OS"][:-7, :, :-2]
    found = agreement_measures({"A": moved, "B": masks["OS"]})["A"]
    assert found["change"] == "shifted by (-7, 0, -2) voxels"
    kept = masks["OS"][:-7, :, :-2].sum()
    assert found["changed_dice"] == pytest.approx(2 * kept / (kept + masks["OS"].sum()))


def test_of_many_specks_the_farthest_is_measured():
    random = np.random.default_rng(5)
    mask = tube((20, 20), (0, 0), 4.0, 0.0)
    mask[2::4, 2::4, 2::4] |= random.random(mask[2::4, 2::4, 2::4].shape) < 0.2
    found = shape_measures(mask, SPACING_MM)
    pieces, number = label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel())[1:]
    main = np.argwhere(pieces == sizes.argmax() + 1)[:, :2]
    outside = [
        np.hypot(*np.maximum(0, np.maximum(main.min(0) - own, own - main.max(0))).T).min()
        for own in (np.argwhere(pieces == piece)[:, :2] for piece in range(1, number + 1))
    ]
    assert number > 20
    assert (found["components"], found["stray_mm"]) == (number, pytest.approx(max(outside)))
    assert found["stray_voxels"] == sizes[int(np.argmax(outside))]


def test_an_image_of_nearly_one_value_and_masks_without_contrast_are_measured(study):
    image = np.full(SHAPE, 100, dtype=np.float32)
    image[:2, :2] = 0
    flat = {subject_id: rows(subject_id, image, own) for subject_id, (_, own) in study.items()}
    assert np.isnan([row.contrast for row in flat["S0"]]).all()
    assert 0 < flat["S0"][0].x_share < 1
    _, doubts = judge_masks([row for own in flat.values() for row in own])
    assert not [doubt for doubt in doubts if "mirrored" in doubt.text]


NERVES = ("tibial", "peroneal")


def three_classes(image, masks):
    """The tube, a second one to its left, and muscles: two large parts far apart, with slices between them."""
    second = {rater: np.roll(mask, 14, axis=0) for rater, mask in masks.items()}
    brighter = image + np.float32(100) * second["OS"]
    random = np.random.default_rng(int(masks["OS"].sum()))
    muscle = {rater: np.zeros(SHAPE, dtype=bool) for rater in masks}
    for number, mask in enumerate(muscle.values()):
        mask[8:20, 36:50, :4] = mask[45 : 60 + number, 34:52, 7:] = True
        mask[30:32, 4:6, 0] = True
        mask &= random.random(SHAPE) > 0.01
    return brighter, {"tibial": masks, "peroneal": second, "muscle": muscle}


def class_rows(subject_id, image, classes, labels=None):
    found = swapped_classes(classes)
    return [row for name, masks in classes.items() for row in rows(subject_id, image, masks, labels, name, found)]


@pytest.fixture(scope="module")
def classes(study):
    return {subject_id: three_classes(*both) for subject_id, both in study.items()}


def judged_classes(classes, changed=None, nerves=NERVES, labels=None):
    """Faults and doubts of the study of three classes, with the masks of S3 replaced."""
    declared = (1, 2, 3)
    found = []
    for subject_id, (image, masks) in classes.items():
        own = changed(masks) if changed and subject_id == "S3" else masks
        found += class_rows(subject_id, image, own, labels if subject_id == "S3" else dict.fromkeys(RATERS, "1 2 3"))
    return judge_masks(found, nerves, declared)


def with_mask(classes, structure, rater, mask):
    return classes | {structure: classes[structure] | {rater: mask}}


@pytest.mark.parametrize("nerves", [NERVES, (*NERVES, "muscle")])
def test_large_and_scattered_muscles_are_no_doubt_whether_or_not_they_are_told_from_nerves(classes, nerves):
    assert judged_classes(classes, labels=dict.fromkeys(RATERS, "1 2 3"), nerves=nerves) == ([], [])


def test_exchanged_labels_are_a_fault_of_both_classes_of_that_file(classes):
    def exchanged(masks):
        first, second = masks["tibial"]["OS"], masks["peroneal"]["OS"]
        return with_mask(with_mask(masks, "tibial", "OS", second), "peroneal", "OS", first)

    faults, doubts = judged_classes(classes, exchanged, labels=dict.fromkeys(RATERS, "1 2 3"))
    assert doubts == []
    assert [(fault.subject, fault.path) for fault in faults] == [("S3", "S3-OS")] * 2
    assert ["class tibial" in fault.found for fault in faults] == [True, False]
    assert "peroneal" in faults[0].found


def test_a_class_that_one_rater_did_not_draw_is_a_doubt_and_an_empty_file_one_fault(classes):
    def without(*names):
        def changed(masks):
            for name in names:
                masks = with_mask(masks, name, "OS", np.zeros(SHAPE, dtype=bool))
            return masks

        return changed

    faults, doubts = judged_classes(classes, without("peroneal"), labels=dict.fromkeys(RATERS, "1 3"))
    assert faults == []
    assert [(doubt.subject, doubt.rater, doubt.structure) for doubt in doubts] == [("S3", "OS", "peroneal")]
    faults, _ = judged_classes(classes, without("tibial", "peroneal", "muscle"), labels=dict.fromkeys(RATERS, ""))
    assert {(fault.subject, fault.path) for fault in faults} == {("S3", "S3-OS")}


def test_a_class_that_no_rater_drew_in_one_subject_is_neither(classes):
    def changed(masks):
        return masks | {"peroneal": dict.fromkeys(RATERS, np.zeros(SHAPE, dtype=bool))}

    assert judged_classes(classes, changed, labels=dict.fromkeys(RATERS, "1 3")) == ([], [])


def test_a_copied_file_is_one_fault_and_a_class_that_two_files_share_a_doubt(classes):
    def changed(masks):
        return {name: of_class | {"OS": of_class["BW"]} for name, of_class in masks.items()}

    faults, _ = judged_classes(classes, changed, labels=dict.fromkeys(RATERS, "1 2 3"))
    assert [(fault.subject, fault.path) for fault in faults] == [("S3", "S3-BW")]
    faults, doubts = judged_classes(
        classes,
        lambda masks: with_mask(masks, "muscle", "OS", masks["muscle"]["BW"]),
        labels=dict.fromkeys(RATERS, "1 2 3"),
    )
    assert faults == []
    assert [(doubt.subject, doubt.rater, doubt.structure) for doubt in doubts] == [("S3", "BW", "muscle")]


def test_a_stray_piece_of_a_nerve_is_a_doubt_about_its_class(classes):
    def changed(masks):
        return with_mask(masks, "tibial", "OS", stray(masks["tibial"]["OS"]))

    faults, doubts = judged_classes(classes, changed, labels=dict.fromkeys(RATERS, "1 2 3"))
    assert faults == []
    assert [(doubt.rater, doubt.structure) for doubt in doubts] == [("OS", "tibial")]


def test_only_labels_of_no_class_are_unusual_where_there_are_several(classes):
    _, doubts = judged_classes(classes, labels={"OS": "1 2 3", "BW": "1 3", "LG": "1 2 3 9"})
    assert [(doubt.subject, doubt.rater, "9" in doubt.text) for doubt in doubts] == [("S3", "LG", True)]
