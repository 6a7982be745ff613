import statistics

import pandas as pd
import pytest

from nerveseg.evaluation.analysis import SUMMARY_COLUMNS, TIME_COLUMNS, time_summary

OS, BW = [31.5, 28.0, 40.0], [12.0, 14.5]


def table(rows):
    return pd.DataFrame(rows, columns=list(TIME_COLUMNS))


@pytest.fixture
def times():
    rows = [(f"P{n}", "patient", "OS", value) for n, value in enumerate(OS)]
    rows += [(f"P{n}", "patient", "BW", value) for n, value in enumerate(BW)]
    rows += [("P0", "patient", "Auto", 0.5), ("V0", "volunteer", "OS", 9.0)]
    return table(rows)


def summary(times):
    found = time_summary(times)
    assert tuple(found.columns) == SUMMARY_COLUMNS
    return found.set_index(["cohort", "source"])


def test_each_rater_and_all_of_them_and_the_method(times):
    found = summary(times)
    assert list(found.index) == [("volunteer", "OS"), ("volunteer", "raters"), ("patient", "OS"), ("patient", "BW"),
                                 ("patient", "raters"), ("patient", "Auto")]  # fmt: skip
    for source, minutes in {"OS": OS, "BW": BW, "raters": OS + BW}.items():
        row = found.loc[("patient", source)]
        assert row["n"] == len(minutes)
        assert row["minutes_mean"] == pytest.approx(statistics.mean(minutes))
        assert row["minutes_sd"] == pytest.approx(statistics.stdev(minutes))
    assert found.loc[("patient", "Auto"), "minutes_mean"] == 0.5
    assert pd.isna(found.loc[("patient", "Auto"), "minutes_sd"]), "one subject has no deviation"


def test_one_rater_is_not_pooled_with_himself(times):
    assert "raters" not in set(time_summary(times[times["source"] != "BW"])["source"])


def test_the_method_is_no_rater(times):
    assert set(time_summary(times[times["source"] == "Auto"])["source"]) == {"Auto"}


def test_nothing_known_is_an_empty_table():
    found = time_summary(table([]))
    assert found.empty
    assert tuple(found.columns) == SUMMARY_COLUMNS
