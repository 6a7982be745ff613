import math

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy import stats

from nerveseg.evaluation.comparisons import score_subject
from nerveseg.evaluation.hypotheses import LEGEND, TEST_COLUMNS, hypothesis_tests, verdict_in_words
from nerveseg.evaluation.margins import Margins
from tests.helpers.score_tables import METRICS, cohort, subject, tidy, tube

RATERS = ["A", "B", "C"]
NOTHING = np.zeros((24, 24, 5), dtype=bool)
PAIRS = ["A-B", "A-C", "B-C"]


def scores_of(masks):
    return pd.concat([score_subject(each) for each in masks], ignore_index=True)


@pytest.fixture(scope="module")
def study():
    """Eight volunteers and nine patients, three raters, a method as good as a rater."""
    volunteers = cohort([f"V{n}" for n in range(8)], RATERS, seed=1, cohort="volunteer")
    return scores_of([*cohort([f"P{n}" for n in range(9)], RATERS, seed=2), *volunteers])


@pytest.fixture(scope="module")
def tests(study):
    return hypothesis_tests(study, RATERS, Margins())


def row(table, cohort, metric, test):
    found = table[(table["cohort"] == cohort) & (table["metric"] == metric) & (table["test"] == test)]
    assert len(found) == 1
    return found.iloc[0]


def per_subject(scores, cohort, metric, rule):
    rows = scores[(scores["cohort"] == cohort) & (scores["metric"] == metric)]
    return rows[rows["comparison"].str.fullmatch(rule)].groupby("subject")["value"].mean()


def test_the_columns_and_rows_are_fixed(tests):
    assert tuple(tests.columns) == TEST_COLUMNS
    assert list(dict.fromkeys(tests["cohort"])) == ["volunteer", "patient"], "as in Table 1"
    kinds = [("paper", 4), ("contrast", 2), ("williams", 2), ("share above", 1)]
    for _, rows in tests.groupby("cohort"):
        assert rows["test"].value_counts().to_dict() == dict(kinds)
    assert set(tests["test"]) <= set(LEGEND)


@pytest.mark.parametrize("cohort", ["volunteer", "patient"])
@pytest.mark.parametrize("metric", METRICS)
def test_the_papers_test_is_mann_whitney_of_auto_gt_against_all_pairs(study, tests, cohort, metric):
    rows = study[(study["cohort"] == cohort) & (study["metric"] == metric)]
    automatic = rows[rows["comparison"] == "Auto-GT"]["value"].to_numpy()
    pairs = rows[rows["comparison"].isin(PAIRS)]["value"].to_numpy()
    found = row(tests, cohort, metric, "paper")
    assert (found["n"], found["n_pairs"]) == (len(automatic), 3 * len(automatic))
    larger = (automatic[:, None] > pairs).mean() - (automatic[:, None] < pairs).mean()
    assert found["estimate"] == found["effect_size"] == pytest.approx(larger)
    ties = len(np.unique([*automatic, *pairs])) < automatic.size + pairs.size
    expected = stats.mannwhitneyu(automatic, pairs, method="asymptotic" if ties else "exact")
    assert found["p_value"] == pytest.approx(expected.pvalue, rel=1e-9)


@pytest.mark.parametrize("cohort", ["volunteer", "patient"])
@pytest.mark.parametrize("metric", ["dice", "vs"])
def test_the_contrast_is_of_subjects(study, tests, cohort, metric):
    automatic, raters = (per_subject(study, cohort, metric, rule) for rule in ("Auto-[ABC]", "[ABC]-[ABC]"))
    difference = (automatic - raters).to_numpy(dtype=float)
    found = row(tests, cohort, metric, "contrast")
    walsh = [(a + b) / 2 for i, a in enumerate(difference) for b in difference[i:]]
    assert found["estimate"] == pytest.approx(np.median(walsh))
    assert found["p_value"] == pytest.approx(stats.wilcoxon(difference, method="exact").pvalue)
    assert found["n"] == len(difference)
    assert found["ci_low"] < found["estimate"] < found["ci_high"]
    assert found["non_inferior"] == (found["ci_low"] > -0.05)
    index = row(tests, cohort, metric, "williams")
    assert index["estimate"] == pytest.approx(automatic.mean() / raters.mean())
    assert math.isnan(index["margin"])


def test_holm_is_within_a_kind_of_test_over_cohorts_and_metrics(tests):
    for _, rows in tests[tests["test"] != "williams"].groupby("test"):
        p = rows["p_value"].to_numpy(dtype=float)
        order = np.argsort(p)
        steps = [min(1, (len(p) - place) * p[index]) for place, index in enumerate(order)]
        expected = np.empty(len(p))
        expected[order] = np.maximum.accumulate(steps)
        np.testing.assert_allclose(rows["p_holm"].to_numpy(dtype=float), expected)
        if rows["margin"].notna().all():
            smallest = rows["p_non_inferiority"].idxmin()
            raw, adjusted = rows.loc[smallest, ["p_non_inferiority", "p_non_inferiority_holm"]]
            assert adjusted == pytest.approx(min(1, len(rows) * raw))
    assert tests[tests["test"] == "williams"]["p_holm"].isna().all()


def test_the_share_above_the_limit_is_counted():
    """Two of eight subjects are far off for the method alone, one for both."""
    far = [20.0, 30.0, 12.0, 1, 1, 1, 1, 1]
    raters = [1.0, 1.0, 12.0, 1, 1, 1, 1, 1]
    values = {"A-B": raters, "Auto-A": far, "Auto-B": far, "Auto-GT": far}
    scores = pd.concat([tidy(values, "hd95_mm"), *(tidy({name: [0.8] * 8 for name in values}, m)
                                                   for m in ("dice", "vs", "hd95_paper_mm"))])  # fmt: skip
    found = row(hypothesis_tests(scores, ["A", "B"], Margins()), "patient", "hd95_mm", "share above")
    assert found["estimate"] == 0.25
    assert not found["non_inferior"]
    wide = hypothesis_tests(scores, ["A", "B"], Margins(far_mm=40))
    assert row(wide, "patient", "hd95_mm", "share above")["estimate"] == 0
    assert "above 40 mm" in row(wide, "patient", "hd95_mm", "share above")["method"]


def shifted(loss, subjects=12, spread=0.01):
    """Differences whose pseudomedian is minus a loss, with an interval of about the spread."""
    raters = np.linspace(0.80, 0.85, subjects)
    automatic = raters - loss + spread * np.linspace(-1, 1, subjects)
    values = {"A-B": raters} | dict.fromkeys(("Auto-A", "Auto-B", "Auto-GT"), automatic)
    scores = pd.concat([tidy(values, metric) for metric in METRICS])
    return row(hypothesis_tests(scores, ["A", "B"], Margins()), "patient", "dice", "contrast")


@pytest.mark.parametrize(
    ("loss", "options", "verdict"),
    [
        (-0.03, {}, "better"),
        (0.0, {}, "no worse"),
        (0.03, {}, "no worse"),
        (0.05, {}, "worse"),
        (0.08, {}, "worse"),
        (0.05, {"spread": 0.2}, "inconclusive"),
        (0.0, {"subjects": 5}, "not decidable"),
        (0.0, {"spread": 0.0}, "no worse"),
        (0.0, {"subjects": 1}, "not decidable"),
    ],
)
def test_the_verdict_follows_from_interval_and_margin(loss, options, verdict):
    found = shifted(loss, **options)
    assert found["verdict"] == verdict
    assert (found["n_needed"], found["non_inferior"] is True) == (6, verdict in ("better", "no worse"))


def test_no_miss_of_ten_is_not_decidable_and_35_are_needed():
    verdicts = []
    for n in (10, 34, 35):
        values = dict.fromkeys(("A-B", "Auto-A", "Auto-B", "Auto-GT"), [1.0] * n)
        scores = pd.concat([tidy(values, metric) for metric in METRICS])
        found = row(hypothesis_tests(scores, ["A", "B"], Margins()), "patient", "hd95_mm", "share above")
        assert found["n_needed"] == 35
        verdicts.append(found["verdict"])
    assert verdicts == ["not decidable", "not decidable", "no worse"]
    assert "35" in verdict_in_words(found.to_dict() | {"verdict": "not decidable"})


def test_a_share_that_the_raters_have_is_better_and_the_other_way_round_worse():
    near, far = [1.0] * 10, [20.0] * 10
    for automatic, raters, verdict in [(near, far, "better"), (far, near, "worse")]:
        values = {"A-B": raters} | dict.fromkeys(("Auto-A", "Auto-B", "Auto-GT"), automatic)
        scores = pd.concat([tidy(values, metric) for metric in METRICS])
        found = row(hypothesis_tests(scores, ["A", "B"], Margins()), "patient", "hd95_mm", "share above")
        assert found["verdict"] == verdict


def test_margins_decide():
    values = {"A-B": np.linspace(0.80, 0.85, 12), "Auto-A": np.linspace(0.76, 0.81, 12) + np.arange(12) % 3 * 0.001}
    values |= {"Auto-B": values["Auto-A"], "Auto-GT": values["Auto-A"]}
    scores = pd.concat([tidy(values, metric) for metric in METRICS])
    strict, lenient = (hypothesis_tests(scores, ["A", "B"], Margins(dice=margin)) for margin in (0.03, 0.05))
    assert not row(strict, "patient", "dice", "contrast")["non_inferior"]
    assert row(lenient, "patient", "dice", "contrast")["non_inferior"]


@pytest.mark.parametrize(
    "margin",
    [{"dice": 0}, {"vs": -0.1}, {"vs": 1}, {"far_share": 1}, {"far_mm": 0}, {"far_mm": np.inf}, {"hd": 1}],
)
def test_margins_are_losses(margin):
    with pytest.raises(ValidationError):
        Margins(**margin)


def test_an_empty_prediction_is_never_rewarded():
    """The worse the method fails, the worse every estimate."""
    masks = cohort([f"P{n}" for n in range(8)], RATERS, seed=2)
    tables = []
    for failures in range(3):
        failed = [subject(each.subject, each.raters, NOTHING) for each in masks[:failures]]
        tables.append(hypothesis_tests(scores_of([*failed, *masks[failures:]]), RATERS, Margins()))
    for metric, test, sign in [("dice", "paper", -1), ("vs", "paper", -1), ("hd95_mm", "paper", 1),
                               ("hd95_paper_mm", "paper", 1), ("dice", "contrast", -1), ("vs", "contrast", -1),
                               ("dice", "williams", -1), ("vs", "williams", -1),
                               ("hd95_mm", "share above", 1)]:  # fmt: skip
        estimates = [sign * row(table, "patient", metric, test)["estimate"] for table in tables]
        assert estimates[0] < estimates[1] <= estimates[2], (metric, test)
        assert {row(table, "patient", metric, test)["n"] for table in tables} == {8}, "nobody is dropped"
    ranks = row(tables[2], "patient", "hd95_mm", "paper")
    assert ranks["p_value"] == pytest.approx(_with_infinities(masks), rel=1e-9)


def _with_infinities(masks):
    """Two failures stand above everything: any number beyond the largest gives the same ranks."""
    scores = scores_of(masks)
    rows = scores[scores["metric"] == "hd95_mm"]
    automatic = rows[rows["comparison"] == "Auto-GT"].set_index("subject")["value"].copy()
    automatic[["P0", "P1"]] = 1e6
    pairs = rows[rows["comparison"].isin(PAIRS)]["value"]
    return stats.mannwhitneyu(automatic, pairs, method="asymptotic").pvalue


def test_a_single_subject_is_not_computable():
    table = hypothesis_tests(scores_of(cohort(["P1"], RATERS)), RATERS, Margins())
    tested = table[table["test"] != "williams"]
    assert (tested["note"] == "not computable, n=1").all()
    assert table[table["test"] == "williams"]["note"].str.startswith("no interval, n=1").all()
    assert table["ci_low"].isna().all()
    assert table["p_value"].isna().all()
    assert table["p_holm"].isna().all()
    assert tested["estimate"].isna().all()
    assert table["non_inferior"].isna().all()


def test_nothing_to_test_without_a_method_or_with_one_rater():
    alone = scores_of(cohort(["P1", "P2"], RATERS, automatic=False))
    assert hypothesis_tests(alone, RATERS, Margins()).empty
    one = scores_of(cohort(["P1", "P2"], ["A"]))
    table = hypothesis_tests(one, ["A"], Margins())
    assert table.empty
    assert tuple(table.columns) == TEST_COLUMNS


def test_subjects_whom_one_rater_drew_are_counted_out():
    masks = cohort([f"P{n}" for n in range(7)], RATERS)
    lonely = subject("P7", {"B": tube()}, tube(radius=2.5))
    scores = pd.concat([scores_of(masks), score_subject(lonely, RATERS)])
    found = row(hypothesis_tests(scores, RATERS, Margins()), "patient", "dice", "contrast")
    assert found["n"] == 7
    assert "1 subjects with too few masks left out" in found["note"]


def test_two_empty_masks_are_named_in_the_papers_test():
    masks = cohort([f"P{n}" for n in range(7)], RATERS)
    nothing = subject("P7", {"A": NOTHING, "B": NOTHING, "C": tube()}, NOTHING)
    found = row(hypothesis_tests(scores_of([*masks, nothing]), RATERS, Margins()), "patient", "dice", "paper")
    assert (found["n"], found["n_pairs"]) == (7, 23)
    assert found["note"] == "2 pairs of two empty masks left out"


def test_four_raters_add_the_contrast_that_leaves_one_out():
    four = ["A", "B", "C", "D"]
    masks = cohort([f"P{n}" for n in range(7)], four, seed=4)
    scores = scores_of(masks)
    table = hypothesis_tests(scores, four, Margins())
    for metric in ("dice", "vs"):
        found = row(table, "patient", metric, "contrast, leave-one-out")
        rows = scores[scores["metric"] == metric].set_index(["subject", "comparison"])["value"]
        differences = [
            np.mean([rows[(each.subject, f"Auto-GT w/o {r}")] - rows[(each.subject, f"{r}-GT w/o {r}")] for r in four])
            for each in masks
        ]
        assert found["p_value"] == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue)
        walsh = [(a + b) / 2 for i, a in enumerate(differences) for b in differences[i:]]
        assert found["estimate"] == pytest.approx(np.median(walsh))
        assert found["n"] == 7
    assert "contrast, leave-one-out" not in set(hypothesis_tests(scores_of(cohort(["1"], RATERS)), RATERS,
                                                                 Margins())["test"])  # fmt: skip


def test_four_scans_of_everybody_are_no_more_evidence_than_one(study, tests):
    copies = [study.assign(subject=study["subject"] + copy) for copy in ("", "b", "c", "d")]
    found = hypothesis_tests(pd.concat(copies), RATERS, Margins())
    pd.testing.assert_frame_equal(found.drop(columns="note"), tests.drop(columns="note"))
    assert found["note"].str.contains("32 scans of 8").sum() == found["note"].str.contains("36 scans of 9").sum() == 9


def test_the_value_of_a_person_is_the_mean_over_their_scans():
    """Two scans of one person at -0.2 and 0 are one value of -0.1, and a person with a failed scan is far off."""
    ours, theirs = [0.6, 0.8, 0.79, 0.78, 0.77, 0.76, 0.75], [0.8] * 7
    values = {"A-B": theirs, **dict.fromkeys(("Auto-A", "Auto-B", "Auto-GT"), ours)}
    misses = [18.0, 4.0, 1, 1, 1, 1, 1]
    far = {"A-B": [1.0] * 7, **dict.fromkeys(("Auto-A", "Auto-B", "Auto-GT"), misses)}
    scores = pd.concat([tidy(far if metric == "hd95_mm" else values, metric) for metric in METRICS])
    scores = scores.assign(group=scores["group"].replace("pat1", "pat0"))
    table = hypothesis_tests(scores, ["A", "B"], Margins())
    found = row(table, "patient", "dice", "contrast")
    differences = np.array([-0.1, -0.01, -0.02, -0.03, -0.04, -0.05])
    assert found["n"] == 6
    assert found["estimate"] == pytest.approx(np.median([(a + b) / 2 for i, a in enumerate(differences)
                                                         for b in differences[i:]]))  # fmt: skip
    assert row(table, "patient", "hd95_mm", "share above")["estimate"] == pytest.approx(1 / 6), "the mean of 18 and 4"
    assert row(table, "patient", "dice", "paper")["n_pairs"] == 6
