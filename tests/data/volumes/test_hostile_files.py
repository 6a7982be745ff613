"""Files that would end, hang or fill the process, or be read with another geometry than they state."""

import gzip
import os
import struct
import zlib

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from nerveseg.data.volumes.dicom import read_series
from nerveseg.data.volumes.volume import VOLUME_SUFFIXES, read_image, read_image_grid, read_mask
from nerveseg.errors import GeometryError, VolumeError
from tests.helpers.dicom_series import write_series
from tests.helpers.nifti_files import DAMAGED, save, straight, voxels

READERS = [read_image, read_mask, read_image_grid]


@pytest.fixture(autouse=True)
def quiet(capfd):
    """Nothing of another library stands on stderr beside an error, whether it comes from Python or from C++."""
    yield
    assert capfd.readouterr().err == ""


def refused(path, error=VolumeError, readers=READERS):
    caught = []
    for read in readers:
        with pytest.raises(error) as one:
            read(path)
        assert one.value.path == path
        assert "\n" not in str(one.value)
        caught.append(one.value)
    return caught[0]


@pytest.mark.parametrize("suffix", VOLUME_SUFFIXES)
@pytest.mark.parametrize("kind", ["fifo", "device", "folder link"])
def test_only_regular_files_are_opened(suffix, kind, tmp_path):
    path = tmp_path / f"x{suffix}"
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if kind == "device" else "/dev")
    readers = READERS if kind != "folder link" else [read_mask, read_image_grid]
    assert "regular" in refused(path, readers=readers).rule


def test_a_link_to_a_file_is_that_file(tmp_path):
    save(nib.Nifti1Image(voxels(), straight()), tmp_path / "x.nii")
    (tmp_path / "link.nii").symlink_to(tmp_path / "x.nii")
    np.testing.assert_array_equal(read_image(tmp_path / "link.nii").array, voxels())


@pytest.mark.parametrize(("name", "value", "index"), [
    ("dim", 9, 0), ("dim", -1, 0), ("dim", 0, 0), ("dim", -5, 2), ("datatype", 9999, ...), ("vox_offset", -100, ...),
    ("vox_offset", np.nan, ...), ("scl_inter", np.nan, ...), ("xyzt_units", 7, ...), ("magic", b"x", ...),
    ("srow_x", np.nan, 0), ("srow_x", 1e38, ...),
])  # fmt: skip
def test_a_hostile_nifti_header_is_one_line(name, value, index, tmp_path):
    image = nib.Nifti1Image(voxels(), straight())
    header = image.header
    header["vox_offset"], header["magic"], header["scl_slope"], header["scl_inter"] = 352, b"n+1", 1, 0
    header[name][index] = value
    (tmp_path / "x.nii").write_bytes(header.binaryblock + bytes(4) + voxels().tobytes(order="F"))
    refused(tmp_path / "x.nii", (VolumeError, GeometryError), [read_image, read_mask])


@pytest.mark.parametrize("spacing", [0.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("forms", [(0, 0), (1, 0), (1, 1)])
def test_a_nifti_states_its_spacing(spacing, forms, tmp_path):
    image = nib.Nifti1Image(voxels(), straight())
    image.set_qform(straight(), forms[0])
    image.set_sform(straight(), forms[1])
    image.header["pixdim"][2] = spacing
    image.header["vox_offset"], image.header["magic"] = 352, b"n+1"
    (tmp_path / "x.nii").write_bytes(image.header.binaryblock + bytes(4) + voxels().tobytes(order="F"))
    refused(tmp_path / "x.nii", GeometryError)


METAIMAGE = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
    "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 0.5 0.5 4\nDimSize = 4 3 2\n"
    "ElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
)
NRRD = (
    "NRRD0004\ntype: unsigned char\ndimension: 3\nspace: left-posterior-superior\nsizes: 4 3 2\n"
    "space directions: (0.5,0,0) (0,0.5,0) (0,0,4)\nkinds: domain domain domain\nencoding: raw\n"
    "space origin: (0,0,0)\n\n"
)


@pytest.mark.parametrize(("text", "suffix"), [(METAIMAGE, ".mha"), (NRRD, ".nrrd")])
def test_the_header_that_is_changed_below_is_sound(text, suffix, tmp_path):
    (tmp_path / f"x{suffix}").write_bytes(text.encode() + bytes(range(24)))
    assert read_image(tmp_path / f"x{suffix}").grid.ras_spacing_mm == (0.5, 0.5, 4)


@pytest.mark.parametrize(("text", "line", "changed", "error"), [
    (METAIMAGE, "ElementSpacing = 0.5 0.5 4", "", GeometryError),
    (METAIMAGE, "ElementSpacing = 0.5 0.5 4", "ElementSpacing = 0.5 0 4", GeometryError),
    (METAIMAGE, "ElementSpacing = 0.5 0.5 4", "ElementSpacing = 0.5 -0.5 4", GeometryError),
    (METAIMAGE, "ElementSpacing = 0.5 0.5 4", "ElementSpacing = 0.5 nan 4", GeometryError),
    (METAIMAGE, "ElementSpacing = 0.5 0.5 4", "ElementSpacing = 0.5 0.5", GeometryError),
    (METAIMAGE, "1 0 0 0 1 0 0 0 1", "1 0 0 0.8 0.6 0 0 0 1", GeometryError),
    (METAIMAGE, "NDims = 3", "NDims = 1000", VolumeError),
    (METAIMAGE, "NDims = 3", "NDims = -1", VolumeError),
    (METAIMAGE, "NDims = 3", "NDims = 3\nComment = " + "x" * 5000, VolumeError),
    (NRRD, "space origin: (0,0,0)", f"space origin: (0,{'x' * 5000},0)", VolumeError),
    (METAIMAGE, "NDims = 3", "NDims = 3\nNDims = 1000", VolumeError),
    (METAIMAGE, "NDims = 3", "NDims : 1000", VolumeError),
    (METAIMAGE, "DimSize = 4 3 2", "DimSize = 4 3 3", VolumeError),
    (METAIMAGE, "DimSize = 4 3 2", "DimSize = 4 3 2\nHeaderSize = 12", VolumeError),
    (METAIMAGE, "ElementDataFile = LOCAL", "ElementDataFile = x.mha", VolumeError),
    (NRRD, "space directions: (0.5,0,0) (0,0.5,0) (0,0,4)", "", GeometryError),
    (NRRD, "(0.5,0,0) (0,0.5,0) (0,0,4)", "none none none", GeometryError),
    (NRRD, "(0.5,0,0) (0,0.5,0) (0,0,4)", "(0.5,0,0) none (0,0,4)", GeometryError),
    (NRRD, "(0.5,0,0) (0,0.5,0) (0,0,4)", "(0.5,0,0) (0,0,0) (0,0,4)", GeometryError),
    (NRRD, "(0.5,0,0) (0,0.5,0) (0,0,4)", "(0.5,0,0) (0.4,0.3,0) (0,0,4)", GeometryError),
    (NRRD, "space directions: (0.5,0,0) (0,0.5,0) (0,0,4)", "spacings: 0.5 0 4", GeometryError),
    (NRRD, "space directions: (0.5,0,0) (0,0.5,0) (0,0,4)", "spacings: 0.5 nan 4", GeometryError),
    (NRRD, "encoding: raw", 'encoding: raw\nspace units: "cm" "cm" "cm"', GeometryError),
    (NRRD, "dimension: 3", "dimension: 1000", VolumeError),
    (NRRD, "sizes: 4 3 2", "sizes: 4 3 3", VolumeError),
])  # fmt: skip
def test_an_itk_header_is_checked_before_itk_reads_it(text, line, changed, error, tmp_path):
    path = tmp_path / ("x.mha" if text is METAIMAGE else "x.nrrd")
    path.write_bytes(text.replace(line if changed else f"{line}\n", changed).encode() + bytes(range(24)))
    refused(path, error)


@pytest.mark.parametrize("suffix", [".nii", ".mha", ".nrrd"])
@pytest.mark.parametrize(("shear", "accepted"), [(1e-4, True), (0.02, False), (0.8, False)])
def test_a_sheared_volume_is_refused(suffix, shear, accepted, tmp_path):
    affine = straight((1.0, 1.0, 5.0))
    affine[0, 2] = 5.0 * shear
    path = tmp_path / f"x{suffix}"
    if suffix == ".nii":
        image = nib.Nifti1Image(voxels((8, 8, 8)), affine)
        image.set_qform(None, 0)
        save(image, path)
    else:
        image = SimpleITK.GetImageFromArray(voxels((8, 8, 8)))
        image.SetSpacing((1.0, 1.0, 5.0))
        image.SetDirection((1, 0, shear, 0, 1, 0, 0, 0, 1))
        SimpleITK.WriteImage(image, str(path))
    if accepted:
        assert read_image(path).array.shape == (8, 8, 8)
    else:
        refused(path, GeometryError)


@pytest.mark.parametrize("kept", [0, 6, 18, 23])
def test_compressed_voxels_that_are_too_few_are_refused(kept, tmp_path):
    packed = zlib.compress(bytes(range(24))[:kept])
    true = "T" if kept == 23 else "True"
    text = METAIMAGE.replace("CompressedData = False", f"CompressedData = {true}\nCompressedDataSize = {len(packed)}")
    (tmp_path / "x.mha").write_bytes(text.encode() + packed)
    assert refused(tmp_path / "x.mha", readers=[read_image, read_mask]).rule == DAMAGED
    unsized = METAIMAGE.replace("CompressedData = False", "CompressedData = True").encode()
    (tmp_path / "z.mha").write_bytes(unsized + zlib.compress(bytes(range(24))))
    assert refused(tmp_path / "z.mha").rule == DAMAGED
    packed = gzip.compress(bytes(range(24))[:kept])
    (tmp_path / "x.nrrd").write_bytes(NRRD.replace("raw", "gzip").encode() + packed)
    assert refused(tmp_path / "x.nrrd", readers=[read_image, read_mask]).rule == DAMAGED
    words = " ".join(map(str, range(kept)))
    (tmp_path / "y.mha").write_text(METAIMAGE.replace("BinaryData = True", "BinaryData = False") + words)
    refused(tmp_path / "y.mha", readers=[read_image, read_mask])


def test_a_detached_header_does_not_name_itself(tmp_path):
    (tmp_path / "x.mhd").write_text(METAIMAGE.replace("LOCAL", "x.mhd"))
    assert refused(tmp_path / "x.mhd").rule == DAMAGED
    (tmp_path / "x.nhdr").write_text(NRRD.replace("\n\n", "\ndata file: x.nhdr\n\n"))
    assert refused(tmp_path / "x.nhdr").rule == DAMAGED


def test_a_small_file_of_a_huge_volume_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    header = nib.Nifti1Header()
    header.set_data_shape((1024, 1024, 900))
    header.set_data_dtype(np.float32)
    header.set_sform(straight(), 1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    noise = np.random.default_rng(0).bytes(4_000_000)
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(4) + noise, 1))
    error = refused(tmp_path / "x.nii.gz")
    assert error.rule != DAMAGED
    assert "NERVESEG_VOLUME_GIB=4" in error.remedy
    monkeypatch.setenv("NERVESEG_VOLUME_GIB", "4")
    assert refused(tmp_path / "x.nii.gz", readers=[read_image]).rule == DAMAGED
    save(nib.Nifti1Image(voxels((30, 30, 30)), straight()), tmp_path / "y.nii")
    monkeypatch.setenv("NERVESEG_VOLUME_GIB", "1e-4")
    assert "NERVESEG_VOLUME_GIB" in refused(tmp_path / "y.nii").remedy


def nested(levels, defined):
    """Sequences within each other, with lengths or with delimiters (PS3.5, 7.5)."""
    tag, item = b"\x40\x00\x75\x02SQ\0\0", b"\xfe\xff\x00\xe0"
    if defined:
        body = b""
        for _ in range(levels):
            body = item + struct.pack("<I", len(body)) + body
            body = tag + struct.pack("<I", len(body)) + body
        return body
    ends = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    return (tag + b"\xff" * 4 + item + b"\xff" * 4) * levels + ends * levels


@pytest.mark.parametrize("defined", [True, False])
@pytest.mark.parametrize("after_pixels", [True, False])
@pytest.mark.parametrize("levels", [5, 1000, 20000])
def test_deep_sequences_are_refused_before_a_library_follows_them(levels, defined, after_pixels, tmp_path):
    path = write_series(tmp_path)[2]
    content = path.read_bytes()
    at = len(content) if after_pixels else content.index(b"\xe0\x7f\x10\x00")
    path.write_bytes(content[:at] + nested(levels, defined) + content[at:])
    if levels == 5:
        assert read_series(tmp_path).array.shape[2] == 5
        return
    with pytest.raises(VolumeError) as caught:
        read_series(tmp_path)
    assert caught.value.path == path


@pytest.mark.parametrize("change", [
    {"PixelSpacing": [0, 0]}, {"PixelSpacing": [0.5, -0.75]}, {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]},
    {"ImageOrientationPatient": [2, 0, 0, 0, 2, 0]}, {"ImageOrientationPatient": [1, 0, 0, 0.6, 0.8, 0]},
])  # fmt: skip
def test_a_series_states_spacing_and_directions(change, tmp_path):
    write_series(tmp_path, axes=np.eye(3), **change)
    with pytest.raises(GeometryError) as caught:
        read_series(tmp_path)
    assert caught.value.path == tmp_path


def test_files_without_preamble_that_begin_with_their_meta_elements_are_read(tmp_path):
    for path in write_series(tmp_path):
        path.write_bytes(path.read_bytes()[132:])
    assert read_series(tmp_path).array.shape[2] == 5


def test_a_fifo_among_the_files_of_a_series_is_passed_over(tmp_path):
    write_series(tmp_path)
    os.mkfifo(tmp_path / "fifo.dcm")
    assert read_series(tmp_path).array.shape[2] == 5
