import csv
import math
import statistics

import pandas as pd
import pytest
from rich.console import Console

from nerveseg.data.volumes.volume import read_mask
from nerveseg.errors import RunError
from nerveseg.evaluation.comparisons import SCORE_COLUMNS, SubjectMasks, score_subject
from nerveseg.evaluation.tables.summaries import render_table1
from nerveseg.evaluation.tables.table1 import reference_table, table1, table1_markdown

RATERS = ["OS", "BW", "LG"]
PAPER_ROWS = ["OS-BW", "OS-LG", "OS-GT", "BW-LG", "BW-GT", "LG-GT", "R-R", "Auto-OS", "Auto-BW", "Auto-LG", "Auto-GT"]


def scores(values, cohort="volunteer", metric="dice"):
    """Tidy rows from {comparison: [value of each subject]}."""
    return pd.DataFrame(
        [
            (f"{cohort}-{index}", f"{cohort}-{index}", cohort, None, None, "nerve", 0, comparison, metric, value)
            for comparison, column in values.items()
            for index, value in enumerate(column)
        ],
        columns=list(SCORE_COLUMNS),
    )


def row(table, comparison, cohort="volunteer"):
    found = table[(table["cohort"] == cohort) & (table["comparison"] == comparison)]
    assert len(found) == 1
    return found.iloc[0]


def shown(table, reference=None, width=100):
    console = Console(width=width, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(render_table1(table, reference))
    return capture.get()


def test_means_and_sample_deviations_are_those_of_the_statistics_module():
    values = {
        "OS-BW": [0.8, 0.9, 0.7],
        "OS-LG": [0.6, 0.65, 0.95],
        "BW-LG": [0.5, 0.55, 0.4],
        "Auto-GT": [0.1, 0.9, 0.3],
    }
    table = table1(scores(values), RATERS)
    for comparison, column in values.items():
        assert row(table, comparison)["dice_mean"] == pytest.approx(statistics.mean(column))
        assert row(table, comparison)["dice_sd"] == pytest.approx(statistics.stdev(column))
    pooled = [*values["OS-BW"], *values["OS-LG"], *values["BW-LG"]]
    assert row(table, "R-R")["n"] == 9
    assert row(table, "R-R")["dice_mean"] == pytest.approx(statistics.mean(pooled))
    assert row(table, "R-R")["dice_sd"] == pytest.approx(statistics.stdev(pooled))


def test_the_table_has_the_papers_rows_in_the_papers_order():
    order = [*PAPER_ROWS[:6], *PAPER_ROWS[7:]]
    frame = pd.concat(
        [
            scores({name: [0.5, 0.6] for name in reversed(order)}, cohort)
            for cohort in ("zebra", "patient", "all", "volunteer")
        ]
    )
    table = table1(frame.sample(frac=1, random_state=0), RATERS)
    assert table["comparison"].tolist() == PAPER_ROWS * 4
    assert table["cohort"].drop_duplicates().tolist() == ["volunteer", "patient", "all", "zebra"]
    paper = reference_table("paper")
    assert list(zip(paper["cohort"], paper["comparison"], strict=True)) == [
        (cohort, name) for cohort in ("volunteer", "patient") for name in PAPER_ROWS
    ]


def test_rater_rater_of_the_paper_is_the_mean_of_its_three_pairs():
    paper = reference_table("paper")
    for cohort, subjects in (("volunteer", 10), ("patient", 42)):
        values = {pair: [row(paper, pair, cohort)["dice_mean"]] * subjects for pair in ("OS-BW", "OS-LG", "BW-LG")}
        pooled = row(table1(scores(values, cohort), RATERS), "R-R", cohort)
        assert pooled["n"] == row(paper, "R-R", cohort)["n"] == 3 * subjects
        assert pooled["dice_mean"] == pytest.approx(row(paper, "R-R", cohort)["dice_mean"], abs=1e-3)


def test_a_failure_keeps_its_zero_in_the_mean_and_is_counted():
    frame = pd.concat(
        [
            scores({"Auto-GT": [0.8, 0.0, math.nan, 0.6]}),
            scores({"Auto-GT": [4.0, math.nan, math.nan, 8.0]}, metric="hd95_mm"),
        ]
    )
    failed = row(table1(frame, ["OS"]), "Auto-GT")
    assert (failed["n"], failed["n_failed"]) == (4, 2)
    assert failed["dice_mean"] == pytest.approx((0.8 + 0.0 + 0.6) / 3)
    assert failed["hd95_mm_mean"] == 6
    assert failed["hd95_mm_sd"] == pytest.approx(math.sqrt(8))
    text = " ".join(shown(table1(frame, ["OS"])).split())
    assert "2 of 4 Auto-GT (volunteer)" in text


def test_a_metric_without_anything_to_count_is_no_failure():
    """A nerve that divides in one subject of three, and an empty prediction in the last."""
    frame = pd.concat(
        [
            scores({"Auto-GT": [0.8, 0.7, 0.0]}),
            scores({"Auto-GT": [1.0, 2.0, math.nan]}, metric="hd_mm"),
            scores({"Auto-GT": [0.25, math.nan, math.nan]}, metric="branch_sensitivity_divided"),
        ]
    )
    table = table1(frame, ["OS"])
    assert row(table, "Auto-GT")["n_failed"] == 1
    assert row(table, "Auto-GT")["branch_sensitivity_divided_mean"] == 0.25
    assert "1 of 3 Auto-GT (volunteer)" in " ".join(shown(table).split())


def test_only_failures_leave_no_distance_at_all():
    frame = pd.concat([scores({"Auto-GT": [0.0, 0.0]}), scores({"Auto-GT": [math.nan] * 2}, metric="hd95_mm")])
    table = table1(frame, ["OS"])
    assert row(table, "Auto-GT")["dice_mean"] == 0
    assert math.isnan(row(table, "Auto-GT")["hd95_mm_mean"])
    assert "- ± -" in shown(table)


def test_one_value_has_no_deviation():
    table = table1(scores({"Auto-GT": [0.75]}), ["OS"])
    assert math.isnan(row(table, "Auto-GT")["dice_sd"])
    assert "0.750 ± -" in shown(table)
    assert "0.750 ± -" in table1_markdown(table)


def test_two_raters_pool_their_one_pair():
    table = table1(scores({"A-B": [0.5, 0.7], "A-GT": [0.6, 0.8], "B-GT": [0.7, 0.9]}), ["A", "B"])
    assert table["comparison"].tolist() == ["A-B", "A-GT", "B-GT", "R-R"]
    assert row(table, "R-R")["n"] == 2


def test_a_single_rater_has_a_caption_and_no_rater_rater():
    table = table1(scores({"Auto-GT": [0.5, 0.7]}), ["OS"])
    assert table["comparison"].tolist() == ["Auto-GT"]
    assert "There is one rater" in shown(table)
    assert "There is one rater" in table1_markdown(table)


def test_later_metrics_become_columns_after_the_known_ones():
    frame = pd.concat([scores({"Auto-GT": [1.0, 2.0]}, metric=name) for name in ("assd_mm", "vs", "dice")])
    statistics = ("mean", "sd", "median", "q1", "q3", "ci_low", "ci_high")
    expected = [f"{metric}_{statistic}" for metric in ("dice", "vs", "assd_mm") for statistic in statistics]
    assert table1(frame, ["OS"]).columns.tolist()[4:] == expected


def test_a_comparison_scored_twice_is_refused():
    frame = pd.concat([scores({"Auto-GT": [0.5, 0.7]}), scores({"Auto-GT": [0.6]})])
    with pytest.raises(RunError) as caught:
        table1(frame, ["OS"])
    assert caught.value.found.endswith("Auto-GT dice")
    assert caught.value.subject == "volunteer-0"


def test_a_comparison_of_unknown_raters_is_refused():
    with pytest.raises(RunError) as caught:
        table1(scores({"OS-XX": [0.5]}), RATERS)
    assert caught.value.found == "OS-XX"


def test_no_scores_make_an_empty_table():
    table = table1(scores({}), RATERS)
    assert len(table) == 0
    assert "comparison" in shown(table)


def test_the_printed_digits_are_the_papers():
    paper = reference_table("paper").assign(n_failed=0)
    text = shown(paper)
    with (reference_file()).open(encoding="utf-8") as stream:
        for line in csv.DictReader(stream):
            printed = next(part for part in text.split("\n") if part.split()[:2] == [line["comparison"], line["n"]])
            for metric in ("dice", "hd95_paper_mm", "vs"):
                assert f"{line[f'{metric}_mean']} ± {line[f'{metric}_sd']}" in printed
            text = text[text.index(printed) + len(printed) :]


def reference_file():
    from importlib.resources import files

    return files("nerveseg.evaluation.tables") / "reference" / "balsiger2018_table1.csv"


def test_the_shipped_table_is_the_shared_one(shared_data):
    shared = pd.read_csv(shared_data("paper_table1.csv"))
    ours = reference_table("paper")
    for ours_row, shared_row in zip(ours.to_dict("records"), shared.to_dict("records"), strict=True):
        assert list(ours_row.values()) == list(shared_row.values())


@pytest.mark.parametrize("hd95", [0.52, 13.9, 126.0])
def test_the_table_fits_a_hundred_columns_with_the_papers_means_beside_it(hd95):
    order = [*PAPER_ROWS[:6], *PAPER_ROWS[7:]]
    metrics = {"dice": 0.8, "hd95_paper_mm": hd95, "hd95_mm": hd95, "hd_mm": 200.0, "vs": 0.9}
    frame = pd.concat(
        [
            scores({name: [middle * 0.9, middle, middle * 1.1] * 400 for name in order}, cohort, metric)
            for cohort in ("volunteer", "patient")
            for metric, middle in metrics.items()
        ]
    )
    text = shown(table1(frame, RATERS), reference_table("paper"))
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 100
    automatic = [line.split() for line in text.splitlines() if line.strip().startswith("Auto-GT")]
    assert [line[-3:] for line in automatic] == [["0.859", "13.9", "0.930"], ["0.719", "12.4", "0.897"]]
    assert all(line[1] == "1200" for line in automatic)
    assert "…" not in text


def test_the_paper_stands_beside_rows_it_has_and_nowhere_else():
    frame = scores({"A-B": [0.5, 0.7], "A-GT": [0.6, 0.8], "B-GT": [0.7, 0.9], "Auto-GT": [0.4, 0.5]})
    text = shown(table1(frame, ["A", "B"]), reference_table("paper"))
    assert "paper" in text
    assert [line.split()[-1] for line in text.splitlines() if line.strip().startswith("R-R")] == ["0.937"]
    assert [line.split()[-1] for line in text.splitlines() if line.strip().startswith("A-GT")] == ["0.141"]
    elsewhere = shown(table1(scores({"Auto-GT": [0.4, 0.5]}, cohort="all"), ["A"]), reference_table("paper"))
    assert "paper\n" not in elsewhere


def test_markup_in_names_is_printed_as_it_stands():
    frame = scores({"[red]-B": [0.5, 0.7], "[red]-GT": [0.6, 0.8], "B-GT": [0.7, 0.9]}, cohort="a|b [bold]")
    table = table1(frame, ["[red]", "B"])
    assert "[red]-GT" in shown(table)
    assert "[bold]" in shown(table)
    assert "&lt;b&gt;" in table1_markdown(table.assign(cohort="<b>"))
    lines = [line.replace(r"\|", "") for line in table1_markdown(table).splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {5}


def test_real_raters_agree_as_simpleitk_measured(shared_data):
    folder = shared_data("aorta_multirater")
    raters = {name: read_mask(folder / f"{name}_Amira.nii.gz") for name in ("P1", "P2", "P3")}
    majority = sum(mask.astype(int) for mask in raters.values()) >= 2
    assert majority.sum() == 5548
    masks = SubjectMasks("rabbit", "all", None, None, None, (1.0, 1.0, 1.0), raters, majority, None)
    table = table1(score_subject(masks), list(raters))
    pairs = [row(table, name, "all")["dice_mean"] for name in ("P1-P2", "P1-P3", "P2-P3")]
    assert pairs == pytest.approx([0.891271, 0.749682, 0.741522], abs=1e-6)
    furthest = [row(table, name, "all")["hd_mm_mean"] for name in ("P1-P2", "P1-P3", "P2-P3")]
    assert furthest == pytest.approx([2.236068, 19.672316, 19.104973], abs=1e-5)
    assert row(table, "P1-GT", "all")["dice_mean"] == pytest.approx(0.950243, abs=1e-6)
    assert row(table, "R-R", "all")["n"] == 3
    assert row(table, "R-R", "all")["dice_mean"] == pytest.approx(statistics.mean(pairs))
