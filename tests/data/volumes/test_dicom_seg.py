"""A DICOM segmentation is read back with pydicom, highdicom and SimpleITK, and laid upon its source series."""

import sys
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from nerveseg import __version__
from nerveseg.data.classes import NERVE_TERM
from nerveseg.data.volumes.dicom_seg import SegmentMask, check_sources, write_dicom_seg
from nerveseg.data.volumes.volume import read_labels
from nerveseg.errors import ConfigurationError, GeometryError, VolumeError
from tests.helpers.dicom_series import pixels_of, write_enhanced

HASH = "0123456789abcdef" * 4
DIRECTION = np.array([[0.8, 0.6, 0.0], [-0.36, 0.48, 0.8]])
"""Along a row, along a column: oblique."""


def position(index, step_mm=6.5):
    return np.array([-40.0, 12.0, 7.0]) + index * step_mm * np.cross(*DIRECTION)


class Series:
    """A written series of one-frame MR images of 7 columns and 5 rows."""

    def __init__(self, folder, slices=4):
        self.folder, self.study, self.series, self.frame = folder, generate_uid(), generate_uid(), generate_uid()
        folder.mkdir()
        self.files = [self.write(index) for index in range(slices)]

    def write(self, index, name=None, drop=(), **values):
        header = Dataset()
        header.file_meta = FileMetaDataset()
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = MRImageStorage
        header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = generate_uid()
        header.Modality = "MR"
        header.PatientName, header.PatientID, header.PatientBirthDate, header.PatientSex = "Doe^Jane", "77", "", "F"
        header.StudyInstanceUID, header.SeriesInstanceUID = self.study, self.series
        header.FrameOfReferenceUID = self.frame
        header.SeriesNumber, header.InstanceNumber = 3, index + 1
        header.AccessionNumber = header.StudyID = header.StudyDate = header.StudyTime = ""
        header.ReferringPhysicianName = ""
        header.Rows, header.Columns, header.PixelSpacing = 5, 7, [0.75, 0.5]
        header.SliceThickness, header.SpacingBetweenSlices = 5, 99
        header.ImageOrientationPatient = DIRECTION.ravel().tolist()
        header.ImagePositionPatient = [f"{value:.10g}" for value in position(index)]
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated = header.BitsStored = 16
        header.HighBit, header.PixelRepresentation = 15, 0
        header.PixelData = np.zeros((5, 7), np.uint16).tobytes()
        for attribute in drop:
            delattr(header, attribute)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # values that the standard does not allow
            for attribute, value in values.items():
                setattr(header, attribute, value)
            file = self.folder / (name or f"{index}.dcm")
            header.save_as(file, enforce_file_format=True)
        return file


def drawn(shape=(7, 5, 4), seed=0):
    mask = np.random.default_rng(seed).random(shape) < 0.2
    mask[..., 1] = False
    return mask


def write(path, mask, files, **options):
    arguments = {"algorithm": "FC-DenseNet, run demo", "synthetic": False, "model_sha256": HASH} | options
    write_dicom_seg(path, [SegmentMask("Nerve", mask, NERVE_TERM)], files, **arguments)
    return path


@pytest.fixture
def series(tmp_path):
    return Series(tmp_path / "series")


@pytest.fixture
def real_series(shared_data):
    """A real axial series whose file names are not in the order of its slices, as SimpleITK orders it."""
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(shared_data("dicom_t2_axial")))
    assert list(names) != sorted(names)
    return [Path(name) for name in names]


def by_position(path, files):
    """The mask on the grid of the files, each frame laid where its position says; axes (column, row, slice)."""
    written = pydicom.dcmread(path)
    shared = written.SharedFunctionalGroupsSequence[0]
    frames = written.pixel_array.reshape(-1, written.Rows, written.Columns)
    assert len(frames) == written.NumberOfFrames
    mask = np.zeros((written.Columns, written.Rows, len(files)), bool)
    sources = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    places = np.array([source.ImagePositionPatient for source in sources], float)
    for frame, groups in zip(frames, written.PerFrameFunctionalGroupsSequence, strict=True):
        distances = np.linalg.norm(places - np.array(groups.PlanePositionSequence[0].ImagePositionPatient), axis=1)
        nearest = int(distances.argmin())
        assert distances[nearest] < 1e-6
        derived = groups.DerivationImageSequence[0].SourceImageSequence[0]
        assert derived.ReferencedSOPInstanceUID == sources[nearest].SOPInstanceUID
        assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == sources[nearest].ImageOrientationPatient
        assert shared.PixelMeasuresSequence[0].PixelSpacing == sources[nearest].PixelSpacing
        mask[..., nearest] = frame.T > 0
    return mask


def test_a_real_oblique_series_gets_every_voxel_back(real_series, tmp_path):
    image = SimpleITK.ReadImage([str(file) for file in real_series])
    mask = np.random.default_rng(1).random(image.GetSize()) < 0.1
    mask[:, :, 3] = False
    path = write(tmp_path / "seg.dcm", mask, real_series)
    np.testing.assert_array_equal(by_position(path, real_series), mask)
    measures = pydicom.dcmread(path).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (measures.SpacingBetweenSlices, measures.SliceThickness) == (pytest.approx(6.5, abs=1e-4), 5)


def test_simpleitk_lays_it_on_the_grid_of_the_series(real_series, tmp_path):
    """Its own reading of the object's geometry: another slice order, the same places."""
    image = SimpleITK.ReadImage([str(file) for file in real_series])
    mask = np.random.default_rng(2).random(image.GetSize()) < 0.1
    back = SimpleITK.ReadImage(str(write(tmp_path / "seg.dcm", mask, real_series)))
    np.testing.assert_allclose(back.GetSpacing(), image.GetSpacing(), atol=1e-4)
    laid = SimpleITK.Resample(back, image, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(laid).transpose(2, 1, 0) > 0, mask)
    corner = [0.0, 0.0, image.GetSize()[2] - 1.0]
    index = back.TransformPhysicalPointToContinuousIndex(image.TransformContinuousIndexToPhysicalPoint(corner))
    np.testing.assert_allclose(index, np.round(index), atol=1e-3)


def test_highdicom_finds_the_frames_of_a_source_instance(series, tmp_path):
    from highdicom.seg import segread

    mask = drawn()
    segmentation = segread(write(tmp_path / "seg.dcm", mask, series.files))
    uids = [pydicom.dcmread(file).SOPInstanceUID for file in series.files]
    order = [2, 0, 3, 1]
    found = segmentation.get_pixels_by_source_instance([uids[index] for index in order], combine_segments=True)
    np.testing.assert_array_equal(found.transpose(2, 1, 0) > 0, mask[..., order])
    affine = segmentation.get_volume().affine
    np.testing.assert_allclose(np.sort(np.linalg.norm(affine[:3, :3], axis=0)), [0.5, 0.75, 6.5], atol=1e-6)


@pytest.mark.parametrize("backwards", [False, True])
def test_the_files_may_run_either_way_along_the_body(series, tmp_path, backwards):
    files = series.files[::-1] if backwards else series.files
    mask = drawn()
    np.testing.assert_array_equal(by_position(write(tmp_path / "seg.dcm", mask, files), files), mask)


@pytest.mark.parametrize("value", [255, 128])
def test_a_fractional_segmentation_is_read_if_its_fractions_are_0_and_1(value, series, tmp_path):
    mask = drawn()
    fractional = pydicom.dcmread(write(tmp_path / "seg.dcm", mask, series.files))
    frames = fractional.pixel_array.astype(np.uint8)
    fractional.SegmentationType, fractional.SegmentationFractionalType = "FRACTIONAL", "PROBABILITY"
    fractional.MaximumFractionalValue = 255
    fractional.BitsAllocated, fractional.BitsStored, fractional.HighBit = 8, 8, 7
    fractional.PixelData = (frames * np.uint8(value)).tobytes()
    fractional.save_as(tmp_path / "fractional.dcm")
    if value == 255:
        np.testing.assert_array_equal(*(read_labels(tmp_path / name) for name in ("fractional.dcm", "seg.dcm")))
        return
    with pytest.raises(VolumeError) as caught:
        read_labels(tmp_path / "fractional.dcm")
    assert "0.501960" in caught.value.found  # 128 / 255
    assert caught.value.path == tmp_path / "fractional.dcm"


def test_a_mask_without_nerve_has_every_slice_and_no_voxel(series, tmp_path):
    path = write(tmp_path / "seg.dcm", np.zeros((7, 5, 4), bool), series.files)
    assert pydicom.dcmread(path).NumberOfFrames == 4
    assert not by_position(path, series.files).any()


def test_a_single_slice(tmp_path):
    series = Series(tmp_path / "series", slices=1)
    mask = drawn((7, 5, 2))[..., :1]
    np.testing.assert_array_equal(by_position(write(tmp_path / "seg.dcm", mask, series.files), series.files), mask)


def test_what_the_segment_says_of_itself(series, tmp_path):
    written = pydicom.dcmread(write(tmp_path / "seg.dcm", drawn(), series.files))
    (segment,) = written.SegmentSequence
    assert segment.SegmentLabel == "Nerve"
    coded = {
        "category": segment.SegmentedPropertyCategoryCodeSequence[0],
        "type": segment.SegmentedPropertyTypeCodeSequence[0],
    }
    assert {name: (code.CodingSchemeDesignator, code.CodeValue) for name, code in coded.items()} == {
        "category": ("SCT", "91723000"),  # PS3.16, CID 7150: anatomical structure
        "type": ("SCT", "84782009"),  # CID 7167: peripheral nerve
    }
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("nerveseg", __version__)
    assert algorithm.AlgorithmParameters == f"model=FC-DenseNet, run demo,model_sha256={HASH}"
    assert (written.SegmentationType, written.BitsAllocated) == ("BINARY", 1)


@pytest.mark.parametrize("synthetic", [False, True])
def test_a_model_of_synthetic_data_is_named_as_such(series, tmp_path, synthetic):
    written = pydicom.dcmread(write(tmp_path / "seg.dcm", drawn(), series.files, synthetic=synthetic))
    for text in (written.SeriesDescription, written.ContentDescription):
        assert ("SYNTHETIC TRAINING DATA" in text) == synthetic
        assert len(text) <= 64


def test_it_belongs_to_the_patient_study_and_frame_of_reference_of_its_source(series, tmp_path):
    source = pydicom.dcmread(series.files[0])
    first, second = (pydicom.dcmread(write(tmp_path / name, drawn(), series.files)) for name in ("a.dcm", "b.dcm"))
    for attribute in ("PatientName", "PatientID", "PatientSex", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert first[attribute] == source[attribute]
    (referenced,) = first.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == source.SeriesInstanceUID
    assert [item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence] == [
        pydicom.dcmread(file).SOPInstanceUID for file in series.files
    ]
    assert len({source.SeriesInstanceUID, first.SeriesInstanceUID, second.SeriesInstanceUID}) == 3
    assert len({source.SOPInstanceUID, first.SOPInstanceUID, second.SOPInstanceUID}) == 3


def test_every_attribute_that_the_standard_requires_is_there(series, tmp_path):
    """The library's own table of the standard: type 1 has a value, type 2 is present, at the root and in sequences."""
    from highdicom._standard_utils import get_iod_module_map, get_module_attribute_map

    written = pydicom.dcmread(write(tmp_path / "seg.dcm", drawn(), series.files))
    checked = 0
    for module in get_iod_module_map()["segmentation"]:
        if module["usage"] != "M" or "functional-groups" in module["key"]:
            continue  # groups are shared or per frame: by_position looks at them
        for attribute in get_module_attribute_map()[module["key"]]:
            parents = [written]
            for step in attribute["path"]:
                parents = [item for parent in parents for item in parent.get(step, [])]
            for parent in parents:
                if attribute["type"] == "1":
                    assert parent.get(attribute["keyword"]) not in (None, ""), attribute
                if attribute["type"] in ("1", "2"):
                    assert attribute["keyword"] in parent, attribute
                    checked += 1
    assert checked > 60


def test_a_source_that_lacks_what_may_be_empty_is_enough(series, tmp_path):
    lacking = ["StudyID", "AccessionNumber", "StudyDate", "StudyTime", "PatientBirthDate", "PatientSex", "PatientID",
               "PatientName", "ReferringPhysicianName", "SliceThickness", "SpacingBetweenSlices"]  # fmt: skip
    files = [series.write(index, drop=lacking) for index in range(4)]
    path = write(tmp_path / "seg.dcm", drawn(), files)
    np.testing.assert_array_equal(by_position(path, files), drawn())
    measures = pydicom.dcmread(path).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.SpacingBetweenSlices == measures.SliceThickness == pytest.approx(6.5)


@pytest.mark.parametrize(
    ("strange", "refused"),
    [
        ({"PatientName": "JaneDoe", "PatientID": "J" * 80}, False),
        ({"PatientName": "JaneDoe", "StudyDate": "2018-01-02"}, True),
    ],
)
def test_nothing_is_said_of_the_patient(series, tmp_path, caplog, capfd, strange, refused):
    """Values that the standard does not allow make the libraries complain, and quote them."""
    files = [series.write(index, **strange) for index in range(4)]
    caplog.clear()
    capfd.readouterr()
    if refused:
        with pytest.raises(VolumeError) as caught:
            write(tmp_path / "seg.dcm", drawn(), files)
        assert caught.value.found.startswith("ValueError")
        assert caught.value.path == files[0].parent
        assert "2018" not in str(caught.value)
    else:
        write(tmp_path / "seg.dcm", drawn(), files)
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"])
def test_an_identifier_that_the_standard_lets_one_make_is_made_once(name, series, tmp_path):
    files = [series.write(index, drop=(name,)) for index in range(4)]
    check_sources(files)
    path = write(tmp_path / "seg.dcm", drawn(), files)
    np.testing.assert_array_equal(by_position(path, files), drawn())
    made = pydicom.dcmread(path).get(name)
    assert made.is_valid
    assert pydicom.dcmread(write(tmp_path / "again.dcm", drawn(), files)).get(name) == made or name[:6] == "Series"


def test_an_identifier_is_taken_from_the_first_group(series, tmp_path):
    files = [series.write(index, drop=("SOPClassUID", "SOPInstanceUID")) for index in range(4)]
    path = write(tmp_path / "seg.dcm", drawn(), files)
    groups = pydicom.dcmread(path).PerFrameFunctionalGroupsSequence
    references = [group.DerivationImageSequence[0].SourceImageSequence[0] for group in groups]
    assert {one.ReferencedSOPClassUID for one in references} == {MRImageStorage}
    expected = {pydicom.dcmread(file).file_meta.MediaStorageSOPInstanceUID for file in files}
    assert {one.ReferencedSOPInstanceUID for one in references} == expected


@pytest.mark.parametrize("values", [{"StudyDate": "2018-01-02"}, {"PatientSex": "female"}, {"NumberOfFrames": 4}])
def test_what_no_segmentation_can_refer_to_is_found_before_there_is_a_mask(values, series):
    check_sources(series.files)
    files = [series.write(index, **values) for index in range(4)]
    with pytest.raises(VolumeError):
        check_sources(files)


def test_a_segmentation_of_an_enhanced_file_refers_to_its_frames(tmp_path):
    order = [2, 0, 3, 1]
    path = tmp_path / "enhanced" / "x.dcm"
    write_enhanced(path, [{"place": place * 6.5, "pixels": pixels_of(place)} for place in order])
    mask = drawn((8, 6, 4))
    check_sources([path])
    written = pydicom.dcmread(write(tmp_path / "seg.dcm", mask, [path]))
    source = pydicom.dcmread(path)
    assert written.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices == 6.5
    for frame, groups in zip(written.pixel_array, written.PerFrameFunctionalGroupsSequence, strict=True):
        reference = groups.DerivationImageSequence[0].SourceImageSequence[0]
        number = int(reference.ReferencedFrameNumber) - 1
        np.testing.assert_array_equal(frame.T > 0, mask[..., order[number]])
        place = source.PerFrameFunctionalGroupsSequence[number].PlanePositionSequence[0].ImagePositionPatient
        assert groups.PlanePositionSequence[0].ImagePositionPatient == place
    write_enhanced(path, [{"place": place * 6.5, "pixels": pixels_of(place), "stack": str(place)} for place in order])
    with pytest.raises(VolumeError):
        check_sources([path])


@pytest.mark.parametrize("shape", [(5, 7, 4), (7, 5, 3)])
def test_a_mask_of_another_size_is_refused(series, tmp_path, shape):
    with pytest.raises(VolumeError) as caught:
        write(tmp_path / "seg.dcm", np.zeros(shape, bool), series.files)
    assert str(shape) in caught.value.found
    assert caught.value.path == tmp_path / "seg.dcm"


@pytest.mark.parametrize(
    "values",
    [
        {"SeriesInstanceUID": "1.2.3"},
        {"FrameOfReferenceUID": "1.2.3"},
        {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
        {"PixelSpacing": [0.75, 0.6]},
    ],
)
def test_slices_of_different_series_are_refused_and_the_file_named(series, tmp_path, values):
    series.write(2, **values)
    with pytest.raises(GeometryError) as caught:
        write(tmp_path / "seg.dcm", drawn(), series.files)
    assert next(iter(values)) in caught.value.found
    assert caught.value.path == series.files[2]


@pytest.mark.parametrize("order", [[0, 2, 1, 3], [0, 1, 1, 2]])
def test_files_that_are_not_in_the_order_of_their_positions_are_refused(series, tmp_path, order):
    with pytest.raises(GeometryError) as caught:
        write(tmp_path / "seg.dcm", drawn(), [series.files[index] for index in order])
    assert caught.value.path == series.files[0].parent


@pytest.mark.parametrize(
    ("values", "drop", "named"),
    [
        ({"NumberOfFrames": 4}, (), "4 frames"),
        ({}, ("ImagePositionPatient", "PixelSpacing"), "PixelSpacing, ImagePositionPatient"),
    ],
)
def test_an_image_without_a_place_or_of_many_frames_is_refused(series, tmp_path, values, drop, named):
    series.write(1, drop=drop, **values)
    with pytest.raises(VolumeError) as caught:
        write(tmp_path / "seg.dcm", drawn(), series.files)
    assert named in caught.value.found
    assert caught.value.path == series.files[1]


def test_what_is_no_dicom_file_is_refused(series, tmp_path):
    series.files[1].write_text("not an image", encoding="utf-8")
    with pytest.raises(VolumeError) as caught:
        write(tmp_path / "seg.dcm", drawn(), series.files)
    assert caught.value.found == "InvalidDicomError"
    assert caught.value.path == series.files[1]


def test_without_the_extra_the_remedy_is_its_installation(series, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(ConfigurationError) as caught:
        write(tmp_path / "seg.dcm", drawn(), series.files)
    assert "nerveseg[dicom]" in caught.value.remedy


def test_a_failure_leaves_what_was_there(series, tmp_path, monkeypatch):
    path = tmp_path / "out" / "seg.dcm"
    path.parent.mkdir()
    path.write_bytes(b"earlier")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nerveseg.files.os.fsync", full)
    with pytest.raises(VolumeError) as caught:
        write(path, drawn(), series.files)
    assert caught.value.path == path
    assert [(file.name, file.read_bytes()) for file in path.parent.iterdir()] == [("seg.dcm", b"earlier")]
