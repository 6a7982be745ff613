import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nerveseg.data.volumes.volume import read_image_grid, read_mask
from nerveseg.reporting.surfaces import EMPTY, Surface, surface_of

SPACING_MM = (0.5, 0.5, 4.4)
SHAPE = (70, 60, 30)


def tube(radius_mm=4.0, slices=slice(2, 28), middle_mm=(15.0, 15.0), lean_mm=0.0, shape=SHAPE, spacing_mm=SPACING_MM):
    """A nerve whose middle moves by `lean_mm` along x from slice to slice."""
    x, y, z = np.indices(shape)
    shift = lean_mm * (z - shape[2] / 2)
    inside = np.hypot(x * spacing_mm[0] - middle_mm[0] - shift, y * spacing_mm[1] - middle_mm[1]) <= radius_mm
    mask = np.zeros(shape, dtype=bool)
    mask[..., slices] = inside[..., slices]
    return mask


def volume_of(mask, spacing_mm=SPACING_MM):
    return mask.sum() * np.prod(spacing_mm)


def edges_of(surface):
    """Every edge of every triangle, and how often it occurs."""
    ends = np.concatenate([surface.triangles[:, [0, 1]], surface.triangles[:, [1, 2]], surface.triangles[:, [2, 0]]])
    return np.unique(np.sort(ends, axis=1), axis=0, return_counts=True)


def test_a_cylinder_has_the_closed_forms_volume_area_and_ends():
    surface = surface_of(tube(), SPACING_MM)
    length_mm = 26 * 4.4
    assert surface.volume_mm3 == pytest.approx(np.pi * 4**2 * length_mm, rel=0.03)  # the voxels hold 2 % less
    assert surface.area_mm2 == pytest.approx(2 * np.pi * 4 * length_mm + 2 * np.pi * 4**2, rel=0.03)
    assert surface.vertices_mm[:, 2].min() == pytest.approx(1.5 * 4.4, abs=0.3)
    assert surface.vertices_mm[:, 2].max() == pytest.approx(27.5 * 4.4, abs=0.3)
    assert surface.vertices_mm[:, :2].mean(axis=0) == pytest.approx([15.0, 15.0], abs=0.1)


def test_a_leaning_nerve_has_no_stairs():
    """Distance to the axis is the radius all along; between steps of 1.5 mm stairs would be off by 0.75 mm."""
    surface = surface_of(tube(lean_mm=1.0), SPACING_MM)
    x, y, z = surface.vertices_mm[(surface.vertices_mm[:, 2] > 15) & (surface.vertices_mm[:, 2] < 110)].T
    off_mm = np.hypot(x - 15 - (z / 4.4 - 15), y - 15) - 4
    assert np.abs(off_mm).max() < 0.4
    assert np.abs(off_mm).mean() < 0.12


def test_the_mesh_is_closed_and_turns_outward():
    surface = surface_of(tube(lean_mm=0.7), SPACING_MM)
    edges, counts = edges_of(surface)
    assert set(counts) == {2}
    assert len(np.unique(surface.triangles)) - len(edges) + len(surface.triangles) == 2  # Euler: one closed piece
    middle = np.array([15.0, 15.0, 15 * 4.4])
    outward = np.einsum("ij,ij->i", surface.across_mm2[:, :2], (surface.corners_mm.mean(axis=1) - middle)[:, :2])
    beside = np.abs(surface.across_mm2[:, 2]) < 0.3 * np.linalg.norm(surface.across_mm2, axis=1)
    assert (outward[beside & (np.abs(surface.corners_mm[:, 0, 2] - middle[2]) < 6)] > 0).all()


@pytest.mark.parametrize("most", [100_000, 8_000, 3_000, 1_200])
def test_a_budget_is_kept_and_the_volume_with_it(most):
    mask = tube(lean_mm=0.6)
    surface = surface_of(mask, SPACING_MM, most)
    assert len(surface.triangles) <= most
    assert surface.volume_mm3 == pytest.approx(volume_of(mask), rel=0.03)
    assert set(edges_of(surface)[1]) == {2}
    assert surface.vertices_mm[:, 2].min() == pytest.approx(1.5 * 4.4, abs=0.5)
    assert surface.vertices_mm[:, 2].max() == pytest.approx(27.5 * 4.4, abs=0.5)


def test_pieces_add_up_even_a_single_slice():
    nerve, piece = tube(), tube(2.0, slice(20, 21), (29.0, 24.0))
    surface = surface_of(nerve | piece, SPACING_MM, 50_000)
    assert surface.volume_mm3 == pytest.approx(volume_of(nerve | piece), rel=0.01)
    beyond = surface.vertices_mm[surface.vertices_mm[:, 0] > 24]
    assert beyond[:, 2].min() == pytest.approx(19.5 * 4.4, abs=0.3)
    assert beyond[:, 2].max() == pytest.approx(20.5 * 4.4, abs=0.3)


def test_a_nerve_at_the_images_edge_is_closed_there():
    mask = np.zeros((12, 12, 6), dtype=bool)
    mask[:5, :5] = True
    surface = surface_of(mask, SPACING_MM)
    assert set(edges_of(surface)[1]) == {2}
    assert surface.volume_mm3 == pytest.approx(volume_of(mask), rel=0.05)


def test_nothing_has_no_surface():
    assert surface_of(np.zeros((5, 6, 7), dtype=bool), SPACING_MM) is EMPTY
    assert (EMPTY.volume_mm3, EMPTY.area_mm2) == (0.0, 0.0)
    assert np.isinf(EMPTY.distances_mm(np.zeros((3, 3)))).all()
    assert surface_of(tube(), SPACING_MM).distances_mm(np.zeros((0, 3))).shape == (0,)


def test_a_real_nerve(shared_data):
    path = shared_data("sciatic_reference") / "EXAMPLE_GROUND_TRUTH.mha"
    mask, spacing_mm = read_mask(path), read_image_grid(path).ras_spacing_mm
    surface = surface_of(mask, spacing_mm)
    assert 4_000 < len(surface.triangles) <= 8_000
    assert surface.volume_mm3 == pytest.approx(volume_of(mask, spacing_mm), rel=0.02)
    fine = surface_of(mask, spacing_mm, 100_000)
    assert fine.distances_mm(surface.vertices_mm).mean() < 0.3


def test_distance_between_two_cylinders_is_that_of_their_radii():
    inner, outer = surface_of(tube(3.0), SPACING_MM), surface_of(tube(6.0), SPACING_MM)
    beside = inner.vertices_mm[np.abs(inner.vertices_mm[:, 2] - 66) < 40]
    assert outer.distances_mm(beside) == pytest.approx(np.full(len(beside), 3.0), abs=0.3)


coordinates = st.lists(st.floats(-5, 5, allow_nan=False), min_size=12, max_size=12)


@given(coordinates)
def test_distance_to_a_triangle_is_that_to_its_nearest_point(numbers):
    a, b, c, point = np.array(numbers).reshape(4, 3)
    surface = Surface(np.array([a, b, c]), np.array([[0, 1, 2]]))
    first, second = (part.ravel() for part in np.meshgrid(np.linspace(0, 1, 61), np.linspace(0, 1, 61)))
    kept = first + second <= 1
    dense = a + first[kept, None] * (b - a) + second[kept, None] * (c - a)
    nearest = np.linalg.norm(dense - point, axis=1).min()
    (found,) = surface.distances_mm(point[None])
    assert found <= nearest + 1e-6
    assert found >= nearest - max(np.linalg.norm(b - a), np.linalg.norm(c - a)) / 60
