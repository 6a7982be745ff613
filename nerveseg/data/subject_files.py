"""Files of one participant, by name, as the study's path templates give them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, eq=False)
class SubjectFiles(Mapping[str, Path]):
    """Mapping from name to path that stores the templates and makes each path on request.

    Every process of a data loader holds the study: 10,000 participants with four `Path` objects each would take 18 MiB
    in each of them (benchmarks/startup.py).

    Attributes:
        root: Folder of the study.
        templates: Path template by name, relative to the root; `{id}` stands for the participant.
        subject_id: Id of the participant, without `sub-`.
    """

    root: Path
    templates: Mapping[str, str]
    subject_id: str

    def __getitem__(self, name: str) -> Path:
        """Return the path of that name; the file need not exist."""
        return self.root / self.templates[name].replace("{id}", self.subject_id)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, in the order of the templates."""
        return iter(self.templates)

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.templates)
