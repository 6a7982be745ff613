"""Elliptic cylinders in world coordinates, voxelised on any grid: nerves whose area and angle are known exactly."""

import numpy as np

PAPER_MM = (0.52, 0.52, 4.4)


def rotation(about_x_deg=0.0, about_y_deg=0.0, about_z_deg=0.0):
    cx, cy, cz = np.cos(np.radians([about_x_deg, about_y_deg, about_z_deg]))
    sx, sy, sz = np.sin(np.radians([about_x_deg, about_y_deg, about_z_deg]))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def grid(shape, spacing_mm=PAPER_MM, turn=None):
    """Affine of a grid whose middle voxel lies at the origin."""
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if turn is None else turn) @ np.diag(spacing_mm)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def tilted(affine, tilt_deg, azimuth_deg):
    """Unit vector at an angle to the slices' normal."""
    x, y, z = (affine[:3, axis] / np.linalg.norm(affine[:3, axis]) for axis in range(3))
    tilt, azimuth = np.radians([tilt_deg, azimuth_deg])
    return np.cos(tilt) * z + np.sin(tilt) * (np.cos(azimuth) * x + np.sin(azimuth) * y)


def tube(shape, affine, direction, area_mm2, flatness=1.0, through_mm=(0.0, 0.0, 0.0), roll_deg=0.0, from_point=False):
    """Voxels inside a cylinder whose section across its axis is an ellipse of an area.

    Where `from_point`, only the half that lies in the axis' direction from the point it goes through.
    """
    places = np.stack(np.meshgrid(*[np.arange(size) for size in shape], indexing="ij"), axis=-1)
    away = places @ affine[:3, :3].T + affine[:3, 3] - np.asarray(through_mm)
    helper = np.eye(3)[np.argmin(np.abs(direction))]
    first = np.cross(direction, helper)
    first /= np.linalg.norm(first)
    second = np.cross(direction, first)
    roll = np.radians(roll_deg)
    long_axis, short_axis = np.cos(roll) * first + np.sin(roll) * second, np.cos(roll) * second - np.sin(roll) * first
    long_mm, short_mm = np.sqrt(area_mm2 * flatness / np.pi), np.sqrt(area_mm2 / flatness / np.pi)
    inside = ((away @ long_axis) / long_mm) ** 2 + ((away @ short_axis) / short_mm) ** 2 <= 1
    return inside & (away @ affine[:3, 2] >= 0) if from_point else inside
