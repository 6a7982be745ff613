"""Surfaces are read back by their formats' definitions and compared with the mask that they enclose."""

import numpy as np
import pytest

from nerveseg.scans.surface_files import write_surface


def turned_grid(mirrored=False):
    """Affine of an oblique grid with voxels of 0.5 x 0.5 x 4 mm."""
    cos, sin = np.cos(0.3), np.sin(0.3)
    affine = np.eye(4)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    affine[:3, :3] = turn @ np.diag([-0.5 if mirrored else 0.5, 0.5, 4.0])
    affine[:3, 3] = [-40.0, 25.0, 300.0]
    return affine


def corners_of(path):
    content = path.read_bytes()
    if path.suffix == ".stl":
        assert b"SPACE=RAS" in content[:80]
        count = int(np.frombuffer(content, "<u4", 1, 80)[0])
        assert len(content) == 84 + 50 * count
        rows = np.frombuffer(content, np.uint8, offset=84).reshape(count, 50)[:, :48]
        return np.ascontiguousarray(rows).view("<f4").reshape(count, 4, 3)[:, 1:].astype(float)
    header, _, data = content.partition(b"end_header\n")
    words = header.decode().split()
    assert "SPACE=RAS" in words
    vertices, faces = (int(words[words.index(name) + 1]) for name in ("vertex", "face"))
    places = np.frombuffer(data, "<f4", 3 * vertices).reshape(-1, 3)
    rows = np.frombuffer(data, np.uint8, offset=12 * vertices).reshape(faces, 13)
    assert (rows[:, 0] == 3).all()
    return places[np.ascontiguousarray(rows[:, 1:]).view("<i4")].astype(float)


@pytest.mark.parametrize("kind", ["stl", "ply"])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_surface_encloses_the_mask_where_it_lies(kind, mirrored, tmp_path):
    mask = np.zeros((40, 40, 8), dtype=bool)
    x, y = np.meshgrid(np.arange(40), np.arange(40), indexing="ij")
    mask[..., 1:7] = ((x - 18) ** 2 + (y - 22) ** 2 < 64)[..., None]
    affine = turned_grid(mirrored)
    write_surface(tmp_path / f"nerve.{kind}", mask, affine, kind)
    corners = corners_of(tmp_path / f"nerve.{kind}")
    one, two, three = (corners - corners[0, 0]).transpose(1, 0, 2)
    volume = np.einsum("ij,ij->", one, np.cross(two, three)) / 6
    assert volume == pytest.approx(mask.sum() * abs(np.linalg.det(affine[:3, :3])), rel=0.02)
    centre = affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + affine[:3, 3]
    np.testing.assert_allclose(corners.reshape(-1, 3).mean(axis=0), centre, atol=0.5)


@pytest.mark.parametrize("kind", ["stl", "ply"])
def test_an_empty_mask_has_no_triangles(kind, tmp_path):
    write_surface(tmp_path / f"nerve.{kind}", np.zeros((4, 4, 4), dtype=bool), np.eye(4), kind)
    assert len(corners_of(tmp_path / f"nerve.{kind}")) == 0
