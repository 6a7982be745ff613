from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK
from matplotlib.text import Text

from nerveseg.data.registration import Registration
from nerveseg.data.volumes.grids import Grid
from nerveseg.data.volumes.volume import Volume
from nerveseg.reporting import check_sheet as module
from nerveseg.reporting.check_sheet import check_sheet, edges_on, registration_sheet
from nerveseg.reporting.overlay import COLOURS, OTHER_COLOURS, save_png

SPACING = (0.5, 0.5, 4.0)
PLAIN = {"title": "scan-1", "warning": None, "flags": [], "spacing_mm": SPACING}


def scan(shape=(220, 180, 24), centres=((110, 90),)):
    image = np.random.default_rng(0).normal(100, 10, shape).astype(np.float32)
    mask = np.zeros(shape, dtype=bool)
    for x, y in centres:
        mask[x - 6 : x + 6, y - 6 : y + 6, 2:22] = True
    return image, mask


def profile(numbers, sides=("unknown",), area=36.0):
    return pd.DataFrame(
        [
            {"side": side, "branch": "total", "slice": n, "csa_mm2": area, "csa_perpendicular_mm2": 0.9 * area}
            for side in sides
            for n in numbers
        ]
    )


@pytest.fixture
def page(monkeypatch):
    """The words of the page and its axes, seen just before it is rendered."""
    seen = {}
    paint = module.render_pixels

    def look(figure):
        seen["words"] = [text.get_text() for text in figure.findobj(Text) if text.get_text()]
        seen["axes"] = figure.axes
        return paint(figure)

    monkeypatch.setattr(module, "render_pixels", look)
    return seen


def green(rgb):
    """Pixels nearer to the outline's colour than the grey around, also where lines are smoothed."""
    red, full, blue = (rgb[..., channel].astype(int) for channel in range(3))
    return (full > red + 40) & (full > blue + 60)


def numbered(words):
    return [int(word.split()[-1]) for word in words if "slice " in word]


def test_twelve_slices_from_end_to_end_of_the_nerve(page):
    image, mask = scan()
    numbers = list(range(100, 124))[::-1]
    rgb = check_sheet(image, mask, profile(numbers), slice_numbers=numbers, **PLAIN)
    shown = numbered(page["words"])
    assert len(shown) == 12
    assert (shown[0], shown[-1]) == (numbers[2], numbers[21])
    assert set(np.diff(shown)) <= {-2, -1}
    assert rgb.dtype == np.uint8
    assert green(rgb[: rgb.shape[0] * 6 // 10]).sum() > 12 * 100


def test_every_tile_holds_the_nerve_at_one_scale(page):
    image, mask = scan()
    mask[20:30, 150:160, 20:22] = True
    check_sheet(image, mask, None, slice_numbers=range(24), **PLAIN)
    tiles = [axis.images[0].get_array() for axis in page["axes"] if axis.images and axis.get_title()]
    assert len({tile.shape for tile in tiles}) == 1
    outlines = [(tile == COLOURS["Auto"]).all(axis=2).sum() for tile in tiles]
    assert min(outlines[:-1]) == max(outlines[:-3])
    assert outlines[-1] > outlines[0]


def test_first_middle_and_last_have_the_whole_slice_beside(page):
    image, mask = scan()
    check_sheet(image, mask, None, slice_numbers=range(24), **PLAIN)
    assert page["words"].count("R") == page["words"].count("A") == 3


def test_the_frame_in_the_whole_slice_is_where_the_tile_was_cut(page):
    image, mask = scan(centres=((170, 40),))
    image[:] = 0.0
    image[120:, :100] = 500.0
    image[0, 0], image[1, 0] = -1.0, 1.0
    check_sheet(image, mask, None, slice_numbers=range(24), **PLAIN)
    inset = next(child for axis in page["axes"] for child in axis.child_axes)
    (frame,) = [patch for patch in inset.patches if patch.get_linewidth() == 1]
    x, y = round(frame.get_x()), round(frame.get_y())
    picture = inset.images[0].get_array()
    inside = picture[y : y + round(frame.get_height()), x : x + round(frame.get_width())]
    assert inside.size > 1000
    assert (inside == 255).mean() > 0.95
    assert (picture == 255).mean() < 0.3


def test_the_curve_is_the_area_against_the_files_slice_numbers(page):
    image, mask = scan()
    rows = profile(range(5, 29))
    branch = pd.DataFrame([{"side": "unknown", "branch": "tibial", "slice": n, "csa_mm2": 20.0} for n in (5, 6, 9)])
    check_sheet(image, mask, pd.concat([rows, branch]), slice_numbers=range(5, 29), **PLAIN)
    (axis,) = [axis for axis in page["axes"] if axis.get_xlabel() == "slice"]
    lines = {line.get_label(): line for line in axis.lines}
    np.testing.assert_array_equal(lines["total"].get_xdata(), range(5, 29))
    np.testing.assert_array_equal(lines["total"].get_ydata(), 36.0)
    tibial = np.asarray(lines["tibial"].get_ydata())
    assert np.isnan(tibial[2:4]).all()
    assert (tibial[[0, 1, 4]] == 20).all()
    dashed = [line for line in axis.lines if line.get_linestyle() == "--" and len(line.get_ydata())]
    np.testing.assert_allclose(dashed[0].get_ydata(), 32.4)
    assert {"area (mm²)", "across the nerve"} <= set(page["words"])


def test_what_must_be_read_is_on_the_page(page):
    image, mask = scan()
    mask[:, :, 13] = False
    options = PLAIN | {"warning": "Synthetic training data", "flags": ["the nerve is interrupted", "the area jumps"]}
    check_sheet(image, mask, None, slice_numbers=range(24), **options)
    words = " ".join(page["words"])
    for needed in ("scan-1", "SYNTHETIC TRAINING DATA", "Not a medical device", "– the nerve is interrupted"):
        assert needed in words
    assert "Look at this" in words


def test_without_flags_it_still_asks_to_look(page):
    image, mask = scan()
    check_sheet(image, mask, None, slice_numbers=range(24), **PLAIN)
    assert any("Nothing odd was found" in word for word in page["words"])


def test_a_slice_without_nerve_is_named(page):
    image, mask = scan((60, 50, 6), ((30, 25),))
    mask[20:40, 15:35, :] = True
    mask[:, :, 3] = False
    check_sheet(image, mask, None, slice_numbers=range(6), **PLAIN)
    assert "slice 3, no nerve" in page["words"]


def test_many_flags_are_cut_and_counted(page):
    image, mask = scan()
    check_sheet(image, mask, None, slice_numbers=range(24), **PLAIN | {"flags": [f"flag {n}" for n in range(40)]})
    assert any("and 28 more lines" in word for word in page["words"])


def test_each_leg_has_a_row_of_its_own(page):
    image, mask = scan((240, 120, 24), ((60, 60), (180, 60)))
    sides = {"left": slice(0, 120), "right": slice(120, 240)}
    rows = profile(range(24), sides)
    check_sheet(image, mask, rows, slice_numbers=range(24), sides=sides, **PLAIN)
    words = page["words"]
    assert sum(word.startswith("left slice") for word in words) == 6
    assert sum(word.startswith("right slice") for word in words) == 6
    assert {"left total", "right total"} <= set(words)


def test_a_leg_without_nerve_is_named(page):
    image, mask = scan((240, 120, 24), ((60, 60),))
    check_sheet(
        image, mask, None, slice_numbers=range(24), sides={"left": slice(0, 120), "right": slice(120, 240)}, **PLAIN
    )
    assert "no nerve found on the right side" in page["words"]


@pytest.mark.parametrize("slices", [1, 2, 24])
def test_no_nerve_at_all_shows_whole_slices(page, slices):
    image, mask = scan((80, 60, 24), ())
    image, mask = image[..., :slices], mask[..., :slices]
    check_sheet(image, mask, profile(range(slices), area=0.0), slice_numbers=range(slices), **PLAIN)
    shown = numbered(page["words"])
    assert shown == ([11, 12, 13] if slices == 24 else list(range(slices)))
    assert any("no nerve found" in word for word in page["words"])


@pytest.mark.parametrize("shape", [(9, 8, 2), (300, 12, 3), (16, 16, 1)])
def test_small_and_narrow_images_are_drawn(shape):
    mask = np.zeros(shape, dtype=bool)
    mask[0, -1] = True
    image = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    options = PLAIN | {"spacing_mm": None}
    assert check_sheet(image, mask, None, slice_numbers=range(shape[2]), **options).shape[2] == 3


def test_a_constant_image_raises_nothing():
    image, mask = scan((40, 40, 3), ((20, 20),))
    mask[15:20, 15:20] = True
    assert check_sheet(np.zeros_like(image), mask, None, slice_numbers=range(3), **PLAIN).any()


def test_the_file_holds_the_page_and_is_the_same_each_time(tmp_path):
    image, mask = scan()
    options = {"slice_numbers": range(24), **PLAIN}
    path = tmp_path / "new" / "check.png"
    page = check_sheet(image, mask, profile(range(24)), **options)
    save_png(path, page)
    read = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    np.testing.assert_array_equal(read[..., :3], page)
    assert [file.name for file in path.parent.iterdir()] == ["check.png"]


def disc(shape, centre, radius):
    x, y = np.ogrid[: shape[0], : shape[1]]
    return ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2).astype(np.float32) * 100


def test_edges_run_along_the_second_channels_outline():
    picture = edges_on(np.zeros((80, 60)), disc((80, 60), (50, 20), 12), 1.0)
    rows, columns = np.nonzero((picture == OTHER_COLOURS[0]).all(axis=2))
    radius = np.hypot(79 - columns - 50, 59 - rows - 20)
    assert len(radius) > 50
    assert np.abs(radius - 12).max() < 1.5


def test_no_edge_is_drawn_at_the_end_of_the_field_of_view():
    moving = np.full((80, 60), 50.0)
    moving[60:] = np.nan
    assert not (edges_on(np.zeros((80, 60)), moving, 1.0) == OTHER_COLOURS[0]).all(axis=2).any()
    assert not edges_on(np.zeros((80, 60)), np.full((80, 60), np.nan), 1.0).any()


def test_the_registration_is_shown_before_and_after(tmp_path: Path):
    grid = Grid((80, 60, 10), np.diag([1.0, 1.0, 4.0, 1.0]), nib.Nifti1Header())
    fixed, moved = (np.repeat(disc((80, 60), centre, 12)[..., None], 10, axis=2) for centre in ((40, 30), (43, 30)))
    motion = np.eye(4)
    motion[0, 3] = 3.0
    registration = Registration(
        fixed, (0.0, 0.0, 0.0), (3.0, 0.0, 0.0), 0.5, 0.9, True, "registered: moved by 3.0 mm", motion,
        Volume(moved, grid), grid,
    )  # fmt: skip
    np.testing.assert_array_equal(registration.slice_by_headers(4), moved[:, :, 4])
    registration_sheet(tmp_path / "registration.png", fixed, registration)
    read = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "registration.png")))
    assert read.shape[:2] == (1025, 1750)


def test_a_slice_without_nerve_shows_the_place_of_the_nearest_section():
    nerve = np.zeros((4, 4, 8), bool)
    nerve[1, 1, 1] = nerve[2, 2, 6] = True
    assert [module.nearest_section(nerve, index) for index in range(8)] == [1, 1, 1, 1, 6, 6, 6, 6]
