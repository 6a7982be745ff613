"""Data of a subject's page for its browser: curves along the nerve, its shape, outlines and close-ups.

As in `overlay`, the patient's right is on the left and anterior is up. An outline runs along the edge of the mask,
halfway between the centres of the pixels inside and outside; its points are counted in half pixels of the picture from
the upper left corner. Slices stand in the order of the input file's numbers. Every curve has one value per slice, None
where the slice does not show the branch, which leaves a gap in the line. Quantities that are unknown in all slices have
no curve.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image as Picture
from skimage.measure import approximate_polygon, find_contours

from nerveseg.biomarkers.norms import SIGNAL
from nerveseg.biomarkers.profile import TOTAL
from nerveseg.reporting.overlay import close_up_side_mm, upright
from nerveseg.reporting.page_assets import data_uri
from nerveseg.reporting.subject_view import LESION, STRAY, SubjectView
from nerveseg.reporting.surfaces import Surface, surface_of
from nerveseg.types import Mask, SpacingMm

Curve = dict[str, Any]
_BAND = ("mean", "p10", "p90")
_RAISED_MM = 0.4  # outward shift of the lesion's surface, which the nerve's surface would hide where both coincide


def area_curves(view: SubjectView) -> list[Curve]:
    """Return, per side, the slice of the split, and per mask and branch the area in the slice and across the nerve."""
    return [{"side": side, "split": _split(view, side), "lines": _areas(view, side)} for side in _sides(view)]


def signal_curves(view: SubjectView) -> list[Curve]:
    """Return, per channel and side, mean, 10th and 90th percentile inside the first mask's nerve."""
    return [
        {"channel": column.removesuffix("_mean"), "side": side}
        | {name: _values(rows, view.numbers, f"{column.removesuffix('_mean')}_{name}") for name in _BAND}
        for column, side, rows in _measured(view, lambda name: name.endswith("_mean"))
    ]


def lesion_curves(view: SubjectView) -> list[Curve]:
    """Return, per side, the abnormal share of the nerve's section."""
    return [
        {"side": side, "share": _values(rows, view.numbers, column)}
        for column, side, rows in _measured(view, lambda name: name == "lesion_fraction")
    ]


def norm_bands(view: SubjectView) -> dict[str, tuple[float, float]]:
    """Return mean less and plus 2 SD of the norms of mean area and mean signal, by the page's names of the curves."""
    curves = {"slice": "mean_csa_mm2", "across": "mean_csa_perpendicular_mm2"}
    curves |= {f"signal {name}": f"{SIGNAL}{name}" for name in (view.channel, *view.channels)}
    norms = {curve: view.norms[quantity] for curve, quantity in curves.items() if quantity in view.norms}
    return {curve: (norm.mean - 2 * norm.sd, norm.mean + 2 * norm.sd) for curve, norm in norms.items()}


def surfaces(view: SubjectView) -> list[dict[str, Any]]:
    """Return the surfaces of the first mask, the reference and the lesion, as triangles in mm from the first voxel."""
    names = [name for name in (*list(view.outlines)[:1], "GT", LESION) if name in view.masks]
    return [
        {"name": name, **_surface(view.masks[name], view.spacing_mm, _RAISED_MM if name == LESION else 0.0)}
        for name in dict.fromkeys(names)
        if view.masks[name].any()
    ]


def _surface(mask: Mask, spacing_mm: SpacingMm, raised_mm: float) -> dict[str, Any]:
    surface = surface_of(mask, spacing_mm)
    raised = np.round(surface.vertices_mm + raised_mm * _normals(surface), 1)
    return {
        **{axis: raised[:, number].tolist() for number, axis in enumerate("xyz")},
        **{corner: surface.triangles[:, number].tolist() for number, corner in enumerate("ijk")},
    }


def _normals(surface: Surface) -> NDArray[Any]:
    """Return the outward normal of each vertex, the mean over its triangles."""
    total = np.zeros_like(surface.vertices_mm)
    for corner in range(3):
        np.add.at(total, surface.triangles[:, corner], surface.across_mm2)
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12))


def _areas(view: SubjectView, side: str) -> list[Curve]:
    return [
        {
            "mask": mask,
            "branch": branch,
            "slice": _values(rows, view.numbers, "csa_mm2"),
            "across": _values(rows, view.numbers, "csa_perpendicular_mm2"),
        }
        for mask, profile in view.profiles.items()
        for branch, rows in _of_side(profile, side).groupby("branch", sort=False)
    ]


def _measured(view: SubjectView, wanted: Any) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield the columns of the first mask's profile with a value, with the rows of the whole nerve of each side."""
    if not view.profiles:
        return
    profile = next(iter(view.profiles.values()))
    whole = profile[profile["branch"] == TOTAL]
    for column in whole.columns:
        for side in _sides(view):
            rows = _of_side(whole, side)
            if wanted(str(column)) and rows[column].notna().any():
                yield str(column), side, rows


def _sides(view: SubjectView) -> list[str]:
    return list(dict.fromkeys(str(side) for profile in view.profiles.values() for side in profile["side"]))


def _of_side(profile: pd.DataFrame, side: str) -> pd.DataFrame:
    return profile[profile["side"] == side]


def _split(view: SubjectView, side: str) -> int | None:
    """Return the first slice that shows two nerves, from the first profile that has one."""
    for profile in view.profiles.values():
        rows = _of_side(profile, side)
        found = rows[rows["distance_from_split_mm"] == 0]
        if len(found):
            return int(found["slice"].iloc[0])
    return None


def _values(rows: pd.DataFrame, numbers: Sequence[int], column: str) -> list[float | None]:
    if column not in rows:
        return [None] * len(numbers)
    found = rows.set_index("slice")[column].reindex(list(numbers)).astype(float)
    return [None if np.isnan(value) else float(f"{value:.5g}") for value in found.tolist()]


def outlines(mask: Mask, order: Iterable[int]) -> list[list[list[int]]]:
    """Return the closed outlines of a mask: per slice, per part or hole, x and y in turn, in half pixels."""
    return [rings(upright(mask[:, :, index])) for index in order]


def close_looks(view: SubjectView) -> list[dict[str, Any]]:
    """Return squares around the nerve, one per leg: side, length in mm, and the centre in every slice in pixels."""
    masks = [mask for name, mask in view.outlines.items() if name != STRAY]
    nerve = np.any([*masks, np.zeros(view.image.shape, dtype=bool)], axis=0)
    sides = view.sides if len(view.sides) > 1 else {"": slice(None)}
    looks = []
    for side, columns in sides.items():
        leg = np.zeros_like(nerve)
        leg[columns] = nerve[columns]
        if leg.any():
            centres, extent_mm = _course(leg[:, :, view.order], view.spacing_mm)
            looks.append({"side": side, "mm": close_up_side_mm(extent_mm), "centres": centres})
    return looks


def picture_uri(png: bytes, longest: int = 1400, quality: int = 80) -> str:
    """Encode a picture from a file, reduced to a page's size, as a data URI."""
    with Picture.open(io.BytesIO(png)) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((longest, longest))
    return data_uri(np.asarray(picture), "webp", quality)


def rings(plane: NDArray[np.bool_]) -> list[list[int]]:
    """Return the closed outlines in a picture (row, column): x and y in turn, in half pixels."""
    if not plane.any():
        return []
    lines = []
    for line in find_contours(np.pad(plane, 1).astype(np.float64), 0.5):
        corners = approximate_polygon(line, tolerance=0.01)[:-1]  # the last point is the first
        points = np.rint(2 * (corners[:, ::-1] - 0.5)).astype(int)  # pad of 1; a pixel's centre is at its index + 0.5
        lines.append([int(value) for value in points.ravel()])
    return lines


def _course(leg: Mask, spacing_mm: SpacingMm) -> tuple[list[list[float]], float]:
    """Return the centre of the nerve's box in every slice in pixels, interpolated in gaps, and its size in mm."""
    found = np.flatnonzero(leg.any(axis=(0, 1)))
    boxes = []
    for number in found:
        rows, columns = np.nonzero(upright(leg[:, :, number]))
        boxes.append((columns.min(), columns.max() + 1, rows.min(), rows.max() + 1))
    left, right, top, bottom = np.array(boxes, dtype=np.float64).T
    slices = np.arange(leg.shape[2])
    x, y = (np.interp(slices, found, middle) for middle in ((left + right) / 2, (top + bottom) / 2))
    extent_mm = float(max(((right - left) * spacing_mm[0]).max(), ((bottom - top) * spacing_mm[1]).max()))
    return np.round(np.stack([x, y], axis=1), 1).tolist(), extent_mm
