"""Masks of a study's subjects that another program or a person made: the file of each subject.

A template holds `{id}` and further fields as the study's layout does (`masks/{id}.nii.gz`). A folder is searched for
NIfTI files, at any depth, whose name holds the subject's id as a separate word: `sub-P01_mask.nii.gz` is P01's,
`P011.nii.gz` is not, nor is `P01-2.nii.gz` if there is a subject P01-2. A scan's id is that of its results, as
`P01_ses-1_run-2`.
"""

import glob
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from nerveseg.data.study import Subject
from nerveseg.data.template_fields import PARTICIPANT, fill_template, template_glob
from nerveseg.data.volumes.nifti import NIFTI_SUFFIXES
from nerveseg.errors import StudyError


def find_predictions(location: str, subjects: Sequence[Subject]) -> dict[str, Path]:
    """Return the mask of every subject that has one, by subject id, in a folder or by a path template with `{id}`.

    Raises:
        StudyError: The folder does not exist, no subject has a mask, a subject has several, or several have one.
    """
    template = _is_template(location, subjects)
    candidates = (
        {subject.id: [_path_of(location, subject)] for subject in subjects}
        if template
        else _from_folder(Path(location), subjects)
    )
    if template and len({path for paths in candidates.values() for path in paths}) < len(candidates):
        fields = ", ".join(f"{{{name}}}" for name in (PARTICIPANT, *subjects[0].fields))
        rule, remedy = f"a template of several scans' masks holds {fields}", "complete the template, or give a folder"
        raise StudyError(rule, found=location, path=location, remedy=remedy)
    for subject, paths in candidates.items():
        if len(paths) > 1:
            rule, found_names = "a subject has one predicted mask", ", ".join(path.name for path in paths[:3])
            remedy = "give a template instead of the folder: prediction='masks/{id}.nii.gz'"
            raise StudyError(rule, found=found_names, subject=subject, path=location, remedy=remedy)
    found = {subject: paths[0] for subject, paths in candidates.items() if paths and paths[0].is_file()}
    if not found:
        ids = [subject.id for subject in subjects]
        rule, few = "the names of predicted masks hold the ids of the study's subjects", ", ".join(ids[:3])
        remedy = "give a folder with one NIfTI file per subject, or a template with {id}"
        raise StudyError(rule, found=f"none of {len(ids)} ids, such as {few}", path=location, remedy=remedy)
    return found


def surplus_predictions(location: str, subjects: Sequence[Subject]) -> list[Path]:
    """Return the masks in a folder, or of a template, that are of none of the subjects, sorted."""
    if _is_template(location, subjects):
        paths = map(Path, glob.glob(template_glob(location)))
        return sorted(set(paths) - {_path_of(location, subject) for subject in subjects})
    return [path for path in _masks(Path(location)) if not any(_holds_id(path.name, each.id) for each in subjects)]


def _is_template(location: str, subjects: Sequence[Subject]) -> bool:
    names = {PARTICIPANT, *(name for subject in subjects for name in subject.fields)}
    return any(f"{{{name}}}" in location for name in names)


def _path_of(template: str, subject: Subject) -> Path:
    return Path(fill_template(template, subject.participant, subject.fields))


def _masks(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.name.lower().endswith(NIFTI_SUFFIXES) and path.is_file())


def _from_folder(folder: Path, subjects: Sequence[Subject]) -> Mapping[str, list[Path]]:
    if not folder.is_dir():
        rule = "prediction= names a folder of masks, or a template with {id}"
        remedy = "prediction=/path/to/masks, or prediction='/path/to/{id}.nii.gz'"
        raise StudyError(rule, found="a file" if folder.exists() else "no such folder", path=folder, remedy=remedy)
    files = _masks(folder)
    owners = {path: _ids_in(path.name, subjects) for path in files}
    return {subject.id: [path for path in files if subject.id in owners[path]] for subject in subjects}


def _ids_in(name: str, subjects: Sequence[Subject]) -> list[str]:
    """Return the ids that a file's name holds, without those that are part of a longer one: P01 of P01-2."""
    ids = [subject.id for subject in subjects if _holds_id(name, subject.id)]
    return [each for each in ids if not any(each != other and each in other for other in ids)]


def _holds_id(name: str, subject_id: str) -> bool:
    """Return true if a file's name holds the id, but not as part of a longer word or number."""
    return re.search(rf"(?<![A-Za-z0-9]){re.escape(subject_id)}(?![A-Za-z0-9])", name) is not None
