"""Counts of the raters who drew each part, in every voxel of the preprocessed slices, for training on soft targets.

The network then learns the share of the raters where they disagree, instead of their consensus. The counts are files of
the slice store that are written where a training asks for them; its folder is named by the hash of all they depend on.

References:
    Gros C, Lemay A, Cohen-Adad J. SoftSeg: advantages of soft versus binary training for image segmentation. Med Image
    Anal 2021;71:102038 (arXiv 2011.09041).
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from nerveseg.data.slice_store import SliceStore
from nerveseg.data.slice_store_build import counts_file
from nerveseg.data.study import Study, Subject
from nerveseg.errors import ConfigurationError
from nerveseg.files import atomic_write


def write_rater_counts(
    study: Study, store: SliceStore, subjects: Sequence[Subject], progress: Callable[[int, int], None]
) -> None:
    """Write the counts, uint8 (slice, part, x, y), of the subjects whose counts the store does not hold yet.

    Raises:
        ConfigurationError: No subject was drawn by several raters.
        VolumeError: A mask cannot be read.
        GeometryError: A mask has another grid than its image.
    """
    if all(len(subject.raters) < 2 for subject in subjects):
        rule, remedy = "target=raters needs training subjects that several raters drew", "target=consensus"
        raise ConfigurationError(rule, found="one rater of each", path=study.description.root, remedy=remedy)
    for done, subject in enumerate(subjects):
        progress(done, len(subjects))
        path = counts_file(store.folder, subject.id)
        if not path.is_file():
            with atomic_write(path) as temporary, temporary.open("wb") as file:
                np.save(file, _counts(study, store, subject))
    progress(len(subjects), len(subjects))


def _counts(study: Study, store: SliceStore, subject: Subject) -> NDArray[np.uint8]:
    grid, classes = study.grid(subject), study.description.class_table
    network_grid = store.index.preprocessing.grid(grid.ras_shape[:2], grid.ras_spacing_mm)
    counts = np.zeros((store.subject(subject.id).slices, classes.count, *network_grid.crop.size), dtype=np.uint8)
    for path in subject.raters.values():
        labels = network_grid.apply_to_labels(study.read_labels(path, subject.id, grid, classes)).transpose(2, 0, 1)
        for part in range(1, classes.count + 1):
            counts[:, part - 1] += labels == part
    return counts
