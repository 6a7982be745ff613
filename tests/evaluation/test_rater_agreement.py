import math

import numpy as np
import pandas as pd
import pytest

from nerveseg.evaluation.comparisons import score_subject
from nerveseg.evaluation.rater_agreement import left_out_agreement, like_for_like, with_failures
from tests.helpers.score_tables import cohort, subject, tidy, tube

RATERS = ["A", "B", "C"]
NOTHING = np.zeros((24, 24, 5), dtype=bool)


def test_everybody_is_the_mean_of_his_meetings_with_the_raters():
    scores = tidy({"A-B": [0.9], "A-C": [0.6], "B-C": [0.3], "A-GT": [1.0], "Auto-A": [0.8], "Auto-B": [0.5],
                   "Auto-C": [0.2], "Auto-GT": [1.0]})  # fmt: skip
    row = like_for_like(scores, RATERS).loc[("patient", "pat0", "dice")]
    assert row["R-R"] == pytest.approx(0.6)
    assert row[RATERS].tolist() == pytest.approx([0.75, 0.6, 0.45])
    assert row["Auto"] == pytest.approx(0.5)


def test_against_pandas_on_real_masks():
    scores = pd.concat([score_subject(masks) for masks in cohort(["1", "2", "3"], RATERS)])
    agreement = like_for_like(scores, RATERS)
    for name, rule in {"R-R": "[ABC]-[ABC]", "Auto": "Auto-[ABC]", "B": "B-[AC]|[AC]-B"}.items():
        pooled = scores[scores["comparison"].str.fullmatch(rule)]
        expected = pooled.groupby(["cohort", "subject", "metric"])["value"].mean()
        pd.testing.assert_series_equal(agreement[name].astype(float), expected.reindex(agreement.index).astype(float),
                                       check_names=False)  # fmt: skip


def test_a_rater_who_drew_only_a_part_is_left_out_of_that_subjects_means():
    scores = tidy({"A-B": [0.9, 0.8], "A-C": [0.6, None], "B-C": [0.3, None], "Auto-A": [0.5, 0.4],
                   "Auto-B": [0.5, 0.2], "Auto-C": [0.2, None]})  # fmt: skip
    row = like_for_like(scores, RATERS).loc[("patient", "pat1", "dice")]
    assert (row["R-R"], row["A"], row["B"], row["Auto"]) == pytest.approx((0.8, 0.8, 0.8, 0.3))
    assert math.isnan(row["C"])


def test_without_automatic_masks_there_is_no_such_column():
    assert list(like_for_like(tidy({"A-B": [0.5]}), ["A", "B"]).columns) == ["R-R", "A", "B"]


def test_a_single_rater_agrees_with_nobody():
    agreement = like_for_like(tidy({"Auto-GT": [0.5]}), ["A"])
    assert agreement[["R-R", "A"]].isna().to_numpy().all()
    assert "Auto" not in agreement


def test_one_empty_mask_is_infinitely_far_and_two_are_nothing():
    masks = subject("1", {"A": tube(), "B": tube(radius=2), "C": NOTHING}, automatic=NOTHING)
    scores = with_failures(score_subject(masks)).set_index(["comparison", "metric"])["value"]
    for metric in ("hd95_paper_mm", "hd95_mm", "hd_mm", "assd_mm"):
        assert scores[("Auto-A", metric)] == scores[("A-C", metric)] == math.inf
        assert math.isfinite(scores[("A-B", metric)])
        assert math.isnan(scores[("Auto-C", metric)]), "two empty masks have no distance, not an infinite one"
    assert scores[("Auto-A", "dice")] == 0
    finite = scores.unstack().drop(columns=["hd95_paper_mm", "hd95_mm", "hd_mm", "assd_mm"])
    assert not np.isinf(finite.to_numpy()).any(), "only distances become infinite"


def test_a_failure_makes_the_methods_mean_distance_infinite_and_its_overlap_zero():
    masks = subject("1", {"A": tube(), "B": tube(radius=2), "C": tube(radius=4)}, automatic=NOTHING)
    agreement = like_for_like(score_subject(masks), RATERS)
    assert agreement.loc[("patient", "1", "hd95_mm"), "Auto"] == math.inf
    assert agreement.loc[("patient", "1", "dice"), "Auto"] == 0
    assert np.isfinite(agreement.loc[("patient", "1", "hd95_mm"), ["A", "B", "C"]].to_numpy(dtype=float)).all()


def test_the_consensus_of_the_others_is_met_by_the_method_and_the_rater_left_out():
    four = ["A", "B", "C", "D"]
    scores = pd.concat([
        tidy({f"{rater}-GT w/o {rater}": [0.1 * n] for n, rater in enumerate(four, 1)}),
        tidy({f"Auto-GT w/o {rater}": [0.2 * n] for n, rater in enumerate(four, 1)}),
        tidy({"A-B": [0.99]}),
    ])  # fmt: skip
    row = left_out_agreement(scores, four).loc[("patient", "pat0", "dice")]
    assert row.to_dict() == pytest.approx({"R-GT w/o R": 0.25, "Auto": 0.5})


def test_below_four_raters_nobody_is_left_out():
    scores = score_subject(cohort(["1"], RATERS)[0])
    assert not scores["comparison"].str.contains("w/o").any()
    assert left_out_agreement(scores, RATERS).isna().to_numpy().all()
