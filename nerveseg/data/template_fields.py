"""Fields of path templates: `{id}` is the participant; further ones, as `{ses}` and `{run}`, tell scans of one apart.

The id of a scan is that of its participant and the further fields, as `P01_ses-1_run-2`. Scans of one participant, side
and location that differ in `ses` and `run` only are repeated scans of one leg.
"""

import glob
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

PARTICIPANT = "id"  # field of the participant
REPETITIONS = ("ses", "run")  # fields of scans that repeat each other, as BIDS names them
_FIELD = re.compile(r"\{([A-Za-z]\w*)\}", re.ASCII)


def template_fields(templates: Iterable[str]) -> tuple[str, ...]:
    """Return the fields of templates but the participant, in order.

    >>> template_fields(["sub-{id}/ses-{ses}/sub-{id}_ses-{ses}_run-{run}_T2w.nii.gz", "masks/{id}_{ses}.nii.gz"])
    ('ses', 'run')
    """
    names = dict.fromkeys(name for template in templates for name in _FIELD.findall(template))
    return tuple(name for name in names if name != PARTICIPANT)


def fill_template(template: str, participant: str, fields: Mapping[str, str]) -> str:
    """Return a template with values in place of the fields that have one."""
    values = {**fields, PARTICIPANT: participant}
    return _FIELD.sub(lambda found: values.get(found[1], found[0]), template)


def scan_id(participant: str, fields: Mapping[str, str]) -> str:
    """Return the id of a scan.

    >>> scan_id("P01", {"ses": "1", "run": "2"}), scan_id("P01", {})
    ('P01_ses-1_run-2', 'P01')
    """
    return "_".join([participant, *(f"{name}-{value}" for name, value in fields.items())])


def matching_files(root: Path, template: str) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Return the values of the fields of each file that a template matches, by path, and the ambiguous paths.

    A path is ambiguous if another division of it into values matches too: `a_b_c.nii` and `{id}_{ses}.nii`. Both are
    relative to the root and sorted, numbers by value.
    """
    template = Path(template).as_posix()
    paths = sorted(Path(path).as_posix() for path in glob.glob(template_glob(template), root_dir=root))
    shortest, longest = (re.compile(_pattern(template, repeat)) for repeat in ("+?", "+"))
    matches = {path: match.groupdict() for path in paths if (match := shortest.fullmatch(path))}
    ambiguous = [path for path in matches if (other := longest.fullmatch(path)) and other.groupdict() != matches[path]]
    return matches, ambiguous


def template_glob(template: str) -> str:
    """Return the pattern, as `glob` reads it, of the files of all scans."""
    return "*".join(map(glob.escape, _FIELD.split(template)[::2]))


def by_number(values: Sequence[str]) -> tuple[str, ...]:
    """Return a key that sorts values as people do: 2 before 10."""
    return tuple(re.sub(r"\d+", lambda digits: digits[0].zfill(12), value) for value in values)


def _pattern(template: str, repeat: str) -> str:
    """Return the regular expression of a template; the later places of a field repeat its first."""
    parts: list[str] = []
    for number, part in enumerate(_FIELD.split(template)):
        seen = f"(?P<{part}>[^/]{repeat})"
        parts.append(re.escape(part) if number % 2 == 0 else f"(?P={part})" if seen in parts else seen)
    return "".join(parts)
