"""The table over settings, from folders that a sweep would leave."""

import json

import pandas as pd
import pytest
import yaml

from nerveseg.evaluation.comparisons import SCORE_COLUMNS
from nerveseg.runs import find_folds
from nerveseg.workflows.model_selection import BIASED, UNBIASED, averaged_over_seeds, rank_settings, show_settings


def write_scores(path, fold, dice):
    """Write scores of subjects; several values of one are those of its classes."""
    rows = []
    for subject, values in dice.items():
        for number, value in enumerate(values if isinstance(values, tuple) else (values,)):
            facts = (subject, subject, subject[0], "", "", f"class-{number}", fold, "Auto-GT")
            rows += [(*facts, "dice", value), (*facts, "vs", 0.0)]
    pd.DataFrame(rows, columns=list(SCORE_COLUMNS)).to_csv(path, index=False, lineterminator="\n")


class Run:
    """Folders of folds, with what is read from them."""

    def __init__(self, folder):
        self.folder = folder

    def fold(self, settings, number, options, dice, validation=None):
        folder = self.folder / settings / f"fold-{number}"
        folder.mkdir(parents=True)
        config = {
            "fold": number,
            "seed": 1,
            "network": {"growth_rate": 12},
            "folds": {"count": 2},
            "study": {"root": "x"},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config | options), encoding="utf-8")
        if dice:
            write_scores(folder / "scores.csv", number, dice)
        if validation:
            write_scores(folder / "validation.csv", number, validation)

    def rank(self):
        return rank_settings(sorted(self.folder.iterdir()))


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def growth(rate):
    return {"network": {"growth_rate": rate}}


def test_the_best_by_validation_is_first_though_another_is_best_in_the_test(run):
    for number, (first, second) in enumerate([("V1", "P1"), ("V2", "P2")]):
        run.fold("a", number, growth(12), {first: 0.9, second: 0.8}, {"X": 0.5})
        run.fold("b", number, growth(16), {first: 0.7, second: 0.6}, {"X": 0.6 + number / 10})
    ranking = run.rank()
    assert ranking.table["network.growth_rate"].tolist() == [16, 12]
    assert ranking.table["validation_dice"].tolist() == pytest.approx([0.65, 0.5])
    assert ranking.table["test_dice"].tolist() == pytest.approx([0.65, 0.85])
    assert ranking.table["test_dice_P"].tolist() == pytest.approx([0.6, 0.8])
    assert ranking.table["subjects"].tolist() == [4, 4]
    assert (ranking.options, ranking.notes) == (("network.growth_rate",), (UNBIASED,))


def test_classes_are_averaged_within_a_subject_so_that_none_counts_twice(run):
    for number, (first, second) in enumerate([("V1", "P1"), ("V2", "P2")]):
        run.fold("a", number, growth(12), {first: (0.9, 0.5), second: (0.6, "")}, {"X": (0.2, 0.4)})
        run.fold("b", number, growth(16), {first: (0.7, 0.7), second: (0.7, 0.7)}, {"X": (0.8, 0.4)})
    table = run.rank().table.set_index("network.growth_rate")
    assert table["validation_dice"].to_dict() == pytest.approx({16: 0.6, 12: 0.3})
    assert table["test_dice"].to_dict() == pytest.approx({16: 0.7, 12: 0.65}), "a class without a value is left out"
    assert table["test_dice_sd"].to_dict() == pytest.approx({16: 0.0, 12: 0.1 / 3**0.5})
    assert table["test_dice_P"].to_dict() == pytest.approx({16: 0.7, 12: 0.6})
    assert set(table["subjects"]) == {4}


def test_without_an_inner_split_the_test_decides_and_the_bias_is_told(run):
    for number in (0, 1):
        run.fold("a", number, {"seed": 1}, {f"V{number}": 0.7})
        run.fold("b", number, {"seed": 2}, {f"V{number}": 0.8})
    ranking = run.rank()
    assert ranking.table["seed"].tolist() == [2, 1]
    assert ranking.notes == (BIASED,)


def test_what_is_incomplete_comes_last_and_says_what_is_missing(run):
    run.fold("a", 0, growth(12), {"V0": 0.99})
    run.fold("a", 1, growth(12), None)
    for number in (0, 1):
        run.fold("b", number, growth(16), {f"V{number}": 0.5})
    run.fold("c", 0, growth(20), None)
    table = run.rank().table
    assert table["network.growth_rate"].tolist() == [16, 12, 20]
    assert table["missing"].tolist() == ["", "1", "0, 1"]


def test_settings_tested_on_others_are_not_comparable(run):
    for number in (0, 1):
        run.fold("a", number, growth(12), {f"V{number}": 0.7})
        run.fold("b", number, growth(16), {f"P{number}": 0.8})
    assert "tested on different subjects" in run.rank().notes[1]


def test_options_that_go_together_are_one_column(run):
    for number in (0, 1):
        run.fold("a", number, {"optimization": {"epochs": 4, "schedule": {"T_max": 4}}}, {f"V{number}": 0.7})
        run.fold("b", number, {"optimization": {"epochs": 8, "schedule": {"T_max": 8}}}, {f"V{number}": 0.8})
    assert run.rank().options == ("optimization.epochs",)


def test_the_table_is_written_and_printed(run, tmp_path, capsys):
    for number in (0, 1):
        run.fold("a", number, {"seed": 1, "network": {"sizes": [1, 2]}}, {f"V{number}": 0.7})
        run.fold("b", number, {"seed": 2, "network": {"sizes": [3]}}, {f"V{number}": 0.8})
    show_settings(tmp_path)
    screen = capsys.readouterr().out
    assert "best first" in screen
    assert pd.read_csv(tmp_path / "settings.csv")["test_dice"].tolist() == pytest.approx([0.8, 0.7])
    record = json.loads((tmp_path / "settings.json").read_text())
    assert (record["chosen_by"], [row["seed"] for row in record["settings"]]) == ("test_dice", [2, 1])


def test_seeds_are_averaged_and_incomplete_ones_do_not_count(run, tmp_path, capsys):
    dice = {("a", 12, 1): 0.6, ("b", 12, 2): 0.8, ("c", 16, 1): 0.65, ("d", 16, 2): 0.66, ("e", 20, 1): 0.9}
    for (settings, rate, seed), value in dice.items():
        for number in (0, 1):
            run.fold(settings, number, {"seed": seed} | growth(rate), {f"V{number}": value})
    run.fold("f", 0, {"seed": 2} | growth(20), {"V0": 0.2})
    table = averaged_over_seeds(run.rank())
    assert table["network.growth_rate"].tolist() == [12, 16, 20], "the mean decides, and 20 is not all there"
    assert table[["seeds", "incomplete"]].to_numpy().tolist() == [[2, 0], [2, 0], [1, 1]]
    assert table["test_dice"].tolist() == pytest.approx([0.7, 0.655, 0.9])
    assert table["test_dice_seed_sd"].tolist()[:2] == pytest.approx([0.2 / 2**0.5, 0.01 / 2**0.5])
    show_settings(tmp_path)
    screen = capsys.readouterr().out
    assert "0.700 (0.141)" in screen
    assert "1 (1 incomplete)" in screen
    assert pd.read_csv(tmp_path / "settings_over_seeds.csv")["test_dice"].tolist() == pytest.approx([0.7, 0.655, 0.9])


def test_seeds_alone_are_one_row_and_equal_seeds_none(run):
    for seed in (1, 2):
        for number in (0, 1):
            run.fold(f"seed={seed}", number, {"seed": seed}, {f"V{number}": seed / 10})
    table = averaged_over_seeds(run.rank())
    assert (len(table), table["test_dice"].item()) == (1, pytest.approx(0.15))
    for number in (0, 1):
        run.fold("z", number, growth(16), {f"V{number}": 0.5})
    ranking = rank_settings([run.folder / "seed=1", run.folder / "z"])
    assert averaged_over_seeds(ranking) is None


def test_one_setting_needs_no_table(run, tmp_path, capsys):
    run.fold("a", 0, {}, {"V0": 0.7})
    show_settings(tmp_path)
    screen = capsys.readouterr().out
    assert (screen, list(tmp_path.glob("settings.*"))) == ("", [])


def test_a_damaged_fold_costs_the_table_but_no_more(run, tmp_path, capsys):
    for settings in ("a", "b"):
        run.fold(settings, 0, {"seed": len(settings)}, {"V0": 0.7})
    find_folds(tmp_path / "b")[0].scores.write_text("half")
    show_settings(tmp_path)
    screen = capsys.readouterr().out
    assert "no table of settings" in screen
