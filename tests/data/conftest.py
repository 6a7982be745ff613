"""A small study written by code, in the layout that `conf/study/bids.yaml` describes."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nerveseg.data.study_layout import StudyLayout

SHAPE = (10, 9, 4)
SPACING_MM = (0.52, 0.52, 4.4)
IMAGES = {"T2": "sub-{id}/anat/sub-{id}_T2w.nii.gz"}
RATERS = {
    rater: f"derivatives/rater-{rater}/sub-{{id}}/anat/sub-{{id}}_label-nerve_mask.nii.gz"
    for rater in ("OS", "BW", "LG")
}


def save_nifti(path, array, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([*SPACING_MM, 1.0]) if affine is None else affine), path)
    return path


class StudyOnDisk:
    """The files of a study, and its description."""

    def __init__(self, root: Path, ids=("V01", "P01"), images=IMAGES, raters=RATERS, shape=SHAPE, **options):
        self.root, self.images, self.raters = root, dict(images), dict(raters)
        self.description = StudyLayout(name="tiny", root=root, images=images, raters=raters, **options)
        root.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(7)
        for subject_id in ids:
            for channel in images:
                save_nifti(self.image(subject_id, channel), random.normal(200, 40, shape).astype(np.float32))
            for rater in raters:
                save_nifti(self.mask(subject_id, rater), (random.random(shape) < 0.3).astype(np.uint8))

    def image(self, subject_id="V01", channel="T2"):
        return self.root / self.images[channel].replace("{id}", subject_id)

    def mask(self, subject_id="V01", rater="OS"):
        return self.root / self.raters[rater].replace("{id}", subject_id)

    def participants(self, text, encoding="utf-8", newline=None):
        with (self.root / "participants.tsv").open("w", encoding=encoding, newline=newline) as file:
            file.write(text)


@pytest.fixture
def study_on_disk(tmp_path):
    """Writes a study below the test's folder: `study_on_disk(ids=..., root=..., **description)`."""
    return lambda root=None, **options: StudyOnDisk(root or tmp_path / "study", **options)


@pytest.fixture
def nifti():
    return save_nifti
