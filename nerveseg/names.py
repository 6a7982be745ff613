"""Conversion of names (ids, cohorts, raters, studies, channels, scans) to safe text, one function for each use.

What a study calls its subjects, raters and channels is refused where it could leave a folder, hide, or be computed by a
spreadsheet; `StudyLayout`, `participants` and `SegmentConfig` check it when it is read. Names of scans come from files
and can hold anything: `file_name` makes them names of that kind. Pages escape by themselves (Jinja's autoescape), and
figures and the console read no markup (`reporting.style.RC`, `console`).
"""

import hashlib
import re
import unicodedata
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Strict
from pydantic_core import PydanticCustomError

LONGEST = 120  # largest size of a name in bytes of UTF-8; file systems allow 255 for a name with what we add to it

_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")  # control, format, surrogate, private, line and paragraph separators
_COMPUTED = ("=", "+", "-", "@", "\t", "\r")  # first characters of a formula (OWASP, "CSV Injection")


def fault_of_text(text: str) -> str:
    """Return why a text may not be a cell of a table; empty for a sound one."""
    if text.startswith(_COMPUTED):
        return f"{console_line(text)}, which a spreadsheet computes"
    if any(unicodedata.category(character) in _HIDDEN for character in text):
        return f"{console_line(text)}, with characters that cannot be printed"
    return ""


def fault_of_name(text: str) -> str:
    """Return why a text may not be an id or a key, which are parts of file names; empty for a sound one."""
    if not text.strip():
        return "an empty name"
    if "/" in text or "\\" in text:
        return f"{console_line(text)}, with a separator of folders"
    if text.startswith(".") or text != text.strip():
        return f"{console_line(text)!r}, which begins with a dot or has spaces around it"
    if len(text.encode("utf-8", "surrogatepass")) > LONGEST:
        return f"{console_line(text[:40])}..., longer than {LONGEST} bytes"
    return fault_of_text(text)


def _checked(text: str) -> str:
    if fault := fault_of_name(text):
        raise ValueError(f"a name, not {fault}")
    return text


Name = Annotated[str, AfterValidator(_checked)]
"""Type of the fields of configurations that hold the name of a study, a rater or a channel."""


def _not_empty(path: Any) -> Any:
    if path == "":  # `Path("")` is the working directory
        raise PydanticCustomError("string_too_short", "a folder", {"kind": "folder"})
    return path


FolderPath = Annotated[Path, Strict(False), BeforeValidator(_not_empty)]
"""Type of the fields of configurations that hold a folder, which is given as text."""


def file_name(text: str) -> str:
    """Return a name that is one part of a path, visible, printable and no formula; a sound name as it is.

    >>> file_name("../a=b"), file_name("..")
    ('___a=b', '__')
    """
    shown = "".join("_" if each in "/\\" or unicodedata.category(each) in _HIDDEN else each for each in text.strip())
    shown = re.sub(r"\A[.=+\-@]+", lambda found: "_" * len(found[0]), shown) or "_"
    if len(shown.encode()) > LONGEST:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        shown = f"{shown.encode()[: LONGEST - 9].decode(errors='ignore')}-{digest}"
    return shown


def folded(text: str) -> str:
    """Return a text without differences that a reader may not see: case, spaces, composed or decomposed letters."""
    return " ".join(unicodedata.normalize("NFKC", text).split()).casefold()


def csv_cell(value: object) -> object:
    """Return a cell that no spreadsheet computes: a text that begins as a formula gets an apostrophe before it."""
    if not isinstance(value, str) or not value.startswith(_COMPUTED) or _is_number(value) or not value.strip("-+"):
        return value
    return f"'{value}"


def text_of_cell(cell: str) -> str:
    """Return the text that `csv_cell`, or the export of a page, wrote as a cell: without the apostrophe.

    >>> text_of_cell("'=a"), text_of_cell("'a")
    ('=a', "'a")
    """
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_COMPUTED) else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def console_line(text: str) -> str:
    r"""Return a text as one line that a terminal only prints: line breaks as spaces, control characters escaped.

    >>> print(console_line("a\x1b[2Jb"))
    a\x1b[2Jb
    """
    one_line = " ".join(text.splitlines()) if len(text.splitlines()) > 1 else text.rstrip("\r\n")
    return "".join(
        each.encode("unicode_escape").decode() if unicodedata.category(each) in _HIDDEN else each for each in one_line
    )
