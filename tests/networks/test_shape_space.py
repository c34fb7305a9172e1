from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from discometry.core.phantom import render_disc_mask, single_disc
from discometry.core.records import CUBE_SHAPE, CUBE_SPACING_MM
from discometry.core.volume import Grid
from discometry.networks.shape_space import (
    CANONICAL_GRID,
    CUBE_GRID,
    FieldGrid,
    Placement,
    cube_field,
    cube_points_mm,
    moments_placement,
)

GRID = Grid.from_spacing(
    CUBE_SHAPE, CUBE_SPACING_MM, origin_mm=[-31.5 * spacing for spacing in CUBE_SPACING_MM]
)
WHERE_IT_LIES = Placement(np.zeros(3), np.eye(3), np.ones(3))


def test_interpolation_and_its_slopes_are_exact_for_a_plane() -> None:
    grid = FieldGrid((6, 5, 7), (2.0, 1.5, 1.0))
    plane = grid.points_mm() @ [0.3, -0.7, 1.1] + 2.0
    points = np.random.default_rng(0).uniform(-2.0, 2.0, (20, 3))
    at, slopes = grid.interpolation(points)
    np.testing.assert_allclose(at @ plane, points @ [0.3, -0.7, 1.1] + 2.0, rtol=0, atol=1e-9)
    for slope, expected in zip(slopes, (0.3, -0.7, 1.1), strict=True):
        np.testing.assert_allclose(slope @ plane, expected, rtol=0, atol=1e-9)


def test_points_outside_take_the_nearest_value() -> None:
    grid = FieldGrid((4, 4, 4), (1.0, 1.0, 1.0))
    field = grid.points_mm()[:, 0]
    at, _ = grid.interpolation(np.array([[50.0, 0.0, 0.0], [-50.0, 0.0, 0.0]]))
    np.testing.assert_allclose(at @ field, [1.5, -1.5], rtol=0, atol=2e-3)


def test_the_field_is_the_distance_cut_off_at_4_mm() -> None:
    cube = np.zeros(CUBE_SHAPE, dtype=bool)
    cube[20:44, 20:44, 24:40] = True
    field = cube_field(cube)
    np.testing.assert_array_equal(field > 0, cube)
    assert (field.min(), field.max()) == (-4.0, 4.0)
    assert field[32, 32, 24] == pytest.approx(1.5, abs=0.8)
    assert field[32, 32, 22] == pytest.approx(-3.0, abs=0.8)
    assert (cube_field(np.zeros(CUBE_SHAPE, dtype=bool)) == -4.0).all()


def test_a_disc_left_as_it_lies_is_not_resampled() -> None:
    cube = render_disc_mask(single_disc(9.0), GRID).array
    field = WHERE_IT_LIES.sample(cube_field(cube), CUBE_GRID)
    np.testing.assert_array_equal(WHERE_IT_LIES.lay(field, CUBE_GRID) > 0, cube)


def test_sampling_and_laying_back_undo_each_other() -> None:
    disc = single_disc(10.0, tilt_deg=(15.0, -8.0, 5.0), centre_lps=(2.0, -3.0, 1.0))
    cube = render_disc_mask(disc, GRID).array
    axes = Rotation.from_rotvec([12.0, 5.0, 4.0], degrees=True).as_matrix()
    place = Placement(np.array([2.0, -3.0, 1.0]), axes, np.array([1.1, 0.9, 1.05]))
    again = place.lay(place.sample(cube_field(cube), CANONICAL_GRID), CANONICAL_GRID) > 0
    assert (again & cube).sum() / (again | cube).sum() > 0.96


def test_moments_give_centre_axes_and_sizes() -> None:
    disc = single_disc(10.0, tilt_deg=(20.0, -10.0, 8.0), centre_lps=(3.0, -2.0, 4.0))
    cube = render_disc_mask(disc, GRID).array
    found = moments_placement(cube, np.array([10.0, 8.0, 2.0]))
    np.testing.assert_allclose(found.origin_mm, [3.0, -2.0, 4.0], rtol=0, atol=0.15)
    np.testing.assert_allclose(found.axes, disc.rotation, rtol=0, atol=0.03)
    spread = (cube_points_mm(np.argwhere(cube)) @ disc.rotation).std(axis=0)
    np.testing.assert_allclose(found.sizes, spread / [10.0, 8.0, 2.0], rtol=0.01)
    assert np.linalg.det(found.axes) == pytest.approx(1.0, abs=1e-9)


def test_a_slab_thinner_than_its_disc_is_high_still_stands_upright() -> None:
    cube = render_disc_mask(single_disc(12.0), GRID).array.copy()
    cube[:30], cube[33:] = False, False
    found = moments_placement(cube, np.ones(3))
    assert found.axes[2, 2] > 0.99
    assert found.axes[0, 0] > 0.99


def test_an_empty_cube_has_a_placement() -> None:
    found = moments_placement(np.zeros(CUBE_SHAPE, dtype=bool), np.ones(3))
    np.testing.assert_array_equal(found.axes, np.eye(3))
