"""Several classes: the rows of each are those of an evaluation of this class alone, and no subject counts twice."""

import csv
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nerveseg.evaluation.analysis import TIME_COLUMNS, Measurements
from nerveseg.evaluation.class_analysis import analyse_classes, common_remarks, own_remarks, write_analysis
from nerveseg.evaluation.comparisons import measure_masks, score_subject, slice_scores
from nerveseg.evaluation.margins import Margins
from tests.helpers.score_tables import cohort, subject, tube

RATERS = ["A", "B", "C"]
NOTHING = np.zeros((24, 24, 5), dtype=bool)
COMMON = "Masks that are of no subject, not evaluated: x.nii.gz."


def people(seed):
    """Patients at two places, one of them scanned twice, and volunteers."""
    masks = [
        *cohort(["P1", "P2", "P3"], RATERS, seed=seed, location="distal"),
        *cohort(["P4", "P5", "P6", "P7"], RATERS, seed=seed + 10, location="proximal"),
        *cohort(["V1", "V2"], RATERS, seed=seed + 20, cohort="volunteer", location="distal"),
    ]
    again = {"P7": "P1"}
    return [replace(each, group=again.get(each.subject, each.subject)) for each in masks]


def classes():
    """Masks of two classes of the same people; in the second class a rater, the method or both found nothing."""
    tibial = [replace(each, structure="tibial") for each in people(0)]
    peroneal = [replace(each, structure="peroneal") for each in people(100)]
    peroneal[1] = replace(peroneal[1], automatic=NOTHING)
    peroneal[3] = replace(peroneal[3], automatic=NOTHING, raters=dict.fromkeys(RATERS, NOTHING), consensus=NOTHING)
    peroneal[5] = replace(peroneal[5], automatic=peroneal[5].raters["B"])
    return tibial, peroneal


def measured(masks):
    return Measurements(
        scores=pd.concat([score_subject(each, RATERS) for each in masks], ignore_index=True),
        quantities=pd.concat([measure_masks(each) for each in masks], ignore_index=True),
        times=pd.DataFrame([("P1", "patient", "A", 20.0), ("P2", "patient", "Auto", 0.1)], columns=list(TIME_COLUMNS)),
        raters=RATERS,
        slices=pd.concat([slice_scores(each, RATERS) for each in masks], ignore_index=True),
        repeats={"P7": ("P1", "P7")},
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Folders of the evaluation of both classes, and of each class alone."""
    tibial, peroneal = classes()
    both = [masks for pair in zip(tibial, peroneal, strict=True) for masks in pair]
    folders = {}
    for name, masks in {"both": both, "tibial": tibial, "peroneal": peroneal}.items():
        folders[name] = tmp_path_factory.mktemp(name)
        everything = measured(masks)
        write_analysis(analyse_classes(everything, Margins(), None, [COMMON]), everything, folders[name], "study t")
    return folders


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("structure", ["tibial", "peroneal"])
def test_every_row_of_a_class_is_that_of_an_evaluation_of_this_class_alone(written, structure):
    tables = sorted(path.name for path in written["both"].glob("*.csv"))
    assert len(tables) == 9
    for name in tables:
        found, alone = rows(written["both"] / name), rows(written[structure] / name)
        assert alone, name
        if name == "times.csv":
            assert found == alone, "a subject's minutes are those of all its classes"
        else:
            assert {row["class"] for row in found} == {"tibial", "peroneal"}
            assert [row for row in found if row["class"] == structure] == alone, name


def test_no_count_exceeds_the_number_of_people(written):
    for row in rows(written["both"] / "tests.csv") + rows(written["both"] / "agreement.csv"):
        assert int(row["n"] or 0) <= 7, row
    for row in rows(written["both"] / "table1.csv"):
        assert int(row["n"]) <= (3 if row["comparison"] == "R-R" else 1) * 7


def test_table_1_has_a_block_per_class_and_remarks_of_all_classes_once(written):
    text = (written["both"] / "table1.md").read_text(encoding="utf-8")
    head, tibial, peroneal = re.split(r"\n## (?:tibial|peroneal)\n", text)
    assert head.startswith("# Table 1, study t")
    assert tibial.count("| **Auto-GT** |") == peroneal.count("| **Auto-GT** |") == 2
    assert "Empty masks" not in tibial
    assert "sub-P2 (patient) Auto" in peroneal
    assert text.count(COMMON) == 1
    latex = (written["both"] / "table1.tex").read_text(encoding="utf-8")
    labels = re.findall(r"\\label\{(.*?)\}", latex)
    assert labels == ["tab:agreement-tibial", "tab:agreement-peroneal"]
    assert latex.count(r"\begin{table}") == latex.count(r"\end{table}") == 2
    assert "Agreement, study t, peroneal." in latex


def test_a_single_class_is_not_named_beside_its_table(written):
    text = (written["tibial"] / "table1.md").read_text(encoding="utf-8")
    latex = (written["tibial"] / "table1.tex").read_text(encoding="utf-8")
    assert "tibial" not in text + latex
    assert r"\label{tab:agreement}" in latex


def test_classes_are_in_the_studys_order_and_a_single_one_has_no_label():
    tibial, peroneal = classes()
    both = analyse_classes(measured([peroneal[0], tibial[0], peroneal[1], tibial[1]]), Margins())
    assert [(part.structure, part.label) for part in both] == [("peroneal", "peroneal"), ("tibial", "tibial")]
    (alone,) = analyse_classes(measured(tibial[:2]), Margins())
    assert (alone.structure, alone.label) == ("tibial", "")
    common = common_remarks(both)
    assert [own_remarks(part, common) for part in both][1] == []


def test_subjects_without_the_class_in_any_mask_are_named_and_not_counted():
    nothing = replace(subject("P3", dict.fromkeys(RATERS, NOTHING), NOTHING), structure="tibial")
    missed = replace(subject("P2", dict.fromkeys(RATERS, tube()), NOTHING), structure="tibial")
    found = replace(subject("P1", dict.fromkeys(RATERS, tube()), tube()), structure="tibial")
    (part,) = analyse_classes(measured([found, missed, nothing]), Margins())
    table = part.table1.set_index("comparison")
    assert (table.loc["Auto-GT", "n"], table.loc["Auto-GT", "n_failed"]) == (2, 1), "a miss is a failure, absence none"
    assert (table.loc["R-R", "n"], table.loc["R-R", "n_failed"]) == (6, 0)
    absent, empty, *_ = part.remarks
    assert "1 of 3 subjects" in absent
    assert absent.endswith("P3.")
    assert "sub-P3" not in empty
    assert set(part.measurements.scores["subject"]) == {"P1", "P2"}


def test_a_class_that_nobody_has_in_any_subject_is_a_table_of_failures():
    absent = [replace(subject(name, dict.fromkeys(RATERS, NOTHING), NOTHING), structure="lesion") for name in "12"]
    there = [replace(subject(name, dict.fromkeys(RATERS, tube()), tube()), structure="nerve") for name in "12"]
    nerve, lesion = analyse_classes(measured([there[0], absent[0], there[1], absent[1]]), Margins())
    assert nerve.table1["n_failed"].eq(0).all()
    assert lesion.table1["n_failed"].eq(lesion.table1["n"]).all()
    assert lesion.table1["dice_mean"].isna().all()
