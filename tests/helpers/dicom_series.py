"""A DICOM series written by code, slice by slice, with any header."""

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

ROWS, COLUMNS, SLICES = 6, 8, 5
STEP_MM = 6.5
FRAME_UID, STUDY_UID = generate_uid(), generate_uid()


def oblique_axes(degrees=11.0):
    """Directions along a row, along a column and along the stack, left-posterior-superior."""
    angle = np.radians(degrees)
    row = np.array([np.cos(angle), np.sin(angle), 0.0])
    column = np.array([-np.sin(angle) * np.cos(angle), np.cos(angle) ** 2, -np.sin(angle)])
    return row, column, np.cross(row, column)


def slice_dataset(position, row, column, pixels, *, series_uid, storage_class=MRImageStorage, **header):
    """One slice; `header` adds elements or changes them, and None removes one."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = storage_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID, dataset.SOPInstanceUID = storage_class, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY_UID, series_uid
    dataset.FrameOfReferenceUID, dataset.Modality = FRAME_UID, "MR"
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "4711"
    dataset.SeriesNumber, dataset.SeriesDescription, dataset.InstanceNumber = 3, "t2_tse_tra", 1
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    dataset.ImagePositionPatient = [f"{value:.10g}" for value in position]
    dataset.ImageOrientationPatient = [f"{value:.10g}" for value in (*row, *column)]
    dataset.PixelSpacing = [0.5, 0.75]
    dataset.SliceThickness, dataset.SpacingBetweenSlices = 5.0, 99.0
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = pixels.dtype.itemsize * 8
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    dataset.PixelData = pixels.tobytes()
    for name, value in header.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    return dataset


def pixels_of(number, rows=ROWS, columns=COLUMNS):
    return (np.arange(rows * columns, dtype=np.uint16) + 1000 * number).reshape(rows, columns)


def write_series(folder, places=None, names=None, axes=None, series_uid=None, changes=None, prefix="", **header):
    """Write a series.

    Args:
        folder: Made where it is not there.
        places: Distance of each slice along the normal; by default five, 6.5 mm apart.
        names: File of each slice; by default an order that has nothing to do with the places.
        axes: Row, column and stack directions.
        series_uid: By default a new one.
        changes: Further header elements of single slices, by index.
        prefix: Of the default names.
        header: Further header elements of all slices.

    Returns:
        Path of each slice, in the order of `places`.
    """
    places = np.arange(SLICES) * STEP_MM if places is None else places
    row, column, stack = oblique_axes() if axes is None else axes
    series_uid = series_uid or generate_uid()
    shuffled = np.random.default_rng(0).permutation(len(places))
    names = [f"{prefix}{index:03d}.dcm" for index in shuffled] if names is None else names
    folder.mkdir(parents=True, exist_ok=True)
    for index, (place, name) in enumerate(zip(places, names, strict=True)):
        position = np.array([-90.0, -70.0, 15.0]) + place * np.asarray(stack)
        options = {"pixels": pixels_of(index), "position": position, "row": row, "column": column}
        options |= {"InstanceNumber": int(shuffled[index]) + 1} | header | (changes or {}).get(index, {})
        dataset = slice_dataset(series_uid=series_uid, **options)
        dataset.save_as(folder / name, enforce_file_format=True)
    return [folder / name for name in names]


def write_enhanced(path, frames, storage_class=EnhancedMRImageStorage, shared=None, **header):
    """Write an Enhanced file.

    Args:
        path: File to write.
        frames: For each frame its place in mm along the normal, and further options: pixels, stack, scaling, echo.
        shared: Further elements of the shared groups, by sequence.
        header: Further header elements.
    """
    row, column, stack = oblique_axes()
    groups = []
    for frame in frames:
        position = np.array([-90.0, -70.0, 15.0]) + frame["place"] * stack
        group = {
            "PlanePositionSequence": {"ImagePositionPatient": [f"{value:.10g}" for value in position]},
            "FrameContentSequence": {"StackID": frame.get("stack", "1")},
        }
        if "scaling" in frame:
            slope, intercept = frame["scaling"]
            group["PixelValueTransformationSequence"] = {"RescaleSlope": slope, "RescaleIntercept": intercept}
        if "echo" in frame:
            group["MREchoSequence"] = {"EffectiveEchoTime": frame["echo"]}
        groups.append(functional_groups(group))
    own = {
        "PlaneOrientationSequence": {"ImageOrientationPatient": [f"{value:.10g}" for value in (*row, *column)]},
        "PixelMeasuresSequence": {"PixelSpacing": [0.5, 0.75], "SliceThickness": 5.0},
    }
    pixels = np.stack([frame["pixels"] for frame in frames])
    position = {"ImagePositionPatient": None, "ImageOrientationPatient": None, "PixelSpacing": None}
    options = {
        "Rows": pixels.shape[1], "Columns": pixels.shape[2], "NumberOfFrames": len(frames),
        "PerFrameFunctionalGroupsSequence": groups,
        "SharedFunctionalGroupsSequence": [functional_groups(own | (shared or {}))],
    } | position | header  # fmt: skip
    write_series(path.parent, [0], [path.name], storage_class=storage_class, pixels=pixels, **options)


def functional_groups(sequences):
    groups = pydicom.Dataset()
    for sequence, elements in sequences.items():
        item = pydicom.Dataset()
        for name, value in elements.items():
            setattr(item, name, value)
        setattr(groups, sequence, [item])
    return groups


def edit(path, **header):
    """Change elements of a written file."""
    dataset = pydicom.dcmread(path)
    for name, value in header.items():
        setattr(dataset, name, value)
    dataset.save_as(path)
