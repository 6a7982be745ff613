import errno
import gzip
import math
import os
import re

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from nerveseg.data.classes import Classes
from nerveseg.data.volumes.grids import Grid, check_same_grid, has_orientation
from nerveseg.data.volumes.volume import read_image, read_image_grid, read_labels, read_mask, write_mask
from nerveseg.errors import GeometryError, VolumeError
from tests.helpers.nifti_files import (
    CODES,
    DAMAGED,
    SHAPE,
    SPACING_MM,
    image_in,
    nerve,
    oblique,
    save,
    straight,
    voxels,
)


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.95])
@pytest.mark.parametrize("read", [read_image, read_mask])
def test_a_truncated_file_is_named(read, keep, tmp_path):
    array = np.random.default_rng(0).integers(0, 200, (20, 20, 20)).astype(np.uint8)
    for name in ("x.nii", "x.nii.gz"):
        path = save(nib.Nifti1Image(array, straight()), tmp_path / name)
        content = path.read_bytes()
        path.write_bytes(content[: int(keep * len(content))])
        with pytest.raises(VolumeError) as caught:
            read(path, subject="V01")
        assert (caught.value.rule, caught.value.subject, caught.value.path) == (DAMAGED, "V01", path)


@pytest.mark.parametrize("content", [b"", b"not an image at all, but long enough to be a header? " * 20])
def test_a_file_that_is_no_nifti_is_named(content, tmp_path):
    (tmp_path / "x.nii").write_bytes(content)
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(content))
    (tmp_path / "raw.nii.gz").write_bytes(content)
    for name in ("x.nii", "x.nii.gz", "raw.nii.gz"):
        with pytest.raises(VolumeError) as caught:
            read_image(tmp_path / name)
        assert (caught.value.rule, caught.value.path) == (DAMAGED, tmp_path / name)


def test_a_flipped_byte_in_a_compressed_file_is_noticed(tmp_path):
    array = np.random.default_rng(0).integers(0, 200, (20, 20, 20)).astype(np.uint8)
    path = save(nib.Nifti1Image(array, straight()), tmp_path / "x.nii.gz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(VolumeError) as caught:
        read_image(path)
    assert (caught.value.rule, caught.value.path) == (DAMAGED, path)


def test_a_series_of_a_file_is_refused(tmp_path):
    path = save(image_in("RAS", straight()), tmp_path / "x.nii.gz")
    with pytest.raises(VolumeError) as caught:
        read_image(path, "V01", series="3")
    assert (caught.value.found, caught.value.path) == ("the file x.nii.gz", path)
    with pytest.raises(VolumeError) as caught:
        read_image(tmp_path / "none.nii", series="3")
    assert caught.value.found == "no such file"


def test_a_missing_file_and_another_format_are_named(tmp_path):
    with pytest.raises(VolumeError) as caught:
        read_image(tmp_path / "none.nii", "V01")
    assert (caught.value.found, caught.value.subject) == ("no such file", "V01")
    assert caught.value.path == tmp_path / "none.nii"
    for read in (read_image, read_mask, read_image_grid):
        with pytest.raises(VolumeError) as caught:
            read(tmp_path / "x.img")
        assert (caught.value.found, caught.value.path) == ("x.img", tmp_path / "x.img")
        assert ".nrrd" in caught.value.rule
        assert "dcm2niix" in caught.value.remedy


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
@pytest.mark.parametrize("read", [read_image, read_mask, read_image_grid])
def test_a_header_that_lies_about_its_shape_is_refused_before_memory_is_taken(name, read, tmp_path):
    header = nib.Nifti1Header()
    header.set_data_shape((30000, 30000, 30000))
    header.set_data_dtype(np.float32)
    header.set_sform(straight(), 1)
    content = header.binaryblock + bytes(2000)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(VolumeError) as caught:
        read(tmp_path / name)
    assert "(30000, 30000, 30000)" in caught.value.found
    assert "108,000,000,000," in caught.value.found
    assert caught.value.rule == DAMAGED


def test_a_compressed_file_is_measured_by_what_it_unpacks_to(tmp_path):
    path = save(nib.Nifti1Image(np.zeros((40, 40, 40), dtype=np.uint8), straight()), tmp_path / "x.nii.gz")
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content[:-1]))
    with pytest.raises(VolumeError) as caught:
        read_mask(path)
    assert re.findall(r"\d+,\d+", caught.value.found) == ["64,352", "64,351"]
    assert caught.value.rule == DAMAGED
    path.write_bytes(gzip.compress(content))
    assert read_mask(path).shape == (40, 40, 40)


def test_a_file_without_permission_is_named(tmp_path):
    path = save(nib.Nifti1Image(voxels(), straight()), tmp_path / "x.nii")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(VolumeError) as caught:
        read_image(path)
    assert (caught.value.found, caught.value.path) == (os.strerror(errno.EACCES), path)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 6, 2), (4, 5, 6, 1, 3)])
def test_other_dimensions_are_refused(shape, tmp_path):
    path = save(nib.Nifti1Image(np.ones(shape, dtype=np.uint8), straight()), tmp_path / "x.nii")
    for read in (read_image, read_mask, read_image_grid):
        with pytest.raises(VolumeError) as caught:
            read(path)
        assert caught.value.found == f"shape {shape}"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_voxels_that_are_not_finite_are_counted(value, tmp_path):
    array = voxels()
    array[1, 2, 3] = array[2, 2, 2] = value
    path = save(nib.Nifti1Image(array, straight()), tmp_path / "x.nii")
    with pytest.raises(VolumeError) as caught:
        read_image(path)
    assert caught.value.found.startswith("2 voxels")
    with pytest.raises(VolumeError) as caught:
        read_mask(path)
    assert caught.value.found.endswith(f" {value:g}")


def test_a_map_may_be_unknown_in_places_but_not_infinite_nor_everywhere(tmp_path):
    array = voxels()
    array[0] = np.nan
    path = save(nib.Nifti1Image(array, straight()), tmp_path / "x.nii")
    np.testing.assert_array_equal(read_image(path, allow_nan=True).array, array)
    for value in (np.inf, -np.inf):
        array[1, 1, 1] = value
        with pytest.raises(VolumeError) as caught:
            read_image(save(nib.Nifti1Image(array, straight()), path), allow_nan=True)
        assert caught.value.found.startswith("1 voxels")
    for value, named in ((np.nan, "NaN"), (7.0, "7")):
        array[1:] = value
        with pytest.raises(VolumeError) as caught:
            read_image(save(nib.Nifti1Image(array, straight()), path), allow_nan=True)
        assert caught.value.found.endswith(f"{named} in all voxels")


def test_a_number_too_large_for_an_image_is_infinite(tmp_path):
    array = voxels().astype(np.float64)
    array[1, 1, 1] = 1e300
    with pytest.raises(VolumeError) as caught:
        read_image(save(nib.Nifti1Image(array, straight()), tmp_path / "x.nii"))
    assert caught.value.found.startswith("1 voxels")


def test_an_image_of_one_value_is_refused_and_an_empty_mask_is_not(tmp_path):
    path = save(nib.Nifti1Image(np.zeros(SHAPE, dtype=np.uint8), straight()), tmp_path / "x.nii")
    with pytest.raises(VolumeError) as caught:
        read_image(path)
    assert caught.value.found.endswith("0 in all voxels")
    assert not read_mask(path).any()


@pytest.mark.parametrize("value", [0.5, -1.0, 2.25])
def test_values_that_are_no_labels_are_shown(value, tmp_path):
    array = nerve().astype(np.float32)
    array[0, 0, 0] = value
    path = save(nib.Nifti1Image(array, straight()), tmp_path / "x.nii")
    with pytest.raises(VolumeError) as caught:
        read_mask(path)
    assert caught.value.found.endswith(f" {value:g}")


def test_foreground_is_any_label_or_those_named(tmp_path):
    labels = np.zeros(SHAPE, dtype=np.float32)
    labels[0], labels[1], labels[2] = 1, 2, 255
    path = save(nib.Nifti1Image(labels, straight()), tmp_path / "x.nii")
    np.testing.assert_array_equal(read_mask(path), labels > 0)
    named = Classes.of({"nerve": [2, 255]}).encode(read_labels(path))
    np.testing.assert_array_equal(named, labels > 1)
    assert read_mask(path).dtype == bool


def test_colour_and_complex_voxels_are_refused(tmp_path):
    colour = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    for array in (colour, np.ones(SHAPE, dtype=np.complex64)):
        path = save(nib.Nifti1Image(array, straight()), tmp_path / "x.nii")
        with pytest.raises(VolumeError) as caught:
            read_image(path)
        assert caught.value.found.startswith("data type ")


def conflicting(tmp_path):
    """qform says 0.52 mm, sform 1 mm: the file that two common readers measure differently."""
    image = nib.Nifti1Image(voxels(), straight())
    image.set_qform(straight(), 1)
    image.set_sform(np.diag([1.0, 1.0, 4.4, 1.0]), 1)
    return save(image, tmp_path / "x.nii")


def test_a_header_that_contradicts_itself_is_refused_unless_one_transform_is_chosen(tmp_path):
    path = conflicting(tmp_path)
    with pytest.raises(GeometryError) as caught:
        read_image(path)
    assert "0.52 x 0.75 x 4.4 mm (qform), 1 x 1 x 4.4 mm (sform)" in caught.value.found
    assert "geometry=" in caught.value.remedy
    np.testing.assert_allclose(read_image(path, geometry="qform").grid.ras_spacing_mm, SPACING_MM, rtol=1e-6)
    np.testing.assert_allclose(read_image(path, geometry="sform").grid.ras_spacing_mm, (1, 1, 4.4), rtol=1e-6)


@pytest.mark.parametrize("geometry", ["qform", "sform"])
def test_the_chosen_transform_orients_the_mask_and_the_file_keeps_its_header(geometry, tmp_path):
    path = conflicting(tmp_path)
    volume = read_image(path, geometry=geometry)
    write_mask(tmp_path / "mask.nii", nerve(), volume.grid)
    before, after = nib.load(path), nib.load(tmp_path / "mask.nii")
    np.testing.assert_allclose(after.get_qform(), before.get_qform(), atol=1e-6)
    np.testing.assert_allclose(after.get_sform(), before.get_sform(), atol=1e-6)
    again = read_mask(tmp_path / "mask.nii", like=volume.grid, geometry=geometry)
    np.testing.assert_array_equal(again, nerve())


@pytest.mark.parametrize(("moved_mm", "accepted"), [(0.09, True), (0.11, False)])
def test_transforms_may_differ_by_a_tenth_of_a_millimetre(moved_mm, accepted, tmp_path):
    image = nib.Nifti1Image(voxels(), straight())
    moved = straight()
    moved[1, 3] += moved_mm
    image.set_qform(straight(), 1)
    image.set_sform(moved, 1)
    path = save(image, tmp_path / "x.nii")
    if accepted:
        assert read_image(path).array.shape == SHAPE
    else:
        with pytest.raises(GeometryError) as caught:
            read_image(path)
        assert "0.11 mm" in caught.value.found


def test_a_transform_without_a_code_is_not_asked(tmp_path):
    image = nib.Nifti1Image(voxels(), straight())
    image.set_qform(np.diag([9.0, 9.0, 9.0, 1.0]), 0)
    image.set_sform(straight(), 1)
    assert read_image(save(image, tmp_path / "x.nii")).grid.ras_spacing_mm == pytest.approx(SPACING_MM)


def test_a_singular_affine_is_refused(tmp_path):
    image = nib.Nifti1Image(voxels(), straight())
    image.set_qform(None, 0)
    image.set_sform(np.diag([0.5, 0.0, 4.4, 1.0]), 1)
    with pytest.raises(GeometryError) as caught:
        read_image(save(image, tmp_path / "x.nii"))
    assert "singular" in caught.value.found


def test_masks_on_other_grids_are_refused(tmp_path):
    like = read_image(save(image_in("RAS", oblique()), tmp_path / "image.nii")).grid
    moved = oblique()
    moved[0, 3] += 0.2
    mirrored = oblique() @ np.diag([-1.0, 1.0, 1.0, 1.0])
    relabelled = nib.Nifti1Image(image_in("ASR", oblique(), nerve().astype(np.uint8)).dataobj, oblique())
    for image, named in (
        (nib.Nifti1Image(np.zeros((5, 6, 8), dtype=np.uint8), oblique()), r"\(5, 6, 8\).*\(5, 6, 7\)"),
        (nib.Nifti1Image(nerve().astype(np.uint8), moved), r"0\.20 mm apart"),
        (nib.Nifti1Image(nerve().astype(np.uint8), straight()), "mm apart"),
        (nib.Nifti1Image(nerve().astype(np.uint8), mirrored), "mm apart"),
        (relabelled, r"shape \(6, 7, 5\), image \(5, 6, 7\)"),
    ):
        path = save(image, tmp_path / "mask.nii")
        with pytest.raises(GeometryError) as caught:
            read_mask(path, like=like, subject="V01")
        assert re.search(named, caught.value.found)
        assert (caught.value.subject, caught.value.path) == ("V01", path)


@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize("suffix", [".nii.gz", ".mha"])
def test_a_mask_of_the_same_place_in_another_axis_order_is_read(codes, suffix, tmp_path):
    like = read_image(save(image_in("LPS", oblique()), tmp_path / "image.nii")).grid
    turned = image_in(codes, oblique(), nerve().astype(np.uint8))
    path = tmp_path / f"mask{suffix}"
    write_mask(path, nerve(), Grid(turned.shape, np.asarray(turned.affine, dtype=np.float64), turned.header))
    grid = read_image_grid(path)
    assert grid.lies_on(like)
    assert like.lies_on(grid)
    np.testing.assert_array_equal(read_mask(path, like=like), nerve())


@pytest.mark.parametrize(("moved_mm", "lies"), [(0.0, True), (0.09, True), (0.11, False)])
def test_grids_are_one_within_a_tenth_of_a_millimetre(moved_mm, lies):
    moved = oblique()
    moved[1, 3] += moved_mm
    assert Grid(SHAPE, oblique(), None).lies_on(Grid(SHAPE, moved, None)) == lies
    assert not Grid(SHAPE, oblique(), None).lies_on(Grid((5, 6, 8), oblique(), None))


@pytest.mark.parametrize(("qform", "sform", "known"), [(0, 0, False), (1, 0, True), (0, 2, True), (1, 1, True)])
def test_a_header_says_how_the_volume_lies_or_not(qform, sform, known, tmp_path):
    image = nib.Nifti1Image(voxels(), straight())
    image.set_qform(straight(), qform)
    image.set_sform(straight(), sform)
    assert has_orientation(read_image(save(image, tmp_path / "x.nii")).grid) == known
    write_mask(tmp_path / "x.mha", nerve(), Grid(SHAPE, straight(), None))
    assert has_orientation(read_image(tmp_path / "x.mha").grid)


@pytest.mark.parametrize("shape", [(*SHAPE, 1), (*SHAPE, 1, 1)])
@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
def test_one_time_point_is_a_volume_whose_mask_has_three_dimensions(shape, name, tmp_path):
    stored = image_in("LPS", oblique())
    image = nib.Nifti1Image(np.asarray(stored.dataobj).reshape(shape), stored.affine)
    image.header.set_xyzt_units("mm", "sec")
    volume = read_image(save(image, tmp_path / name))
    np.testing.assert_array_equal(volume.array, nib.as_closest_canonical(stored).get_fdata())
    grid = read_image_grid(tmp_path / name)
    assert (grid.shape, grid.header.get_data_shape()) == (SHAPE, SHAPE)
    write_mask(tmp_path / "mask.nii.gz", nerve(), volume.grid)
    mask = nib.load(tmp_path / "mask.nii.gz")
    assert mask.shape == SHAPE
    np.testing.assert_allclose(mask.affine, stored.affine, atol=1e-6)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.nii.gz", like=grid), nerve())
    save(nib.Nifti1Image(nerve().reshape(shape).astype(np.uint8), oblique()), tmp_path / "drawn.nii")
    np.testing.assert_array_equal(read_mask(tmp_path / "drawn.nii", like=grid), nerve())


def test_a_grid_read_from_the_header_is_the_grid_of_the_volume(tmp_path):
    path = save(image_in("PIR", oblique()), tmp_path / "x.nii.gz")
    grid, whole = read_image_grid(path), read_image(path).grid
    np.testing.assert_array_equal(grid.affine, whole.affine)
    assert grid.shape == whole.shape
    check_same_grid(grid, whole)
    assert grid.corner_distance_mm(whole) == 0


def test_the_corner_distance_is_the_furthest_corner():
    first = Grid((11, 11, 11), np.eye(4), None)
    stretched = Grid((11, 11, 11), np.diag([1.1, 1.0, 1.2, 1.0]), None)
    assert first.corner_distance_mm(stretched) == pytest.approx(math.hypot(1.0, 2.0))


def test_real_masks_share_the_grid_of_their_image(shared_data):
    folder = shared_data("hippocampus")
    label = next(iter(sorted((folder / "labels").glob("*.nii*"))))
    image = read_image(folder / "images" / label.name)
    mask = read_mask(label, like=image.grid)
    labels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(label)))
    assert mask.sum() == (labels > 0).sum() > 0
