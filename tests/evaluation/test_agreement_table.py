import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nerveseg.evaluation.comparisons import MEAN_AREA, QUANTITY_COLUMNS, VOLUME, measure_masks
from nerveseg.evaluation.tables.agreement_table import AGREEMENT_COLUMNS, agreement_table
from tests.helpers.score_tables import cohort, subject, tube

RATERS = ["A", "B", "C"]
NOTHING = np.zeros((24, 24, 5), dtype=bool)


def volumes(values, cohort="patient", quantity=VOLUME):
    """Rows of quantities.csv from {source: [value of each subject]}; None leaves a row out."""
    rows = [
        (f"{cohort[:3]}{n}", f"{cohort[:3]}{n}", cohort, None, None, "nerve", source, quantity, value)
        for source, column in values.items()
        for n, value in enumerate(column)
        if value is not None
    ]
    return pd.DataFrame(rows, columns=list(QUANTITY_COLUMNS))


def row(table, comparison, analysis="bland_altman", quantity=VOLUME, cohort="patient"):
    known = table[(table["cohort"] == cohort) & (table["quantity"] == quantity) & (table["analysis"] == analysis)]
    found = known[known["comparison"] == comparison]
    assert len(found) == 1
    return found.iloc[0]


def measured(masks):
    return pd.concat([measure_masks(each) for each in masks], ignore_index=True)


def test_rows_and_columns_are_fixed():
    masks = [*cohort(["P1", "P2", "P3"], RATERS), *cohort(["V1", "V2"], RATERS, cohort="volunteer")]
    table = agreement_table(measured(masks), RATERS)
    assert tuple(table.columns) == AGREEMENT_COLUMNS
    assert list(dict.fromkeys(table["cohort"])) == ["volunteer", "patient"]
    of_one = table[(table["cohort"] == "patient") & (table["quantity"] == MEAN_AREA)]
    assert list(zip(of_one["analysis"], of_one["comparison"], strict=True)) == [
        ("bland_altman", "B - A"), ("bland_altman", "C - A"), ("bland_altman", "C - B"), ("icc", "A, B, C"),
        ("bland_altman", "Auto - raters' mean"),
    ]  # fmt: skip


def test_bland_altman_of_two_raters_by_hand():
    first, second = np.array([90.0, 110, 100, 95]), np.array([110.0, 90, 100, 105])
    percent = 200 * (second - first) / (second + first)
    found = row(agreement_table(volumes({"A": first, "B": second}), ["A", "B"]), "B - A")
    assert found["estimate"] == pytest.approx(percent.mean())
    assert found["lower_limit"] == pytest.approx(percent.mean() - stats.norm.ppf(0.975) * percent.std(ddof=1))
    interval = stats.t.interval(0.95, 3, percent.mean(), stats.sem(percent))
    assert (found["ci_low"], found["ci_high"]) == pytest.approx(interval)


def test_the_method_is_compared_with_the_mean_of_those_who_drew():
    table = agreement_table(
        volumes({"A": [100.0, 80.0, None], "B": [120.0, None, 50.0], "Auto": [110.0, 100.0, 50.0]}), ["A", "B"]
    )
    found = row(table, "Auto - raters' mean")
    assert found["n"] == 3
    assert found["estimate"] == pytest.approx(np.mean([0, 100 * 20 / 90, 0]))
    between = row(table, "B - A")
    assert (between["n"], between["note"]) == (1, "not computable, n=1; 2 subjects without one of the masks left out")
    icc = row(table, "A, B", "icc")
    assert "2 subjects without a mask of each rater left out" in icc["note"]


def test_icc_is_that_of_a_two_way_analysis_of_variance():
    """Shrout and Fleiss 1979, table 2: six subjects, four judges, ICC(2,1) = 0.29."""
    judges = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
    table = agreement_table(volumes(dict(zip("ABCD", judges.T, strict=True))), list("ABCD"))
    assert row(table, "A, B, C, D", "icc")["estimate"] == pytest.approx(0.29, abs=0.005)


def test_a_failed_prediction_is_200_percent_too_small_and_is_not_left_out():
    masks = cohort([f"P{n}" for n in range(4)], RATERS)
    failed = [subject("P0", masks[0].raters, NOTHING), *masks[1:]]
    for quantity in (VOLUME, MEAN_AREA):
        good, bad = (
            row(agreement_table(measured(each), RATERS), "Auto - raters' mean", quantity=quantity)
            for each in (masks, failed)
        )
        assert bad["n"] == good["n"] == 4
        assert bad["estimate"] < good["estimate"] - 40, "one of four lost 200 %"


def test_two_empty_masks_have_no_percentage_and_are_counted():
    table = agreement_table(volumes({"A": [0.0, 50.0, 60.0], "B": [0.0, 55.0, 60.0]}), ["A", "B"])
    found = row(table, "B - A")
    assert (found["n"], found["note"]) == (2, "1 subject with two empty masks left out")
    assert found["estimate"] == pytest.approx(100 * 5 / 52.5 / 2)


def test_a_cohort_that_a_rater_did_not_draw():
    quantities = pd.concat([
        volumes({"A": [50.0, 60.0, 70.0], "B": [55.0, 61.0, 70.0], "Auto": [50.0, 50.0, 60.0]}),
        volumes({"A": [50.0, 60.0, 70.0], "Auto": [50.0, 66.0, 65.0]}, cohort="volunteer"),
    ])  # fmt: skip
    table = agreement_table(quantities, ["A", "B", "nobody"])
    assert row(table, "B - A")["n"] == 3
    assert row(table, "B - A", cohort="volunteer")["note"].startswith("not computable, n=0")
    assert row(table, "Auto - raters' mean", cohort="volunteer")["n"] == 3


def test_one_rater_is_compared_with_the_method_only():
    table = agreement_table(volumes({"A": [50.0, 60.0], "Auto": [55.0, 60.0]}), ["A"])
    assert table["comparison"].tolist() == ["Auto - A"]


def test_a_single_subject_says_so():
    table = agreement_table(measured(cohort(["P1"], RATERS)), RATERS)
    assert table["note"].str.startswith("not computable, n=1").all()
    assert table["estimate"].isna().all()


def test_repeated_scans_by_hand():
    """Bland and Altman 1996: the squared error is half the mean squared difference."""
    quantities = volumes({"A": [50.0, 53.0, 60.0, 56.0, 70.0], "B": [50.0, 50.0, None, 60.0, 60.0],
                          "Auto": [50.0, 50.0, 60.0, 60.0, 70.0]})  # fmt: skip
    repeats = {"pat1": ("pat0", "pat1"), "pat3": ("pat2", "pat3"), "pat9": ("pat4", "pat9")}
    table = agreement_table(quantities, ["A", "B"], repeats)
    found = row(table, "A", "repeatability")
    error = np.sqrt((3**2 + 4**2) / 2 / 2)
    assert found["n"] == 2
    assert found["estimate"] == pytest.approx(error)
    assert found["smallest_detectable_change"] == pytest.approx(stats.norm.ppf(0.975) * np.sqrt(2) * error)
    assert row(table, "Auto", "repeatability")["estimate"] == 0
    short = row(table, "B", "repeatability")
    assert short["note"] == "not computable, n=1; 1 subject without both masks left out"
    assert "repeatability" not in set(agreement_table(quantities, ["A", "B"])["analysis"])


def test_an_empty_mask_is_no_better_repeated():
    masks = [subject(name, {"A": mask, "B": tube()}) for name, mask in [("1", tube()), ("2", NOTHING), ("3", tube()),
                                                                      ("4", tube())]]  # fmt: skip
    table = agreement_table(measured(masks), ["A", "B"], {"2": ("1", "2"), "4": ("3", "4")})
    for quantity in (VOLUME, MEAN_AREA):
        assert row(table, "A", "repeatability", quantity)["estimate"] > 0
        assert row(table, "B", "repeatability", quantity)["estimate"] == 0


def test_a_person_counts_once_with_the_first_scan():
    one = volumes({"A": [50.0, 60.0, 70.0], "B": [55.0, 61.0, 75.0], "Auto": [50.0, 62.0, 70.0]})
    again = one.assign(subject=one["subject"] + "r", value=2 * one["value"])
    repeats = {f"pat{n}r": (f"pat{n}", f"pat{n}r") for n in range(3)}
    table = agreement_table(pd.concat([again, one]), ["A", "B"], repeats)
    alone = agreement_table(one, ["A", "B"])
    between = table[table["analysis"] != "repeatability"].reset_index(drop=True)
    pd.testing.assert_frame_equal(between.drop(columns="note"), alone.drop(columns="note"))
    assert between["note"].str.contains("6 scans of 3").all()


def test_repeatability_pools_cohorts_where_one_has_few_pairs_and_counts_a_person_once():
    def twice(cohort, people):
        first = volumes({"A": [50.0 + n for n in range(people)]}, cohort)
        return pd.concat([first, first.assign(subject=first["subject"] + "r", value=first["value"] + 2)])

    few, many = twice("patient", 2), twice("volunteer", 4)
    quantities = pd.concat([few, many])
    repeats = {s: (s.removesuffix("r"), s) for s in dict.fromkeys(quantities["subject"]) if s.endswith("r")}
    table = agreement_table(quantities, ["A"], repeats)
    found = table[table["analysis"] == "repeatability"].set_index("cohort")
    assert found["n"].to_dict() == {"volunteer": 4, "all": 6}
    assert found.loc["all", "estimate"] == pytest.approx(np.sqrt(2))
    assert "patient 2" in found.loc["all", "note"]
    assert "volunteer 4" in found.loc["all", "note"]
    legs = quantities.assign(group=quantities["group"].replace("pat1", "pat0"))
    assert agreement_table(legs, ["A"], repeats).query("cohort == 'all'")["n"].tolist() == [5]


def test_a_subject_in_whom_nobody_drew_does_not_raise_the_icc():
    judges = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
    judges = np.vstack([100 + judges, np.zeros(4)])
    found = row(agreement_table(volumes(dict(zip("ABCD", judges.T, strict=True))), list("ABCD")), "A, B, C, D", "icc")
    assert (found["n"], found["note"]) == (6, "1 subject with empty masks only left out")
    assert found["estimate"] == pytest.approx(0.29, abs=0.005)
