"""DICOM series against SimpleITK's series reader, and every way in which a folder is no volume."""

import errno
import os
import re
import shutil

import numpy as np
import pydicom
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    BasicTextSRStorage,
    EnhancedMRImageStorage,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    RLELossless,
    SegmentationStorage,
    generate_uid,
)

from nerveseg.data.volumes.dicom import read_series, series_files
from nerveseg.data.volumes.volume import read_image, read_mask, write_mask
from nerveseg.errors import GeometryError, VolumeError
from tests.helpers.dicom_series import COLUMNS, ROWS, SLICES, STEP_MM, edit, oblique_axes, pixels_of, write_series
from tests.helpers.nifti_files import DAMAGED


def by_simpleitk(folder):
    reader = SimpleITK.ImageSeriesReader()
    (uid,) = reader.GetGDCMSeriesIDs(str(folder))
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), uid))
    return reader.Execute()


def assert_is(volume, image):
    """The volume is SimpleITK's image: grid, and every voxel at its place."""
    grid = volume.grid
    assert grid.shape == image.GetSize()
    np.testing.assert_allclose(grid.frame.spacing_mm, image.GetSpacing(), atol=1e-6)
    np.testing.assert_allclose(grid.frame.origin_mm, image.GetOrigin(), atol=1e-6)
    np.testing.assert_allclose(grid.frame.direction, image.GetDirection(), atol=1e-6)
    np.testing.assert_array_equal(grid.from_ras(volume.array), SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0))
    for index in [(0, 0, 0), tuple(size - 1 for size in image.GetSize()), (3, 1, 2)]:
        place = np.array([-1, -1, 1]) * image.TransformIndexToPhysicalPoint(index)
        ras = np.linalg.solve(grid.ras_affine, [*place, 1])[:3]
        np.testing.assert_allclose(ras, np.round(ras), atol=1e-5)
        assert volume.array[tuple(np.round(ras).astype(int))] == image[index]


def test_the_real_series_agrees_with_simpleitk(shared_data):
    folder = shared_data("dicom_t2_axial")
    volume = read_image(folder)
    assert_is(volume, by_simpleitk(folder))
    assert volume.grid.shape == (280, 320, 22)
    np.testing.assert_allclose(volume.grid.ras_spacing_mm, (0.6875, 0.6875, 6.5), atol=1e-6)
    assert volume.files == series_files(folder) != tuple(sorted(volume.files))


def test_the_mask_of_the_real_series_lies_on_it_in_nifti(shared_data, tmp_path):
    folder = shared_data("dicom_t2_axial")
    volume = read_image(folder)
    mask = volume.array > np.percentile(volume.array, 90)
    write_mask(tmp_path / "mask.nii.gz", mask, volume.grid)
    image, written = by_simpleitk(folder), SimpleITK.ReadImage(str(tmp_path / "mask.nii.gz"))
    for name in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(written, name)(), getattr(image, name)(), atol=1e-4)
    expected = SimpleITK.GetArrayFromImage(image) > np.percentile(SimpleITK.GetArrayFromImage(image), 90)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(written) > 0, expected)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.nii.gz", like=volume.grid), mask)


def test_slices_are_ordered_by_position_and_the_step_is_theirs(tmp_path):
    written = write_series(tmp_path)
    assert series_files(tmp_path) == tuple(written) != tuple(sorted(written))
    volume = read_series(tmp_path)
    assert_is(volume, by_simpleitk(tmp_path))
    assert volume.grid.shape == (COLUMNS, ROWS, SLICES)
    np.testing.assert_allclose(volume.grid.ras_spacing_mm, (0.75, 0.5, STEP_MM), atol=1e-6)
    for index in range(SLICES):
        np.testing.assert_array_equal(volume.grid.from_ras(volume.array)[:, :, index], pixels_of(index).T)


@settings(max_examples=10)
@given(
    turn=st.integers(0, 10**6),
    places=st.lists(st.floats(-0.04, 0.04), min_size=2, max_size=9),
    step=st.floats(0.8, 12),
    seed=st.integers(0, 100),
)
def test_any_orientation_and_rounding_agrees_with_simpleitk(turn, places, step, seed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    axes, _ = np.linalg.qr(np.random.default_rng(turn).normal(size=(3, 3)))
    places = np.array(places) + np.arange(len(places)) * step
    names = [f"{number}.dcm" for number in np.random.default_rng(seed).permutation(len(places))]
    stack = np.cross(axes[:, 0], axes[:, 1])
    written = write_series(folder, places, names, (axes[:, 0], axes[:, 1], stack))
    assert series_files(folder) == tuple(written)
    assert_is_within_rounding(read_image(folder), by_simpleitk(folder))


def assert_is_within_rounding(volume, image):
    assert volume.grid.shape == image.GetSize()
    np.testing.assert_allclose(volume.grid.frame.spacing_mm, image.GetSpacing(), atol=1e-5)
    np.testing.assert_allclose(volume.grid.frame.origin_mm, image.GetOrigin(), atol=1e-5)
    np.testing.assert_allclose(volume.grid.frame.direction, image.GetDirection(), atol=1e-5)
    array = SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0)
    np.testing.assert_array_equal(volume.grid.from_ras(volume.array), array)


@pytest.mark.parametrize(("decimals", "step"), [(1, 1.25), (1, 3.3333), (2, 4.4), (4, 2.0 / 3)])
def test_rounded_positions_pass(decimals, step, tmp_path):
    write_series(tmp_path, np.round(np.arange(20) * step, decimals), axes=np.eye(3))
    assert read_series(tmp_path).grid.ras_spacing_mm[2] == pytest.approx(step, abs=0.1 / 19)


def test_every_slice_is_rescaled_as_its_own_header_says(tmp_path):
    scaling = {index: {"RescaleSlope": 0.5 + index, "RescaleIntercept": -3 * index} for index in range(SLICES)}
    write_series(tmp_path, changes=scaling)
    array = read_series(tmp_path).grid.from_ras(read_series(tmp_path).array)
    for index in range(SLICES):
        np.testing.assert_allclose(array[:, :, index], pixels_of(index).T * (0.5 + index) - 3 * index)


@pytest.mark.parametrize("kind", ["RLE", "implicit", "without preamble", "no suffix"])
def test_rarer_files_are_read(kind, tmp_path):
    written = write_series(tmp_path)
    for path in written:
        dataset = pydicom.dcmread(path)
        if kind == "RLE":
            dataset.compress(RLELossless)
            dataset.save_as(path)
        elif kind == "no suffix":
            path.rename(path.with_suffix(""))
        else:
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
            if kind == "without preamble":
                del dataset.file_meta
                dataset.preamble = None
            dataset.save_as(path, implicit_vr=True, little_endian=True)
    array = read_series(tmp_path).array
    assert array.max() == pixels_of(SLICES - 1).max()


def test_what_is_no_image_is_passed_over(tmp_path):
    written = write_series(tmp_path)
    (tmp_path / "readme.txt").write_text("not an image" * 100)
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "deeper").mkdir()
    shutil.copy(written[0], tmp_path / "deeper")
    for name, storage_class in (
        ("DICOMDIR", MediaStorageDirectoryStorage),
        ("report.dcm", BasicTextSRStorage),
        ("mask.dcm", SegmentationStorage),
    ):
        write_series(tmp_path, [0], [name], storage_class=storage_class)
        if name != "mask.dcm":
            dataset = pydicom.dcmread(tmp_path / name)
            del dataset.PixelData, dataset.Rows, dataset.Columns
            dataset.save_as(tmp_path / name)
    assert series_files(tmp_path) == tuple(written)


STEPS = r"\.dcm .* \d+\.\d\d mm$"


def refused(folder, found, remedy="", error=VolumeError, series=None):
    with pytest.raises(error) as caught:
        read_image(folder, subject="V01", series=series)
    assert re.search(found, caught.value.found)
    assert (caught.value.subject, caught.value.path) == ("V01", folder)
    assert remedy in caught.value.remedy
    assert "Doe" not in str(caught.value)
    assert "4711" not in str(caught.value)


def two_series(folder):
    first, second = generate_uid(), generate_uid()
    write_series(folder, series_uid=first, prefix="a")
    write_series(
        folder, [0, 3], series_uid=second, prefix="b", SeriesNumber=12,
        SeriesDescription="stir Doe 4711 für Füße", EchoTime="80", SpecificCharacterSet="ISO_IR 100",
    )  # fmt: skip
    return first, second


def test_of_several_series_one_has_to_be_named(tmp_path):
    first, second = two_series(tmp_path)
    refused(tmp_path, "^series 3: 8 x 6 x 5; series 12: 8 x 6 x 2, echo time 80 ms$", "series=<number>")
    refused(tmp_path, "^series=4, .*series 3: .*series 12: ", series="4")
    for series, slices in (("3", 5), ("12", 2), (first, 5), (second, 2)):
        assert read_image(tmp_path, series=series).array.shape[2] == slices
        assert len(series_files(tmp_path, series)) == slices


def test_a_series_that_is_not_there_is_an_error_even_if_there_is_one_only(tmp_path):
    write_series(tmp_path)
    refused(tmp_path, "^series=7, .*series 3: ", series="7")


def test_series_of_one_number_or_none_go_by_uid(tmp_path):
    write_series(tmp_path, series_uid="1.2.3", prefix="a")
    write_series(tmp_path, series_uid="1.2.4", prefix="b")
    write_series(tmp_path, series_uid="1.2.5", prefix="c", SeriesNumber=None, SeriesDescription=None)
    refused(tmp_path, r"series 1\.2\.5: 8 x.*series 1\.2\.3: 8 x.*series 1\.2\.4: 8 x")
    refused(tmp_path, "^series=3, ", series="3")
    assert read_image(tmp_path, series="1.2.4").array.shape == (COLUMNS, ROWS, SLICES)


@pytest.mark.parametrize("content", [None, "text", "folder"])
def test_a_folder_without_images_is_named(content, tmp_path):
    folder = tmp_path / "scan.nii"  # a name like a file's
    folder.mkdir()
    if content == "text":
        (folder / "notes.txt").write_text("no image")
    if content == "folder":
        (folder / "deeper").mkdir()
    refused(folder, "DICOM .* [01] files$")


def test_a_file_without_others_of_its_series_is_refused(tmp_path):
    (path,) = write_series(tmp_path, [0], ["IM0001"])
    refused(path, "^IM0001 only$", "folder")


@pytest.mark.parametrize(("missing", "expected"), [
    ([2], r"13\.00 mm between 1\.dcm \(slice 1, at .*\) and 3\.dcm \(slice 2, at .* mm\), 1 missing"),
    ([3, 4, 5], r"26\.00 mm between 2\.dcm .* and 6\.dcm .*, 3 missing; the usual step is 6\.50 mm"),
    ([1, 5], r"between 0\.dcm .* and 2\.dcm .* 1 missing, .* between 4\.dcm .* and 6\.dcm .* 1 missing"),
    ([1, 3, 5, 7, 8, 11, 13, 14], r"3 mm"),
])  # fmt: skip
def test_missing_slices_are_named(missing, expected, tmp_path):
    places = [index for index in range(16) if index not in missing]
    write_series(tmp_path, np.array(places) * STEP_MM, [f"{index}.dcm" for index in places])
    if len(missing) < 5:
        refused(tmp_path, expected, error=GeometryError)
    else:
        refused(tmp_path, STEPS, error=GeometryError)


@given(missing=st.sets(st.integers(1, 14), min_size=1, max_size=12), step=st.floats(0.5, 12))
@settings(max_examples=10)
def test_no_gap_goes_unnoticed_unless_what_remains_is_even(missing, step, tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    places = np.array([index for index in range(16) if index not in missing])
    write_series(folder, places * step)
    if len(set(np.diff(places))) == 1:
        assert read_series(folder).array.shape[2] == len(places)
    else:
        refused(folder, STEPS, error=GeometryError)


@pytest.mark.parametrize(("moved", "accepted"), [(0.08, True), (0.2, False)])
def test_a_slice_may_lie_a_tenth_of_a_millimetre_off(moved, accepted, tmp_path):
    places = np.arange(8) * 4.4
    places[3] += moved
    write_series(tmp_path, places)
    if accepted:
        assert read_series(tmp_path).array.shape[2] == 8
    else:
        refused(tmp_path, r"^4\.\d\d mm .* 4\.40 mm$", error=GeometryError)


def test_steps_that_grow_by_little_are_noticed(tmp_path):
    write_series(tmp_path, np.concatenate([np.arange(20) * 4.4, 20 * 4.4 + np.arange(20) * 4.45]))
    refused(tmp_path, r"^4\.45 mm .* 4\.40 mm$", error=GeometryError)


@pytest.mark.parametrize("element", ["EchoTime", "AcquisitionNumber", "TemporalPositionIdentifier"])
def test_several_images_at_one_position_are_named(element, tmp_path):
    words = {"EchoTime": "echo time", "AcquisitionNumber": "acquisition", "TemporalPositionIdentifier": "time point"}
    names = [f"{place}{letter}.dcm" for place in range(4) for letter in "ab"]
    write_series(
        tmp_path, np.repeat(np.arange(4) * STEP_MM, 2), names,
        changes={index: {element: 1 + index % 2} for index in range(8)},
    )  # fmt: skip
    refused(tmp_path, rf"0[ab]\.dcm and 0[ab]\.dcm at .* 1 more: .* {words[element]}$")


@pytest.mark.parametrize(
    ("element", "value", "named"),
    [("EchoTime", "40", "echo time"), ("ImageType", ["DERIVED", "SECONDARY"], "image type")],
)
def test_alternating_contrasts_are_no_volume(element, value, named, tmp_path):
    write_series(tmp_path, EchoTime="10", changes={index: {element: value} for index in (1, 3)})
    with pytest.raises(VolumeError) as caught:
        read_series(tmp_path)
    assert caught.value.rule.endswith(named)


@pytest.mark.parametrize("slope", ["0", "0.0"])
def test_a_rescale_slope_that_is_none_is_an_error(slope, tmp_path):
    written = write_series(tmp_path, changes={2: {"RescaleSlope": slope, "RescaleIntercept": "0"}})
    with pytest.raises(VolumeError) as caught:
        read_series(tmp_path)
    assert caught.value.path == written[2]


def test_one_image_under_two_names_is_told_from_two_images(tmp_path):
    (path, *_) = write_series(tmp_path)
    shutil.copy(path, tmp_path / "copy.dcm")
    refused(tmp_path, r"^002\.dcm and copy\.dcm ", "copies")
    edit(tmp_path / "copy.dcm", SOPInstanceUID=generate_uid())
    refused(tmp_path, r"^002\.dcm and copy\.dcm ", "echoes")


@pytest.mark.parametrize(("change", "expected"), [
    ({"pixels": pixels_of(1, ROWS + 2, COLUMNS)}, "8 x 8 of"),
    ({"column": np.array([0.0, 0.0, -1.0])}, "normal"),
    ({"PixelSpacing": [0.6, 0.75]}, r"of 0\.75 x 0\.6 mm"),
    ({"row": -oblique_axes()[0]}, "normal"),
])  # fmt: skip
def test_slices_that_do_not_match_are_named(change, expected, tmp_path):
    written = write_series(tmp_path, changes={2: change})
    refused(tmp_path, rf"{expected}.*\.dcm$", error=GeometryError)
    with pytest.raises(GeometryError) as caught:
        read_series(tmp_path)
    assert any(written[index].name in caught.value.found for index in (0, 2))


@pytest.mark.parametrize("element", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
@pytest.mark.parametrize("which", ["all", "one"])
def test_slices_without_a_place_are_named(element, which, tmp_path):
    written = write_series(tmp_path, **({element: None} if which == "all" else {"changes": {1: {element: None}}}))
    refused(tmp_path, r"^\D+ \d+\.dcm$", error=GeometryError)
    if which == "one":
        refused(tmp_path, written[1].name, error=GeometryError)


@pytest.mark.parametrize(("tilt", "accepted"), [(0.001, True), (0.02, False), (0.3, False)])
def test_a_sheared_stack_is_refused(tilt, accepted, tmp_path):
    row, column, stack = oblique_axes()
    write_series(tmp_path, axes=(row, column, stack + tilt * column))
    if accepted:
        assert read_series(tmp_path).array.shape == (COLUMNS, ROWS, SLICES)
    else:
        shift = tilt * STEP_MM * (SLICES - 1)
        refused(tmp_path, rf" {shift:.2f} mm .*\.dcm$", "dcm2niix", error=GeometryError)


def test_multi_frame_colour_and_mosaic_images_are_refused(tmp_path):
    frames = np.arange(3 * ROWS * COLUMNS, dtype=np.uint16).reshape(3, ROWS, COLUMNS)
    write_series(tmp_path / "capture", [0], pixels=frames, Rows=ROWS, Columns=COLUMNS, NumberOfFrames=3)
    refused(tmp_path / "capture", r"^3 frames .*000\.dcm$", "dcm2niix")
    write_series(
        tmp_path / "bare", [0], pixels=frames, Rows=ROWS, Columns=COLUMNS, NumberOfFrames=3,
        storage_class=EnhancedMRImageStorage,
    )  # fmt: skip
    refused(tmp_path / "bare", r"000\.dcm", error=(GeometryError, VolumeError))
    write_series(
        tmp_path / "colour", pixels=np.zeros((ROWS, COLUMNS, 3), dtype=np.uint8), SamplesPerPixel=3,
        PhotometricInterpretation="RGB", PlanarConfiguration=0,
    )  # fmt: skip
    refused(tmp_path / "colour", r"\(3 samples.*\.dcm$")
    write_series(tmp_path / "mosaic", ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])
    refused(tmp_path / "mosaic", r"mosaic .*\.dcm$")


def test_one_slice_is_no_volume(tmp_path):
    write_series(tmp_path, [0])
    refused(tmp_path, r"^000\.dcm")


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_named(keep, tmp_path):
    path = write_series(tmp_path)[2]
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(VolumeError) as caught:
        read_image(tmp_path)
    assert (caught.value.rule, caught.value.path) == (DAMAGED, path)


@pytest.mark.parametrize("compressed", [True, False])
def test_a_header_that_lies_about_its_shape_is_refused_before_memory_is_taken(compressed, tmp_path):
    path = write_series(tmp_path)[1]
    dataset = pydicom.dcmread(path)
    if compressed:
        dataset.compress(RLELossless)
    dataset.Rows = dataset.Columns = 60000
    dataset.save_as(path)
    with pytest.raises(VolumeError) as caught:
        read_image(tmp_path)
    assert "(60000, 60000, 1)" in caught.value.found
    assert "7,200,000,000 bytes" in caught.value.found
    assert (caught.value.rule, caught.value.path) == (DAMAGED, path)


def test_a_slice_without_permission_is_named_and_not_passed_over(tmp_path):
    path = write_series(tmp_path)[-1]
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(VolumeError) as caught:
        read_image(tmp_path)
    assert os.strerror(errno.EACCES) in caught.value.found
    assert caught.value.path == path


def test_an_image_without_contrast_is_refused(tmp_path):
    write_series(tmp_path, pixels=np.full((ROWS, COLUMNS), 7, dtype=np.uint16))
    refused(tmp_path, r"\b7\b")
