"""Label map of sides and branches beside the mask, and its names and colours for ITK-SNAP and 3D Slicer.

branches.nii.gz (.mha, .nrrd as the input)   sciatic (undivided), tibial and peroneal nerve of each side
branches.txt                                 label descriptions of ITK-SNAP
branches.ctbl                                colour table of 3D Slicer
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nerveseg.biomarkers.branches import PERONEAL, TIBIAL, UNDIVIDED
from nerveseg.biomarkers.course import NerveCourse
from nerveseg.data.legs import Side
from nerveseg.files import write_text

FIRST: dict[Side, int] = {"unknown": 1, "left": 1, "right": 4}
"""Label value of each side's sciatic nerve; the tibial and the peroneal nerve have the next two."""

PLACE = {UNDIVIDED: 0, TIBIAL: 1, PERONEAL: 2}
NAMES = ("sciatic", "tibial", "peroneal")
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (213, 94, 0), (0, 114, 178), (204, 121, 167))
"""Red, green and blue of the labels 1 to 6 (Okabe and Ito), which colour-blind readers tell apart."""


def branch_map(courses: Sequence[NerveCourse]) -> NDArray[np.uint8]:
    """Return the label map (x, y, z) of sides and branches in RAS order; strays have no label."""
    labels = np.zeros_like(courses[0].branches.labels)
    for course in courses:
        for branch, place in PLACE.items():
            labels[course.branches.labels == branch] = FIRST[course.side] + place
    return labels


def label_names(courses: Sequence[NerveCourse]) -> dict[int, str]:
    """Return the name of each label value of the sides of a scan."""
    return {
        FIRST[course.side] + place: name if course.side == "unknown" else f"{course.side}_{name}"
        for course in courses
        for place, name in enumerate(NAMES)
    }


def write_label_names(folder: Path, courses: Sequence[NerveCourse]) -> None:
    """Write the names and colours of `branch_map` for ITK-SNAP and for 3D Slicer."""
    snap, slicer = ["# ITK-SnAP Label Description File", '0 0 0 0 0 0 0 "Clear Label"'], ["0 background 0 0 0 0"]
    for value, name in sorted(label_names(courses).items()):
        red, green, blue = COLOURS[value - 1]
        snap.append(f'{value} {red} {green} {blue} 1 1 1 "{name}"')
        slicer.append(f"{value} {name} {red} {green} {blue} 255")
    write_text(folder / "branches.txt", "\n".join([*snap, ""]))
    write_text(folder / "branches.ctbl", "\n".join(["# Color table file of nerveseg", *slicer, ""]))
