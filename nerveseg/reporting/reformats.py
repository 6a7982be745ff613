"""Views along the nerve for a subject's page: coronal, sagittal, and a curved planar reformat of each leg.

A view has a line through the stack, with one point in every slice, and shows through each point a line in the plane of
that slice: from right to left, in the sagittal view from anterior to posterior. Its rows stand at their distance along
the line, the head above. In the coronal and the sagittal view the line is straight, fitted to the nerve's centres in
depth, so that the view is a plane that is tilted along the nerve, and across is the patient's own coordinate. In
the curved view (straightened; Kanitsar et al. 2002) the line is the nerve's course (`biomarkers.course.main_course`),
which stands in the middle; across is the distance from the nerve in the plane of the slice. A step of the course counts
at most as one at 45 degrees, as in the nerve's length. Beyond the ends of the nerve the line goes straight on.

Signals are interpolated linearly, first within each slice, then between the rows of neighbouring slices, so that what
runs along the nerve stays sharp. A mask ends halfway between two slices, as each stands for its slab.

References:
    A. Kanitsar et al., CPR - curved planar reformation, IEEE Visualization 2002.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from nerveseg.biomarkers.course import STEEPEST, NerveCourse
from nerveseg.reporting.slice_pictures import QUALITIES, GreyScale, encode_within
from nerveseg.reporting.subject_charts import rings
from nerveseg.reporting.subject_view import SubjectView
from nerveseg.types import Image, SpacingMm

MOST_REFORMAT_BYTES = 500_000  # of all views as text
PLANE_MM, CURVED_MM = 160.0, 80.0  # largest width of the plane views, width of the curved one
MOST_ROWS = 480
LEAST_FITTED = 3  # least number of slices with nerve to which a plane is tilted
_AXES = {"x": ("R", "L"), "y": ("A", "P")}  # letters at the left and right edge of a view along each in-plane axis


@dataclass(frozen=True)
class Reformat:
    """Geometry of one view; positions are voxel indices times spacing, in mm."""

    name: str
    about: str  # sentence for the reader
    side: str
    along: int  # in-plane axis of the rows: 0 along x, 1 along y
    starts_mm: Float64[np.ndarray[Any, Any], " z"]  # lower end of each slice's row, along that axis
    depths_mm: Float64[np.ndarray[Any, Any], " z"]  # position of each slice's row along the other in-plane axis
    heights_mm: Float64[
        np.ndarray[Any, Any], " z"
    ]  # distance of each slice's row along the line, from the lowest slice
    width_mm: float
    spacing_mm: SpacingMm

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel of the picture, the same across and along."""
        return float(max(min(self.spacing_mm[:2]), (self.heights_mm[-1] + self.spacing_mm[2]) / MOST_ROWS))

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows of the picture; its first and last slice are shown in full thickness."""
        tall_mm = self.heights_mm[-1] + self.spacing_mm[2]
        return max(1, round(self.width_mm / self.pixel_mm)), max(1, round(tall_mm / self.pixel_mm))

    @property
    def rows(self) -> Float64[np.ndarray[Any, Any], " z"]:
        """Row of the picture, from its upper edge in pixels, at which each slice of the stack lies."""
        return np.asarray((self.heights_mm[-1] + self.spacing_mm[2] / 2 - self.heights_mm) / self.pixel_mm)

    def sample(self, values: NDArray[Any]) -> Float[np.ndarray[Any, Any], "height width"]:
        """Return the picture of a volume (x, y, z): signals in its unit, NaN outside the image."""
        columns, rows = self.size
        steps_mm = (np.arange(columns)[::-1] + 0.5) * self.pixel_mm  # right, or anterior, is on the left
        flat = np.empty((len(self.starts_mm), columns), dtype=np.float64)
        for number, (start_mm, depth_mm) in enumerate(zip(self.starts_mm, self.depths_mm, strict=True)):
            places = [(start_mm + steps_mm) / self.spacing_mm[self.along]]
            places.insert(1 - self.along, np.full(columns, depth_mm / self.spacing_mm[1 - self.along]))
            plane = values[:, :, number].astype(np.float64)
            row = map_coordinates(plane, places, order=1, mode="nearest")
            sides = zip(places, plane.shape, strict=True)
            flat[number] = np.where(np.all([abs(x - (n - 1) / 2) <= n / 2 for x, n in sides], axis=0), row, np.nan)
        heights_mm = self.heights_mm[-1] + self.spacing_mm[2] / 2 - (np.arange(rows) + 0.5) * self.pixel_mm
        slices = np.interp(heights_mm, self.heights_mm, np.arange(len(self.heights_mm)))
        index = np.broadcast_to(np.arange(columns), (rows, columns))
        places = [np.broadcast_to(slices[:, None], (rows, columns)), index]
        return np.asarray(map_coordinates(flat, places, order=1, mode="nearest"))


def reformats_of(view: SubjectView) -> list[Reformat]:
    """Return the coronal, sagittal and curved view of each leg with nerve; none of a single slice."""
    if view.image.shape[2] < 2:
        return []
    return [each for course in view.courses if course.mask.any() for each in _of_leg(course, view)]


def reformat_data(view: SubjectView) -> list[dict[str, Any]]:
    """Return, per view, what the page's script draws but for the pictures: sizes in pixels, outlines in half pixels."""
    return [
        {
            "number": number,
            "side": each.side,
            "name": each.name,
            "about": each.about,
            "letters": _AXES["xy"[each.along]],
            "size": each.size,
            "pixel_mm": each.pixel_mm,
            "rows": np.round(each.rows[view.order], 2).tolist(),
            "outlines": [rings(each.sample(mask) >= 0.5) for mask in view.masks.values()],
        }
        for number, each in enumerate(reformats_of(view))
    ]


def reformat_pictures(view: SubjectView, image: Image, scale: GreyScale, most_bytes: int) -> list[str]:
    """Return a channel's picture of every view as data URIs in its grey scale."""
    pictures = [scale.grey(each.sample(image)) for each in reformats_of(view)]
    return encode_within(pictures, most_bytes, QUALITIES[1:])[0] if pictures else []  # without loss they are too slow


def _of_leg(course: NerveCourse, view: SubjectView) -> Iterator[Reformat]:
    spacing_mm, count = view.spacing_mm, view.image.shape[2]
    slices, points_mm = course.main_course
    voxels = (points_mm - course.affine[:3, 3]) @ np.linalg.inv(course.affine[:3, :3]).T
    known_mm = voxels[:, :2] * spacing_mm[:2]
    everywhere = np.arange(count)
    course_mm = np.stack([np.interp(everywhere, slices, known_mm[:, axis]) for axis in (0, 1)], axis=1)
    columns = course.leg.columns.indices(view.image.shape[0])
    edges = {0: (columns[0], columns[1]), 1: (0, view.image.shape[1])}
    common: dict[str, Any] = {"side": "" if course.side == "unknown" else course.side, "spacing_mm": spacing_mm}
    for name, along in (("Coronal", 0), ("Sagittal", 1)):
        depths_mm, slope = _straight(slices, known_mm[:, 1 - along], spacing_mm[2], count)
        low, high = ((edge - 0.5) * spacing_mm[along] for edge in edges[along])
        middle = (course_mm[:, along].min() + course_mm[:, along].max()) / 2
        low, high = max(low, middle - PLANE_MM / 2), min(high, middle + PLANE_MM / 2)
        tilt = round(np.degrees(np.arctan(abs(slope))))
        yield Reformat(
            name=name,
            about="plane through the nerve" + (f", tilted by {tilt}° along it" if tilt else ""),
            along=along,
            starts_mm=np.full(count, low),
            depths_mm=depths_mm,
            heights_mm=everywhere * spacing_mm[2] * np.hypot(1.0, slope),
            width_mm=high - low,
            **common,
        )
    steps_mm = np.hypot(np.linalg.norm(np.diff(course_mm, axis=0), axis=1), spacing_mm[2])
    divided = any(line.branch != "nerve" for line in course.centrelines)
    yield Reformat(
        name="Curved",
        about="the nerve straightened" + (f", below its division the {course.main_branch} nerve" if divided else ""),
        along=0,
        starts_mm=course_mm[:, 0] - CURVED_MM / 2,
        depths_mm=course_mm[:, 1],
        heights_mm=np.concatenate([[0.0], np.cumsum(np.minimum(steps_mm, np.hypot(1.0, STEEPEST) * spacing_mm[2]))]),
        width_mm=CURVED_MM,
        **common,
    )


def _straight(
    slices: NDArray[Any], depths_mm: NDArray[Any], step_mm: float, count: int
) -> tuple[NDArray[np.float64], float]:
    """Return the depth in every slice of the line through the nerve's depths, and its slope, at most `STEEPEST`."""
    slope = np.polyfit(slices * step_mm, depths_mm, 1)[0] if len(slices) >= LEAST_FITTED else 0.0
    slope = float(np.clip(slope, -STEEPEST, STEEPEST))
    return depths_mm.mean() + slope * step_mm * (np.arange(count) - slices.mean()), slope
