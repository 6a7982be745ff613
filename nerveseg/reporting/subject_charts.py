"""Data of the curves and surfaces of a subject's page: area, signal and lesion along the nerve, and its shape.

Every curve has one value per slice, None where the slice does not show the branch, which leaves a gap in the line.
Quantities that are unknown in all slices have no curve.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nerveseg.biomarkers.profile import TOTAL
from nerveseg.reporting.subject_view import LESION, SubjectView
from nerveseg.reporting.surfaces import Surface, surface_of
from nerveseg.types import Mask, SpacingMm

Curve = dict[str, Any]


def area_curves(view: SubjectView) -> list[Curve]:
    """Return, per side, the slice of the split, and per mask and branch the area in the slice and across the nerve."""
    return [{"side": side, "split": _split(view, side), "lines": _areas(view, side)} for side in _sides(view)]


def signal_curves(view: SubjectView) -> list[Curve]:
    """Return, per channel and side, mean, 10th and 90th percentile inside the first mask's nerve."""
    return [
        {"channel": column.removesuffix("_mean"), "side": side}
        | {name: _values(rows, _numbers(view), f"{column.removesuffix('_mean')}_{name}") for name in _BAND}
        for column, side, rows in _measured(view, lambda name: name.endswith("_mean"))
    ]


def lesion_curves(view: SubjectView) -> list[Curve]:
    """Return, per side, the abnormal share of the nerve's section."""
    return [
        {"side": side, "share": _values(rows, _numbers(view), column)}
        for column, side, rows in _measured(view, lambda name: name == "lesion_fraction")
    ]


def surfaces(view: SubjectView) -> list[dict[str, Any]]:
    """Return the surfaces of the first mask, the reference and the lesion, as triangles in mm from the first voxel."""
    names = [name for name in (*list(view.outlines)[:1], "GT", LESION) if name in view.masks]
    return [
        {"name": name, **_surface(view.masks[name], view.spacing_mm, _RAISED_MM if name == LESION else 0.0)}
        for name in dict.fromkeys(names)
        if view.masks[name].any()
    ]


_BAND = ("mean", "p10", "p90")
_RAISED_MM = 0.4
"""Outward shift of the lesion's surface, which the nerve's surface would hide where both coincide."""


def _surface(mask: Mask, spacing_mm: SpacingMm, raised_mm: float) -> dict[str, Any]:
    """Return vertices and triangles in columns, in tenths of a millimetre."""
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
    numbers = _numbers(view)
    return [
        {
            "mask": mask,
            "branch": branch,
            "slice": _values(rows, numbers, "csa_mm2"),
            "across": _values(rows, numbers, "csa_perpendicular_mm2"),
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


def _numbers(view: SubjectView) -> list[int]:
    return [int(view.slice_numbers[index]) for index in view.order]


def _values(rows: pd.DataFrame, numbers: Sequence[int], column: str) -> list[float | None]:
    if column not in rows:
        return [None] * len(numbers)
    found = rows.set_index("slice")[column].reindex(list(numbers)).astype(float)
    return [None if np.isnan(value) else float(f"{value:.5g}") for value in found.tolist()]
