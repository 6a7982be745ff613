"""Redact uploads: no paths, no names of machine or user, subjects' ids plain or as keyed hashes.

The key of hashed ids (`logger.subject_ids=hashed`) is the SHA-256 of all files of the study, which is never uploaded.
So readers of the dashboard who hold a list of ids (a hospital's, a registry's) cannot try them out. They can still see
that two rows are of one subject, and link a subject by its cohort, scores and image. Holders of the study's files can
compute every hash.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

PATH_KEYS = ("output_root", "root", "hydra", "logger", "images", "raters", "participants")  # of paths and addresses
SUBJECT_COLUMNS = ("subject", "group", "repeat_of")
_PATH = re.compile(r"[/\\~]|[A-Za-z]:[\\/]|[A-Za-z][A-Za-z0-9+.-]*://|\.\.([/\\]|$)|file:")
_DIGITS = 12


@dataclass(frozen=True)
class SubjectNames:
    """Names of subjects on dashboards."""

    key: bytes | None = None  # key of the hash; None shows ids as they are

    @property
    def are_hidden(self) -> bool:
        """Flag: true if ids are hashed, so that images and pages that contain ids may not be shown."""
        return self.key is not None

    def __call__(self, subject_id: str) -> str:
        """Return the id, or the first 12 digits of its keyed hash (HMAC-SHA-256)."""
        if self.key is None:
            return subject_id
        return hmac.new(self.key, subject_id.encode(), hashlib.sha256).hexdigest()[:_DIGITS]

    def of_table(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return a table with its subjects' ids replaced; missing values stay missing."""
        if self.key is None:
            return table
        columns = [column for column in SUBJECT_COLUMNS if column in table]
        hashed = {name: table[name].map(lambda each: self(str(each)), na_action="ignore") for name in columns}
        return table.assign(**hashed)


def subject_names(mode: Literal["plain", "hashed"], file_hashes: Iterable[Mapping[str, str]]) -> SubjectNames:
    """Return the names of a study's subjects, given the SHA-256 of each subject's files; all of them make the key."""
    if mode == "plain":
        return SubjectNames()
    content = sorted(json.dumps(dict(hashes), sort_keys=True) for hashes in file_hashes)
    return SubjectNames(hashlib.sha256("\n".join(["subject ids", *content]).encode()).digest())


def without_paths(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without folders, addresses and path templates, but with names of channels and raters."""
    kept = {key: _redacted(value) for key, value in config.items() if key not in PATH_KEYS}
    names = {key: list(config[key]) for key in ("images", "raters") if isinstance(config.get(key), Mapping)}
    return {key: value for key, value in kept.items() if not _is_path(value)} | names


def _redacted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return without_paths(value)
    if isinstance(value, list | tuple):
        return [_redacted(item) for item in value if not _is_path(item)]
    return value


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and bool(_PATH.match(value))
