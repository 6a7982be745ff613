import math

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nerveseg.data.classes import Classes
from nerveseg.data.study import open_study
from nerveseg.data.study_layout import StudyLayout
from nerveseg.errors import GeometryError, VolumeError
from nerveseg.evaluation.comparisons import automatic_dice, score_subject
from nerveseg.workflows.score_subjects import PredictedMask, bundle_scores, load_masks

SHAPE, AFFINE = (8, 7, 3), np.diag([-0.5, 0.5, 4.4, 1.0])  # stored left to right, as scanners do


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, AFFINE), path)


def box(*bounds):
    mask = np.zeros(SHAPE, np.uint8)
    mask[tuple(slice(*bound) for bound in bounds)] = 1
    return mask


@pytest.fixture
def study(tmp_path):
    """One subject; rater A drew 4 x 2 x 2 voxels, B the same shifted by one along x."""
    save(tmp_path / "sub-7.nii.gz", np.random.default_rng(0).normal(size=SHAPE).astype(np.float32))
    save(tmp_path / "A/sub-7.nii.gz", box((1, 5), (2, 4), (0, 2)))
    save(tmp_path / "B/sub-7.nii.gz", box((2, 6), (2, 4), (0, 2)))
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tcohort\tside\tlocation\nsub-7\tpatient\tleft\tdistal\n", encoding="utf-8"
    )
    description = StudyLayout(
        name="t", root=tmp_path, images={"T2": "sub-{id}.nii.gz"}, raters={"A": "A/sub-{id}.nii.gz",
        "B": "B/sub-{id}.nii.gz"},
    )  # fmt: skip
    return open_study(description)


def only(records):
    (record,) = records
    return record


def scores_of(study, *given):
    return score_subject(only(load_masks(study, study.subjects[0], *given)))


def value(scores, comparison, metric="dice"):
    (found,) = scores[(scores["comparison"] == comparison) & (scores["metric"] == metric)]["value"]
    return found


def test_raters_alone_are_compared_with_each_other_and_their_majority(study):
    scores = scores_of(study)
    assert set(scores["comparison"]) == {"A-B", "A-GT", "B-GT"}
    assert value(scores, "A-B") == pytest.approx(2 * 12 / 32)
    assert value(scores, "A-GT") == pytest.approx(2 * 12 / (16 + 12)), "a tie of two is background"
    assert value(scores, "A-B", "hd_mm") == pytest.approx(0.5), "the spacing is the file's"
    assert scores["fold"].isna().all()
    assert set(scores["location"]) == {"distal"}
    assert set(scores["side"]) == {"left"}


def test_the_automatic_mask_is_read_from_its_file(study, tmp_path):
    save(tmp_path / "automatic.nii.gz", box((1, 5), (2, 4), (1, 3)))
    scores = scores_of(study, None, PredictedMask(tmp_path / "automatic.nii.gz", fold=2))
    assert value(scores, "Auto-A") == pytest.approx(2 * 8 / 32)
    assert value(scores, "Auto-A", "hd_mm") == pytest.approx(4.4)
    assert value(scores, "Auto-GT") == pytest.approx(2 * 6 / (16 + 12))
    assert set(scores["fold"]) == {2}
    assert len(automatic_dice(scores)) == 1


def test_a_given_consensus_counts_instead_of_a_new_one(study):
    consensus = study.read_masks(study.subjects[0], study.grid(study.subjects[0])).raters["A"]
    assert value(scores_of(study, consensus), "A-GT") == 1.0


def test_an_automatic_mask_of_another_grid_is_refused(study, tmp_path):
    nib.save(nib.Nifti1Image(box((1, 5), (2, 4), (1, 3)), np.diag([0.5, 0.5, 4.4, 1.0])), tmp_path / "x.nii.gz")
    with pytest.raises(GeometryError) as caught:
        load_masks(study, study.subjects[0], prediction=PredictedMask(tmp_path / "x.nii.gz"))
    assert "3.50 mm" in caught.value.found
    assert caught.value.subject == "7"
    assert caught.value.path == tmp_path / "x.nii.gz"


def test_raters_stand_in_the_studys_order(study):
    assert list(only(load_masks(study, study.subjects[0])).raters) == ["A", "B"]


def test_labels_of_the_automatic_mask_have_their_own_meaning(study, tmp_path):
    """The study's `classes` say what its raters' labels mean, not what another program's do."""
    labels = box((1, 5), (2, 4), (0, 2)) * 3
    labels[6:, 0, 0] = 1
    save(tmp_path / "x.nii.gz", labels)
    every = only(load_masks(study, study.subjects[0], prediction=PredictedMask(tmp_path / "x.nii.gz")))
    classes = Classes.of({"nerve": [3]})
    third = only(load_masks(study, study.subjects[0], prediction=PredictedMask(tmp_path / "x.nii.gz", classes=classes)))
    assert (every.automatic.sum(), third.automatic.sum()) == (18, 16)
    np.testing.assert_array_equal(third.automatic, third.raters["A"])


def test_a_models_scores_are_means_per_cohort():
    rows = [("1", "volunteer", 0.5), ("2", "volunteer", 0.7), ("3", "patient", math.nan), ("4", "healed", 0.0),
            ("5", "healed", math.nan)]  # fmt: skip
    frame = pd.DataFrame(
        [(subject, cohort, "Auto-GT", "dice", score) for subject, cohort, score in rows]
        + [("1", "volunteer", "Auto-GT", "vs", 0.1), ("1", "volunteer", "Auto-OS", "dice", 0.1)],
        columns=["subject", "cohort", "comparison", "metric", "value"],
    )
    scores = {score.cohort: (score.n, score.dice) for score in bundle_scores(frame)}
    assert scores == {"volunteer": (2, pytest.approx(0.6)), "patient": (1, None), "healed": (2, 0.0)}


def test_a_subject_with_several_classes_is_one_in_a_models_scores():
    rows = [("1", 0.9), ("1", 0.5), ("2", 0.6), ("2", math.nan)]
    frame = pd.DataFrame(
        [(subject, "patient", "Auto-GT", "dice", dice) for subject, dice in rows],
        columns=["subject", "cohort", "comparison", "metric", "value"],
    )
    (score,) = bundle_scores(frame)
    assert (score.n, score.dice) == (2, pytest.approx(0.65))


def test_an_inverted_automatic_mask_is_refused(study, tmp_path):
    save(tmp_path / "x.nii.gz", 1 - box((1, 5), (2, 4), (1, 3)))
    with pytest.raises(VolumeError) as caught:
        load_masks(study, study.subjects[0], prediction=PredictedMask(tmp_path / "x.nii.gz"))
    assert (caught.value.subject, caught.value.path) == ("7", tmp_path / "x.nii.gz")
