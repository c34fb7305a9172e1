from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from discometry.core.volume import Grid
from discometry.sampling import sampler
from discometry.slices import slice_within


@pytest.mark.parametrize("order", [1, 3])
def test_on_a_grid_turned_to_the_side_smooth_values_are_what_they_are_there(order: Literal[1, 3]) -> None:
    def values(points: np.ndarray) -> np.ndarray:
        x, y, z = np.moveaxis(points, -1, 0)
        return np.sin(x / 9) + np.cos(y / 8 + z / 11) + 0.01 * x * y

    before = Grid.from_spacing((30, 40, 50), (1.5, 1.0, 0.8), origin_mm=(-20.0, -18.0, -19.0))
    axes = Rotation.from_euler("xyz", (12, -9, 7), degrees=True).as_matrix()
    after = Grid.from_spacing((9, 14, 12), (2.0, 0.9, 1.3), origin_mm=(-8.0, -6.0, -7.0), direction=axes)
    there = values(after.to_world(np.moveaxis(np.indices(after.shape), 0, -1)))
    here = values(before.to_world(np.moveaxis(np.indices(before.shape), 0, -1))).astype(np.float32)
    atol = 2e-2 if order == 1 else 5e-4
    np.testing.assert_allclose(sampler(before, after, order=order)(here), there, atol=atol)


@given(
    turn=st.tuples(*[st.floats(-40, 40)] * 3),
    origin=st.tuples(*[st.floats(-9, 9)] * 3),
    margin=st.sampled_from([0.0, 1.5]),
)
def test_a_voxel_lies_within_where_its_index_in_the_other_grid_says_so(
    turn: tuple[float, float, float], origin: tuple[float, float, float], margin: float
) -> None:
    axes = Rotation.from_euler("xyz", turn, degrees=True).as_matrix()
    grid = Grid.from_spacing((4, 5, 6), (2.0, 1.0, 1.5), origin_mm=origin, direction=axes)
    other = Grid.from_spacing((6, 8, 5), (1.0, 0.8, 2.0), origin_mm=(-2.5, -2.8, -4.0))
    off = np.abs(other.to_index(grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))) - (2.5, 3.5, 2))
    expected = (off <= np.array([3, 4, 2.5]) + margin / np.array(other.spacing_mm)).all(axis=-1)
    found = np.stack([slice_within(grid, other, n, margin_mm=margin) for n in range(4)])
    np.testing.assert_array_equal(found, expected)
