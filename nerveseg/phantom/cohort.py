"""A synthetic study on disk, in the BIDS way: complete or absent, and marked as SYNTHETIC everywhere."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

import nerveseg
from nerveseg.data.volumes import read_image, write_mask, write_volume
from nerveseg.errors import StudyError
from nerveseg.phantom.raters import RATERS
from nerveseg.phantom.specification import CohortSpec, Participant, participants
from nerveseg.phantom.subject import SimulatedSubject, simulate_subject

BIDS_VERSION = "1.8.0"
DESCRIPTION = "SYNTHETIC phantom, nerveseg"

__all__ = ["CohortSpec", "Participant", "SimulatedSubject", "participants", "simulate_subject", "write_cohort"]


def write_cohort(
    spec: CohortSpec, root: Path, workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> None:
    """Simulate a cohort and write it as a study folder.

    The study is written beside `root` and renamed at the end, so that a folder named `root` is always complete.

    Args:
        spec: The cohort.
        root: Folder to create.
        workers: Processes; the result does not depend on it.
        progress: Called with (subjects done, subjects in all).

    Raises:
        StudyError: `root` exists already, or cannot be created.
    """
    root = Path(root)
    if root.exists():
        raise StudyError(
            "a synthetic study is written into a new folder", found="it exists already", path=root,
            remedy="remove the folder, or give another one",
        )  # fmt: skip
    aside = root.with_name(f".{root.name}.{os.getpid()}.partial")
    try:
        aside.mkdir(parents=True)
        rows = participants(spec)
        for done, _ in enumerate(_written(spec, aside, rows, workers), start=1):
            if progress is not None:
                progress(done, len(rows))
        _write_tables(spec, aside, rows)
        os.rename(aside, root)
    except OSError as error:
        raise StudyError(
            "a synthetic study can be written", found=f"{type(error).__name__}: {error.strerror}", path=root,
            remedy="choose a folder on a disk with room where you may write",
        ) from error  # fmt: skip
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _written(spec: CohortSpec, root: Path, rows: list[Participant], workers: int) -> Iterator[None]:
    write = partial(_write_subject, spec, root)
    if workers <= 1:
        yield from map(write, rows)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(write, rows)


def _write_subject(spec: CohortSpec, root: Path, participant: Participant) -> None:
    subject = simulate_subject(spec, participant)
    name = f"sub-{participant.id}"
    image_path = root / name / "anat" / f"{name}_T2w.nii.gz"
    write_volume(image_path, subject.image.astype(np.uint16), subject.affine, DESCRIPTION)
    grid = read_image(image_path, participant.id).grid
    masks = {"truth": subject.truth} | {f"rater-{rater}": mask for rater, mask in subject.raters.items()}
    for source, mask in masks.items():
        path = root / "derivatives" / source / name / "anat" / f"{name}_label-nerve_mask.nii.gz"
        write_mask(path, mask, grid, f"{DESCRIPTION}, {source}")


def _write_tables(spec: CohortSpec, root: Path, rows: list[Participant]) -> None:
    _write_description(root, f"SYNTHETIC thigh MR neurography phantom: {spec.name}", "raw")
    for source in ("truth", *(f"rater-{rater.name}" for rater in RATERS)):
        _write_description(root / "derivatives" / source, f"SYNTHETIC nerve masks: {source}", "derivative")
    raters = [rater.name for rater in RATERS]
    header = ["participant_id", "cohort", "group", "side", "location", "lesion", *(f"minutes_{r}" for r in raters)]
    lines = [header]
    for row in rows:
        facts = [f"sub-{row.id}", row.cohort, row.group, row.side, row.location, row.lesion]
        lines.append(facts + [f"{row.minutes[rater]:.1f}" for rater in raters])
    text = "".join("\t".join(line) + "\n" for line in lines)
    (root / "participants.tsv").write_text(text, encoding="utf-8")


def _write_description(folder: Path, name: str, kind: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "Name": name,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": kind,
        "GeneratedBy": [{"Name": "nerveseg", "Version": nerveseg.__version__}],
    }
    (folder / "dataset_description.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
