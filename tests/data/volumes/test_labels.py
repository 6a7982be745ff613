"""Label maps: what is rounded, what is refused, and what of it becomes nerve."""

import nibabel as nib
import numpy as np
import pytest

from nerveseg.data.classes import Classes
from nerveseg.data.volumes.labels import check_foreground, present_labels, whole_labels
from nerveseg.data.volumes.volume import read_mask
from nerveseg.errors import VolumeError


def test_a_mask_saved_from_floats_under_a_header_of_bytes_is_read(tmp_path):
    expected = np.zeros((6, 5, 4))
    expected[2:4, 1:3, 1:3] = 1
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    nib.save(nib.Nifti1Image(expected, np.eye(4), header), tmp_path / "mask.nii.gz")
    stored = nib.load(tmp_path / "mask.nii.gz").get_fdata()
    assert set(np.unique(stored)) != {0.0, 1.0}, "nibabel scales a float array that it stores as bytes"
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.nii.gz"), expected > 0)


@pytest.mark.parametrize("value", [0.9, 1.01, -1.0, np.nan, np.inf])
def test_values_that_are_no_labels_are_refused(value):
    with pytest.raises(VolumeError) as caught:
        whole_labels(np.array([0.0, value]))
    assert f"{value:.9g}" in caught.value.found


def test_an_image_and_a_probability_map_are_no_masks():
    for array in (np.arange(200).reshape(10, 10, 2), np.random.default_rng(1).integers(0, 256, (10, 10, 2))):
        with pytest.raises(VolumeError):
            Classes.of(None).encode(whole_labels(array))


def test_declared_labels_of_a_larger_map_are_nerve():
    labels = np.arange(200).reshape(10, 10, 2)
    np.testing.assert_array_equal(Classes.of({"nerve": [3, 5]}).encode(labels), (labels == 3) | (labels == 5))


def test_a_declared_label_that_only_others_replace_is_refused_and_an_empty_map_is_not():
    with pytest.raises(VolumeError) as caught:
        Classes.of({"nerve": [1]}).encode(np.array([[[0, 2]]]))
    assert "2" in caught.value.found
    assert not Classes.of({"nerve": [1]}).encode(np.array([[[0, 0]]])).any()
    assert present_labels(np.array([3, 0, 1, 3])) == [1, 3]


def test_an_inverted_mask_is_too_large():
    mask = np.ones((10, 10, 4), dtype=bool)
    mask[4, 4] = False
    with pytest.raises(VolumeError):
        check_foreground(mask)
    check_foreground(~mask)
