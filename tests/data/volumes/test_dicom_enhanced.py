"""Enhanced files against the same slices as a series of single files, which SimpleITK confirms."""

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    RLELossless,
)

from nerveseg.data.volumes.dicom import read_series, series_files
from nerveseg.errors import GeometryError, VolumeError
from tests.helpers.dicom_series import STEP_MM, pixels_of, write_enhanced, write_series

CLASSES = [EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage, EnhancedCTImageStorage]
ORDER = [3, 0, 4, 1, 2]


def frames(order=ORDER, **options):
    """Frames in an order of the file that is not that of their places."""
    return [{"place": index * STEP_MM, "pixels": pixels_of(index)} | options for index in order]


def same(first, second):
    np.testing.assert_array_equal(first.array, second.array)
    np.testing.assert_allclose(first.grid.affine, second.grid.affine, atol=1e-6)


@pytest.mark.parametrize("storage_class", CLASSES)
@pytest.mark.parametrize("compressed", [False, True])
def test_a_stack_is_the_volume_of_its_single_slices(storage_class, compressed, tmp_path):
    write_series(tmp_path / "single")
    path = tmp_path / "enhanced" / "one.dcm"
    write_enhanced(path, frames(), storage_class)
    if compressed:
        dataset = pydicom.dcmread(path)
        dataset.compress(RLELossless)
        dataset.save_as(path)
    same(read_series(path.parent), read_series(tmp_path / "single"))
    assert read_series(path.parent).files == series_files(path.parent) == (path,)


@pytest.mark.parametrize("storage_class", CLASSES)
@pytest.mark.parametrize("where", ["frames", "shared"])
def test_each_frame_has_its_own_scaling_or_the_shared_one(storage_class, where, tmp_path):
    scaling = {index: (1.5 + 0.25 * index, 3.0 - index) for index in range(5)}
    shared = None
    if where == "frames":
        stack = [{**frame, "scaling": scaling[index]} for index, frame in zip(ORDER, frames(), strict=True)]
    else:
        stack, scaling = frames(), dict.fromkeys(range(5), (2.5, -7.0))
        shared = {"PixelValueTransformationSequence": {"RescaleSlope": 2.5, "RescaleIntercept": -7.0}}
    write_enhanced(tmp_path / "x.dcm", stack, storage_class, shared)
    volume = read_series(tmp_path)
    array = volume.grid.from_ras(volume.array)
    for index, (slope, intercept) in scaling.items():
        np.testing.assert_allclose(array[:, :, index], pixels_of(index).T * slope + intercept, rtol=1e-6)


def test_each_stack_is_a_volume_of_its_own(tmp_path):
    second = [{"place": 100 + 3 * index, "pixels": pixels_of(index + 9), "stack": "2"} for index in range(4)]
    write_enhanced(tmp_path / "x.dcm", [*second[:2], *frames(), *second[2:]])
    with pytest.raises(VolumeError) as caught:
        read_series(tmp_path)
    assert caught.value.found == "series 3:1: 8 x 6 x 5; series 3:2: 8 x 6 x 4"
    assert read_series(tmp_path, "3:1").array.shape == (8, 6, 5)
    other = read_series(tmp_path, "3:2")
    assert other.grid.ras_spacing_mm[2] == pytest.approx(3)
    np.testing.assert_array_equal(other.grid.from_ras(other.array)[:, :, 3], pixels_of(12).T)


def test_echoes_at_one_position_are_volumes_to_choose_from(tmp_path):
    late = [frame | {"pixels": frame["pixels"] + 7} for frame in frames(echo=60.0)]
    mixed = [one for pair in zip(frames(echo=20.0), late, strict=True) for one in pair]
    write_enhanced(tmp_path / "x.dcm", mixed)
    with pytest.raises(VolumeError) as caught:
        read_series(tmp_path)
    assert caught.value.found == (
        "series 3:1.1: 8 x 6 x 5, echo time 20.0 ms; series 3:1.2: 8 x 6 x 5, echo time 60.0 ms"
    )
    np.testing.assert_array_equal(read_series(tmp_path, "3:1.2").array, read_series(tmp_path, "3:1.1").array + 7)


@pytest.mark.parametrize("shared", [
    {"PixelMeasuresSequence": {}}, {"PlaneOrientationSequence": {}},
    {"PixelMeasuresSequence": {"PixelSpacing": [0, 0.75]}},
    {"PlaneOrientationSequence": {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}},
])  # fmt: skip
def test_frames_without_a_place_are_refused(shared, tmp_path):
    write_enhanced(tmp_path / "x.dcm", frames(), shared=shared)
    with pytest.raises((GeometryError, VolumeError)) as caught:
        read_series(tmp_path)
    assert caught.value.path in (tmp_path, tmp_path / "x.dcm")


@pytest.mark.parametrize("change", ["missing groups", "missing frame"])
def test_a_stack_that_is_incomplete_is_refused(change, tmp_path):
    write_enhanced(tmp_path / "x.dcm", frames([3, 0, 4, 1] if change == "missing frame" else ORDER))
    if change == "missing groups":
        dataset = pydicom.dcmread(tmp_path / "x.dcm")
        dataset.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[:3]
        dataset.save_as(tmp_path / "x.dcm")
    with pytest.raises((GeometryError, VolumeError)):
        read_series(tmp_path)
