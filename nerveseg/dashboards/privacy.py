"""What of a run may leave the machine: no paths, no names of machine or user, and subjects' ids as one decides.

Hashed ids (`logger.subject_ids=hashed`) are keyed with a secret that only the study's files give: the SHA-256 of all of
them, of which nothing that is uploaded tells more than a hash. So a reader of the dashboard who holds a list of ids (a
hospital's, a registry's) cannot try them out. He can still tell that two rows are of one subject, and link a subject
by what is shown of it (cohort, scores, picture). Who has the study's files can compute every hash.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

SubjectIds = Literal["plain", "hashed"]

PLACES = ("output_root", "root", "hydra", "logger", "images", "raters", "participants")
"""Keys of a configuration that say where something lies, or hold addresses."""

SUBJECT_COLUMNS = ("subject", "group", "repeat_of")
_PLACE = re.compile(r"[/\\~]|[A-Za-z]:[\\/]|[A-Za-z][A-Za-z0-9+.-]*://|\.\.([/\\]|$)|file:")
_DIGITS = 12


@dataclass(frozen=True)
class SubjectNames:
    """How subjects are called where others can read it.

    Attributes:
        key: Of the hash; None shows ids as they are.
    """

    key: bytes | None = None

    @property
    def are_hidden(self) -> bool:
        """Whether nothing may be shown that has ids drawn or written into it."""
        return self.key is not None

    def __call__(self, subject_id: str) -> str:
        """The id, or the beginning of its keyed hash (HMAC-SHA-256)."""
        if self.key is None:
            return subject_id
        return hmac.new(self.key, subject_id.encode(), hashlib.sha256).hexdigest()[:_DIGITS]

    def of_table(self, table: pd.DataFrame) -> pd.DataFrame:
        """A table with its subjects called so; subjects without a value stay without."""
        if self.key is None:
            return table
        columns = [column for column in SUBJECT_COLUMNS if column in table]
        return table.assign(**{column: table[column].map(self._of_cell) for column in columns})

    def _of_cell(self, value: Any) -> Any:
        return value if pd.isna(value) else self(str(value))


def subject_names(mode: str, file_hashes: Iterable[Mapping[str, str]]) -> SubjectNames:
    """How a study's subjects are called.

    Args:
        mode: A `SubjectIds`.
        file_hashes: SHA-256 of every file, by subject, of the whole study.
    """
    if mode == "plain":
        return SubjectNames()
    content = sorted(json.dumps(dict(hashes), sort_keys=True) for hashes in file_hashes)
    return SubjectNames(hashlib.sha256("\n".join(["subject ids", *content]).encode()).digest())


def without_paths(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without folders, addresses and path templates; of channels and raters the names stay."""
    kept = {key: _without_places(value) for key, value in config.items() if key not in PLACES}
    names = {key: list(config[key]) for key in ("images", "raters") if isinstance(config.get(key), Mapping)}
    return {key: value for key, value in kept.items() if not _is_place(value)} | names


def _without_places(value: Any) -> Any:
    if isinstance(value, Mapping):
        return without_paths(value)
    if isinstance(value, list | tuple):
        return [_without_places(item) for item in value if not _is_place(item)]
    return value


def _is_place(value: Any) -> bool:
    return isinstance(value, str) and bool(_PLACE.match(value))
