"""Participants of a study: rows of `participants.tsv`, or without one, the files that match the image template.

The table is that of BIDS: tabs between columns, `participant_id` with or without `sub-`, `n/a` for unknown values. The
values of the template's further fields, as `{ses}`, are those of columns of the same name; of a field without a column,
those of the files that match the template. So a row is a person or one scan.
"""

import difflib
import io
import os
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from nerveseg.data.template_fields import (
    PARTICIPANT,
    by_number,
    fill_template,
    matching_files,
    scan_id,
    template_fields,
)
from nerveseg.errors import NervesegError, StudyError
from nerveseg.names import fault_of_name, fault_of_text, folded

UNKNOWN = ("", "n/a", "N/A", "nan")
BOTH = "both"  # side of a scan of both legs
WORDS = {"side": ("left", "right", BOTH), "location": ("proximal", "medial", "distal")}
"""Known values by column; `side` has no others, `location` may have."""

ONE_SPELLING = ("cohort", "group", "location", "side")  # columns by whose values subjects are grouped

KNOWN_COLUMNS = ("participant_id", "cohort", "group", "side", "location", "repeat_of")

NAMES = {
    "participant_id": fault_of_name, "repeat_of": fault_of_name,
    **dict.fromkeys(("cohort", "group", "side", "location"), fault_of_text),
}  # fmt: skip
"""Checks of the names that stand in tables, on pages and, of ids, in the names of files."""

_SIMILAR = 0.75  # least similarity (difflib) of a misspelt word


def participant_rows(
    table: Path, root: Path, template: str, single_id: str
) -> tuple[list[dict[str, str]], list[NervesegError]]:
    """Return one row per participant or scan, without unknown values, and every fault of the table or the template.

    Args:
        table: Path of `participants.tsv`; the file is optional.
        root: Folder of the study.
        template: Path template of the first image channel, relative to the root.
        single_id: Id of the participant if the template has no `{id}`.
    """
    fields = template_fields([template])
    has_table = os.path.lexists(table)
    listed, faults = _read(table) if has_table else ([{}], [])
    rows, more = _scans(listed, fields, root, template, single_id)
    if not has_table and not rows:
        rule, remedy = "the study's image template matches files", "correct study.images, or study.root"
        return [], [StudyError(rule, found="no file matches", path=root / template, remedy=remedy)]
    twice = _listed_twice(rows, fields, table) if has_table else _listed_twice(rows, fields, root / template)
    once_each = {row_id(row, fields): row for row in reversed(rows)}
    return list(once_each.values())[::-1], (twice if has_table or fields else []) + faults + more


def row_id(row: Mapping[str, str], fields: Sequence[str]) -> str:
    """Return the id of a row's participant, or of its scan if the templates have further fields."""
    return scan_id(row["participant_id"], {name: row[name] for name in fields})


def fault_of_id(row: Mapping[str, str], fields: Sequence[str]) -> str:
    """Return why the id of a row's scan may not be a part of file names; empty for a sound one."""
    parts = (row["participant_id"], *(row[name] for name in fields), row_id(row, fields))
    return next(filter(None, map(fault_of_name, parts)), "")


def wrong_values(
    rows: Sequence[Mapping[str, str]], table: Path, raters: Sequence[str], fields: Sequence[str] = ()
) -> list[NervesegError]:
    """Return a fault for every value that would group subjects wrongly or be left out.

    Args:
        rows: Rows of `participant_rows`.
        table: Path of `participants.tsv`.
        raters: Names of the raters, whose drawing times are columns `minutes_<rater>`.
        fields: Further fields of the templates.
    """
    faults: list[NervesegError] = []

    def add(rule: str, found: str, remedy: str, subject: str | None = None) -> None:
        faults.append(StudyError(rule, found=found, subject=subject, path=table, remedy=remedy))

    for row in rows:
        for column, fault_of in NAMES.items():
            if fault := fault_of(row.get(column, "A")):
                add(f"{column} is a name: no separator, no dot or =, +, -, @ at its start", fault, "rename it")
        if not fault_of_name(row["participant_id"]) and (fault := fault_of_id(row, fields)):
            add(f"{', '.join(fields)} are names, and the scan's id short", fault, "rename it", row["participant_id"])
    for column, known in WORDS.items():
        for row in rows:
            value = row.get(column, known[0])
            near = difflib.get_close_matches(value.lower(), known, 1, _SIMILAR)
            if value not in known and (near or column == "side"):
                remedy = f"write {near[0] if near else 'n/a'}"
                add(f"{column} is {', '.join(known)} or n/a", value, remedy, row["participant_id"])
    for column in ONE_SPELLING:
        spellings = Counter(row[column] for row in rows if column in row)
        first = {folded(value): value for value, _ in reversed(spellings.most_common())}
        for value in spellings:
            usual = first[folded(value)]
            if value != usual:
                add(f"one spelling of each {column}", f"{value} and {usual}", f"write {usual} in all rows")
    for row in rows:
        for column in (f"minutes_{rater}" for rater in raters):
            if column in row and minutes_of(row[column]) is None:
                rule = f"{column} is a number of minutes above 0, such as 15.6, or n/a"
                add(rule, row[column], "correct the number", row["participant_id"])
    return faults


def minutes_of(text: str) -> float | None:
    """Return a drawing time in minutes; None unless it is a number above 0 and at most a day."""
    try:
        minutes = float(text)
    except ValueError:
        return None
    return minutes if 0 < minutes <= 24 * 60 else None


def _scans(
    listed: Sequence[dict[str, str]], fields: Sequence[str], root: Path, template: str, single_id: str
) -> tuple[list[dict[str, str]], list[NervesegError]]:
    """Return the rows; those that lack values of the template's fields as one row per file that matches."""
    listed = [row | {name: row[name].removeprefix(f"{name}-") for name in fields if name in row} for row in listed]
    named = ("participant_id", *fields)
    if all(name in row for row in listed for name in named):
        return listed, []
    files, ambiguous = matching_files(root, template)
    found = [{"participant_id": values.pop(PARTICIPANT, single_id)} | values for values in files.values()]
    found.sort(key=lambda values: (values["participant_id"], *by_number(list(values.values()))))
    rule, remedy = "a file matches the image template in one way", "add columns of the fields to participants.tsv"
    faults: list[NervesegError] = [
        StudyError(rule, found="several ways", path=root / path, remedy=remedy) for path in ambiguous
    ]
    rows: list[dict[str, str]] = []
    for row in listed:
        known = {name: row[name] for name in named if name in row}
        scans = [row | values for values in found if known.items() <= values.items()]
        if not scans and known:
            rule, remedy = "every participant has an image", "add the file, correct study.images, or remove the row"
            own, found_none = row["participant_id"], "no file matches"
            path = root / fill_template(template, own, known)
            faults.append(StudyError(rule, found=found_none, subject=own, path=path, remedy=remedy))
        rows += scans
    return rows, faults


def _read(table: Path) -> tuple[list[dict[str, str]], list[NervesegError]]:
    try:
        frame = _table(table)
    except (OSError, ValueError, pd.errors.ParserWarning) as error:  # of pandas and of Unicode are ValueErrors
        rule = "participants.tsv is a table with tabs between its columns"
        return [], [StudyError(rule, found=error, path=table, remedy="save it as tab-separated UTF-8 text")]
    for name, count in Counter(frame.columns).items():
        if count > 1 or (folded(name) in KNOWN_COLUMNS and name not in KNOWN_COLUMNS):
            rule = "participants.tsv has each column once, " + ", ".join(KNOWN_COLUMNS) + " in lower case"
            found = f"{count} columns {name or 'without a name'}" if count > 1 else name
            return [], [StudyError(rule, found=found, path=table, remedy="rename or remove the column")]
    if "participant_id" not in frame.columns:
        rule, remedy = "participants.tsv has a column participant_id", "name the column, and put tabs between columns"
        return [], [StudyError(rule, found=", ".join(map(str, frame.columns)), path=table, remedy=remedy)]
    rows = [
        {str(column): str(value).strip() for column, value in row.items() if str(value).strip() not in UNKNOWN}
        for row in frame.to_dict("records")
    ]
    named = [
        row | {"participant_id": row["participant_id"].removeprefix("sub-")}
        for row in rows
        if row.get("participant_id", "").removeprefix("sub-")
    ]
    return named, _unnamed(table, rows, named)


def _table(path: Path) -> pd.DataFrame:
    """Read all fields as text, without the tabs that a spreadsheet may leave at the end of rows."""
    text = re.sub(r"\t+$", "", path.read_text(encoding="utf-8-sig"), flags=re.MULTILINE)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        lines = io.StringIO(text)
        frame = pd.read_csv(lines, sep="\t", dtype=str, keep_default_na=False, index_col=False, header=None)
    names = [str(name).strip() for name in frame.iloc[0]]  # pandas would rename a second column of a name
    return frame.iloc[1:].set_axis(names, axis="columns")


def _listed_twice(rows: Sequence[dict[str, str]], fields: Sequence[str], table: Path) -> list[NervesegError]:
    rule, remedy = "a scan" if fields else "a participant", "remove or rename the others"
    remedy += "" if fields else ", or put fields that tell scans apart, such as {ses}, into the templates"
    alike: dict[str, list[str]] = {}
    for row in rows:
        own = row_id(row, fields)
        alike.setdefault(folded(own), []).append(own)
    return [
        StudyError(f"{rule} is listed once", found=f"{len(same)} rows", subject=same[0], path=table, remedy=remedy)
        for same in alike.values()
        if len(same) > 1
    ]


def _unnamed(table: Path, rows: list[dict[str, str]], named: list[dict[str, str]]) -> list[NervesegError]:
    if len(named) == len(rows) > 0:
        return []
    rule = "every row of participants.tsv names a participant"
    found = f"{len(rows) - len(named)} rows without one" if rows else "no rows"
    remedy = "add the participants, or delete the file: then the images are listed"
    return [StudyError(rule, found=found, path=table, remedy=remedy)]
