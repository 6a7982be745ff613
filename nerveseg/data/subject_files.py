"""The files of one participant, as its study's templates name them.

A study of 10,000 participants names 40,000 files: a path is made when somebody asks for it, and what is kept of a
participant is its id.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, eq=False)
class SubjectFiles(Mapping[str, Path]):
    """Path of each file by its name; equal to a dict of the same paths.

    Attributes:
        root: The study's folder, or empty.
        templates: By name, relative to the root; `{id}` stands for the participant. Shared by all participants.
        subject_id: The participant without `sub-`.
    """

    root: str
    templates: Mapping[str, str]
    subject_id: str

    def __getitem__(self, name: str) -> Path:
        """The file of that name, which need not exist."""
        return Path(self.text(name))

    def __iter__(self) -> Iterator[str]:
        """Names, in the order of the templates."""
        return iter(self.templates)

    def __len__(self) -> int:
        """Number of files."""
        return len(self.templates)

    def text(self, name: str) -> str:
        """As `[name]`, without the price of a `Path`."""
        return os.path.join(self.root, self.templates[name].replace("{id}", self.subject_id))

    def present(self) -> SubjectFiles:
        """Those that exist."""
        found = {name: template for name, template in self.templates.items() if os.path.isfile(self.text(name))}
        return self if len(found) == len(self.templates) else SubjectFiles(self.root, found, self.subject_id)


def path_texts(files: Mapping[str, Path]) -> dict[str, str]:
    """The path of every file as text, however they are kept."""
    if isinstance(files, SubjectFiles):
        return {name: files.text(name) for name in files}
    return {name: str(path) for name, path in files.items()}
