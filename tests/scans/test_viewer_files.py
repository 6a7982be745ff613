"""Label map of sides and branches, of nerves drawn by code, and its files as ITK-SNAP and 3D Slicer read them."""

import re

import numpy as np
import pytest

from nerveseg.biomarkers.course import follow_nerves
from nerveseg.data.legs import Leg
from nerveseg.scans.viewer_files import branch_map, label_names, write_label_names

AFFINE = np.diag([0.5, 0.5, 4.0, 1.0])


def legs(*sides):
    width = 80 // len(sides)
    return [Leg(side, slice(number * width, (number + 1) * width)) for number, side in enumerate(sides)]


@pytest.fixture
def drawn():
    """Labels of a left nerve that divides below slice 6, the smaller branch lateral, and an undivided right one."""
    labels = np.zeros((80, 40, 12), dtype=np.uint8)
    labels[14:22, 16:24, 6:] = 1
    for number in range(6):
        away = 5 - number  # pixels by which the branches have parted
        labels[18 + away : 26 + away, 16:24, number] = 2
        labels[10 - away : 16 - away, 17:23, number] = 3
    labels[56:64, 16:24, :] = 4
    return labels


@pytest.fixture
def courses(drawn):
    return follow_nerves(drawn > 0, AFFINE, legs("left", "right"))


def test_each_voxel_has_the_label_of_its_side_and_branch(drawn, courses):
    np.testing.assert_array_equal(branch_map(courses), drawn)


def test_a_leg_of_unknown_side_has_the_first_labels(drawn):
    courses = follow_nerves(drawn[40:] > 0, AFFINE, [Leg("unknown", slice(0, 40))])
    assert set(np.unique(branch_map(courses))) == {0, 1}
    assert label_names(courses) == {1: "sciatic", 2: "tibial", 3: "peroneal"}


def test_both_viewers_get_the_same_names_and_colours(courses, tmp_path):
    write_label_names(tmp_path, courses)
    snap = re.findall(
        r'^(\d+) +(\d+) (\d+) (\d+) +1 1 1 +"(.*)"$', (tmp_path / "branches.txt").read_text(), re.MULTILINE
    )
    slicer = [line.split() for line in (tmp_path / "branches.ctbl").read_text().splitlines() if line[0] != "#"]
    assert slicer[0] == ["0", "background", "0", "0", "0", "0"]
    assert [(value, name, *colour[:3]) for value, name, *colour in slicer[1:]] == [
        (value, name, *colour) for value, *colour, name in snap
    ]
    assert [line[1] for line in slicer[1:]] == [
        *("left_sciatic", "left_tibial", "left_peroneal", "right_sciatic", "right_tibial", "right_peroneal")
    ]
    assert {line[5] for line in slicer[1:]} == {"255"}
