import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st

from nerveseg.data.volumes.volume import Grid, read_image, read_mask, write_mask, write_probability, write_volume
from nerveseg.errors import VolumeError
from tests.helpers.nifti_files import CODES, SHAPE, SPACING_MM, image_in, nerve, oblique, save, straight, voxels


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


@pytest.mark.parametrize("suffix", [".nii", ".mha", ".nrrd"])
def test_all_48_orientations_of_one_picture_are_one_volume(suffix, tmp_path):
    reference = read_image(save(image_in("RAS", oblique()), tmp_path / "reference.nii"))
    for codes in CODES:
        image = image_in(codes, oblique())
        path = tmp_path / f"{codes}{suffix}"
        save(image, path) if suffix == ".nii" else save_by_itk(image, path)
        volume = read_image(path)
        np.testing.assert_array_equal(volume.array, reference.array)
        np.testing.assert_allclose(volume.grid.ras_affine, reference.grid.ras_affine, atol=2e-5)
        assert volume.grid.shape == image.shape

        mask = volume.array > 100
        write_mask(tmp_path / f"mask{suffix}", mask, volume.grid)
        stored = nib.load(tmp_path / "mask.nii").get_fdata() if suffix == ".nii" else stored_by_itk(tmp_path, suffix)
        np.testing.assert_array_equal(stored > 0, np.asarray(image.dataobj) > 100)


def save_by_itk(image, path):
    affine = np.diag([-1, -1, 1, 1]) @ image.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    itk = SimpleITK.GetImageFromArray(np.asarray(image.dataobj).transpose(2, 1, 0))
    itk.SetSpacing(spacing)
    itk.SetOrigin(affine[:3, 3])
    itk.SetDirection((affine[:3, :3] / spacing).ravel())
    SimpleITK.WriteImage(itk, str(path))


def stored_by_itk(folder, suffix):
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / f"mask{suffix}"))).transpose(2, 1, 0)


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


def test_a_probability_map_keeps_its_values_and_the_header_of_its_image(tmp_path):
    path = save(image_in("PIR", oblique()), tmp_path / "image.nii.gz")
    volume = read_image(path)
    probability = np.random.default_rng(0).random(SHAPE)
    write_probability(tmp_path / "p.nii.gz", probability, volume.grid, "mean of 4 folds")
    stored = nib.load(tmp_path / "p.nii.gz")
    assert stored.get_data_dtype() == np.float32
    assert bytes(stored.header["descrip"]).startswith(b"mean of 4 folds")
    np.testing.assert_array_equal(stored.affine, nib.load(path).affine)
    np.testing.assert_array_equal(nib.as_closest_canonical(stored).dataobj, probability.astype(np.float32))


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


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_what_is_written_is_what_nibabel_writes(suffix, tmp_path):
    image = image_in("LPI", oblique())
    volume = read_image(save(image, tmp_path / f"x{suffix}"))
    write_probability(tmp_path / f"same{suffix}", volume.array, volume.grid)
    assert (tmp_path / f"same{suffix}").read_bytes() == (tmp_path / f"x{suffix}").read_bytes()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(VolumeError) as caught:
        write_volume(tmp_path / "file" / "x.nii", voxels(), straight())
    assert caught.value.found.startswith("FileExistsError")
    assert caught.value.path == tmp_path / "file" / "x.nii"
