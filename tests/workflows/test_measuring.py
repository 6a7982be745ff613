import math

import nibabel as nib
import numpy as np
import pytest

from nerveseg.data.study import open_study
from nerveseg.data.study_layout import StudyLayout
from nerveseg.errors import GeometryError
from nerveseg.evaluation.analysis import TIME_COLUMNS
from nerveseg.evaluation.comparisons import MEAN_AREA, QUANTITY_COLUMNS, VOLUME
from nerveseg.workflows.score_subjects import PredictedMask, measure_subjects

SHAPE, AFFINE = (10, 9, 4), np.diag([0.5, 0.5, 4.0, 1.0])
TABLE = (
    "participant_id\tcohort\tminutes_A\tminutes_B\trepeat_of\n"
    "sub-1\tpatient\t20\t30\tn/a\nsub-2\tpatient\tn/a\t12.5\tsub-1\nsub-3\tvolunteer\tn/a\tn/a\tn/a\n"
)


def save(path, array, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def block(width):
    mask = np.zeros(SHAPE, np.uint8)
    mask[1 : 1 + width, 2:6, 1:3] = 1
    return mask


@pytest.fixture
def study(tmp_path):
    """Three subjects; rater A draws blocks of 4, B of 5, C of 6 voxels' width, and C left sub-2 out."""
    for subject in "123":
        save(tmp_path / f"sub-{subject}.nii.gz", np.random.default_rng(0).normal(size=SHAPE).astype(np.float32))
        for rater, width in (("A", 4), ("B", 5), ("C", 6)):
            if (subject, rater) != ("2", "C"):
                save(tmp_path / rater / f"{subject}.nii.gz", block(width))
    (tmp_path / "participants.tsv").write_text(TABLE, encoding="utf-8")
    return open_study(
        StudyLayout(
            name="t",
            root=tmp_path,
            images={"T2": "sub-{id}.nii.gz"},
            raters={rater: f"{rater}/{{id}}.nii.gz" for rater in "ABC"},
            missing_raters="allow",
        )
    )


def measured(study, predictions=None, consensus=None):
    return measure_subjects(study, predictions or {}, consensus)


def test_every_subject_is_scored_and_measured(study, tmp_path):
    predictions = {"1": PredictedMask(save(tmp_path / "out" / "1.nii.gz", block(2)), fold=3, seconds=90.0)}
    found = measured(study, predictions)
    assert list(found.scores["subject"].unique()) == ["1", "2", "3"]
    dice = found.scores[found.scores["metric"] == "dice"].set_index(["subject", "comparison"])["value"]
    assert dice[("1", "A-B")] == dice[("2", "A-B")] == pytest.approx(2 * 4 / 9)
    assert dice[("1", "A-GT")] == pytest.approx(2 * 4 / 9), "the vote of 4, 5 and 6 is 5 wide"
    assert dice[("2", "B-GT")] == pytest.approx(2 * 4 / 9), "the vote of 4 and 5 is 4 wide"
    assert dice[("1", "Auto-GT")] == pytest.approx(2 * 2 / 7)
    assert ("2", "A-C") not in dice.index
    assert ("3", "Auto-GT") not in dice.index
    assert tuple(found.quantities.columns) == QUANTITY_COLUMNS
    values = found.quantities.set_index(["subject", "source", "quantity"])["value"]
    assert values[("3", "C", VOLUME)] == 6 * 4 * 2 * 0.5 * 0.5 * 4.0
    assert values[("1", "Auto", MEAN_AREA)] == 2 * 4 * 0.5 * 0.5
    assert ("2", "C", VOLUME) not in values.index


def test_minutes_of_raters_and_of_the_method(study, tmp_path):
    path = save(tmp_path / "out" / "1.nii.gz", block(2))
    found = measured(study, {"1": PredictedMask(path, seconds=90.0), "2": PredictedMask(path)}).times
    assert tuple(found.columns) == TIME_COLUMNS
    rows = [tuple(row) for row in found.itertuples(index=False)]
    assert rows == [("1", "patient", "A", 20.0), ("1", "patient", "B", 30.0), ("1", "patient", "Auto", 1.5),
                    ("2", "patient", "B", 12.5)]  # fmt: skip


def test_repeated_scans_are_pairs(study):
    assert measured(study).repeats == {"2": ("1", "2")}


def test_a_stored_consensus_is_used(study):
    found = measured(study, consensus=lambda subject: block(6))
    dice = found.scores[found.scores["metric"] == "dice"].set_index(["subject", "comparison"])["value"]
    assert dice[("1", "C-GT")] == 1
    assert dice[("2", "A-GT")] == pytest.approx(2 * 4 / 10)


def test_an_empty_prediction_is_a_result(study, tmp_path):
    found = measured(study, {"1": PredictedMask(save(tmp_path / "out" / "1.nii.gz", block(0)))})
    rows = found.scores[found.scores["comparison"] == "Auto-GT"].set_index("metric")["value"]
    assert (rows["dice"], rows["vs"]) == (0, 0)
    assert math.isnan(rows["hd95_mm"])


def test_a_prediction_of_another_grid_names_its_subject(study, tmp_path):
    moved = AFFINE.copy()
    moved[0, 3] = 5
    with pytest.raises(GeometryError) as caught:
        measured(study, {"2": PredictedMask(save(tmp_path / "out" / "2.nii.gz", block(2), moved))})
    assert "5.00 mm" in caught.value.found
    assert caught.value.subject == "2"
    assert caught.value.path == tmp_path / "out" / "2.nii.gz"
