"""Synthetic study on disk, in BIDS layout: complete or absent, and marked as SYNTHETIC in all metadata."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from nerveseg.errors import StudyError
from nerveseg.phantom.specification import CohortSpec, Participant, participants
from nerveseg.phantom.study_files import write_subject, write_tables
from nerveseg.phantom.subject import SimulatedSubject, simulate_subject

__all__ = ["CohortSpec", "Participant", "SimulatedSubject", "participants", "simulate_subject", "write_cohort"]


def write_cohort(
    spec: CohortSpec, root: Path, workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> None:
    """Simulate a cohort and write it as a study folder.

    The study is written beside `root` and renamed at the end, so that a folder named `root` is always complete.

    Args:
        spec: Specification of the cohort.
        root: Folder to create.
        workers: Number of processes; the result does not depend on it.
        progress: Function called with (subjects done, subjects in all).

    Raises:
        StudyError: `root` exists already, or cannot be created.
    """
    root = Path(root)
    if root.exists():
        raise StudyError(
            "a new folder for a synthetic study", found="it exists already", path=root,
            remedy="remove the folder, or give another one",
        )  # fmt: skip
    partial_root = root.with_name(f".{root.name}.{os.getpid()}.partial")
    try:
        partial_root.mkdir(parents=True)
        rows = participants(spec)
        for done, _ in enumerate(_written(spec, partial_root, rows, workers), start=1):
            if progress is not None:
                progress(done, len(rows))
        write_tables(spec, partial_root, rows)
        os.rename(partial_root, root)
    except OSError as error:
        raise StudyError(
            "a folder that can be written", found=f"{type(error).__name__}: {error.strerror}", path=root,
            remedy="choose a folder on a disk with room where you may write",
        ) from error  # fmt: skip
    finally:
        shutil.rmtree(partial_root, ignore_errors=True)


def _written(spec: CohortSpec, root: Path, rows: list[Participant], workers: int) -> Iterator[None]:
    write = partial(_write_subject, spec, root)
    if workers <= 1:
        yield from map(write, rows)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(write, rows)


def _write_subject(spec: CohortSpec, root: Path, participant: Participant) -> None:
    write_subject(root, simulate_subject(spec, participant))
