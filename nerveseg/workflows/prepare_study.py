"""Opening the study that a configuration names; a synthetic one is simulated first where its folder does not exist."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.slice_store import SliceStore, prepare_slices
from nerveseg.data.slice_store_build import available_cores
from nerveseg.data.study import Study, open_study
from nerveseg.data.study_layout import StudyLayout
from nerveseg.errors import StudyError
from nerveseg.files import wait_for_lock, write_text
from nerveseg.launch.compose import parse_section
from nerveseg.workflows.training_job import differences

LOCK = ".preparing"
"""In the folder of slice stores."""

COHORT_FILE = "cohort.json"
"""Beside a synthetic study's participants.tsv: the options it was simulated with."""


def study_description(values: Mapping[str, Any]) -> StudyLayout:
    """The study section of a configuration, without what is needed to simulate it.

    Raises:
        ConfigurationError: An option is missing or unknown.
    """
    return parse_section(StudyLayout, {key: value for key, value in values.items() if key != "simulate"}, "study")


def open_configured_study(values: Mapping[str, Any], console: Console) -> Study:
    """Open a study, simulated first if it is the synthetic one and not there.

    Args:
        values: The study section in plain types.
        console: Told what happens.

    Raises:
        StudyError: Something the study needs is missing.
    """
    description = study_description(values)
    if values.get("simulate"):
        _simulate_unless_there(values["simulate"], description.root, console)
    return open_study(description)


def _simulate_unless_there(cohort: Mapping[str, Any], root: Path, console: Console) -> None:
    if not root.exists():
        with wait_for_lock(root.with_name(f".{root.name}.simulating")):
            if not root.exists():  # else another process was faster
                simulate(cohort, root, workers=1, console=console)
    record = root / COHORT_FILE
    if record.is_file():
        changes = differences(json.loads(record.read_text(encoding="utf-8")), _plain_cohort(cohort))
        if changes:
            raise StudyError(
                "the synthetic study that is there was simulated with these options",
                found="; ".join(changes),
                path=root,
                remedy="study.root=<another folder>, or delete this one",
            )


def _plain_cohort(cohort: Mapping[str, Any]) -> dict[str, Any]:
    from nerveseg.phantom.cohort import CohortSpec

    plain: dict[str, Any] = json.loads(parse_section(CohortSpec, cohort, "cohort").model_dump_json())
    return plain


def simulate(cohort: Mapping[str, Any], root: Path, workers: int, console: Console) -> None:
    """Write a synthetic study.

    Raises:
        StudyError: The folder exists already.
    """
    from nerveseg.phantom.cohort import CohortSpec, write_cohort

    spec = parse_section(CohortSpec, cohort, "cohort")
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"simulating the study {spec.name}", total=None)
        write_cohort(spec, root, workers, lambda done, total: progress.update(task, completed=done, total=total))
    write_text(root / COHORT_FILE, spec.model_dump_json(indent=1) + "\n")
    console.print(f"SYNTHETIC study {spec.name}: {root}", highlight=False, soft_wrap=True)


def stores_folder(output_root: Path) -> Path:
    """Where slice stores lie, and beside them what is remembered of the hashes of a study's files."""
    return output_root / "slices"


def prepared_slices(
    study: Study, preprocessing: Preprocessing, output_root: Path, console: Console, workers: int | None = None
) -> SliceStore:
    """The study's slice store below the output folder, made where it does not exist; one process does it, others wait.

    Args:
        study: An opened study.
        preprocessing: What is done to the images.
        output_root: Folder of all outputs.
        console: Told what happens.
        workers: Processes at most; by default one for each core.

    Raises:
        VolumeError: A file cannot be read.
        GeometryError: A mask does not lie on its image's grid.
    """
    workers = available_cores() if workers is None else workers
    stores = stores_folder(output_root)
    shown = Progress(console=console, transient=True, disable=not console.is_terminal)
    with wait_for_lock(stores / LOCK), shown as progress:
        task = progress.add_task(f"preparing {study.description.name}", total=len(study.subjects))
        return prepare_slices(
            study,
            preprocessing,
            stores,
            lambda done, total: progress.update(task, completed=done),
            workers,
        )
