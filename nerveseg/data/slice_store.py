"""Slice store: the preprocessed slices of a study, written once and memory-mapped by every fold.

The store's folder is named by a hash of its inputs (every file's hash, the preprocessing, the label rule), so a changed
study gets another store. It is built in a temporary folder and renamed, so that there is no incomplete store.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from nerveseg.data.classes import Classes
from nerveseg.data.hashing import cached_sha256, image_sha256
from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.slice_store_build import (
    FORMAT_VERSION,
    StoredSubject,
    StoreIndex,
    consensus_file,
    counts_file,
    image_file,
    label_file,
    store_subjects,
)
from nerveseg.data.study import Study, Subject
from nerveseg.data.study_layout import StudyLayout
from nerveseg.data.volumes.volume import read_image, read_labels
from nerveseg.errors import NervesegError, RunError, StudyError
from nerveseg.files import write_text
from nerveseg.types import LabelMap

Progress = Callable[[int, int], None]
REBUILD = "delete the store's folder; it is built again from the study"  # remedy of a damaged store


@dataclass(frozen=True)
class SliceStore:
    """Finished store."""

    folder: Path  # folder of the store, named by the hash of its inputs
    index: StoreIndex  # content of the store

    @property
    def key(self) -> str:
        """Hash of the store's inputs."""
        return self.folder.name

    def subject(self, subject_id: str) -> StoredSubject:
        """Return the record of a subject."""
        return self._by_id[subject_id]

    @cached_property
    def _by_id(self) -> dict[str, StoredSubject]:
        return {subject.id: subject for subject in self.index.subjects}

    def images(self, subject_id: str) -> NDArray[Any]:
        """Memory-map the preprocessed slices, float32 (slice, channel, x, y)."""
        return _memory_map(image_file(self.folder, subject_id))

    def labels(self, subject_id: str) -> NDArray[Any]:
        """Memory-map the consensus of the slices, numbers of parts, uint8 (slice, x, y)."""
        return _memory_map(label_file(self.folder, subject_id))

    def rater_counts(self, subject_id: str) -> NDArray[Any]:
        """Memory-map the counts of raters, uint8 (slice, part, x, y), which `write_rater_counts` wrote before."""
        return _memory_map(counts_file(self.folder, subject_id))

    def consensus(self, subject_id: str) -> LabelMap:
        """Read the consensus of the whole volume, numbers of parts in RAS order."""
        path = consensus_file(self.folder, subject_id)
        return read_labels(path, subject=subject_id, geometry=self.index.geometry).astype(np.uint8)

    def part_shares(self, subject_ids: list[str], classes: Classes) -> list[float]:
        """Compute the share of each part of the study's classes among all pixels of these subjects' slices.

        Raises:
            StudyError: No slice of these subjects holds one of the parts.
        """
        subjects = [self.subject(subject_id) for subject_id in subject_ids]
        pixels = np.sum([subject.part_pixels for subject in subjects], axis=0)
        for part in np.flatnonzero(pixels == 0) + 1:
            remedy = "correct the masks or study.classes, or enlarge preprocessing.size"
            rule = f"the training subjects have voxels of {classes.part_name(int(part))} inside the crop"
            raise StudyError(rule, found=f"none in {len(subjects)} subjects", path=self.folder, remedy=remedy)
        total = sum(subject.pixels for subject in subjects)
        return [int(count) / total for count in pixels]


def prepare_slices(
    study: Study, preprocessing: Preprocessing, root: Path, progress: Progress | None = None, workers: int = 1
) -> SliceStore:
    """Open the store of a study, and build it first if it does not exist.

    Args:
        study: Opened study.
        preprocessing: Preprocessing of the images.
        root: Folder of all stores.
        progress: Function that is called with (subjects done, subjects in total) during a build.
        workers: Largest number of processes (see `store_subjects`), and of files that are hashed at once.

    Raises:
        VolumeError: A file of the study cannot be read.
        GeometryError: A mask or channel has another grid than its image.
    """
    hashes, remember = study_hashes(study, root, workers)
    channel = next(iter(study.description.images))
    copies = copied_images(study.subjects, {subject_id: files[channel] for subject_id, files in hashes.items()})
    if copies:
        raise copies[0]
    folder = root / _key(study.description, preprocessing, hashes)
    if not folder.is_dir():
        _build(study, preprocessing.settle(study.median_spacing_mm), hashes, folder, workers, progress)
    store = _with_voxel_hashes(study, open_slices(folder))
    copies = copied_images(study.subjects, {subject.id: subject.voxels for subject in store.index.subjects})
    if copies:
        raise copies[0]
    remember()  # only now, so that a study that cannot be prepared leaves no file
    return store


def _with_voxel_hashes(study: Study, store: SliceStore) -> SliceStore:
    """Return a store with the hash of each subject's voxels, added to a writable index of an earlier version."""
    if all(subject.voxels for subject in store.index.subjects):
        return store
    geometry, subjects = study.description.geometry, []
    files = {subject.id: subject.image for subject in study.subjects}  # the store may have another order
    for stored in store.index.subjects:
        subjects.append(replace(stored, voxels=image_sha256(read_image(files[stored.id], stored.id, geometry))))
    index = store.index.model_copy(update={"subjects": subjects})
    with suppress(OSError):  # of a read-only store, the next run computes the hashes again
        write_text(store.folder / "index.json", index.model_dump_json(indent=1))
    return SliceStore(store.folder, index)


def open_slices(folder: Path) -> SliceStore:
    """Open a finished store; raise `RunError` for a folder that is no store of this version."""
    index = folder / "index.json"
    try:
        return SliceStore(folder, StoreIndex.model_validate_json(index.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        rule = "a slice store has an index of this version"
        raise RunError(rule, found=str(error).splitlines()[0], path=index, remedy=REBUILD) from error


def copied_images(subjects: Sequence[Subject], sha256: Mapping[str, str]) -> list[NervesegError]:
    """Return a fault for each image of two subjects of different groups, which could be in training and test.

    The hashes are those of each subject's reference image, by subject id.
    """
    seen: dict[str, Subject] = {}
    pairs = [(subject, seen.setdefault(sha256[subject.id], subject)) for subject in subjects]
    rule = "subjects of different groups have different images"
    remedy = "replace the copy, or give both the same group in participants.tsv"
    return [
        StudyError(rule, found=f"the same image as {first.id}", subject=own.id, path=own.image, remedy=remedy)
        for own, first in pairs
        if first.group != own.group
    ]


def _key(description: StudyLayout, preprocessing: Preprocessing, hashes: dict[str, dict[str, str]]) -> str:
    rules = description.model_dump_json(include={"name", "classes", "geometry", "consensus"})
    options = preprocessing.model_dump_json(exclude_none=True)
    content = [str(FORMAT_VERSION), rules, options, repr(sorted(hashes.items()))]
    content += [description.channels] if description.channels else []
    return hashlib.sha256("\n".join(content).encode()).hexdigest()[:16]


def study_hashes(
    study: Study, root: Path, workers: int, images_only: bool = False
) -> tuple[dict[str, dict[str, str]], Callable[[], None]]:
    """Return the hash of every subject's files, with or without masks, cached in a file beside the stores in `root`.

    Returns:
        Hashes of each channel and each `rater-<name>`, by subject id, and a function that writes new ones to the cache.

    Raises:
        VolumeError: A file is missing or not readable.
    """
    files = {subject.id: dict(subject.images) for subject in study.subjects}
    for subject in () if images_only else study.subjects:
        files[subject.id] |= {f"rater-{rater}": path for rater, path in subject.raters.items()}
    paths = [path for named in files.values() for path in named.values()]
    root_sha256 = hashlib.sha256(os.fsencode(os.path.abspath(study.description.root))).hexdigest()
    found, remember = cached_sha256(paths, root / f"hashes-{root_sha256[:16]}.json", workers)
    hashes = iter(found)
    return {subject_id: {name: next(hashes) for name in named} for subject_id, named in files.items()}, remember


def _build(
    study: Study,
    preprocessing: Preprocessing,
    hashes: dict[str, dict[str, str]],
    folder: Path,
    workers: int,
    progress: Progress | None,
) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as private:
        temporary = Path(private) / folder.name  # the private folder is closed to others, this one need not be
        temporary.mkdir()
        report = progress or (lambda done, total: None)
        stored: list[StoredSubject] = []
        report(0, len(study.subjects))
        for subject in store_subjects(study, preprocessing, hashes, temporary, workers):
            stored.append(subject)
            report(len(stored), len(study.subjects))
        index = StoreIndex(
            study=study.description.name,
            channels=list(study.description.images),
            preprocessing=preprocessing,
            geometry=study.description.geometry,
            subjects=stored,
        )
        (temporary / "index.json").write_text(index.model_dump_json(indent=1), encoding="utf-8")
        _rename_unless_built_meanwhile(temporary, folder)


def _rename_unless_built_meanwhile(temporary: Path, folder: Path) -> None:
    try:
        os.rename(temporary, folder)
    except OSError:
        if not (folder / "index.json").is_file():
            raise


@lru_cache(maxsize=128)
def _memory_map(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r")
    except (OSError, EOFError, ValueError) as error:
        rule, found = "the arrays of a slice store are complete", f"{type(error).__name__}: {error}"
        raise RunError(rule, found=found, path=path, remedy=REBUILD) from error
    return array
