"""Records and arrays of a slice store, written by one process or by several; the files do not depend on the number.

The first subject is stored by this process and timed, and more processes are started only if they save more than their
start. A process holds one subject at a time.
"""

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

from nerveseg.data.hashing import image_sha256
from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.study import Study, Subject
from nerveseg.data.study_layout import StudyLayout
from nerveseg.data.volumes.grids import Volume
from nerveseg.data.volumes.nifti import Geometry
from nerveseg.data.volumes.volume import write_labels
from nerveseg.errors import RunError

FORMAT_VERSION: Literal[2] = 2

POOL_START_S = 4.0
"""Seconds that processes have to save before they are started: twice the time to start one and import."""


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class StoredSubject:
    """Record of one subject in the store."""

    id: str  # id of the participant, without `sub-`
    sha256: dict[str, str]  # hash of every input file, by channel and by `rater-<name>`
    slices: int  # number of slices
    spacing_mm: tuple[float, float, float]  # voxel spacing of the stored slices in mm, in RAS order
    pixels: int  # number of pixels of all cropped slices
    part_pixels: tuple[int, ...]  # number of these pixels in each part of the study's classes
    voxels: str = ""  # hash of the first image's voxels (`hashing.image_sha256`); empty in stores of earlier versions

    @property
    def raters(self) -> int:
        """Number of raters who drew the subject."""
        return sum(name.startswith("rater-") for name in self.sha256)


class StoreIndex(BaseModel, frozen=True, extra="forbid"):
    """Content of a store's `index.json`."""

    format_version: Literal[2] = FORMAT_VERSION  # version of this file and of the arrays beside it
    study: str  # name of the study
    channels: list[str]  # names of the image channels, in the order of the arrays
    preprocessing: Preprocessing  # preprocessing of the images; its spacing is a number
    geometry: Geometry = None  # transform of a header to use if qform and sform differ
    subjects: list[StoredSubject]  # subjects in the study's order


def store_subjects(
    study: Study, preprocessing: Preprocessing, hashes: Mapping[str, dict[str, str]], folder: Path, workers: int = 1
) -> Iterator[StoredSubject]:
    """Write every subject's arrays to a folder and yield the records in the study's order.

    With more than one worker, a script that calls this needs the guard `if __name__ == "__main__"`.

    Raises:
        VolumeError: A file of the study cannot be read, or a file of the store cannot be written.
        GeometryError: A mask or channel has another grid than its image.
        RunError: A process was killed, for example for lack of memory.
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
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def image_file(folder: Path, subject_id: str) -> Path:
    """Return the file of the preprocessed slices, float32 (slice, channel, x, y)."""
    return folder / f"sub-{subject_id}_image.npy"


def label_file(folder: Path, subject_id: str) -> Path:
    """Return the file of the consensus of the preprocessed slices, numbers of parts, uint8 (slice, x, y)."""
    return folder / f"sub-{subject_id}_label.npy"


def counts_file(folder: Path, subject_id: str) -> Path:
    """Return the file of the counts of raters who drew each part, uint8 (slice, part, x, y) (`rater_counts`)."""
    return folder / f"sub-{subject_id}_raters.npy"


def consensus_file(folder: Path, subject_id: str) -> Path:
    """Return the file of the consensus of the whole volume, numbers of parts, in the grid of the image."""
    return folder / f"sub-{subject_id}_desc-consensus_dseg.nii.gz"


def _processes_that_pay(subjects: int, seconds_each: float, workers: int) -> int:
    """Return the number of processes for the remaining subjects; 1 is this process, as in a daemon without children."""
    processes = min(workers, subjects)
    if processes < 2 or multiprocessing.current_process().daemon:
        return 1
    saved_s = subjects * seconds_each * (1 - 1 / processes)
    return processes if saved_s > POOL_START_S else 1


def _by_processes(
    store: partial[StoredSubject], jobs: list[tuple[Subject, dict[str, str]]], processes: int, folder: Path
) -> Iterator[StoredSubject]:
    """Map on spawned processes; a fork would copy locks that threads of torch or ITK may hold."""
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(processes, context, initializer=_ignore_interrupts) as pool:
            yield from pool.map(store, jobs)
    except BrokenProcessPool as error:
        rule = "the processes that prepare the slices live until they are done"
        remedy = "free memory (each process holds one subject), and start again"
        raise RunError(rule, found="one was killed", path=folder.parent, remedy=remedy) from error


def _ignore_interrupts() -> None:
    """Ignore Ctrl-C, which reaches every process; the first one handles it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _store(
    description: StudyLayout, preprocessing: Preprocessing, folder: Path, job: tuple[Subject, dict[str, str]]
) -> StoredSubject:
    subject, sha256 = job
    study = Study(description, (subject,))
    channels, grid = study.read_channels(subject)
    consensus = study.read_masks(subject, grid).consensus
    images, network_grid = preprocessing.apply(channels, grid.ras_spacing_mm)
    labels = network_grid.apply_to_labels(consensus)
    np.save(image_file(folder, subject.id), np.ascontiguousarray(images.transpose(3, 0, 1, 2)))
    np.save(label_file(folder, subject.id), np.ascontiguousarray(labels.transpose(2, 0, 1)))
    write_labels(consensus_file(folder, subject.id), consensus, grid, "nerveseg consensus of the raters")
    counts = np.bincount(labels.ravel(), minlength=description.class_table.count + 1)
    # Rounded to a nanometre: oblique affines give 1.0000000149.
    x_mm, y_mm, step_mm = (round(mm, 6) for mm in (*network_grid.resampling.spacing_after_mm, grid.ras_spacing_mm[2]))
    return StoredSubject(
        id=subject.id,
        sha256=sha256,
        slices=labels.shape[2],
        spacing_mm=(x_mm, y_mm, step_mm),
        pixels=labels.size,
        part_pixels=tuple(int(count) for count in counts[1:]),
        voxels=image_sha256(Volume(channels[0], grid)),
    )
