import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nerveseg.evaluation.analysis import (
    SUMMARY_COLUMNS,
    TIME_COLUMNS,
    Measurements,
    analyse,
    even_numbers,
    like_for_like_summary,
    location_table,
)
from nerveseg.evaluation.class_analysis import write_analysis
from nerveseg.evaluation.comparisons import (
    QUANTITY_COLUMNS,
    SCORE_COLUMNS,
    SLICE_COLUMNS,
    measure_masks,
    read_scores,
    score_subject,
    slice_scores,
)
from nerveseg.evaluation.hypotheses import TEST_COLUMNS
from nerveseg.evaluation.margins import Margins
from nerveseg.evaluation.tables.agreement_table import AGREEMENT_COLUMNS
from nerveseg.evaluation.tables.table1 import table1
from tests.helpers.score_tables import cohort, subject, tube

RATERS = ["A", "B", "C"]
NOTHING = np.zeros((24, 24, 5), dtype=bool)


def measurements(masks, raters=RATERS, times=()):
    return Measurements(
        scores=pd.concat([score_subject(each, raters) for each in masks], ignore_index=True),
        quantities=pd.concat([measure_masks(each) for each in masks], ignore_index=True),
        times=pd.DataFrame(times, columns=list(TIME_COLUMNS)),
        raters=raters,
    )


def write(analysis, folder, title):
    write_analysis([analysis], analysis.measurements, folder, title)


def study():
    return [
        *cohort(["P1", "P2", "P3"], RATERS, location="distal"),
        *cohort(["P4", "P5"], RATERS, seed=5, location="proximal"),
        *cohort(["V1", "V2"], RATERS, seed=6, cohort="volunteer", location="distal"),
    ]


def test_each_table_is_written_with_its_columns(tmp_path):
    measured = measurements(study(), times=[("P1", "patient", "A", 20.0)])
    write(analyse(measured, Margins()), tmp_path / "evaluation", "study t")
    columns = {path.name: tuple(pd.read_csv(path, nrows=0).columns) for path in (tmp_path / "evaluation").glob("*.csv")}
    assert columns["scores.csv"] == SCORE_COLUMNS
    assert columns["table1.csv"][:7] == ("class", "cohort", "comparison", "n", "n_failed", "dice_mean", "dice_sd")
    assert columns["locations.csv"][:6] == ("class", "cohort", "location", "comparison", "n", "n_failed")
    metrics = ("dice", "hd95_paper_mm", "hd95_mm", "vs")
    statistics = tuple(f"{metric}_{statistic}" for metric in metrics for statistic in ("mean", "sd"))
    assert columns["like_for_like.csv"] == ("class", "cohort", "source", "n", "n_failed", *statistics)
    assert columns["slices.csv"] == SLICE_COLUMNS
    assert columns["tests.csv"] == ("class", *TEST_COLUMNS)
    assert columns["quantities.csv"] == QUANTITY_COLUMNS
    assert columns["agreement.csv"] == ("class", *AGREEMENT_COLUMNS)
    assert columns["times.csv"] == SUMMARY_COLUMNS
    assert {path.name for path in (tmp_path / "evaluation").iterdir()} == {*columns, "table1.md", "table1.tex"}
    assert len(columns) == 9
    written = read_scores(tmp_path / "evaluation" / "scores.csv")
    assert written["value"].tolist() == pytest.approx(measured.scores["value"].tolist(), nan_ok=True)


@pytest.mark.parametrize("raters", [["A"], RATERS])
def test_a_study_without_anything_special_has_the_same_files(raters, tmp_path):
    """No location, no time, no method or no second rater: a file without rows, but with its columns."""
    masks = cohort(["P1", "P2"], raters, automatic=len(raters) == 1)
    write(analyse(measurements(masks, raters), Margins()), tmp_path, "t")
    assert tuple(pd.read_csv(tmp_path / "tests.csv").columns) == ("class", *TEST_COLUMNS)
    assert pd.read_csv(tmp_path / "tests.csv").empty
    assert tuple(pd.read_csv(tmp_path / "locations.csv").columns[:3]) == ("class", "cohort", "location")
    assert len(list(tmp_path.glob("*.csv"))) == 9


def test_locations_are_table_1_of_a_part_and_only_where_there_are_several():
    scores = measurements(study()).scores
    table = location_table(scores, RATERS)
    assert set(table["cohort"]) == {"patient"}, "all volunteers are distal"
    assert list(zip(table["location"], table["comparison"], table["n"], strict=True)) == [
        ("distal", "R-R", 9), ("distal", "Auto-GT", 3), ("proximal", "R-R", 6), ("proximal", "Auto-GT", 2),
    ]  # fmt: skip
    dice = scores[(scores["metric"] == "dice") & scores["subject"].isin(["P4", "P5"])]
    pooled = dice[dice["comparison"].isin(["A-B", "A-C", "B-C"])]["value"]
    row = table[(table["location"] == "proximal") & (table["comparison"] == "R-R")].iloc[0]
    assert (row["dice_mean"], row["dice_sd"]) == pytest.approx((pooled.mean(), pooled.std()))


def test_like_for_like_is_a_mean_over_subjects():
    scores = measurements(study()).scores
    table = like_for_like_summary(scores, RATERS)
    assert table["cohort"].drop_duplicates().tolist() == ["volunteer", "patient"]
    assert table["source"].tolist() == ["A", "B", "C", "Auto"] * 2
    rows = scores[(scores["metric"] == "vs") & (scores["cohort"] == "patient")]
    for source, pairs in {"B": ["A-B", "B-C"], "Auto": ["Auto-A", "Auto-B", "Auto-C"]}.items():
        means = rows[rows["comparison"].isin(pairs)].groupby("subject")["value"].mean()
        found = table[(table["cohort"] == "patient") & (table["source"] == source)].iloc[0]
        assert (found["n"], found["vs_mean"], found["vs_sd"]) == pytest.approx((5, means.mean(), means.std()))


def test_a_failure_is_named_counted_and_left_out_of_the_mean_distances():
    masks = study()
    masks[0] = subject("P1", masks[0].raters, NOTHING)
    masks[1] = subject("P2", masks[1].raters | {"A": NOTHING}, NOTHING)
    analysis = analyse(measurements(masks), Margins())
    assert analysis.remarks == ["Empty masks: sub-P1 (patient) Auto; sub-P2 (patient) A, Auto."]
    failed = analysis.table1.set_index(["cohort", "comparison"])["n_failed"]
    assert failed[("patient", "Auto-GT")] == failed[("patient", "Auto-A")] == 2
    assert failed[("patient", "A-B")] == 1
    assert failed[("volunteer", "Auto-GT")] == failed[("patient", "B-C")] == 0
    automatic = analysis.like_for_like.set_index(["cohort", "source"]).loc[("patient", "Auto")]
    assert (automatic["n"], automatic["n_failed"]) == (5, 6), "the zero of its Dice counts"
    scores = analysis.measurements.scores
    distances = scores[(scores["metric"] == "hd95_mm") & scores["comparison"].isin(["Auto-A", "Auto-B", "Auto-C"])]
    means = distances[distances["cohort"] == "patient"].groupby("subject")["value"].mean()
    assert means.isna().sum() == 2
    assert (automatic["hd95_mm_mean"], automatic["hd95_mm_sd"]) == pytest.approx((means.mean(), means.std()))
    rater = analysis.like_for_like.set_index(["cohort", "source"]).loc[("patient", "B")]
    assert rater["n_failed"] == 1
    assert math.isfinite(rater["hd95_mm_mean"]), "one rater's empty mask is no distance of the others"


def test_who_did_not_draw_is_named_and_the_rest_counted(tmp_path):
    masks = cohort(["P1", "P2", "P3"], RATERS)
    masks[1] = subject("P2", {rater: masks[1].raters[rater] for rater in ("A", "C")}, masks[1].automatic)
    masks[2] = subject("P3", {"A": masks[2].raters["A"]}, masks[2].automatic)
    analysis = analyse(measurements(masks), Margins())
    assert analysis.remarks == [
        "B did not draw 2 of 3 subjects (GT is the others' consensus there): P2, P3.",
        "C did not draw 1 of 3 subjects (GT is the others' consensus there): P3.",
        *even_numbers(analysis.measurements.quantities, RATERS),
    ]
    assert len(analysis.remarks) == 3, "the two raters of P2 have no majority"
    counts = analysis.table1.set_index("comparison")["n"].to_dict()
    assert counts == {"A-B": 1, "A-C": 2, "B-C": 1, "A-GT": 2, "B-GT": 1, "C-GT": 2, "R-R": 4,
                      "Auto-A": 3, "Auto-B": 1, "Auto-C": 2, "Auto-GT": 3}  # fmt: skip
    write(analysis, tmp_path, "t")
    for name in ("table1.md", "table1.tex"):
        assert "B did not draw 2 of 3 subjects" in (tmp_path / name).read_text(encoding="utf-8")


def test_a_subject_of_one_rater_does_not_make_that_rater_perfect():
    masks = subject("P1", {"B": study()[0].raters["B"]}, study()[0].automatic)
    scores = score_subject(masks, RATERS)
    dice = scores[scores["metric"] == "dice"].set_index("comparison")["value"]
    assert set(dice.index) == {"Auto-B", "Auto-GT"}
    assert dice["Auto-B"] == dice["Auto-GT"] < 1
    assert set(score_subject(masks)["comparison"]) == {"Auto-GT"}, "in a study of one rater"


def test_table_1_has_no_row_that_leaves_a_rater_out():
    four = [*RATERS, "D"]
    scores = measurements(cohort(["P1", "P2"], four), four).scores
    assert scores["comparison"].str.contains("w/o").any()
    table = table1(scores, four)
    pd.testing.assert_frame_equal(table, table1(scores[~scores["comparison"].str.contains("w/o")], four))


def test_a_single_subject_makes_every_table_without_a_warning(tmp_path):
    analysis = analyse(measurements(cohort(["P1"], RATERS)), Margins())
    write(analysis, tmp_path, "t")
    assert analysis.table1["dice_sd"].isna().sum() == 10
    assert analysis.like_for_like["n"].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("raters", "rule", "words"),
    [("AB", "majority", ["intersection", "3 of 3"]), ("ABCD", "majority", ["even number", "3 of 3"]),
     ("ABC", "majority", None), ("AB", "staple", None)],
)  # fmt: skip
def test_a_consensus_of_an_even_number_of_raters_is_named_in_every_table(raters, rule, words, tmp_path):
    measured = replace(measurements(cohort(["P1", "P2", "P3"], list(raters)), list(raters)), consensus=rule)
    analysis = analyse(measured, Margins())
    assert len(analysis.remarks) == (words is not None)
    write(analysis, tmp_path, "t")
    for name in ("table1.md", "table1.tex"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert all(word in text for word in words or [])
    of_consensus = analysis.table1["comparison"].str.contains("GT")
    assert (analysis.table1["note"] != "").tolist() == [bool(words) and each for each in of_consensus]
    papers = analysis.tests[analysis.tests["test"] == "paper"]["note"]
    assert all(papers.str.contains(word).all() for word in words or [])


def test_margins_that_were_changed_afterwards_are_named_on_the_table_and_the_tests(tmp_path):
    measured = measurements(study())
    kept = analyse(measured, Margins(), Margins())
    assert kept.margins_changed == ""
    assert not kept.tests["note"].str.contains("changed").any()
    changed = analyse(measured, Margins(dice=0.13), Margins())
    assert "0.05" in changed.margins_changed
    assert changed.tests["note"].str.contains("were dice 0.05").tolist() == changed.tests["margin"].notna().tolist()
    write(changed, tmp_path, "t")
    for name in ("table1.md", "table1.tex"):
        assert "(were dice 0.05)" in (tmp_path / name).read_text(encoding="utf-8")
    assert "(were far_mm 10)" in analyse(measured, Margins(far_mm=40), Margins()).margins_changed


def test_scans_of_one_person_are_counted():
    masks = [*study(), *(replace(each, subject=f"{each.subject}r", group=each.subject) for each in study()[:2])]
    (remark,) = analyse(measurements(masks), Margins()).remarks
    assert "9 scans of 7" in remark


def test_a_slice_has_the_dice_of_its_pixels():
    first, second = subject("1", {"A": tube(slices=slice(0, 3)), "B": tube(radius=2)}), tube(slices=slice(0, 3))
    table = slice_scores(first).set_index(["comparison", "slice"])["dice"]
    other = tube(radius=2)
    for z in range(5):
        a, b = second[..., z], other[..., z]
        assert table[("A-B", z)] == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
    assert ("A-GT", 4) not in table.index, "neither shows nerve"
    assert (table[("A-GT", 0)], table[("A-B", 4)]) == (pytest.approx(table[("A-B", 0)]), 0)
