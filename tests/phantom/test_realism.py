"""The images are those of a scanner, not coloured label maps."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nerveseg.phantom.cohort import participants, simulate_subject

DATA = Path(os.environ.get("NERVESEG_DATA", Path(__file__).parents[3] / "shared" / "data"))


def shares(image) -> np.ndarray:
    """Histogram of the leg (without air) over 64 grey levels up to its 99.5th percentile."""
    top = np.percentile(image, 99.5)
    inside = image[(image > 0.08 * top) & (image < top)]
    return np.histogram(inside, 64)[0] / inside.size


def entropy_bits(image) -> float:
    share = shares(image)
    return float(-(share[share > 0] * np.log2(share[share > 0])).sum())


@pytest.fixture(scope="module")
def real():
    folder = DATA / "thigh_dixon"
    if not folder.is_dir():
        pytest.skip(f"real thighs are not at {folder}")
    files = sorted(folder.glob("*_000[01].nii.gz"))
    return [nib.load(file).get_fdata(dtype=np.float32) for file in files]


TISSUES = 10


def test_grey_levels_are_spread_like_those_of_real_thighs_rather_than_of_a_label_map(demo_subjects, real):
    label_map = np.log2(TISSUES)
    thighs = np.mean([entropy_bits(image) for image in real])
    assert thighs > label_map + 1
    phantom = [entropy_bits(subject.image) for subject in demo_subjects]
    assert min(phantom) > (label_map + thighs) / 2
    assert max(phantom) < thighs + 0.5


def test_no_grey_level_stands_out_as_in_a_label_map(demo_subjects, real):
    highest = max(shares(image).max() for image in real)
    label_map = 1 / TISSUES
    assert np.median([shares(subject.image).max() for subject in demo_subjects]) < (highest + 2 * label_map) / 2
    assert all(len(np.unique(subject.image)) > 500 for subject in demo_subjects)


def test_muscle_and_fat_are_the_two_peaks(demo_subjects):
    image = np.concatenate([s.image.ravel() for s in demo_subjects if s.participant.cohort == "volunteer"])
    counts, edges = np.histogram(image, np.arange(50, 1000, 10))
    smooth = np.convolve(counts, np.ones(5) / 5, "same")
    peaks = [edges[i] + 5 for i in range(3, len(smooth) - 3) if smooth[i] == smooth[i - 3 : i + 4].max()]
    assert any(80 < peak < 130 for peak in peaks)
    assert any(480 < peak < 700 for peak in peaks)


def test_borders_are_shared_between_tissues(demo_subjects):
    between = [((s.image > 180) & (s.image < 420)).mean() / (s.image > 60).mean() for s in demo_subjects]
    assert 0.03 < np.mean(between) < 0.4


def test_a_hard_patient_has_the_grey_levels_of_an_easy_one(demo, demo_subjects):
    harder = demo.model_copy(update={"patient_conspicuity": (0.05, 0.5), "patient_movement_mm": 2.0})
    easy = next(subject for subject in demo_subjects if subject.participant.id == "P04")
    hard = simulate_subject(harder, next(row for row in participants(harder) if row.id == "P04"))
    assert entropy_bits(hard.image) == pytest.approx(entropy_bits(easy.image), abs=0.25)
    assert np.abs(shares(hard.image) - shares(easy.image)).sum() < 0.2
