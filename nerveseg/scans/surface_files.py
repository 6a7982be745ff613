"""Surface of the nerve as STL or PLY, in mm of the scan's world coordinates (RAS), for 3D Slicer and MeshLab."""

from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from nerveseg.files import atomic_write
from nerveseg.reporting.surfaces import surface_of
from nerveseg.types import Affine, Mask

SurfaceFormat: TypeAlias = Literal["stl", "ply"]
SPACE = "SPACE=RAS"  # remark by which 3D Slicer knows the coordinate system
TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
FACE = np.dtype([("count", "u1"), ("vertices", "<i4", 3)])


def write_surface(path: Path, mask: Mask, affine: Affine, kind: SurfaceFormat) -> None:
    """Write the closed surface of a mask as a binary file; it has no triangles if the mask is empty.

    Args:
        path: File to write.
        mask: Mask (x, y, z) in RAS order.
        affine: Matrix from its voxel indices to mm.
        kind: Format of the file.
    """
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
    surface = surface_of(mask, (float(spacing_mm[0]), float(spacing_mm[1]), float(spacing_mm[2])))
    places_mm = (surface.vertices_mm / spacing_mm @ affine[:3, :3].T + affine[:3, 3]).astype("<f4")
    triangles = surface.triangles if np.linalg.det(affine[:3, :3]) > 0 else surface.triangles[:, ::-1]
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        if kind == "stl":
            solid = np.zeros(len(triangles), dtype=TRIANGLE)
            solid["corners"] = places_mm[triangles]
            one, two, three = solid["corners"].astype(np.float64).transpose(1, 0, 2)
            across = np.cross(two - one, three - one)
            solid["normal"] = across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-30)
            file.write(f"nerveseg {SPACE}".encode().ljust(80))
            file.write(np.uint32(len(triangles)).tobytes() + solid.tobytes())
            return
        faces = np.zeros(len(triangles), dtype=FACE)
        faces["count"], faces["vertices"] = 3, triangles
        header = ["ply", "format binary_little_endian 1.0", f"comment nerveseg {SPACE}"]
        header += [f"element vertex {len(places_mm)}", *(f"property float {axis}" for axis in "xyz")]
        header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header", ""]
        file.write("\n".join(header).encode() + places_mm.tobytes() + faces.tobytes())
