"""Segmentations as 3D Slicer writes them, placed on their image against SimpleITK's resampling by position."""

import gzip

import numpy as np
import pytest
import SimpleITK

from nerveseg.data.classes import Classes
from nerveseg.data.volumes.volume import read_image, read_labels, read_mask
from nerveseg.errors import GeometryError, VolumeError

SHAPE, EXTENT, START = (12, 10, 8), (5, 6, 4), (3, 2, 1)


@pytest.fixture
def image(tmp_path):
    """An oblique image in ITK's axes, and its path."""
    random = np.random.default_rng(0)
    image = SimpleITK.GetImageFromArray(random.normal(size=SHAPE[::-1]).astype(np.float32))
    image.SetSpacing((0.5, 0.75, 4.0))
    image.SetOrigin((-60.0, 12.0, 300.0))
    image.SetDirection(tuple(np.linalg.qr(random.normal(size=(3, 3)))[0].ravel()))
    SimpleITK.WriteImage(image, str(tmp_path / "image.mha"))
    return image


def write(path, image, layers, segments, start=START, spacing=None):
    """Write layers (x, y, z) as Slicer does; segments are names, label values and layers."""
    directions = np.reshape(image.GetDirection(), (3, 3)) * (image.GetSpacing() if spacing is None else spacing)
    origin = image.TransformContinuousIndexToPhysicalPoint([float(value) for value in start])
    vectors = " ".join("(" + ",".join(f"{value:.17g}" for value in column) + ")" for column in directions.T)
    sizes = " ".join(map(str, layers[0].shape))
    many = len(layers) > 1
    lines = [
        "NRRD0004", "# Complete NRRD file format specification at:", "type: unsigned char",
        f"dimension: {4 if many else 3}", "space: left-posterior-superior",
        f"sizes: {f'{len(layers)} ' if many else ''}{sizes}", f"space directions: {'none ' if many else ''}{vectors}",
        f"kinds: {'list ' if many else ''}domain domain domain", "encoding: gzip",
        "space origin: (" + ",".join(f"{value:.17g}" for value in origin) + ")",
        "Conversion parameters:=Collapse labelmaps|1|Merge the labelmaps into as few as possible&",
        "Source representation:=Binary labelmap",
    ]  # fmt: skip
    for number, (name, value, layer) in enumerate(segments):
        fields = {"Color": "0.5 0.6 0.7", "Extent": "0 4 0 5 0 3", "ID": f"Segment_{number}", "LabelValue": value}
        fields |= {"Layer": layer, "Name": name}
        lines += [f"Segment{number}_{key}:={text}" for key, text in fields.items() if text is not None]
    data = np.stack(layers).transpose(3, 2, 1, 0).astype(np.uint8).tobytes()
    path.write_bytes(("\n".join(lines) + "\n\n").encode() + gzip.compress(data))
    return path


def drawn(seed=0, shape=EXTENT):
    return np.random.default_rng(seed).random(shape) < 0.3


def expected_file(mask, start=START):
    whole = np.zeros(SHAPE, dtype=np.uint8)
    whole[tuple(slice(at, at + size) for at, size in zip(start, mask.shape, strict=True))] = mask
    return whole


@pytest.mark.parametrize("start", [START, (0, 0, 0), (7, 4, 4)])
def test_a_segmentation_of_its_own_extent_lies_where_it_was_drawn(start, image, tmp_path):
    grid = read_image(tmp_path / "image.mha").grid
    path = write(tmp_path / "x.seg.nrrd", image, [drawn()], [("nerve", 1, 0)], start)
    itk = SimpleITK.Resample(
        SimpleITK.ReadImage(str(path)), image, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor
    )
    resampled = SimpleITK.GetArrayFromImage(itk).transpose(2, 1, 0)
    np.testing.assert_array_equal(resampled, expected_file(drawn(), start))
    np.testing.assert_array_equal(read_mask(path, grid), grid.to_ras(resampled) > 0)
    assert read_mask(path).sum() == drawn().sum()


@pytest.mark.parametrize("start", [(-1, 2, 1), (9, 2, 1)])
def test_an_extent_may_leave_the_image_but_no_label_may(start, image, tmp_path):
    grid = read_image(tmp_path / "image.mha").grid
    mask = np.zeros(EXTENT, dtype=bool)
    mask[2, 3, 1] = True
    read = read_mask(write(tmp_path / "x.seg.nrrd", image, [mask], [("nerve", 1, 0)], start), grid)
    whole = np.zeros(SHAPE)
    whole[2 + start[0], 3 + start[1], 1 + start[2]] = 1
    np.testing.assert_array_equal(read, grid.to_ras(whole) > 0)
    mask[0 if start[0] < 0 else 4] = True
    with pytest.raises(GeometryError):
        read_mask(write(tmp_path / "x.seg.nrrd", image, [mask], [("nerve", 1, 0)], start), grid)


@pytest.mark.parametrize(
    ("start", "spacing"), [((3.4, 2, 1), None), (START, (0.5, 0.75, 4.4)), (START, (0.6, 0.75, 4.0))]
)
def test_voxels_between_those_of_the_image_are_refused(start, spacing, image, tmp_path):
    grid = read_image(tmp_path / "image.mha").grid
    path = write(tmp_path / "x.seg.nrrd", image, [drawn()], [("nerve", 1, 0)], start, spacing)
    with pytest.raises(GeometryError) as caught:
        read_mask(path, grid, "V01")
    assert (caught.value.path, caught.value.subject) == (path, "V01")


@pytest.mark.parametrize("form", ["one layer", "layers", "old"])
def test_of_several_segments_one_is_asked_for(form, image, tmp_path):
    grid = read_image(tmp_path / "image.mha").grid
    nerve, muscle = drawn(0), drawn(1)
    if form == "one layer":
        muscle &= ~nerve
        layers, segments = [nerve + 2 * muscle], [("Nerv ö", 1, 0), ("muscle", 2, 0)]
    elif form == "layers":
        layers, segments = [nerve, muscle], [("Nerv ö", 1, 0), ("muscle", 1, 1)]
    else:
        layers, segments = [nerve, muscle], [("Nerv ö", None, None), ("muscle", None, None)]
    path = write(tmp_path / "x.seg.nrrd", image, layers, segments)
    with pytest.raises(VolumeError) as caught:
        read_mask(path, grid)
    assert caught.value.found == "segments 1 (Nerv ö), 2 (muscle)"
    for number, mask in ((1, nerve), (2, muscle)):
        read = read_labels(path, grid, declared=(number,))
        np.testing.assert_array_equal(read == number, grid.to_ras(expected_file(mask)) > 0)
    both = read_labels(path, grid, declared=(1, 2))
    np.testing.assert_array_equal(both > 0, grid.to_ras(expected_file(nerve | muscle)) > 0)
    assert set(np.unique(read_labels(path, grid, declared=(1,)))) == {0, 1, 2}
    with pytest.raises(VolumeError):
        Classes.of({"nerve": [3]}).encode(read_labels(path, grid, declared=(3,)))


def test_a_segment_without_voxels_needs_no_choice(image, tmp_path):
    path = write(tmp_path / "x.seg.nrrd", image, [drawn(), drawn() & False], [("nerve", 1, 0), ("empty", 1, 1)])
    assert read_mask(path).sum() == drawn().sum()


@pytest.mark.parametrize(("value", "layer"), [(1, -1), (1, 2), (1, "x"), (0, 0), (-1, 0)])
def test_a_layer_that_is_not_there_and_a_segment_of_background_are_refused(value, layer, image, tmp_path):
    path = write(tmp_path / "x.seg.nrrd", image, [drawn(), drawn()], [("nerve", value, layer)])
    with pytest.raises(VolumeError) as caught:
        read_mask(path)
    assert caught.value.path == path
