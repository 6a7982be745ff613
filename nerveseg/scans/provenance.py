"""Origin of a result in words, for the foot of its page: input, model, mask of a person, program and date."""

from collections.abc import Mapping
from datetime import date

from nerveseg.scans.identity import Identity
from nerveseg.scans.request import ScanFiles
from nerveseg.scans.results import GivenMask, ModelRecord


def provenance_of(
    files: ScanFiles,
    identity: Identity,
    model: ModelRecord | None,
    given: GivenMask | None,
    versions: Mapping[str, str],
) -> list[tuple[str, str]]:
    """Return names and values; files have their name without the path, and the SHA-256 of their content."""
    rows = []
    for role, path in files.paths.items():
        name = "in memory" if files.in_memory else path.name
        rows.append(("input" if role == "image" else role, _hashed(name, identity.inputs.get(role, ""))))
    if given is not None:
        rows.append(("mask of a person", _hashed(given.source, given.sha256)))
    if model is not None:
        folds = f"; mean of folds {', '.join(map(str, model.folds))}" if len(model.folds) > 1 else ""
        rows.append(("model", _hashed(f"{model.name}, trained on the study {model.study}{folds}", model.sha256)))
    rows.append(("program", f"nerveseg {identity.version}, torch {versions.get('torch', 'unknown')}"))
    return [*rows, ("date of this page", date.today().isoformat())]


def _hashed(name: str, sha256: str) -> str:
    return f"{name}; SHA-256 {sha256}" if sha256 else name
