"""Faces of masks, counted and placed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from discometry.core.volume import Grid, Volume
from discometry.core.voxel_surface import voxel_surface


def test_one_voxel_has_six_faces_half_a_step_away() -> None:
    array = np.zeros((3, 3, 3), dtype=bool)
    array[1, 1, 1] = True
    surface = voxel_surface(Volume(Grid.from_spacing(array.shape, (3.0, 2.0, 1.6)), array))
    middle = np.array([3.0, 2.0, 1.6])
    offsets = {tuple(row) for row in np.round(surface.points - middle, 9)}
    assert offsets == {(1.5, 0, 0), (-1.5, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 0.8), (0, 0, -0.8)}
    outward = (surface.points - middle) / np.linalg.norm(surface.points - middle, axis=1, keepdims=True)
    assert np.allclose(surface.normals, outward, atol=1e-5)
    assert np.array_equal(np.abs(outward).argmax(axis=1), surface.axis)


def test_a_full_grid_has_its_border_as_surface() -> None:
    shape = (2, 3, 4)
    surface = voxel_surface(Volume(Grid.from_spacing(shape, (1, 1, 1)), np.ones(shape, dtype=bool)))
    assert len(surface.points) == 2 * (2 * 3 + 3 * 4 + 2 * 4)
    assert surface.points.min(axis=0) == pytest.approx([-0.5, -0.5, -0.5])
    assert surface.points.max(axis=0) == pytest.approx([1.5, 2.5, 3.5])


def test_normals_of_a_tilted_plane_are_the_planes_in_the_world() -> None:
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    grid = Grid.from_spacing((20, 60, 60), (3.0, 0.5, 0.5), direction=turn)
    index = np.moveaxis(np.indices(grid.shape), 0, -1)
    normal = np.array([0.2, -0.3, 1.0]) / np.linalg.norm([0.2, -0.3, 1.0])
    middle = grid.to_world(np.array([10.0, 30.0, 30.0]))
    surface = voxel_surface(Volume(grid, (grid.to_world(index) - middle) @ normal < 0))
    inner = np.linalg.norm(surface.points - middle, axis=1) < 8.0
    mean = surface.normals[inner].mean(axis=0)
    assert mean / np.linalg.norm(mean) == pytest.approx(normal, abs=0.03)
    # Each face lies within half a step, along its own axis, of the plane.
    off = np.abs((surface.points[inner] - middle) @ normal)
    room = np.abs(normal @ grid.direction) * grid.spacing_mm / 2
    assert np.all(off <= room[surface.axis[inner]] + 1e-9)


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (1.0, 0.5, 0.5)], ids=str)
def test_faces_of_a_ball_have_its_area(spacing_mm: tuple[float, float, float]) -> None:
    count = np.ceil(44.0 / np.array(spacing_mm)).astype(int)
    grid = Grid.from_spacing(tuple(count), spacing_mm)
    points = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1)) - (21.7, 21.3, 22.1)
    surface = voxel_surface(Volume(grid, np.linalg.norm(points, axis=-1) < 18.0))
    assert surface.area_mm2 == pytest.approx(4 * np.pi * 18.0**2, rel=0.015)


def test_faces_across_thick_slices_stand_for_others() -> None:
    array = np.ones((3, 40, 50), dtype=bool)
    surface = voxel_surface(Volume(Grid.from_spacing(array.shape, (4.0, 0.5, 0.5)), array))
    across = surface.axis == 0
    assert across.sum() == 2 * 40 * 50 / 5
    assert surface.count[across].sum() == 2 * 40 * 50
    assert np.all(surface.count[~across] == 1)
    assert surface.shared[across] == pytest.approx(np.full(across.sum(), 8.0**2 / 5))
    few = surface.thinned(100)
    assert np.array_equal(few.points, surface.points[:: len(surface.axis) // 100 | 1])


def test_thinning_keeps_both_sides_of_a_flat_box() -> None:
    array = np.ones((20, 20, 4), dtype=bool)
    surface = voxel_surface(Volume(Grid.from_spacing(array.shape, (1.0, 1.0, 1.0)), array))
    few = surface.thinned(len(surface.axis) // 2)
    up = few.normals[:, 2]
    assert np.count_nonzero(up > 0.9) == pytest.approx(np.count_nonzero(up < -0.9), abs=2)


def test_points_do_not_depend_on_where_the_grid_lies() -> None:
    array = np.random.default_rng(0).random((5, 6, 7)) < 0.5
    near = voxel_surface(Volume(Grid.from_spacing(array.shape, (1, 1, 1)), array))
    far = voxel_surface(Volume(Grid.from_spacing(array.shape, (1, 1, 1), origin_mm=(1e4, -3.3, 7.1)), array))
    assert np.array_equal(near.points, far.points)
    assert np.array_equal(near.normals, far.normals)
