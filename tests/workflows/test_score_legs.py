"""Scans of both legs: scores of each leg beside those of the whole, which alone count in statistics."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nerveseg.data.study import list_scans, open_study
from nerveseg.data.study_layout import StudyLayout
from nerveseg.evaluation.class_analysis import analyse_classes, write_analysis
from nerveseg.evaluation.margins import Margins
from nerveseg.inference.ensemble import open_model
from nerveseg.scans.request import PatientInfo
from nerveseg.workflows.score_legs import both_legs
from nerveseg.workflows.score_subjects import PredictedMask, measure_subjects
from nerveseg.workflows.segment_scans import _scan_of
from tests.helpers.composed import parsed_config
from tests.helpers.scan_models import write_model

SHAPE, PIXEL_MM = (120, 60, 3), 4.0
MIDDLES = {"right": 30, "left": 90}  # along x of the array, which runs to the left as scanners store it
SPLIT = 60


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([-PIXEL_MM, PIXEL_MM, 4.4, 1.0])), path)


def thighs(*middles):
    x, y, _ = np.indices(SHAPE)
    tissue = np.any([np.hypot(x - middle, y - 30) < 17 for middle in middles], axis=0)
    return (100 * tissue + np.random.default_rng(0).normal(0, 2, SHAPE)).astype(np.float32)


def nerves(shift=0, sides=("left", "right"), random=None):
    mask = np.zeros(SHAPE, np.uint8)
    for side in sides:
        mask[MIDDLES[side] - 4 + shift : MIDDLES[side] + 4 + shift, 26:34] = 1
    return mask if random is None else mask & (random.random(SHAPE) < 0.9).astype(np.uint8)


@pytest.fixture
def study(tmp_path):
    """Four people, both thighs in one volume; of P4 the image shows one leg, and P3 has a nerve on the left alone."""
    random = np.random.default_rng(1)
    for number in range(1, 5):
        save(tmp_path / f"P{number}.nii.gz", thighs(60) if number == 4 else thighs(*MIDDLES.values()))
        for rater in "AB":
            drawn = nerves(sides=("left",) if number == 3 else ("left", "right"), random=random)
            save(tmp_path / rater / f"P{number}.nii.gz", drawn)
        save(tmp_path / "auto" / f"P{number}.nii.gz", nerves(1, sides=("left",) if number == 3 else ("left", "right")))
    rows = "".join(f"P{number}\tpatient\tboth\n" for number in range(1, 5))
    (tmp_path / "participants.tsv").write_text("participant_id\tcohort\tside\n" + rows)
    layout = StudyLayout(
        name="t", root=tmp_path, images={"T2": "{id}.nii.gz"}, raters={"A": "A/{id}.nii.gz", "B": "B/{id}.nii.gz"}
    )
    return open_study(layout)


@pytest.fixture
def measured(study):
    predictions = {
        subject.id: PredictedMask(study.description.root / "auto" / f"{subject.id}.nii.gz")
        for subject in study.subjects
    }
    return measure_subjects(study, predictions)


def dice(first, second):
    return 2 * np.sum(first & second) / (np.sum(first) + np.sum(second))


def read(path):
    return np.asarray(nib.load(path).dataobj) > 0


def test_the_legs_are_found_where_the_image_shows_two(study):
    sides = [[leg.side for leg in both_legs(study, subject)] for subject in study.subjects]
    assert sides == [["left", "right"]] * 3 + [[]]


def test_the_scores_of_a_leg_are_those_of_its_half(study, measured):
    root = study.description.root
    found = measured.legs[(measured.legs["metric"] == "dice") & (measured.legs["comparison"] == "A-B")]
    assert set(zip(found["subject"], found["side"], strict=True)) == {
        ("P1", "left"), ("P1", "right"), ("P2", "left"), ("P2", "right"), ("P3", "left"),
    }  # fmt: skip
    for row in found.itertuples():
        first, second = (read(root / rater / f"{row.subject}.nii.gz") for rater in "AB")
        half = slice(SPLIT, None) if row.side == "left" else slice(0, SPLIT)
        assert row.value == pytest.approx(dice(first[half], second[half]))
    whole = measured.scores[(measured.scores["metric"] == "dice") & (measured.scores["comparison"] == "A-B")]
    assert whole["side"].tolist() == ["both"] * 4
    for row in whole.itertuples():
        assert row.value == pytest.approx(dice(*(read(root / rater / f"{row.subject}.nii.gz") for rater in "AB")))


def test_no_statistic_counts_a_leg(measured, tmp_path):
    """All tables but the one by side are those of a study that does not say that its scans show both legs."""
    analyses = analyse_classes(measured, Margins())
    write_analysis(analyses, measured, tmp_path / "both", "t")
    alone = measured.of_class("nerve")
    pooled = type(alone)(**{**vars(alone), "legs": alone.legs.iloc[:0]})
    write_analysis(analyse_classes(pooled, Margins()), pooled, tmp_path / "pooled", "t")
    for name in ("table1", "tests", "like_for_like", "quantities", "agreement", "slices", "times", "locations"):
        assert (tmp_path / "both" / f"{name}.csv").read_bytes() == (tmp_path / "pooled" / f"{name}.csv").read_bytes()
    (analysis,) = analyses
    assert analysis.table1.set_index("comparison").loc["Auto-GT", "n"] == 4
    sides = pd.read_csv(tmp_path / "both" / "sides.csv").set_index(["side", "comparison"])
    assert (sides.loc[("left", "Auto-GT"), "n"], sides.loc[("right", "Auto-GT"), "n"]) == (3, 2)
    assert not (tmp_path / "pooled" / "sides.csv").exists()
    scores = pd.read_csv(tmp_path / "both" / "scores.csv")
    assert scores.groupby("subject")["side"].unique().map(set).to_dict() == {
        "P1": {"both", "left", "right"}, "P2": {"both", "left", "right"}, "P3": {"both", "left"}, "P4": {"both"},
    }  # fmt: skip
    assert any("P4" in remark for remark in analysis.remarks)


def test_segment_finds_the_legs_by_itself(study, tmp_path):
    subject = list_scans(study.description)[0][0]
    assert subject.side == "both"
    model = open_model(write_model(tmp_path / "model", 1, {}))
    config = parsed_config("segment", "study=bids", f"study.root={study.description.root}")
    assert _scan_of(subject, config, model.description.channels[0]).person == PatientInfo()
