import glob
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nerveseg.data.participants import minutes_of, participant_rows, wrong_values
from nerveseg.errors import StudyError

TEMPLATE = "sub-{id}/anat/sub-{id}_T2w.nii.gz"


def listed(table, text, encoding="utf-8"):
    table.write_bytes(text.encode(encoding))
    return participant_rows(table, table.parent, TEMPLATE, "single")


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def matched(root, template, single_id="single"):
    rows, faults = participant_rows(root / "participants.tsv", root, template, single_id)
    return [row["participant_id"] for row in rows], faults


EXPECTED = [{"participant_id": "V01", "cohort": "volunteer"}, {"participant_id": "P01"}]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("participant_id\tcohort\nsub-V01\tvolunteer\nsub-P01\tn/a\n", "utf-8"),
        ("participant_id\tcohort\nV01\tvolunteer\nsub-P01\t\n", "utf-8"),
        ("participant_id\tcohort\nV01\tvolunteer\nP01\tnan", "utf-8-sig"),
        ("participant_id\tcohort\r\nV01\tvolunteer\r\nP01\tN/A\r\n", "utf-8-sig"),
        ("cohort\tparticipant_id\nvolunteer\t V01 \n\nn/a\tP01\n\n", "utf-8"),
        (" participant_id\tcohort \nV01\tvolunteer\nP01\tn/a\n", "utf-8"),
        ("participant_id\tcohort\nV01\tvolunteer\t\nP01\tn/a\t\n", "utf-8"),
        ("participant_id\tcohort\t\t\nV01\tvolunteer\nP01\n\t\t\t\n", "utf-8"),
    ],
    ids=["prefix", "mixed", "bom", "crlf", "blank lines", "spaced headings", "tab at the end of rows", "rows of tabs"],
)
def test_a_table_is_read_however_it_was_saved(text, encoding, tmp_path):
    assert listed(tmp_path / "participants.tsv", text, encoding) == (EXPECTED, [])


def test_an_id_that_looks_like_a_number_keeps_its_zeros(tmp_path):
    rows, faults = listed(tmp_path / "participants.tsv", "participant_id\tgroup\n007\t01\n1e3\tNA\nNULL\tn/a\n")
    assert [row["participant_id"] for row in rows] == ["007", "1e3", "NULL"]
    assert [row.get("group") for row in rows] == ["01", "NA", None]
    assert faults == []


def test_umlauts_and_quotes_within_a_field_are_kept(tmp_path):
    rows, _ = listed(tmp_path / "participants.tsv", 'participant_id\tcohort\nMüller\tGröße 5"\nX\tb\n')
    assert rows == [
        {"participant_id": "Müller", "cohort": 'Größe 5"'},
        {"participant_id": "X", "cohort": "b"},
    ]


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "tabs between its columns"),
        (b"participant_id\tcohort\na\tb\nc\td\te\tf\n", "tabs between its columns"),
        (b"participant_id\tcohort\nV01\tb\tc\n", "tabs between its columns"),
        ("participant_id\nMüller\n".encode("latin-1"), "tabs between its columns"),
        ("participant_id\nV01\n".encode("utf-16"), "tabs between its columns"),
        (b"participant_id,cohort\nV01,volunteer\n", "has a column participant_id"),
        (b"id\tcohort\nV01\tvolunteer\n", "has a column participant_id"),
        (b"participant_id\tcohort\n", "names a participant"),
        (b"participant_id\tcohort\tcohort\nV01\tvolunteer\tpatient\n", "each column once"),
        (b"participant_id\tCohort\nV01\tvolunteer\n", "each column once"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_fault_in_one_line(content, rule, tmp_path):
    table = tmp_path / "participants.tsv"
    table.write_bytes(content)
    rows, faults = participant_rows(table, tmp_path, TEMPLATE, "single")
    assert rows == []
    assert len(faults) == 1
    assert isinstance(faults[0], StudyError)
    line = str(faults[0])
    assert re.fullmatch(rf"[^\n]*{rule}[^\n]*; found: [^\n]+; path: {re.escape(str(table))}; remedy: [^\n]+", line)


def test_all_faults_of_a_table_are_found_at_once_and_the_rest_is_listed(tmp_path):
    text = "participant_id\tcohort\nV01\ta\nV02\tb\nsub-V01\tc\nn/a\td\nsub-\te\nV02\tf\nV02\tg\n"
    rows, faults = listed(tmp_path / "participants.tsv", text)
    assert {row["participant_id"]: row["cohort"] for row in rows} == {"V01": "a", "V02": "b"}
    assert [(fault.subject, fault.found) for fault in faults] == [
        ("V01", "2 rows"),
        ("V02", "3 rows"),
        (None, "2 rows without one"),
    ]


def test_ids_that_look_alike_are_one_participant(tmp_path):
    text = "participant_id\nS\u00fcd\nSu\u0308d\nP01\np01\nP02\n"
    _, faults = listed(tmp_path / "participants.tsv", text)
    assert [(fault.subject, fault.found) for fault in faults] == [("S\u00fcd", "2 rows"), ("P01", "2 rows")]


def test_without_a_table_the_files_are_the_participants(tmp_path):
    touch(
        tmp_path,
        "sub-V02/anat/sub-V02_T2w.nii.gz",
        "sub-V01/anat/sub-V01_T2w.nii.gz",
        "sub-V03/anat/sub-V04_T2w.nii.gz",  # two ids in one path
        "sub-V05/anat/sub-V05_T1w.nii.gz",
        "V06/anat/V06_T2w.nii.gz",
    )
    assert matched(tmp_path, TEMPLATE) == (["V01", "V02"], [])


@pytest.mark.parametrize("template", ["./im/{id}.nii", "im//{id}.nii", "im/./{id}.nii", "im/{id}.nii"])
def test_a_template_may_be_written_in_several_ways(template, tmp_path):
    touch(tmp_path, "im/a.nii", "im/b.nii", "im/b.nii.gz")
    assert matched(tmp_path, template) == (["a", "b"], [])


def test_an_absolute_template_is_followed(tmp_path):
    touch(tmp_path, "elsewhere/a.nii")
    (tmp_path / "study").mkdir()
    assert matched(tmp_path / "study", str(tmp_path / "elsewhere" / "{id}.nii"))[0] == ["a"]


def test_a_template_without_id_is_a_study_of_one(tmp_path):
    touch(tmp_path, "image.nii.gz")
    assert matched(tmp_path, "image.nii.gz", "aorta") == (["aorta"], [])


@pytest.mark.parametrize("template", ["image.nii.gz", "im/{id}.nii", TEMPLATE])
def test_a_template_that_matches_nothing_is_a_fault(template, tmp_path):
    ids, faults = matched(tmp_path, template)
    assert ids == []
    assert [str(tmp_path / template) in str(fault) for fault in faults] == [True]
    assert "no file matches" in str(faults[0])


def test_an_id_does_not_cross_folders(tmp_path):
    touch(tmp_path, "im/a/b.nii", "im/c.nii")
    assert matched(tmp_path, "im/{id}.nii")[0] == ["c"]


NAMES = st.text(st.sampled_from("ab1[]*?!,{} ()+^$.ü-_#="), min_size=1, max_size=8).filter(
    lambda name: not name.startswith(".") and "{id}" not in name
)


@given(st.sets(NAMES, min_size=1, max_size=4), NAMES, st.booleans())
def test_glob_and_regular_expression_characters_are_plain_letters(tmp_path_factory, ids, word, twice):
    root = tmp_path_factory.mktemp(glob.escape("study")) / word
    template = f"{word}/x{{id}}{word}{{id}}.nii" if twice else f"{word}/x{{id}}{word}.nii"
    touch(root, *(template.replace("{id}", subject_id) for subject_id in ids))
    found, faults = matched(root, template)
    assert found == sorted(ids)
    assert faults == []


def _row(**values):
    return {"participant_id": "V01", "cohort": "patient"} | values


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"side": "rigth"}, ["rigth"]),
        ({"side": "bilateral"}, ["bilateral"]),
        ({"side": "boht"}, ["boht"]),
        ({"side": "both"}, []),
        ({"location": "proxmal"}, ["proxmal"]),
        ({"minutes_OS": "-17"}, ["-17"]),
        ({"minutes_OS": "15,6"}, ["15,6"]),
        ({"minutes_OS": "inf"}, ["inf"]),
        ({"cohort": "Patient"}, ["Patient and patient"]),
        ({"location": "forearm"}, []),
        ({"cohort": "ｐatient"}, ["ｐatient and patient"]),
        ({"side": "left", "location": "distal", "minutes_OS": "15.6", "minutes_other": "x"}, []),
    ],
)
def test_values_that_would_group_subjects_wrongly_are_faults(values, found, tmp_path):
    rows = [_row(), _row(), _row(participant_id="V02", **values)]
    faults = wrong_values(rows, tmp_path / "participants.tsv", ["OS"])
    assert [fault.found for fault in faults] == found
    assert all(fault.path == tmp_path / "participants.tsv" for fault in faults)


def test_a_name_in_composed_and_decomposed_letters_is_one_name(tmp_path):
    composed, decomposed = "S\u00fcd", "Su\u0308d"
    rows = [_row(group=composed), _row(group=composed), _row(group=decomposed)]
    faults = wrong_values(rows, tmp_path / "participants.tsv", [])
    assert [fault.found for fault in faults] == [f"{decomposed} and {composed}"]


@pytest.mark.parametrize(
    ("text", "minutes"), [("15.6", 15.6), ("0", None), ("nan", None), ("15,6", None), ("1e9", None)]
)
def test_drawing_times_are_numbers_above_zero(text, minutes):
    assert minutes_of(text) == minutes
