"""What the figure and the sentence of the expected Dice show is what the table holds."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nerveseg.biomarkers.quality import QualityLimits
from nerveseg.evaluation.risk_coverage import EXPECTED_COLUMNS, FAILED_BELOW
from nerveseg.reporting.conclusions import expectation_in_words
from nerveseg.reporting.figures import study_figures
from nerveseg.reporting.figures.expected_dice_figure import expected_dice_figure
from tests.reporting.test_figures_study import analysed, panel

ROWS = [
    ("V1", "V1", "volunteer", "nerve", 0, 0.9, 0.8, 0.95, 0.85, ""),
    ("V2", "V2", "volunteer", "nerve", 1, 0.8, 0.7, 0.85, 0.9, ""),
    ("P1", "P1", "patient", "nerve", 0, 0.5, 0.3, 0.7, 0.4, ""),
    ("P2", "P2", "patient", "nerve", 1, 0.6, 0.5, 0.7, 0.45, ""),
]


@pytest.fixture(scope="module")
def analysis():
    table = pd.DataFrame(ROWS, columns=list(EXPECTED_COLUMNS))
    whole = analysed()
    return replace(whole, measurements=replace(whole.measurements, expected=table))


def test_the_curve_is_the_mean_dice_of_the_kept_scans(analysis):
    axes = panel(expected_dice_figure(analysis), "mean Dice of the kept scans")
    ideal, ordered, chance = (line.get_ydata() for line in axes.lines)
    assert list(axes.lines[1].get_xdata()) == [0.25, 0.5, 0.75, 1.0]
    np.testing.assert_allclose(ordered, [0.85, 0.875, 2.2 / 3, 0.65])
    np.testing.assert_allclose(ideal, [0.9, 0.875, 2.2 / 3, 0.65])
    np.testing.assert_allclose(chance, 0.65)


def test_every_subject_is_a_point(analysis):
    axes = panel(expected_dice_figure(analysis), "measured Dice (Auto-GT)")
    points = {(x, y) for line in axes.lines if line.get_marker() not in ("None", "|", "") for x, y in line.get_xydata()}
    assert {(row[5], row[8]) for row in ROWS} <= points


def test_the_figure_is_drawn_only_with_a_calibration(analysis):
    assert "expected_dice" in [named.name for named in study_figures(analysis, "")]
    assert "expected_dice" not in [named.name for named in study_figures(analysed(), "")]


def test_the_sentence_holds_the_numbers(analysis):
    text = expectation_in_words(analysis.measurements.expected)
    for number in ("0.100", "AUROC 1.00", "below 0.6", "2 of 4", "50%", "80%"):
        assert number in text
    assert "0 of 4 subjects get no number" in text
    assert expectation_in_words(analysed().measurements.expected) == ""


def test_a_mask_is_of_no_use_below_the_dice_that_counts_as_failed():
    assert QualityLimits().useless_dice == FAILED_BELOW


def test_the_sentence_counts_false_alarms(analysis):
    table = analysis.measurements.expected
    some, every = (expectation_in_words(table.assign(unlike=marks)) for marks in (["", "", "x", ""], ["x"] * 4))
    assert "1 of 4 subjects get no number" in some
    assert "none of 4" in every
