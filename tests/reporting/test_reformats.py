"""Views along the nerve: a tube of known course and markers at known places appear where geometry puts them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK
from scipy.integrate import quad

from nerveseg.biomarkers.course import follow_nerves
from nerveseg.data.legs import Leg
from nerveseg.reporting.reformats import CURVED_MM, reformat_data, reformats_of
from nerveseg.reporting.subject_view import SubjectView

SHAPE, SPACING_MM = (150, 120, 40), (0.6, 0.7, 4.0)
COUNT = SHAPE[2]
TURN = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
AFFINE = np.eye(4)
AFFINE[:3, :3] = TURN * np.sign(np.linalg.det(TURN)) @ np.diag(SPACING_MM)
AFFINE[:3, 3] = (30, -200, 70)


def bent(z_mm):
    """Centre in mm of a nerve that goes to and fro by 12 and 7 mm."""
    return 45 + 12 * np.sin(z_mm / 25), 42 + 7 * np.cos(z_mm / 30)


def slope(z_mm):
    return np.array([12 / 25 * np.cos(z_mm / 25), -7 / 30 * np.sin(z_mm / 30)])


def distances_mm(course):
    """In-plane distance of every voxel from a course."""
    x, y, z = (axis * step for axis, step in zip(np.indices(SHAPE), SPACING_MM, strict=True))
    at_x, at_y = course(z)
    return np.hypot(x - at_x, y - at_y)


def scan(course, image=None, columns=slice(0, SHAPE[0]), side="unknown"):
    away_mm = distances_mm(course)
    mask = away_mm <= 4
    image = 100 * np.exp(-((away_mm / 3) ** 2)) if image is None else image
    return SubjectView(
        name="P01", title="", warning="", image=image.astype(np.float32), spacing_mm=SPACING_MM,
        slice_numbers=[*range(COUNT)][::-1], masks={"Auto": mask}, profiles={},
        courses=follow_nerves(mask, AFFINE, [Leg(side, columns)]), affine=AFFINE,
    )  # fmt: skip


def test_a_curved_tube_is_a_straight_bright_line_in_the_middle():
    view = scan(bent)
    picture = reformats_of(view)[2].sample(view.image)
    columns = np.arange(picture.shape[1])
    bright = np.where(np.isnan(picture), 0, picture)
    middle_mm = (bright * columns).sum(axis=1) / bright.sum(axis=1) + 0.5
    middle_mm = middle_mm * reformats_of(view)[2].pixel_mm - CURVED_MM / 2
    assert np.abs(middle_mm).max() < 0.5, "the course turns by 24 mm, its middle stays"
    assert bright[:, picture.shape[1] // 2].min() > 90
    assert bright[:, columns * reformats_of(view)[2].pixel_mm < CURVED_MM / 2 - 10].max() < 1


def test_its_height_is_the_length_of_the_nerve():
    view = scan(bent)
    curved = reformats_of(view)[2]
    length_mm, _ = quad(lambda z: np.sqrt(1 + (slope(z) ** 2).sum()), 0, (COUNT - 1) * SPACING_MM[2])
    assert curved.heights_mm[-1] == pytest.approx(length_mm, rel=0.01)
    assert curved.heights_mm[-1] == pytest.approx(view.courses[0].length_mm, rel=1e-6)


@pytest.mark.parametrize("number", [6, 21, 35])
def test_a_marker_beside_the_curved_nerve_is_where_its_distances_put_it(number):
    """12 mm to the patient's right of the nerve; the length from the upper edge is integrated."""
    x_mm, y_mm = bent(number * SPACING_MM[2])
    spot = (round((x_mm + 12) / SPACING_MM[0]), round(y_mm / SPACING_MM[1]), number)
    image = np.zeros(SHAPE)
    image[spot[0] - 1 : spot[0] + 2, spot[1] - 1 : spot[1] + 2, number] = 1
    view = scan(bent, image)
    curved = reformats_of(view)[2]
    rows, columns = np.nonzero(np.nan_to_num(curved.sample(view.image)) > 0.5)
    above_mm, _ = quad(
        lambda z: np.sqrt(1 + (slope(z) ** 2).sum()), number * SPACING_MM[2], (COUNT - 1) * SPACING_MM[2]
    )
    assert (rows.mean() + 0.5) * curved.pixel_mm == pytest.approx(above_mm + SPACING_MM[2] / 2, abs=1.5)
    right_mm = CURVED_MM / 2 - (columns.mean() + 0.5) * curved.pixel_mm
    assert right_mm == pytest.approx(spot[0] * SPACING_MM[0] - x_mm, abs=0.6)
    assert curved.rows[number] * curved.pixel_mm == pytest.approx(above_mm + SPACING_MM[2] / 2, abs=1.5)


@pytest.mark.parametrize("plane", [0, 1])
def test_a_plane_without_tilt_is_what_simpleitk_resamples(plane):
    def straight(z_mm):
        return 40 + 0 * z_mm, 40 + 0 * z_mm

    view = scan(straight, np.random.default_rng(0).normal(size=SHAPE))
    shown = reformats_of(view)[plane]
    picture = shown.sample(view.image)
    volume = SimpleITK.GetImageFromArray(view.image.transpose(2, 1, 0))
    volume.SetSpacing(SPACING_MM)
    checked = np.argwhere(np.ones_like(picture, dtype=bool))[::97]
    high_mm = (SHAPE[plane] - 0.5) * SPACING_MM[plane]
    compared = 0
    for row, column in checked:
        place = [0.0, 0.0, (COUNT - 0.5) * SPACING_MM[2] - (row + 0.5) * shown.pixel_mm]
        place[plane], place[1 - plane] = high_mm - (column + 0.5) * shown.pixel_mm, shown.depths_mm[0]
        index = volume.TransformPhysicalPointToContinuousIndex(place)
        if all(0 <= at <= size - 1 for at, size in zip(index, SHAPE, strict=True)):
            expected = volume.EvaluateAtContinuousIndex(index, SimpleITK.sitkLinear)
            assert picture[row, column] == pytest.approx(expected, abs=1e-4)
            compared += 1
    assert compared > 300


def test_a_plane_follows_a_nerve_that_is_tilted_in_depth():
    """A nerve that goes forward by 20 degrees is inside the coronal plane from end to end, in true length."""

    def tilted(z_mm):
        return 45 + 0 * z_mm, 15 + np.tan(np.radians(20)) * z_mm

    view = scan(tilted)
    coronal = reformats_of(view)[0]
    picture = coronal.sample(view.image)
    middle = round((45 - coronal.starts_mm[0]) / coronal.pixel_mm)
    assert picture[:, -middle].min() > 90
    assert np.diff(coronal.depths_mm) == pytest.approx(np.tan(np.radians(20)) * SPACING_MM[2], rel=0.02)
    assert coronal.heights_mm[-1] == pytest.approx((COUNT - 1) * SPACING_MM[2] / np.cos(np.radians(20)), rel=1e-3)


def test_the_pages_data_stand_in_the_order_of_the_file_and_outline_the_mask():
    view = scan(bent)
    curved = reformat_data(view)[2]
    assert curved["letters"] == ("R", "L")
    assert len(curved["rows"]) == COUNT
    assert curved["rows"] == sorted(curved["rows"]), "slice 0 of this file is at the head, which is up"
    ((ring, *others),) = curved["outlines"]
    across_mm = np.array(ring[::2]) / 2 * curved["pixel_mm"] - CURVED_MM / 2
    assert others == []
    assert (across_mm.min(), across_mm.max()) == pytest.approx((-4, 4), abs=0.8)
    assert np.array(ring[1::2]).max() == 2 * curved["size"][1]


def test_each_leg_with_nerve_has_its_views_within_the_leg():
    view = scan(bent)
    legs = [Leg("left", slice(0, 20)), Leg("right", slice(20, SHAPE[0]))]
    views = reformats_of(replace(view, courses=follow_nerves(view.masks["Auto"], AFFINE, legs)))
    assert [each.side for each in views] == ["right"] * 3, "there is no nerve in the left leg"
    assert views[0].starts_mm[0] >= 19.5 * SPACING_MM[0]
    empty = follow_nerves(np.zeros(SHAPE, dtype=bool), AFFINE, legs)
    assert reformats_of(replace(view, courses=empty)) == []
