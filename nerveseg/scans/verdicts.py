"""Verdicts of a reviewer on masks, as the pages export them: accept, correct or reject, with a note.

A verdict is on the mask whose hash it names. After the mask has changed it is shown as one on an earlier mask, and does
not count. `verdicts.csv` beside `segmentations.csv` keeps the verdicts that were read, so that they are in later tables
too. Of two verdicts on one mask the newer counts.
"""

import csv
import io
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import astuple, dataclass, fields, replace
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path

import pandas as pd

from nerveseg.console import say
from nerveseg.errors import ConfigurationError
from nerveseg.files import write_csv
from nerveseg.names import console_line, folded, text_of_cell
from nerveseg.reporting.subject_view import VERDICTS
from nerveseg.scans.results import ScanSummary

FILE = "verdicts.csv"
REQUIRED = ("scan", "verdict", "mask_sha256")
EXPORT = "export it with the button of the page segmentations.html, or of the page of a scan"
MOST_BYTES = 50_000_000
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Verdict:
    """Verdict of a reviewer on one mask; the fields are the columns of `verdicts.csv`."""

    scan: str  # name of the scan
    verdict: str  # one of `VERDICTS`, or empty of a note alone
    note: str  # remark of the reviewer
    reviewer: str  # initials of the reviewer
    date: str  # date and time, as the page wrote it
    mask_sha256: str  # hash of the mask's file
    model_sha256: str  # hash of the model; empty if no known one made the mask


COLUMNS = tuple(field.name for field in fields(Verdict))


@dataclass(frozen=True)
class Review:
    """Verdicts on a scan."""

    current: Verdict | None = None  # verdict on its mask
    earlier: Verdict | None = None  # latest verdict on a mask that it had before, which does not count


class Verdicts:
    """Verdicts on the masks of many scans, one on each mask."""

    def __init__(self, verdicts: Iterable[Verdict] = ()) -> None:
        """Take the verdicts; of two on the same mask of the same scan, the newer."""
        by_mask: dict[tuple[str, str], Verdict] = {}
        for each in verdicts:
            key = (each.scan, each.mask_sha256)
            by_mask[key] = _newer(by_mask.get(key, each), each)
        self.by_mask: Mapping[tuple[str, str], Verdict] = by_mask

    def on(self, scan: str, mask_sha256: str) -> Review:
        """Return the verdicts on a scan with this mask."""
        earlier = [each for (name, sha256), each in self.by_mask.items() if name == scan and sha256 != mask_sha256]
        return Review(self.by_mask.get((scan, mask_sha256)), reduce(_newer, earlier) if earlier else None)


def _newer(first: Verdict, second: Verdict) -> Verdict:
    """Return the newer of two verdicts; the second, which was read later, if a date cannot be read."""
    try:
        dates = [datetime.fromisoformat(each.date) for each in (first, second)]
    except ValueError:
        return second
    before, after = (each if each.tzinfo else each.replace(tzinfo=UTC) for each in dates)
    return first if before > after else second


def collect_verdicts(
    root: Path, given: Path | None, scans: Collection[str], summaries: Mapping[str, ScanSummary] | None = None
) -> Verdicts:
    """Return the verdicts that a folder of results keeps, and those of a given table.

    Args:
        root: Folder of the results.
        given: Table to read, or None.
        scans: Names of all scans of the command, which the given table may name.
        summaries: Summaries of results by these names. A scan's own page calls it by the name in its summary, which
            several scans may have; a verdict from there belongs to the scan with its mask.

    Raises:
        ConfigurationError: A table cannot be read, contradicts itself, or names other scans.
    """
    kept = read_verdicts(root / FILE) if (root / FILE).is_file() else []
    added = read_verdicts(given) if given is not None else []
    kept, added = ([_by_name(each, scans, summaries or {}) for each in some] for some in (kept, added))
    if unknown := sorted({each.scan for each in added} - set(scans)):
        raise ConfigurationError(
            "review= names scans of this command",
            found=", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""),
            path=given,
            remedy=f"remove these rows, or name the folder of their results; here: {', '.join(sorted(scans)[:3])}",
        )
    return Verdicts([*kept, *added])


def _by_name(one: Verdict, scans: Collection[str], summaries: Mapping[str, ScanSummary]) -> Verdict:
    """Return a verdict under the name that the command gives to its scan."""
    same = {name: each for name, each in summaries.items() if each.mask_sha256 == one.mask_sha256}
    if one.scan in same:
        return one
    called = [name for name, each in same.items() if each.name == one.scan]
    if not called and one.scan not in scans:
        called = list(same)
    return replace(one, scan=called[0]) if len(called) == 1 else one


def keep_verdicts(root: Path, verdicts: Verdicts) -> None:
    """Write the verdicts beside the table of a folder of results, unless they are there already, and say how many."""
    path, held = root / FILE, list(verdicts.by_mask.values())
    if held and not (path.is_file() and Verdicts(read_verdicts(path)).by_mask == verdicts.by_mask):
        write_csv(path, pd.DataFrame([astuple(each) for each in held], columns=list(COLUMNS)))
        say(f"verdicts: {path}")


def read_verdicts(path: Path) -> list[Verdict]:
    """Read a table of verdicts with commas, semicolons or tabs, in UTF-8 or as a Windows spreadsheet saves it.

    Raises:
        ConfigurationError: There is no such file, it is no such table, or it has two verdicts on one mask.
    """
    lines = _lines(path)
    header = [folded(name) for name in lines[0][1]] if lines else []
    if missing := [name for name in REQUIRED if name not in header]:
        raise _error(f"a table of verdicts has the columns {', '.join(COLUMNS)}", f"no {', '.join(missing)}", path)
    verdicts: dict[tuple[str, str], Verdict] = {}
    for number, cells in lines[1:]:
        row = dict(zip(header, cells, strict=False))
        one = Verdict(**{name: text_of_cell(row.get(name, "").strip()) for name in COLUMNS})
        one = _checked(one, number, path)
        before = verdicts.setdefault((one.scan, one.mask_sha256), one)
        if before.verdict != one.verdict:
            both = " and ".join(f"{each.verdict or 'no verdict'} ({each.reviewer or '?'})" for each in (before, one))
            raise _error("a mask has one verdict", f"{one.scan}: {both}", path, "keep the row that counts")
    return list(verdicts.values())


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Return number and cells of each line that is not empty."""
    if not path.is_file():
        raise _error("review= names a table of verdicts", "a folder" if path.is_dir() else "no such file", path)
    if path.stat().st_size > MOST_BYTES:
        raise _error(f"a table of verdicts has at most {MOST_BYTES:,} bytes", f"{path.stat().st_size:,}", path)
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=first.count), strict=True)
    try:
        return [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise _error("a table of verdicts is CSV", f"line {reader.line_num}: {error}", path) from error


def _checked(one: Verdict, line: int, path: Path) -> Verdict:
    """Return a row with its words in lower case; raise `ConfigurationError` for a wrong cell."""
    verdict, sha256 = folded(one.verdict), one.mask_sha256.lower()
    if not one.scan:
        raise _error("each verdict names its scan", f"line {line}: no scan", path)
    if verdict not in (*VERDICTS, "") or not (verdict or one.note):
        found = f"line {line}, {one.scan}: {console_line(one.verdict)[:40] or 'neither verdict nor note'}"
        raise _error(f"a verdict is {', '.join(VERDICTS)}", found, path)
    if not _HASH.fullmatch(sha256):
        found = f"line {line}, {one.scan}: {console_line(sha256)[:20] or 'none'}"
        raise _error("each verdict has the SHA-256 of its mask, 64 digits", found, path)
    return Verdict(one.scan, verdict, one.note, one.reviewer, one.date, sha256, one.model_sha256.lower())


def _error(rule: str, found: str, path: Path, remedy: str = EXPORT) -> ConfigurationError:
    return ConfigurationError(rule, found=found, path=path, remedy=remedy)
