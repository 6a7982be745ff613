"""MetaImage and NRRD against SimpleITK's own reading of them."""

import contextlib
import re
import resource

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st

from nerveseg.data.volumes.volume import (
    read_image,
    read_image_grid,
    read_mask,
    write_mask,
    write_probability,
    write_volume,
)
from nerveseg.errors import GeometryError, VolumeError
from tests.helpers.nifti_files import DAMAGED, nerve, oblique, straight, voxels

SUFFIXES = [".mha", ".mhd", ".nrrd", ".nhdr"]
ONE_FILE = [".mha", ".nrrd"]
GEOMETRY = ("GetSize", "GetSpacing", "GetOrigin", "GetDirection")


def itk_image(array=None, seed=0):
    """An oblique image whose every digit counts."""
    random = np.random.default_rng(seed)
    image = SimpleITK.GetImageFromArray(voxels((7, 6, 5)) if array is None else array)
    image.SetSpacing(tuple(random.uniform(0.3, 5, 3)))
    image.SetOrigin(tuple(random.normal(0, 200, 3)))
    image.SetDirection(tuple(np.linalg.qr(random.normal(size=(3, 3)))[0].ravel()))
    return image


def geometry(path):
    image = SimpleITK.ReadImage(str(path))
    return [getattr(image, name)() for name in GEOMETRY]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("compressed", [True, False])
def test_a_voxel_lies_where_simpleitk_says(suffix, compressed, tmp_path):
    image, path = itk_image(), tmp_path / f"x{suffix}"
    SimpleITK.WriteImage(image, str(path), compressed)
    volume = read_image(path)
    inverse = np.linalg.inv(volume.grid.ras_affine)
    for index in [(0, 0, 0), (4, 0, 2), (1, 5, 6), (3, 2, 0)]:
        right, anterior, superior = np.array([-1, -1, 1]) * image.TransformIndexToPhysicalPoint(index)
        place = inverse @ [right, anterior, superior, 1]
        np.testing.assert_allclose(place, np.round(place), atol=1e-9)
        assert volume.array[tuple(np.round(place[:3]).astype(int))] == image[index]
    assert read_image_grid(path).shape == image.GetSize()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_header_for_nifti_has_both_transforms_and_millimetres(suffix, tmp_path):
    SimpleITK.WriteImage(itk_image(), str(tmp_path / f"x{suffix}"))
    grid = read_image_grid(tmp_path / f"x{suffix}")
    assert grid.header.get_xyzt_units()[0] == "mm"
    assert grid.header.get_data_shape() == grid.shape
    for transform in ("sform", "qform"):
        affine, code = getattr(grid.header, f"get_{transform}")(coded=True)
        assert code == 1
        np.testing.assert_allclose(affine, grid.affine, atol=1e-4)


@given(seed=st.integers(0, 10**6))
def test_a_mask_in_metaimage_has_every_digit_of_its_image(seed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("itk")
    image = itk_image(seed=seed)
    SimpleITK.WriteImage(image, str(folder / "x.mha"))
    volume = read_image(folder / "x.mha")
    write_mask(folder / "mask.mha", volume.array > 50, volume.grid)
    assert geometry(folder / "mask.mha") == geometry(folder / "x.mha")
    mask = SimpleITK.ReadImage(str(folder / "mask.mha"))
    assert mask.GetPixelID() == SimpleITK.sitkUInt8
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(mask) > 0, SimpleITK.GetArrayFromImage(image) > 50)


@pytest.mark.parametrize("seed", range(20))
def test_a_mask_in_nrrd_has_its_image_s_digits_but_for_the_last(seed, tmp_path):
    SimpleITK.WriteImage(itk_image(seed=seed), str(tmp_path / "x.nrrd"))
    volume = read_image(tmp_path / "x.nrrd")
    write_mask(tmp_path / "mask.nrrd", volume.array > 50, volume.grid)
    for ours, theirs in zip(geometry(tmp_path / "mask.nrrd"), geometry(tmp_path / "x.nrrd"), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize("suffix", ONE_FILE)
def test_a_nifti_scan_gets_itk_files_on_its_grid(suffix, tmp_path):
    write_volume(tmp_path / "x.nii.gz", voxels(), oblique())
    volume = read_image(tmp_path / "x.nii.gz")
    probability = np.random.default_rng(0).random(voxels().shape).astype(np.float32)
    write_probability(tmp_path / f"p{suffix}", probability, volume.grid)
    for ours, theirs in zip(geometry(tmp_path / f"p{suffix}"), geometry(tmp_path / "x.nii.gz"), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_array_equal(read_image(tmp_path / f"p{suffix}").array, probability)


def test_a_metaimage_scan_gets_a_nifti_mask_on_its_grid(tmp_path):
    SimpleITK.WriteImage(itk_image(), str(tmp_path / "x.mha"))
    volume = read_image(tmp_path / "x.mha")
    write_mask(tmp_path / "mask.nii.gz", volume.array > 50, volume.grid)
    for ours, theirs in zip(geometry(tmp_path / "mask.nii.gz"), geometry(tmp_path / "x.mha"), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.nii.gz", like=volume.grid), volume.array > 50)


@pytest.mark.parametrize("suffix", ONE_FILE)
def test_a_new_volume_carries_its_description(suffix, tmp_path):
    write_volume(tmp_path / f"x{suffix}", nerve().astype(np.uint8), straight(), "SYNTHETIC: a phantom")
    assert SimpleITK.ReadImage(str(tmp_path / f"x{suffix}")).GetMetaData("description") == "SYNTHETIC: a phantom"
    np.testing.assert_array_equal(read_mask(tmp_path / f"x{suffix}"), nerve())
    assert [file.name for file in tmp_path.iterdir()] == [f"x{suffix}"]


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr", ".img", ""])
def test_only_formats_of_one_file_are_written(suffix, tmp_path):
    with pytest.raises(VolumeError) as caught:
        write_volume(tmp_path / f"x{suffix}", voxels(), straight())
    assert caught.value.found == f"x{suffix}"
    assert ".nrrd" in caught.value.rule
    assert list(tmp_path.iterdir()) == []


def refused(path, found, error=VolumeError, rule=""):
    for read in (read_image, read_mask, read_image_grid):
        with pytest.raises(error) as caught:
            read(path, subject="V01")
        assert re.search(found, caught.value.found)
        assert rule in caught.value.rule
        assert (caught.value.subject, caught.value.path) == ("V01", path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"not an image\nat all\n" * 50, bytes(500)])
def test_a_file_that_is_none_is_named(suffix, content, tmp_path):
    (tmp_path / f"x{suffix}").write_bytes(content)
    refused(tmp_path / f"x{suffix}", "", rule=DAMAGED)


@pytest.mark.parametrize("suffix", ONE_FILE)
@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.95])
def test_a_truncated_file_is_named(suffix, compressed, keep, tmp_path):
    array = np.random.default_rng(0).integers(0, 2000, (20, 30, 30)).astype(np.int16)
    path = tmp_path / f"x{suffix}"
    SimpleITK.WriteImage(itk_image(array), str(path), compressed)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    for read in (read_image, read_mask):
        with pytest.raises(VolumeError) as caught:
            read(path)
        assert (caught.value.rule, caught.value.path) == (DAMAGED, path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("compressed", [True, False])
def test_a_header_that_lies_about_its_shape_is_refused_before_memory_is_taken(suffix, compressed, tmp_path):
    path = tmp_path / f"x{suffix}"
    SimpleITK.WriteImage(itk_image(), str(path), compressed)
    path.write_bytes(path.read_bytes().replace(b" 5 6 7\n", b" 30000 30000 30000\n"))
    refused(path, r"30000.*108,000,000,000,000 bytes; .* [\d,]+$", rule=DAMAGED)


@pytest.mark.parametrize("text", [
    "ObjectType = Image\nNDims = 3\nBinaryData = False\nDimSize = 2 2 2\nElementSpacing = 1 1 1\n"
    "ElementType = MET_USHORT\nElementDataFile = LOCAL\n",
    "NRRD0004\ntype: unsigned short\ndimension: 3\nsizes: 2 2 2\nspacings: 1 1 1\nencoding: ascii\n\n",
])  # fmt: skip
def test_numbers_written_as_text_are_read(text, tmp_path):
    path = tmp_path / ("x.nrrd" if text.startswith("NRRD") else "x.mha")
    path.write_text(text + "0 1 2 3 4 5 6 7\n")
    np.testing.assert_array_equal(np.sort(read_image(path).array.ravel()), np.arange(8))


def test_a_detached_header_without_its_data_is_refused(tmp_path):
    SimpleITK.WriteImage(itk_image(), str(tmp_path / "x.mhd"))
    (tmp_path / "x.raw").unlink(missing_ok=True)
    (tmp_path / "x.zraw").unlink(missing_ok=True)
    refused(tmp_path / "x.mhd", r"x\.z?raw", rule=DAMAGED)


def test_voxels_scattered_over_files_are_refused(tmp_path):
    SimpleITK.WriteImage(itk_image(), str(tmp_path / "x.mhd"))
    text = (tmp_path / "x.mhd").read_text()
    (tmp_path / "x.mhd").write_text(text.replace("x.raw", "LIST").replace("x.zraw", "LIST") + "x.raw\n")
    refused(tmp_path / "x.mhd", "^LIST$")


@pytest.mark.parametrize("suffix", ONE_FILE)
def test_other_kinds_of_image_are_refused(suffix, tmp_path):
    random = np.random.default_rng(0)
    path = tmp_path / f"x{suffix}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(random.random((4, 5, 6, 3)), isVector=True), str(path))
    refused(path, r"\b3 numbers")
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(random.random((4, 5))), str(path))
    refused(path, r"^shape \(5, 4\)$")
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(random.random((3, 4, 5, 6)), isVector=False), str(path))
    refused(path, r"^shape \(6, 5, 4, 3\)$")


def test_directions_that_are_none_are_refused(tmp_path):
    path = tmp_path / "x.mha"
    SimpleITK.WriteImage(itk_image(), str(path))
    lines = path.read_bytes().split(b"\n")
    lines = [b"TransformMatrix = 1 0 0 1 0 0 0 0 1" if line.startswith(b"Transform") else line for line in lines]
    path.write_bytes(b"\n".join(lines))
    refused(path, "^0 0 1$|singular", (GeometryError, VolumeError))


@contextlib.contextmanager
def disk_with_space_for(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("suffix", [".mha", ".nrrd", ".nii", ".nii.gz"])
def test_on_a_full_disk_the_old_file_stays_and_nothing_else(suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    write_volume(path, voxels(), straight())
    before = path.read_bytes()
    noise = np.random.default_rng(0).integers(0, 255, (60, 60, 60)).astype(np.uint8)
    with disk_with_space_for(20000), pytest.raises(VolumeError) as caught:
        write_volume(path, noise, straight())
    assert caught.value.found
    assert caught.value.path == path
    assert "disk" in caught.value.remedy
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_real_reference_mask_agrees_with_simpleitk(shared_data, tmp_path):
    path = shared_data("sciatic_reference") / "EXAMPLE_GROUND_TRUTH.mha"
    image = SimpleITK.ReadImage(str(path))
    mask, grid = read_mask(path), read_image_grid(path)
    assert mask.sum() == SimpleITK.GetArrayViewFromImage(image).sum() == 14353
    assert mask.sum() * abs(np.linalg.det(grid.affine[:3, :3])) == pytest.approx(17131, abs=1)
    write_mask(tmp_path / "mask.mha", mask, grid)
    assert geometry(tmp_path / "mask.mha") == geometry(path)
    SimpleITK.WriteImage(image, str(tmp_path / "by_itk.nii.gz"))
    np.testing.assert_allclose(grid.affine, nib.load(tmp_path / "by_itk.nii.gz").affine, atol=1e-4)
    np.testing.assert_array_equal(read_mask(tmp_path / "by_itk.nii.gz", like=grid), mask)
