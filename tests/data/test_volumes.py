import gzip
import itertools
import math

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from nerveseg.data.volumes import (
    Grid,
    check_same_grid,
    read_image,
    read_image_grid,
    read_mask,
    write_mask,
    write_volume,
)
from nerveseg.errors import GeometryError, VolumeError

SPACING_MM = (0.52, 0.75, 4.4)
SHAPE = (5, 6, 7)
CODES = [
    "".join(letters) for axes in itertools.permutations(("RL", "AP", "SI")) for letters in itertools.product(*axes)
]


def straight(spacing=SPACING_MM):
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-60.0, 12.0, 300.0)
    return affine


def oblique(spacing=SPACING_MM, degrees=(14, -9, 21)):
    rotation = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        first, second = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = math.cos(angle)
        turn[first, second], turn[second, first] = -math.sin(angle), math.sin(angle)
        rotation = rotation @ turn
    affine = straight(spacing)
    affine[:3, :3] = rotation @ np.diag(spacing)
    return affine


def voxels(shape=SHAPE):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def image_in(codes, affine=None, array=None):
    """The same physical picture stored in another axis order."""
    array = voxels() if array is None else array
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    turned = nib.orientations.apply_orientation(array, turn)
    affine = (straight() if affine is None else affine) @ inv_ornt_aff(turn, array.shape)
    return nib.Nifti1Image(turned, affine)


def save(image, path):
    nib.save(image, path)
    return path


def nerve(shape=SHAPE):
    mask = np.zeros(shape, dtype=bool)
    mask[0, 1, 2] = mask[1:4, 2:4, 3:6] = True
    return mask


def test_there_are_48_orientations():
    assert len(set(CODES)) == 48


@pytest.mark.parametrize("codes", CODES)
def test_every_orientation_is_read_as_nibabels_closest_canonical_and_written_back(codes, tmp_path):
    path = save(image_in(codes, oblique()), tmp_path / "image.nii")
    canonical = nib.as_closest_canonical(nib.load(path))
    volume = read_image(path)
    np.testing.assert_array_equal(volume.array, canonical.get_fdata(dtype=np.float32))
    np.testing.assert_allclose(volume.grid.ras_affine, canonical.affine, atol=1e-6)
    assert volume.grid.ras_shape == canonical.shape == SHAPE
    np.testing.assert_allclose(volume.grid.ras_spacing_mm, SPACING_MM, rtol=1e-5)

    mask = volume.array > 100
    write_mask(tmp_path / "mask.nii.gz", mask, volume.grid)
    stored = nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(np.asarray(stored.dataobj) > 0, nib.load(path).get_fdata() > 100)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.nii.gz", like=volume.grid), mask)


@pytest.mark.parametrize("codes", CODES)
def test_slice_numbers_are_the_files_own(codes, tmp_path):
    path = save(image_in(codes), tmp_path / "image.nii")
    volume = read_image(path)
    stored = nib.load(path).get_fdata(dtype=np.float32)
    axis = next(index for index, letter in enumerate(codes) if letter in "SI")
    for ras_slice in range(SHAPE[2]):
        there = np.take(stored, volume.grid.slice_number(ras_slice), axis=axis)
        np.testing.assert_array_equal(np.sort(there.ravel()), np.sort(volume.array[:, :, ras_slice].ravel()))


@given(st.sampled_from(CODES), st.tuples(*[st.integers(1, 5)] * 3), st.tuples(*[st.floats(-40, 40)] * 3))
def test_from_ras_undoes_to_ras(codes, shape, degrees):
    array = voxels(shape)
    image = image_in(codes, oblique(degrees=degrees), array)
    grid = Grid(image.shape, np.asarray(image.affine, dtype=np.float64), image.header)
    stored = np.asarray(image.dataobj)
    np.testing.assert_array_equal(grid.from_ras(grid.to_ras(stored)), stored)
    assert grid.to_ras(stored).shape == grid.ras_shape
    corner = np.array([shape[0] - 1, 0, 0, 1])
    place = grid.ras_affine @ corner
    value = grid.to_ras(stored)[shape[0] - 1, 0, 0] if grid.ras_shape == shape else None
    if value is not None:
        index = np.argwhere(stored == value)[0]
        np.testing.assert_allclose(image.affine @ [*index, 1], place, atol=1e-3)


@pytest.mark.parametrize(("sform", "qform"), [(1, 1), (2, 0), (0, 1), (4, 3), (0, 0)])
@pytest.mark.parametrize("units", ["mm", "unknown"])
@pytest.mark.parametrize("codes", ["RAS", "LPS", "SAL"])
def test_a_written_mask_has_the_header_of_its_image(sform, qform, units, codes, tmp_path):
    image = image_in(codes, oblique() if sform or qform else np.diag([*SPACING_MM, 1.0]))
    image.set_sform(image.affine if sform else None, sform)
    image.set_qform(image.affine if qform else None, qform)
    image.header.set_xyzt_units(units)
    path = save(image, tmp_path / "image.nii.gz")
    volume = read_image(path)
    write_mask(tmp_path / "mask.nii.gz", volume.array > 50, volume.grid)

    before, after = nib.load(path), nib.load(tmp_path / "mask.nii.gz")
    assert after.shape == before.shape
    np.testing.assert_array_equal(after.affine, before.affine)
    for field in ("sform_code", "qform_code", "xyzt_units", "pixdim", "quatern_b", "quatern_c", "quatern_d", "srow_x"):
        np.testing.assert_array_equal(after.header[field], before.header[field], err_msg=field)
    assert after.get_data_dtype() == np.uint8
    assert after.dataobj.slope == 1
    assert set(np.unique(np.asarray(after.dataobj))) == {0, 1}


def test_the_scaling_of_an_image_does_not_reach_its_mask(tmp_path):
    image = nib.Nifti1Image(np.arange(210, dtype=np.int16).reshape(SHAPE), oblique())
    image.header.set_slope_inter(0.5, 10)
    image.header["cal_max"] = 400
    save(image, tmp_path / "image.nii")
    volume = read_image(tmp_path / "image.nii")
    np.testing.assert_allclose(volume.array.max(), nib.load(tmp_path / "image.nii").get_fdata().max())
    write_mask(tmp_path / "mask.nii", nerve(), volume.grid)
    assert nib.load(tmp_path / "mask.nii").get_fdata().max() == 1
    assert nib.load(tmp_path / "mask.nii").header["cal_max"] == 0


def test_simpleitk_reads_the_written_files_on_the_same_grid(tmp_path):
    path = save(image_in("LPS", oblique()), tmp_path / "image.nii.gz")
    volume = read_image(path)
    write_mask(tmp_path / "mask.nii.gz", volume.array > 100, volume.grid)
    image, mask = (SimpleITK.ReadImage(str(tmp_path / f"{name}.nii.gz")) for name in ("image", "mask"))
    for of_grid in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(mask, of_grid)(), getattr(image, of_grid)(), atol=1e-6)
    expected = SimpleITK.GetArrayFromImage(image) > 100
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(mask) > 0, expected)


def test_a_file_by_simpleitk_is_read_in_ras(tmp_path):
    image = SimpleITK.GetImageFromArray(voxels((7, 6, 5)))  # numpy order z, y, x; ITK's axes point left and posterior
    image.SetSpacing(SPACING_MM)
    SimpleITK.WriteImage(image, str(tmp_path / "image.nii.gz"))
    volume = read_image(tmp_path / "image.nii.gz")
    expected = SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0)[::-1, ::-1]
    np.testing.assert_array_equal(volume.array, expected)
    np.testing.assert_allclose(volume.grid.ras_spacing_mm, SPACING_MM, rtol=1e-6)


def test_a_new_volume_carries_its_affine_millimetres_and_description(tmp_path):
    path = tmp_path / "new" / "folder" / "x.nii.gz"
    write_volume(path, voxels(), oblique(), "synthetic " * 20)
    stored = nib.load(path)
    np.testing.assert_allclose(stored.affine, oblique(), atol=1e-5)
    np.testing.assert_allclose(stored.get_qform(), stored.get_sform(), atol=1e-4)
    assert stored.header.get_xyzt_units()[0] == "mm"
    assert bytes(stored.header["descrip"]).startswith(b"synthetic synthetic")
    np.testing.assert_array_equal(stored.get_fdata(), voxels())
    assert [file.name for file in path.parent.iterdir()] == ["x.nii.gz"]


@pytest.mark.parametrize("kind", ["NIfTI-2", "big endian"])
def test_rarer_nifti_kinds_get_a_mask_on_their_grid(kind, tmp_path):
    if kind == "NIfTI-2":
        image = nib.Nifti2Image(voxels(), oblique())
    else:
        image = nib.Nifti1Image(voxels(), oblique(), nib.Nifti1Header(endianness=">"))
    volume = read_image(save(image, tmp_path / "x.nii"))
    np.testing.assert_array_equal(volume.array, voxels())
    write_mask(tmp_path / "mask.nii.gz", nerve(), volume.grid)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.nii.gz", like=volume.grid), nerve())


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "x.nii.gz"
    write_volume(path, voxels(), straight())
    before = path.read_bytes()

    def disk_full(_image, aside):
        aside.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nib, "save", disk_full)
    with pytest.raises(OSError, match="No space"):
        write_volume(path, voxels() + 1, straight())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.95])
@pytest.mark.parametrize("read", [read_image, read_mask])
def test_a_truncated_file_is_named(read, keep, tmp_path):
    array = np.random.default_rng(0).integers(0, 200, (20, 20, 20)).astype(np.uint8)
    for name in ("x.nii", "x.nii.gz"):
        path = save(nib.Nifti1Image(array, straight()), tmp_path / name)
        content = path.read_bytes()
        path.write_bytes(content[: int(keep * len(content))])
        with pytest.raises(VolumeError, match=rf"complete and readable.*subject: V01; path: .*{name}"):
            read(path, subject="V01")


@pytest.mark.parametrize("content", [b"", b"not an image at all, but long enough to be a header? " * 20])
def test_a_file_that_is_no_nifti_is_named(content, tmp_path):
    (tmp_path / "x.nii").write_bytes(content)
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(content))
    (tmp_path / "raw.nii.gz").write_bytes(content)
    for name in ("x.nii", "x.nii.gz", "raw.nii.gz"):
        with pytest.raises(VolumeError, match="complete and readable"):
            read_image(tmp_path / name)


def test_a_flipped_byte_in_a_compressed_file_is_noticed(tmp_path):
    array = np.random.default_rng(0).integers(0, 200, (20, 20, 20)).astype(np.uint8)
    path = save(nib.Nifti1Image(array, straight()), tmp_path / "x.nii.gz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(VolumeError, match="complete and readable"):
        read_image(path)


def test_a_missing_file_and_another_format_are_named(tmp_path):
    with pytest.raises(VolumeError, match=r"no such file; subject: V01; path: .*none\.nii"):
        read_image(tmp_path / "none.nii", "V01")
    with pytest.raises(VolumeError, match=r"NIfTI.*found: x\.mha.*remedy: convert"):
        read_image(tmp_path / "x.mha")


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 6, 2), (4, 5, 6, 1, 3)])
def test_other_dimensions_are_refused(shape, tmp_path):
    path = save(nib.Nifti1Image(np.ones(shape, dtype=np.uint8), straight()), tmp_path / "x.nii")
    for read in (read_image, read_mask, read_image_grid):
        with pytest.raises(VolumeError, match="three dimensions"):
            read(path)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_voxels_that_are_not_finite_are_counted(value, tmp_path):
    array = voxels()
    array[1, 2, 3] = array[2, 2, 2] = value
    path = save(nib.Nifti1Image(array, straight()), tmp_path / "x.nii")
    with pytest.raises(VolumeError, match="2 voxels"):
        read_image(path)
    with pytest.raises(VolumeError, match="labels"):
        read_mask(path)


def test_an_image_of_one_value_is_refused_and_an_empty_mask_is_not(tmp_path):
    path = save(nib.Nifti1Image(np.zeros(SHAPE, dtype=np.uint8), straight()), tmp_path / "x.nii")
    with pytest.raises(VolumeError, match="contrast"):
        read_image(path)
    assert not read_mask(path).any()


@pytest.mark.parametrize("value", [0.5, -1.0, 2.0001])
def test_values_that_are_no_labels_are_shown(value, tmp_path):
    array = nerve().astype(np.float32)
    array[0, 0, 0] = value
    path = save(nib.Nifti1Image(array, straight()), tmp_path / "x.nii")
    with pytest.raises(VolumeError, match=f"values such as {value:g}"):
        read_mask(path)


def test_foreground_is_any_label_or_those_named(tmp_path):
    labels = np.zeros(SHAPE, dtype=np.float32)
    labels[0], labels[1], labels[2] = 1, 2, 255
    path = save(nib.Nifti1Image(labels, straight()), tmp_path / "x.nii")
    np.testing.assert_array_equal(read_mask(path), labels > 0)
    np.testing.assert_array_equal(read_mask(path, foreground=(2, 255)), labels > 1)
    assert read_mask(path).dtype == bool


def test_colour_and_complex_voxels_are_refused(tmp_path):
    colour = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    for array in (colour, np.ones(SHAPE, dtype=np.complex64)):
        path = save(nib.Nifti1Image(array, straight()), tmp_path / "x.nii")
        with pytest.raises(VolumeError, match="plain numbers"):
            read_image(path)


def conflicting(tmp_path):
    """qform says 0.52 mm, sform 1 mm: the file that two common readers measure differently."""
    image = nib.Nifti1Image(voxels(), straight())
    image.set_qform(straight(), 1)
    image.set_sform(np.diag([1.0, 1.0, 4.4, 1.0]), 1)
    return save(image, tmp_path / "x.nii")


def test_a_header_that_contradicts_itself_is_refused_unless_one_transform_is_chosen(tmp_path):
    path = conflicting(tmp_path)
    with pytest.raises(GeometryError, match=r"0\.52 x 0\.75 x 4\.4 mm \(qform\), 1 x 1 x 4\.4 mm \(sform\).*geometry="):
        read_image(path)
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
        with pytest.raises(GeometryError, match=r"0\.11 mm apart"):
            read_image(path)


def test_a_transform_without_a_code_is_not_asked(tmp_path):
    image = nib.Nifti1Image(voxels(), straight())
    image.set_qform(np.diag([9.0, 9.0, 9.0, 1.0]), 0)
    image.set_sform(straight(), 1)
    assert read_image(save(image, tmp_path / "x.nii")).grid.ras_spacing_mm == pytest.approx(SPACING_MM)


def test_a_singular_affine_is_refused(tmp_path):
    image = nib.Nifti1Image(voxels(), straight())
    image.set_qform(None, 0)
    image.set_sform(np.diag([0.5, 0.0, 4.4, 1.0]), 1)
    with pytest.raises(GeometryError, match="singular"):
        read_image(save(image, tmp_path / "x.nii"))


def test_masks_on_other_grids_are_refused(tmp_path):
    like = read_image(save(image_in("RAS", oblique()), tmp_path / "image.nii")).grid
    moved = oblique()
    moved[0, 3] += 0.2
    flipped = image_in("LAS", oblique(), nerve().astype(np.uint8))
    for image, named in (
        (nib.Nifti1Image(np.zeros((5, 6, 8), dtype=np.uint8), oblique()), r"\(5, 6, 8\).*\(5, 6, 7\)"),
        (nib.Nifti1Image(nerve().astype(np.uint8), moved), r"0\.20 mm apart"),
        (nib.Nifti1Image(nerve().astype(np.uint8), straight()), "mm apart"),
        (flipped, "mm apart"),
    ):
        path = save(image, tmp_path / "mask.nii")
        with pytest.raises(GeometryError, match=named + r".*subject: V01; path: .*mask\.nii"):
            read_mask(path, like=like, subject="V01")


def test_a_grid_read_from_the_header_is_the_grid_of_the_volume(tmp_path):
    path = save(image_in("PIR", oblique()), tmp_path / "x.nii.gz")
    grid, whole = read_image_grid(path), read_image(path).grid
    np.testing.assert_array_equal(grid.affine, whole.affine)
    assert grid.shape == whole.shape
    check_same_grid(grid, whole, path, None)
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
