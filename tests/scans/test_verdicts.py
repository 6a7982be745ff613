"""Tables of a reviewer's verdicts: what is read, what is refused, and on which mask a verdict counts."""

import csv
from dataclasses import astuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nerveseg.errors import ConfigurationError
from nerveseg.scans.results import ScanSummary
from nerveseg.scans.verdicts import COLUMNS, Verdict, Verdicts, collect_verdicts, keep_verdicts, read_verdicts

NOW, BEFORE = "a" * 64, "b" * 64
HEADER = ",".join(COLUMNS)


def table(path, *rows, header=HEADER, encoding="utf-8"):
    path.write_text("\n".join([header, *rows]) + "\n", encoding=encoding)
    return path


def row(scan="V01", verdict="accept", sha256=NOW, note="", reviewer="AB", date="2026-01-02T08:00:00.000Z"):
    return f'{scan},{verdict},"{note}",{reviewer},{date},{sha256},{"c" * 64}'


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_is_read_as_spreadsheets_save_it(tmp_path, encoding, separator):
    cells = ["sub-V01", "Reject ", '"Gefäß; ""vein"", no\nnerve"', "'=AB", "2026-01-02", NOW.upper(), ""]
    path = table(tmp_path / "v.csv", separator.join(cells), header=separator.join(COLUMNS), encoding=encoding)
    (found,) = read_verdicts(path)
    assert (found.scan, found.verdict, found.mask_sha256) == ("sub-V01", "reject", NOW)
    assert (found.note, found.reviewer) == ('Gefäß; "vein", no\nnerve', "=AB")


@pytest.mark.parametrize(
    ("rows", "header", "found"),
    [
        ([], "name,verdict,comment", "no scan, mask_sha256"),
        ([row(verdict="pass")], HEADER, "line 2, V01: pass"),
        ([row(), row(verdict="")], HEADER, "line 3, V01: neither verdict nor note"),
        ([row(sha256="12")], HEADER, "line 2, V01: 12"),
        ([row(scan="")], HEADER, "line 2: no scan"),
        ([row(), row(verdict="reject", reviewer="CD")], HEADER, "V01: accept (AB) and reject (CD)"),
        (['V01,accept,"open'], HEADER, "line 2: unexpected end of data"),
    ],
)
def test_a_wrong_table_is_one_line(tmp_path, rows, header, found):
    path = table(tmp_path / "v.csv", *rows, header=header)
    with pytest.raises(ConfigurationError) as caught:
        read_verdicts(path)
    assert (caught.value.found, caught.value.path) == (found, path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_table_of_another_folder_is_refused(tmp_path):
    path = table(tmp_path / "v.csv", row(), row(scan="V02"))
    with pytest.raises(ConfigurationError) as caught:
        collect_verdicts(tmp_path, path, ["V01", "V03"])
    assert caught.value.found == "V02"
    with pytest.raises(ConfigurationError) as caught:
        collect_verdicts(tmp_path, tmp_path, ["V01"])
    assert caught.value.found == "a folder"


@settings(max_examples=25)
@given(st.text(), st.text())
@example("a\u2028b\x85c\x0bd", "-a")
@example("a\rb\r\nc", "'=1")
def test_every_text_is_the_same_after_it_was_read_and_kept(tmp_path_factory, note, reviewer):
    folder = tmp_path_factory.mktemp("v")
    with (folder / "given.csv").open("w", encoding="utf-8", newline="") as file:
        one = Verdict("V01", "accept", f"<{note}>", reviewer, "", NOW, "")
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([COLUMNS, astuple(one)])
    (read,) = read_verdicts(folder / "given.csv")
    assert read.note == f"<{note}>".replace("\r\n", "\n").replace("\r", "\n")
    keep_verdicts(folder, Verdicts([read]))
    assert read_verdicts(folder / "verdicts.csv") == [read]


@pytest.mark.parametrize(
    ("first", "second", "counts"),
    [
        ("2026-01-03T08:00:00.000Z", "2026-01-02T08:00:00.000Z", 0),
        ("2026-01-02", "2026-01-02T00:00:00+02:00", 0),
        ("2026-01-02T09:00:00+02:00", "2026-01-02T08:00:00Z", 1),
        ("2026-01-02", "2026-01-02", 1),
        ("2026-01-03", "02.01.2026 08:00", 1),
    ],
)
def test_the_newer_of_two_verdicts_counts(first, second, counts):
    both = [read_verdict("V01", "accept", NOW, first), read_verdict("V01", "reject", NOW, second)]
    assert Verdicts(both).on("V01", NOW).current == both[counts]
    assert Verdicts(both).on("V01", BEFORE).earlier == both[counts]


def test_a_verdict_from_a_scans_page_belongs_to_the_scan_with_its_mask(tmp_path):
    """Results of two scans called s, in the folders s and t; masks of V01 and V02 are equal, as empty ones are."""
    masks = {"s": ("s", NOW), "t": ("s", BEFORE), "V01": ("V01", "e" * 64), "V02": ("V02", "e" * 64)}
    summaries = {
        name: ScanSummary.model_construct(name=own, masks={"mask.nii.gz": sha256})
        for name, (own, sha256) in masks.items()
    }
    rows = [row("s", sha256=BEFORE), row("V01", "reject", "e" * 64), row("V02", "correct", NOW)]
    found = collect_verdicts(tmp_path, table(tmp_path / "v.csv", *rows), list(masks), summaries)
    assert {key: each.verdict for key, each in found.by_mask.items()} == {
        ("t", BEFORE): "accept", ("V01", "e" * 64): "reject", ("V02", NOW): "correct",
    }  # fmt: skip
    with pytest.raises(ConfigurationError):
        collect_verdicts(tmp_path, table(tmp_path / "w.csv", row("x", sha256="e" * 64)), list(masks), summaries)


def test_a_verdict_counts_on_its_own_mask_only():
    first, second, other = (
        read_verdict(scan, verdict, sha256, date)
        for scan, verdict, sha256, date in [
            ("V01", "correct", BEFORE, "2026-01-02"),
            ("V01", "accept", NOW, "2026-01-03"),
            ("V02", "reject", NOW, "2026-01-02"),
        ]
    )
    both = Verdicts([first, second, other]).on("V01", NOW)
    assert (both.current, both.earlier) == (second, first)
    alone = Verdicts([first, other]).on("V01", NOW)
    assert (alone.current, alone.earlier) == (None, first)


def read_verdict(scan, verdict, sha256, date):
    return Verdict(scan, verdict, "", "AB", date, sha256, "")


def test_verdicts_are_kept_and_replaced_by_later_ones_on_the_same_mask(tmp_path):
    given = table(tmp_path / "first.csv", row(sha256=BEFORE, verdict="correct"), row("V02", note="=1+1\nsplit"))
    keep_verdicts(tmp_path, collect_verdicts(tmp_path, given, ["V01", "V02"]))
    given = table(tmp_path / "second.csv", row(), row("V02", verdict="reject"))
    keep_verdicts(tmp_path, collect_verdicts(tmp_path, given, ["V01", "V02", "V03"]))
    kept = collect_verdicts(tmp_path, None, ["V03"])
    assert {key: each.verdict for key, each in kept.by_mask.items()} == {
        ("V01", BEFORE): "correct", ("V01", NOW): "accept", ("V02", NOW): "reject",
    }  # fmt: skip
    before = (tmp_path / "verdicts.csv").stat().st_mtime_ns
    keep_verdicts(tmp_path, kept)
    assert (tmp_path / "verdicts.csv").stat().st_mtime_ns == before
