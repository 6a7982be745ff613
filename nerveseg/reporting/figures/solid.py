"""Surfaces seen from the side, in true proportions, with the position along the stack on the vertical axis.

The view is orthographic and horizontal, so slices are horizontal lines and curves along the nerve can be drawn beside
it. Triangles are painted from back to front and shaded by their orientation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, radians, sin
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from nerveseg.reporting.surfaces import Surface

# View from the front (the patient's right is on the left, as in the slices) and from the right (anterior is right).
FRONT_DEG, SIDE_DEG = 0.0, 90.0

_LIGHT = np.array([-0.45, 0.75, 0.5]) / np.linalg.norm([-0.45, 0.75, 0.5])
_DARKEST = 0.55
_LEAST_WIDTH, _PADDING = 0.3, 0.04  # least width and padding of a view, relative to its height


@dataclass(frozen=True)
class Painted:
    """Surface with its colours."""

    surface: Surface
    colours: str | NDArray[Any]  # one colour, or one (red, green, blue, alpha) per triangle


def draw_solids(axes: Axes, solids: Sequence[Painted], azimuth_deg: float = FRONT_DEG) -> None:
    """Draw surfaces seen from a direction between `FRONT_DEG` and `SIDE_DEG`, with equal scales in mm."""
    across, toward = _directions(azimuth_deg)
    for order, solid in enumerate(solids):
        _paint(axes, solid, across, toward, order)
    horizontal_mm, vertical_mm = extent_mm(solids, azimuth_deg)
    axes.set_xlim(horizontal_mm)
    axes.set_ylim(vertical_mm)
    axes.set_aspect("equal", adjustable="box", anchor="NW")
    axes.xaxis.set_major_locator(MaxNLocator(2, integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(value):g}"))


def extent_mm(
    solids: Sequence[Painted], azimuth_deg: float = FRONT_DEG
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return horizontal and vertical limits in mm that show all surfaces, wide enough for ticks."""
    across, _ = _directions(azimuth_deg)
    corners = np.concatenate([np.zeros((0, 3)), *(solid.surface.corners_mm.reshape(-1, 3) for solid in solids)])
    corners = corners if len(corners) else np.zeros((1, 3))
    horizontal_mm, z_mm = corners @ across, corners[:, 2]
    height = max(float(np.ptp(z_mm)), 10.0)
    middle, low = float(horizontal_mm.min() + horizontal_mm.max()) / 2, float(z_mm.min())
    half = max(float(np.ptp(horizontal_mm)) / 2 + _PADDING * height, _LEAST_WIDTH * height / 2)
    return (middle - half, middle + half), (low - _PADDING * height, low + (1 + _PADDING) * height)


def _directions(azimuth_deg: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the unit vectors to the right of the picture and toward the viewer."""
    turn = radians(azimuth_deg)
    return np.array([-cos(turn), sin(turn), 0.0]), np.array([sin(turn), cos(turn), 0.0])


def horizontal_name(azimuth_deg: float) -> str:
    """Return the label of the horizontal axis of a view from the front or the side."""
    return "right – left (mm)" if azimuth_deg == FRONT_DEG else "posterior – anterior (mm)"


def _paint(axes: Axes, solid: Painted, across: NDArray[Any], toward: NDArray[Any], order: int) -> None:
    surface = solid.surface
    if not len(surface.triangles):
        return
    normals = surface.across_mm2
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    light = across * _LIGHT[0] + toward * _LIGHT[1] + np.array([0.0, 0.0, _LIGHT[2]])
    shade = _DARKEST + (1 - _DARKEST) * np.clip(normals @ light, 0, 1)
    rgba = to_rgba(solid.colours) if isinstance(solid.colours, str) else solid.colours
    colours = np.array(np.broadcast_to(rgba, (len(normals), 4)))
    colours[:, :3] *= shade[:, None]
    corners = surface.corners_mm
    visible = np.argsort(corners.mean(axis=1) @ toward, kind="stable")  # from back to front
    flat = np.stack([corners @ across, corners[..., 2]], axis=-1)[visible]
    axes.add_collection(
        PolyCollection(
            list(flat), facecolors=colours[visible], edgecolors=colours[visible], linewidths=0.15,
            zorder=2 + order / 100, rasterized=True,
        ),
    )  # fmt: skip
