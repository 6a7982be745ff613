"""Names are data: in files, tables, figures and on a console; hostile ones come from a property test."""

import io
import subprocess
import sys
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.table import Table

from nerveseg.console import PLAIN, Console
from nerveseg.data.inputs import resolve_inputs
from nerveseg.data.study import list_subjects
from nerveseg.data.study_layout import StudyLayout
from nerveseg.errors import ConfigurationError, StudyError
from nerveseg.files import write_csv, write_text
from nerveseg.launch.arguments import to_hydra_overrides
from nerveseg.launch.compose import compose_jobs
from nerveseg.names import console_line, csv_cell, fault_of_name, file_name, text_of_cell
from nerveseg.reporting.check_sheet import check_sheet

HOSTILE = [
    "q/../../../esc", "..", ".hidden", "a\\b", "=1+1", "@SUM(A1)", "+1", "-1", "=cmd|' /C calc'!A0", "a\x1b[2Jb",
    "a\nb", "a\udcffb", " a", "a" * 300, "", "a\u202eb", "a\0b",
]  # fmt: skip
SOUND = ["P01", "case 7", "Müller", "神経", "[bold]", "$x_{1$", "a=b", "a.b", "<b>", ":warning:", "P-01"]
TEXTS = st.text(st.characters(), max_size=300)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_refused_and_becomes_a_file_name(name):
    assert fault_of_name(name)
    assert fault_of_name(file_name(name)) == ""


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_name_stays(name):
    assert fault_of_name(name) == ""
    assert file_name(name) == csv_cell(name) == console_line(name) == name


@given(TEXTS)
@example("-a")
@example("\t'=")
def test_a_cell_becomes_its_text_again(text):
    if not text.startswith("'"):  # an apostrophe before a formula is the one that `csv_cell` wrote
        assert text_of_cell(str(csv_cell(text))) == text


@given(TEXTS)
@example("..")
@example("\udcff")
def test_a_file_name_is_one_part_below_its_folder(text):
    name = file_name(text)
    assert (Path("/out") / name).resolve().parent == Path("/out")
    assert not name.startswith(".")
    assert len(name.encode()) <= 200
    assert file_name(name) == name


@given(TEXTS)
def test_a_line_on_a_console_is_one_line_without_commands_for_the_terminal(text):
    line = console_line(text)
    line.encode()
    assert not {unicodedata.category(each) for each in line} & {"Cc", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("column", ["participant_id", "cohort"])
def test_a_study_with_a_hostile_name_is_refused(column, name, tmp_path):
    if "\n" in name or name in ("", " a"):
        pytest.skip("another table")
    if column == "cohort" and name in ("q/../../../esc", "..", ".hidden", "a\\b", "a" * 300):
        pytest.skip("a cohort is no part of a path")
    for each in ("i.nii", "m.nii"):
        (tmp_path / f"P1{each}").touch()
    row = {"participant_id": "P1", "cohort": "c"} | {column: name}
    text = "\t".join(row) + "\n" + "\t".join(row.values()) + "\n"
    (tmp_path / "participants.tsv").write_bytes(text.encode("utf-8", "surrogateescape"))
    layout = StudyLayout(name="s", root=tmp_path, images={"T2": "{id}i.nii"}, raters={"R": "{id}m.nii"})
    _, faults = list_subjects(layout)
    assert faults
    assert all(type(fault) is StudyError and fault.path == tmp_path / "participants.tsv" for fault in faults)


@pytest.mark.parametrize("name", ["../../x", ".x", "=1+1", "a/b"])
@pytest.mark.parametrize("option", ["images.'{}'=a.nii", "maps.'{}'=a.nii"])
def test_a_key_that_is_no_name_is_refused(option, name, tmp_path):
    group = option.partition(".")[0]
    (tmp_path / "experiment").mkdir()
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "mine.yaml").write_text(
        f"# @package _global_\n{group}:\n  '{name}': a.nii\n", encoding="utf-8"
    )
    words = ["x.nii", "model=m", "--config-dir", str(tmp_path), "+study@_global_=mine"]
    with pytest.raises(ConfigurationError) as caught:
        compose_jobs("segment", to_hydra_overrides("segment", words))
    assert name in str(caught.value)


@pytest.mark.parametrize("part", ["name", "images", "raters"])
def test_a_layout_has_names(part, tmp_path):
    values = {"name": "s", "root": tmp_path, "images": {"T2": "a"}, "raters": {"R": "b"}}
    values[part] = "../s" if part == "name" else {"../x": "a"}
    with pytest.raises(ValueError, match="separator"):
        StudyLayout(**values)


def test_scans_of_any_name_lie_below_the_output(tmp_path):
    for name in ("...nii.gz", "b\udcff.nii", "b\udcfe.nii", "=1+1.nii", "a\nb.nii", "c" * 240 + ".nii"):
        (tmp_path / name).touch()
    names = [scan.name for scan in resolve_inputs(f"{tmp_path}/*")]
    assert len(set(names)) == 5
    assert [fault_of_name(name) for name in names] == [""] * 5
    (scan,) = resolve_inputs(str(tmp_path / "...nii.gz"))
    assert scan.name == "__"


def test_no_cell_is_computed_and_numbers_stay(tmp_path):
    table = pd.DataFrame({"a": ["=1+1", "@SUM(A1)", "-2+3", "-0.5", "–", "-", "x"], "b": [-1.5] * 7})
    write_csv(tmp_path / "a.csv", table)
    read = pd.read_csv(tmp_path / "a.csv")
    assert list(read["a"]) == ["'=1+1", "'@SUM(A1)", "'-2+3", "-0.5", "–", "-", "x"]
    assert list(read["b"]) == [-1.5] * 7


def test_any_byte_is_written(tmp_path):
    write_text(tmp_path / "a.txt", "a\udcffb")
    assert (tmp_path / "a.txt").read_text() == "a\\udcffb"


def test_tables_have_no_markup():
    page = io.StringIO()
    table = Table("[/x]", title="[bold]")
    table.add_row("[/red] :warning:")
    Console(file=page, width=60, **PLAIN).print(table)
    assert all(text in page.getvalue() for text in ("[/x]", "[bold]", "[/red] :warning:"))


def test_figures_have_no_mathematics():
    image = np.random.default_rng(1).random((40, 40, 4)).astype(np.float32)
    rows = pd.DataFrame({"side": [], "slice": [], "csa_mm2": [], "part": []})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sheet = check_sheet(
            image,
            image > 2,
            rows,
            title=r"$\frac{$",
            flags=["$x_{"],
            warning=None,
            slice_numbers=range(4),
            sides={},
            spacing_mm=(0.5, 0.5, 4.0),
        )
    assert sheet.ndim == 3


def test_an_ascii_terminal_gets_every_name():
    code = "from nerveseg.launch.main import configure_libraries; configure_libraries(); import nerveseg.console as c"
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(Path.cwd())}
    words = [sys.executable, "-c", f"{code}; c.say('\u00e9\\udcff')"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
