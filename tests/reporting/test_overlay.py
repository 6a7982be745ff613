import numpy as np
import pytest
import SimpleITK

from nerveseg.data.volumes.volume import read_image, read_mask
from nerveseg.errors import GeometryError
from nerveseg.reporting.overlay import COLOURS, OTHER_COLOURS, best_slice, colours, overlay, save_png

BLUE, GREEN = COLOURS["GT"], COLOURS["Auto"]


def block(shape, x, y):
    mask = np.zeros(shape, dtype=bool)
    mask[x, y] = True
    return mask


def painted(picture, colour):
    return (picture == colour).all(axis=2)


def test_the_patients_right_is_on_the_left_and_anterior_is_up():
    image = np.zeros((7, 5))
    image[6, 4] = 1000  # furthest to the patient's right, furthest anterior
    image[6, 0] = 500  # right, posterior
    picture = overlay(image, {}, window=(0.0, 1000.0), scale=1)
    assert picture.shape == (5, 7, 3)
    assert picture[0, 0].tolist() == [255] * 3
    assert picture[-1, 0].tolist() == [128] * 3
    assert picture.sum() == 3 * (255 + 128)


def test_contours_turn_with_the_image():
    shape = (20, 14)
    mask = block(shape, slice(15, 20), slice(10, 14))
    image = np.where(mask, 1.0, 0.0)
    picture = overlay(image, {"GT": mask}, window=(0.0, 1.0), scale=3)
    inside = painted(picture, BLUE) | painted(picture, (255, 255, 255))
    assert inside[: 4 * 3, : 5 * 3].all()
    assert inside.sum() == mask.sum() * 9


def test_an_outline_is_one_screen_pixel_wide_and_lies_on_the_edge():
    mask = block((30, 30), slice(10, 20), slice(5, 11))
    line = painted(overlay(np.zeros((30, 30)), {"GT": mask}, scale=4), BLUE)
    width, height = 10 * 4, 6 * 4
    assert line.sum() == 2 * width + 2 * (height - 2)
    rows, columns = np.nonzero(line)
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (height, width)


def test_a_line_grows_with_the_pixels_and_stays_inside_the_mask():
    mask = block((8, 8), slice(2, 6), slice(2, 6))
    line = painted(overlay(np.zeros((8, 8)), {"GT": mask}, scale=12), BLUE)
    assert line.sum() == 48**2 - 42**2


def test_a_single_voxel_is_seen():
    line = painted(overlay(np.zeros((9, 9)), {"Auto": block((9, 9), 3, 4)}, scale=3), GREEN)
    assert line.sum() == 8


def test_coinciding_outlines_share_the_line_and_hide_no_one():
    mask = block((30, 30), slice(8, 22), slice(8, 22))
    picture = overlay(np.zeros((30, 30)), {"GT": mask, "Auto": mask}, scale=4)
    alone = painted(overlay(np.zeros((30, 30)), {"GT": mask}, scale=4), BLUE)
    blue, green = painted(picture, BLUE), painted(picture, GREEN)
    np.testing.assert_array_equal(blue | green, alone)
    assert min(blue.sum(), green.sum()) > 0.35 * alone.sum()


def test_the_window_ignores_a_few_extreme_voxels():
    image = np.linspace(0, 100, 10_000).reshape(100, 100)
    image[0, 0] = 1e6
    picture = overlay(image, {}, scale=1)
    expected = np.clip((image - 1.0) / (99.5 - 1.0), 0, 1) * 255
    np.testing.assert_allclose(picture[::-1, ::-1, 0].T[1:], expected[1:], atol=1)


def test_a_constant_slice_is_black_and_raises_nothing():
    assert not overlay(np.full((8, 8), 3.0), {"GT": np.zeros((8, 8), dtype=bool)}).any()


def test_small_slices_are_enlarged():
    assert max(overlay(np.zeros((40, 32)), {}).shape) == 640
    assert overlay(np.zeros((384, 330)), {}).shape == (660, 768, 3)


def test_a_contour_of_another_shape_is_named():
    with pytest.raises(GeometryError) as caught:
        overlay(np.zeros((8, 8)), {"Auto": np.zeros((8, 9), dtype=bool)})
    assert caught.value.found == "Auto (8, 9), slice (8, 8)"


def test_every_rater_has_a_colour_of_his_own():
    legend = colours(["OS", "GT", "BW", "Auto", "LG"])
    assert (legend["GT"], legend["Auto"]) == (BLUE, GREEN)
    assert len(set(legend.values())) == 5


# Machado, Oliveira, Fernandes 2009, severity 1.0, for linear RGB.
DEUTERANOPIA = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
PROTANOPIA = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]


def lab(linear):
    x, y, z = np.cbrt(np.array(XYZ) @ linear / np.sum(XYZ, axis=1))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", [np.eye(3), DEUTERANOPIA, PROTANOPIA], ids=["usual", "deuteranopia", "protanopia"])
def test_blue_and_green_stay_apart_for_every_eye(sight):
    seen = [np.clip(np.array(sight) @ (np.array(colour) / 255) ** 2.2, 1e-4, 1) for colour in (BLUE, GREEN)]
    assert np.linalg.norm(lab(seen[0]) - lab(seen[1])) > 40
    assert all(max(colour) - min(colour) > 80 for colour in (BLUE, GREEN, *OTHER_COLOURS)), "no colour is a grey"


def test_the_best_slice_is_where_the_reference_is_largest():
    reference, prediction = np.zeros((5, 5, 7), dtype=bool), np.zeros((5, 5, 7), dtype=bool)
    assert best_slice(reference, prediction) == 3
    prediction[:2, :2, 5] = True
    assert best_slice(reference, prediction) == 5
    reference[0, 0, 1] = reference[0, :2, 2] = True
    assert best_slice(reference, prediction) == 2


def test_a_saved_picture_is_the_picture(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (30, 41, 3), dtype=np.uint8)
    path = tmp_path / "figures" / "Ümlaut [1].png"
    save_png(path, rgb)
    read = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    np.testing.assert_array_equal(read[..., :3], rgb)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_real_slice_shows_both_raters(shared_data):
    folder = shared_data("aorta_multirater")
    image = read_image(folder / "image_aligned_by_us.nii.gz").array
    raters = {name: read_mask(folder / f"{name}_Amira.nii.gz") for name in ("P1", "P3")}
    index = best_slice(raters["P1"], raters["P3"])
    assert index == int(np.argmax([raters["P1"][:, :, z].sum() for z in range(raters["P1"].shape[2])]))
    picture = overlay(image[:, :, index], {name: mask[:, :, index] for name, mask in raters.items()})
    for colour in colours(["P1", "P3"]).values():
        assert painted(picture, colour).sum() > 100
