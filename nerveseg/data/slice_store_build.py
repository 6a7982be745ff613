"""One subject's arrays in a slice store, and all subjects of a study on as many processes as pay.

A process holds one subject at a time, so memory grows with the processes and not with the study. To start processes
takes seconds: the first subject is stored here and timed, and they are started only where the others would take longer.
What is written does not depend on who writes it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict
from pydantic.dataclasses import dataclass

from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.study import Study, Subject
from nerveseg.data.study_layout import StudyLayout
from nerveseg.data.volumes.volume import Geometry, write_mask
from nerveseg.errors import RunError
from nerveseg.types import SpacingMm

FORMAT_VERSION: Literal[1] = 1

POOL_START_S = 4.0
"""Work that has to be saved before processes are started: twice what one takes to start and import."""


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class StoredSubject:
    """What the store knows of one subject.

    Attributes:
        id: The participant without `sub-`.
        sha256: Hash of every input file, by channel and by `rater-<name>`.
        slices: Number of slices.
        spacing_mm: Voxel spacing of the stored slices in RAS order.
        nerve_voxels: Size of the consensus at this spacing, in the whole volume.
        nerve_voxels_cropped_away: How many of these lie outside the crop, where no network can find them.
        pixels: Slices x crop, for the share of nerve among all training pixels.
    """

    id: str
    sha256: dict[str, str]
    slices: int
    spacing_mm: tuple[float, float, float]
    nerve_voxels: int
    nerve_voxels_cropped_away: int
    pixels: int


class StoreIndex(BaseModel):
    """Content of a store's `index.json`.

    Attributes:
        format_version: Version of this file and of the arrays beside it.
        study: Name of the study.
        channels: Names of the image channels, in the order of the arrays.
        preprocessing: Preprocessing of the images; its spacing is a number.
        geometry: Transform of a header to trust where its qform and sform differ.
        subjects: Subjects in the study's order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = FORMAT_VERSION
    study: str
    channels: list[str]
    preprocessing: Preprocessing
    geometry: Geometry = None
    subjects: list[StoredSubject]


def store_subjects(
    study: Study,
    preprocessing: Preprocessing,
    hashes: Mapping[str, dict[str, str]],
    folder: Path,
    workers: int = 1,
) -> Iterator[StoredSubject]:
    """Write every subject's arrays; yields in the study's order, as they are done.

    Args:
        study: An opened study.
        preprocessing: What is done to the images.
        hashes: Of each subject's files, by subject id.
        folder: To write to.
        workers: Processes at most. With more than one, a script that calls this guards its main part with
            `if __name__ == "__main__"`.

    Raises:
        VolumeError: A file of the study cannot be read, or one of the store not be written.
        GeometryError: A mask or channel does not lie on its image's grid.
        RunError: A process was killed, for example for want of memory.
    """
    store = partial(_store, study.description, preprocessing, folder)
    jobs = [(subject, hashes[subject.id]) for subject in study.subjects]
    started = time.perf_counter()
    first = [store(job) for job in jobs[:1]]
    seconds_each = time.perf_counter() - started
    yield from first
    processes = _processes_that_pay(len(jobs) - 1, seconds_each, workers)
    yield from map(store, jobs[1:]) if processes == 1 else _by_processes(store, jobs[1:], processes, folder)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def image_file(folder: Path, subject_id: str) -> Path:
    """Preprocessed slices, float32 (slice, channel, x, y)."""
    return folder / f"sub-{subject_id}_image.npy"


def label_file(folder: Path, subject_id: str) -> Path:
    """Consensus of the preprocessed slices, uint8 (slice, x, y)."""
    return folder / f"sub-{subject_id}_label.npy"


def consensus_file(folder: Path, subject_id: str) -> Path:
    """Consensus of the whole volume, in the grid of the image."""
    return folder / f"sub-{subject_id}_label-nerve_desc-consensus_mask.nii.gz"


def _processes_that_pay(subjects: int, seconds_each: float, workers: int) -> int:
    """Processes for the subjects that are left; 1 means this one, as in a daemon, which may not start others."""
    processes = min(workers, subjects)
    if processes < 2 or multiprocessing.current_process().daemon:
        return 1
    saved_s = subjects * seconds_each * (1 - 1 / processes)
    return processes if saved_s > POOL_START_S else 1


def _by_processes(
    store: partial[StoredSubject], jobs: list[tuple[Subject, dict[str, str]]], processes: int, folder: Path
) -> Iterator[StoredSubject]:
    """As `map`; the processes are spawned, because a fork copies locks that threads of torch or ITK may hold."""
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(processes, context, initializer=_leave_interrupts_to_the_first) as pool:
            yield from pool.map(store, jobs)
    except BrokenProcessPool as error:
        raise RunError(
            "the processes that prepare the slices live until they are done",
            found="one was killed",
            path=folder.parent,
            remedy="free memory, which each needs for one subject, and start again",
        ) from error


def _leave_interrupts_to_the_first() -> None:
    """Ctrl-C reaches every process; one of them answers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _store(
    description: StudyLayout, preprocessing: Preprocessing, folder: Path, job: tuple[Subject, dict[str, str]]
) -> StoredSubject:
    subject, sha256 = job
    study = Study(description, (subject,))
    channels, grid = study.read_channels(subject)
    consensus = study.read_masks(subject, grid).consensus
    images, network_grid = preprocessing.apply(channels, grid.ras_spacing_mm)
    labels = network_grid.apply_to_mask(consensus)
    np.save(image_file(folder, subject.id), np.ascontiguousarray(images.transpose(3, 0, 1, 2)))
    np.save(label_file(folder, subject.id), np.ascontiguousarray(labels.transpose(2, 0, 1).astype(np.uint8)))
    write_mask(consensus_file(folder, subject.id), consensus, grid, "nerveseg consensus of the raters")
    nerve = int(network_grid.resample_mask(consensus).sum())
    return StoredSubject(
        id=subject.id,
        sha256=sha256,
        slices=labels.shape[2],
        spacing_mm=_rounded((*network_grid.resampling.spacing_after_mm, grid.ras_spacing_mm[2])),
        nerve_voxels=nerve,
        nerve_voxels_cropped_away=nerve - int(labels.sum()),
        pixels=labels.size,
    )


def _rounded(spacing_mm: SpacingMm) -> SpacingMm:
    """Spacing to a nanometre: oblique affines give 1.0000000149."""
    x, y, z = (round(value, 6) for value in spacing_mm)
    return x, y, z
