"""Faces of masks, counted and placed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from discometry.core.volume import Grid, Volume
from discometry.core.voxel_surface import voxel_surface


def test_one_voxel_has_six_faces_half_a_step_away() -> None:
    array = np.zeros((3, 3, 3), dtype=bool)
    array[1, 1, 1] = True
    surface = voxel_surface(Volume(Grid.from_spacing(array.shape, (4.0, 2.0, 1.0)), array))
    middle = np.array([4.0, 2.0, 1.0])
    offsets = {tuple(row) for row in np.round(surface.points - middle, 9)}
    assert offsets == {(2, 0, 0), (-2, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 0.5), (0, 0, -0.5)}
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


def test_points_do_not_depend_on_where_the_grid_lies() -> None:
    array = np.random.default_rng(0).random((5, 6, 7)) < 0.5
    near = voxel_surface(Volume(Grid.from_spacing(array.shape, (1, 1, 1)), array))
    far = voxel_surface(Volume(Grid.from_spacing(array.shape, (1, 1, 1), origin_mm=(1e4, -3.3, 7.1)), array))
    assert np.array_equal(near.points, far.points)
    assert np.array_equal(near.normals, far.normals)
