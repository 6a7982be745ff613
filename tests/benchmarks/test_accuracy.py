"""Table of the benchmark of accuracy: rows by method, class and cohort, and paired differences from the best recipe."""

import importlib
import sys
from math import nan
from pathlib import Path

import pandas as pd
import pytest

from nerveseg.workflows.training_job import result_affecting_options

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def accuracy(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("accuracy")
    sys.modules.pop("accuracy", None)


def scores(dice, hd95_mm):
    rows = [
        {
            "subject": subject, "class": "nerve", "cohort": "patient", "fold": 0, "comparison": comparison,
            "metric": metric, "value": value - worse if metric == "dice" else value + 10 * worse,
        }
        for comparison, worse in (("Auto-GT", 0.0), ("Auto-A", 0.1), ("Auto-B", 0.3), ("A-B", 0.4), ("A-GT", 9.0))
        for metric, values in (("dice", dice), ("hd95_mm", hd95_mm))
        for subject, value in values.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_methods_are_compared_on_the_same_subjects(accuracy, monkeypatch):
    found = {
        "best": scores({"P1": 0.8, "P2": 0.7, "P3": 0.6}, {"P1": 1.0, "P2": 2.0, "P3": 11.0}),
        "nnunet_2d": scores({"P1": 0.7, "P2": 0.75}, {"P1": nan, "P2": 10.0}),  # an empty mask is far off
    }
    monkeypatch.setattr(accuracy, "_scores", lambda bench, method, folds: found.get(method))
    monkeypatch.setattr(accuracy, "_seconds", lambda bench, method, folds: "899 to 901")
    lines = accuracy.table(None, ["paper", "best", "nnunet_2d"], [0]).splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[0] for row in cells] == ["raters, each other", "best", "nnunet_2d"]
    raters, best, other = cells
    assert raters[4:9] == ["3", "", "0.300", "6.00", "1 of 3 pairs"]  # of A and B, not of either and the consensus
    assert best[4:9] == ["3", "0.700 ± 0.100", "0.500", "2.00", "1 of 3"]  # the raters: 0.1 and 0.3 less
    assert other[4:9] == ["2", "0.725 ± 0.035", "0.525", "inf", "1 of 2"]
    assert other[9] == "-0.025 ± 0.075"  # -0.10 and +0.05: mean -0.025, SD 0.106, divided by the root of 2
    assert other[10] == "1 of 2"
    assert best[9] == best[10] == ""


def test_every_recipe_and_its_trial_compose_and_no_two_are_alike(accuracy, tmp_path):
    for name, yardstick in accuracy.YARDSTICKS.items():
        bench = accuracy.Bench(name, yardstick.seconds, tmp_path, tmp_path / "python")
        jobs = {method: bench.job(method, 0, "folds=even", "folds.count=26") for method in yardstick.recipes}
        assert all(job.run.name == f"accuracy-{name}-{method}-{yardstick.seconds:g}s" for method, job in jobs.items())
        recipes = [str(result_affecting_options(job.values)) for job in jobs.values()]
        assert len(set(recipes)) == len(recipes)
        assert {job.config.study.root for job in jobs.values()} == {bench.config.study.root}
