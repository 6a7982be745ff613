import re

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from nerveseg.evaluation.analysis import TIME_COLUMNS, Measurements, analyse
from nerveseg.evaluation.comparisons import measure_masks, score_subject
from nerveseg.evaluation.margins import Margins
from nerveseg.evaluation.tables.summaries import render_table1, summaries, time_summaries
from tests.helpers.score_tables import cohort, subject

RATERS = ["OS", "BW", "LG"]
LONG = ["Anna-Maria Müller-Lüdenscheidt", "resident_in_training_2", "x" * 60]
LONG_NAMES = ("a cohort whose name is a sentence, " * 4, "b")
NOTHING = np.zeros((24, 24, 5), dtype=bool)


def analysed(masks, raters=RATERS, times=(), repeats=None):
    measured = Measurements(
        scores=pd.concat([score_subject(each, raters) for each in masks], ignore_index=True),
        quantities=pd.concat([measure_masks(each) for each in masks], ignore_index=True),
        times=pd.DataFrame(times, columns=list(TIME_COLUMNS)),
        raters=raters,
        repeats=repeats or {},
    )
    return analyse(measured, Margins())


def printed(analysis, width=100):
    console = Console(width=width, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(render_table1(analysis.table1))
        for summary in [*summaries(analysis), *time_summaries(analysis)]:
            console.print(summary)
    return capture.get()


def everything(raters=RATERS, names=("volunteer", "patient")):
    """Locations, times, repeats, two cohorts."""
    masks = []
    for seed, name in enumerate(names):
        for place in ("distal", "proximal"):
            ids = [f"{name}-{place}-{n}" for n in range(3)]
            masks += cohort(ids, raters, seed=seed, cohort=name, location=place)
    times = [(each.subject, each.cohort, source, 10.0) for each in masks for source in [*raters, "Auto"]]
    repeats = {masks[n].subject: (masks[n - 1].subject, masks[n].subject) for n in (1, 4)}
    return analysed(masks, raters, times, repeats)


@pytest.mark.parametrize(
    ("raters", "names"),
    [
        *((RATERS, names) for names in (("volunteer", "patient"), ("all",))),
        *((raters, LONG_NAMES) for raters in (["A"], RATERS, [*RATERS, "TK"], LONG, [f"rater {n}" for n in range(7)])),
    ],
)
def test_nothing_is_wider_than_100_columns_and_no_number_is_cut(raters, names):
    text = printed(everything(raters, names))
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text
    if len(raters) > 1:
        numbers = [line for line in text.splitlines() if re.search(r"\[-?\d+\.\d+, -?\d+\.\d+\]", line)]
        assert len(numbers) >= 5 * len(names), "intervals stand on one line"


def test_every_kind_of_table_is_there_with_its_legend():
    text = printed(everything([*RATERS, "TK"]))
    for title in ("Agreement with the raters", "By location", "Tests", "Agreement of what clinicians use"):
        assert f"\n{title}" in text
    flat = " ".join(text.split())
    for legend in ("paper: Auto-GT against R-R", "contrast: the method's mean", "contrast, leave-one-out: the same",
                   "Williams index", "share above: share of subjects", "p no worse: one-sided", "effect: rank-biserial",
                   "Bland-Altman: bias", "ICC(2,1):", "smallest detectable change", "above 10 mm",
                   "Time per subject"):  # fmt: skip
        assert legend in flat, legend


def test_printed_numbers_are_those_of_the_tables():
    analysis = everything()
    text = printed(analysis)
    tests = analysis.tests.set_index(["cohort", "metric", "test"])
    contrast = tests.loc[("patient", "dice", "contrast")]
    estimate = f"{contrast['estimate']:.3f} [{contrast['ci_low']:.3f}, {contrast['ci_high']:.3f}]"
    (line,) = [line for line in text.splitlines() if estimate in line]
    assert line.split()[:3] == ["contrast", "Dice", "6"]
    assert f"{contrast['p_value']:.3f}" in line
    bias = analysis.agreement[analysis.agreement["comparison"] == "Auto - raters' mean"].iloc[0]
    assert f"{bias['estimate']:.1f} [{bias['ci_low']:.1f}, {bias['ci_high']:.1f}] %" in text
    assert f"[{bias['lower_limit']:.1f}, {bias['upper_limit']:.1f}] %" in text
    assert "raters 10 ± 0 min (n=18), Auto 600 ± 0 s (n=6)" in " ".join(text.split())


def test_one_subject_is_not_computable_in_words():
    text = printed(analysed(cohort(["P1"], RATERS)))
    assert "not computable, n=1" in text
    assert "nan" not in text.lower().split()
    assert not re.search(r"\bnan\b", text)


def test_one_rater_has_no_tests_and_no_rater_rater():
    text = printed(everything(["OS"]))
    assert "Tests" not in text
    assert "Agreement with the raters" not in text
    assert "Auto - OS" in text


def test_without_a_method_there_is_agreement_among_the_raters():
    text = printed(analysed(cohort(["P1", "P2", "P3"], RATERS, automatic=False)))
    assert "Tests" not in text
    assert "ICC(2,1)" in text


def test_a_failed_prediction_is_counted_beside_the_means_of_the_others():
    masks = cohort([f"P{n}" for n in range(6)], RATERS)
    masks[0] = subject("P0", masks[0].raters, NOTHING)
    text = printed(analysed(masks))
    (line,) = [line for line in text.splitlines() if line.split()[:3] == ["Auto", "6", "3"]]
    assert "inf" not in line
    assert "1 of 6 Auto-GT (patient)" in " ".join(text.split())


def test_names_in_square_brackets_are_no_markup():
    text = printed(everything(["[bold]A", "[/]", "C"], ("[red]",)))
    assert "[bold]A" in text
    assert "[red]" in text


def test_a_failure_is_counted_where_distances_are_shown_by_location():
    masks = [*cohort(["P1", "P2"], RATERS, location="distal"), *cohort(["P3"], RATERS, location="medial")]
    masks[0] = subject("P1", masks[0].raters, NOTHING, location="distal")
    (line,) = [line for line in printed(analysed(masks)).splitlines() if line.split()[:2] == ["distal", "Auto-GT"]]
    assert line.split()[2:4] == ["2", "1"]


def test_a_note_about_several_cohorts_stands_once():
    text = " ".join(printed(everything()).split())
    assert text.count("fewer than 20 subjects is rough") == 1
    assert "(volunteer williams, patient williams)" in text
