"""Participants of a study: rows of `participants.tsv`, or without one, the files that match the image template.

The table is that of BIDS: tabs between columns, `participant_id` with or without `sub-`, `n/a` for unknown values.
"""

import difflib
import glob
import io
import os
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from nerveseg.errors import NervesegError, StudyError
from nerveseg.names import fault_of_name, fault_of_text, folded

UNKNOWN = ("", "n/a", "N/A", "nan")
WORDS = {"side": ("left", "right"), "location": ("proximal", "medial", "distal")}
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
    """Return one row per participant, without unknown values, and every fault of the table or the template.

    Args:
        table: Path of `participants.tsv`; the file is optional.
        root: Folder of the study.
        template: Path template of the first image channel, relative to the root.
        single_id: Id of the participant if the template has no `{id}`.
    """
    if os.path.lexists(table):
        return _read(table)
    ids = _matching_ids(root, template, single_id)
    if not ids:
        rule, remedy = "the study's image template matches files", "correct study.images, or study.root"
        return [], [StudyError(rule, found="no file matches", path=root / template, remedy=remedy)]
    return [{"participant_id": subject_id} for subject_id in ids], []


def wrong_values(rows: Sequence[Mapping[str, str]], table: Path, raters: Sequence[str]) -> list[NervesegError]:
    """Return a fault for every value that would group subjects wrongly or be left out.

    Args:
        rows: Rows of `participant_rows`.
        table: Path of `participants.tsv`.
        raters: Names of the raters, whose drawing times are columns `minutes_<rater>`.
    """
    faults: list[NervesegError] = []

    def add(rule: str, found: str, remedy: str, subject: str | None = None) -> None:
        faults.append(StudyError(rule, found=found, subject=subject, path=table, remedy=remedy))

    for row in rows:
        for column, fault_of in NAMES.items():
            if fault := fault_of(row.get(column, "A")):
                add(f"{column} is a name: no separator, no dot or =, +, -, @ at its start", fault, "rename it")
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


def _matching_ids(root: Path, template: str, single_id: str) -> list[str]:
    """Return the values of `{id}` for which the template is a file, sorted."""
    template = Path(template).as_posix()
    if "{id}" not in template:
        return [single_id] if (root / template).is_file() else []
    before, *others = template.split("{id}")
    pattern = re.escape(before) + "(?P<id>[^/]+?)" + "(?P=id)".join(re.escape(part) for part in others)
    found = glob.glob("*".join(glob.escape(part) for part in [before, *others]), root_dir=root)
    matches = (re.fullmatch(pattern, Path(path).as_posix()) for path in found)
    return sorted(match["id"] for match in matches if match)


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
    once_each = {row["participant_id"]: row for row in reversed(named)}
    return list(once_each.values())[::-1], _faults(table, rows, named)


def _table(path: Path) -> pd.DataFrame:
    """Read all fields as text, without the tabs that a spreadsheet may leave at the end of rows."""
    text = re.sub(r"\t+$", "", path.read_text(encoding="utf-8-sig"), flags=re.MULTILINE)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        lines = io.StringIO(text)
        frame = pd.read_csv(lines, sep="\t", dtype=str, keep_default_na=False, index_col=False, header=None)
    names = [str(name).strip() for name in frame.iloc[0]]  # pandas would rename a second column of a name
    return frame.iloc[1:].set_axis(names, axis="columns")


def _faults(table: Path, rows: list[dict[str, str]], named: list[dict[str, str]]) -> list[NervesegError]:
    rule, remedy = "a participant is listed once", "remove or rename the others"
    alike: dict[str, list[str]] = {}
    for row in named:
        alike.setdefault(folded(row["participant_id"]), []).append(row["participant_id"])
    faults: list[NervesegError] = [
        StudyError(rule, found=f"{len(same)} rows", subject=same[0], path=table, remedy=remedy)
        for same in alike.values()
        if len(same) > 1
    ]
    if len(named) < max(len(rows), 1):
        rule = "every row of participants.tsv names a participant"
        found = f"{len(rows) - len(named)} rows without one" if rows else "no rows"
        remedy = "add the participants, or delete the file: then the images are listed"
        faults.append(StudyError(rule, found=found, path=table, remedy=remedy))
    return faults
