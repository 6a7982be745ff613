"""The `check` command: every fault of a study on the screen, and an exit code that says whether there was one.

The hashes of a sound study's images are remembered, as `train` remembers them; a study with faults leaves nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.slice_store import study_hashes
from nerveseg.data.slice_store_build import available_cores
from nerveseg.data.study import Study, list_subjects
from nerveseg.data.study_check import check_subject, copied_images
from nerveseg.errors import StudyError
from nerveseg.launch.compose import parse_section, require_section
from nerveseg.launch.main import print_error
from nerveseg.workflows.prepare_study import stores_folder, study_description


def check_configured_study(config: dict[str, Any], console: Console) -> None:
    """Check a study's list and then every file of it.

    Raises:
        StudyError: There were faults; each was printed.
    """
    description = study_description(require_section(config, "study"))
    preprocessing = parse_section(Preprocessing, require_section(config, "preprocessing"), "preprocessing")
    subjects, listed = list_subjects(description)
    study = Study(description, subjects)
    root = stores_folder(Path(config["output_root"]))
    hashes, remember = study_hashes(study, root, available_cores(), images_only=True)
    channel = next(iter(description.images))
    faults = listed + copied_images(subjects, {subject_id: files[channel] for subject_id, files in hashes.items()})
    warnings: list[str] = []
    for subject in track(subjects, "checking", console=console, transient=True, disable=not console.is_terminal):
        found = check_subject(study, subject, preprocessing)
        faults += found.faults
        warnings += [f"sub-{subject.id}: {warning}" for warning in found.warnings]
    for warning in warnings:
        console.print(f"warning: {warning}", highlight=False, soft_wrap=True)
    for fault in faults:
        print_error(fault)
    if faults:
        raise StudyError(
            "a study has no faults",
            found=f"{len(faults)}, listed above",
            path=description.root,
            remedy="mend them and run check again",
        )
    remember()
    cohorts = sorted({subject.cohort for subject in subjects})
    console.print(
        f"{description.name}: {len(subjects)} subjects ({', '.join(cohorts)}) are fit to use", highlight=False
    )
